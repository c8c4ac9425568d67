"""TLS with servers: why one is not trusted and what mends it, and the certificates that they show."""
