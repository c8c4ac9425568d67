"""The settings themselves: name, type, bounds, default and meaning of each."""
