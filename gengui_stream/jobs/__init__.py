"""Jobs: claimed under a lease, done, and their outcome appended to the log (law 5)."""
