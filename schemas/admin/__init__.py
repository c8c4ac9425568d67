"""Requests and resources of the admin API."""
