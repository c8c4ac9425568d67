"""Records and messages that could not be read."""
