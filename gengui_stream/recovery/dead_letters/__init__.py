"""Records that could not be folded: found, folded again, or skipped for good."""
