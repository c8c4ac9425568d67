"""Jobs: thumbnails, dispatch and reconciliation, and the original service."""
