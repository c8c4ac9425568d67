"""Addresses of servers in settings: their types, and the URLs that users paste."""
