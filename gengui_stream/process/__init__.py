"""A process of this system: its start, its shutdown, its exit code and its allocator."""
