"""Jobs that ask a provider what became of an attempt."""
