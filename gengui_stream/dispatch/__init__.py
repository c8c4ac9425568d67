"""`dispatch` jobs: an attempt is handed to a provider."""
