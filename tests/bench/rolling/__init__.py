"""Processes that are replaced one after the other, while the system is used."""
