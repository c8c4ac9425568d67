"""Checks of the servers: availability, configuration and permissions."""
