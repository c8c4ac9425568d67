"""Diagnosis of a running system: one module for each subject; each finding has a remedy."""
