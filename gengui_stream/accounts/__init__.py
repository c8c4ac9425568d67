"""Users, and the ways by which they authenticate. Plain rows: a backup brings them back, not the log."""
