"""Liveness of a process, and the HTTP port for `/livez` and `/metrics`."""
