"""Secrets that are not in a variable itself: in a file that a variable names, or in AWS Secrets Manager."""
