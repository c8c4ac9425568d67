"""`thumbnail` jobs."""
