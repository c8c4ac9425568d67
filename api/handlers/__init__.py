"""The routes' handlers."""
