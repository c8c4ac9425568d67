"""`dispatch` jobs: each hands one attempt to a provider."""
