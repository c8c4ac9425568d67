"""Limits of requests and of generations, so that no client takes the service from others."""
