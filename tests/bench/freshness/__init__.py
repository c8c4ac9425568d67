"""The time from an append to the read model, under load."""
