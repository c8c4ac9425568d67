"""Servers with TLS, as the tests start them."""
