"""Commands about the partitions of the log: lag, pause, resume, skip."""
