"""`cancel` jobs."""
