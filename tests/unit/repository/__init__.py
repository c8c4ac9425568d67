"""The repository itself: documents, published files, setup and words."""
