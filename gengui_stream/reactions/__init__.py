"""Loops that claim a job row, do it, and append the outcome to the log (law 5)."""
