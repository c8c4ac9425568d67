"""Servers with the HTTP APIs of the providers, for tests, for the demo, and for trying out failures.

A script decides what a server does: its rules select a behaviour for each request. The selection depends on the script,
the seed and the request alone, so that runs with the same seed have the same faults.
"""
