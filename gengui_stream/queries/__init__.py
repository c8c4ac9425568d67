"""What readers ask of the projections."""
