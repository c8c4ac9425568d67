"""One generation at a time: folded again from the log by its own offsets, compared, shown at any moment, repaired."""
