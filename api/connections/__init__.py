"""The connections of clients: their limits of time and memory, and requests that no parser accepts."""
