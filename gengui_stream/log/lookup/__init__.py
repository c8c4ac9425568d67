"""Single records of the log, and offsets by time: at the cost of what is read, wherever it lies."""
