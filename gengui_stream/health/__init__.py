"""Liveness of a process, and the port where it answers `/livez` and `/metrics`."""
