"""`reconcile` jobs: each asks a provider for the outcome of one attempt."""
