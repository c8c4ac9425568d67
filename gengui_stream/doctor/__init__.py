"""Diagnosis of a running system: one module a subject, one finding a line, each with its remedy."""
