"""API keys, and the stream tokens that stand for them."""
