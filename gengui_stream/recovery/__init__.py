"""Checking the projections against the log, and putting right what could not be folded."""
