"""What keeps the system from working, each with its remedy: one module a subject, one finding a line."""
