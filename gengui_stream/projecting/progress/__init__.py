"""Whether a partition's projection keeps up with the log, and whether it is paused."""
