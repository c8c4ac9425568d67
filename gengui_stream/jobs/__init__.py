"""Jobs: claimed under a lease, carried out, their outcome appended to the log (law 5)."""
