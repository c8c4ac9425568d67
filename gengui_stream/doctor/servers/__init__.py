"""The servers behind the system: reachable, as they must be set up, and ours to use."""
