"""The shadow schema: its tables, its indexes, the state of the rebuild, and the connections that write there."""
