"""Processes that are replaced, not killed."""
