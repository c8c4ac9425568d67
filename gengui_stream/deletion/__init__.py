"""`deletion` jobs: each removes the objects of one deleted generation."""
