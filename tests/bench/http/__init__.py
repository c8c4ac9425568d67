"""Reads over HTTP beside a baseline."""
