"""Pure: sync, total, no clock, no ids, no I/O. Standard library and `schemas` only."""
