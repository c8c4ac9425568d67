"""The read models: one file each with its rows, its fold and its SQL."""
