"""Verifies the projections against the log, and repairs them: dead letters and missing thumbnails."""
