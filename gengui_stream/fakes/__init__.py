"""Servers that speak the HTTP of the providers, for tests, for the demo, and for trying out what goes wrong.

What a server does is a script: rules that pick a behaviour for a request. Which one is picked depends on the script,
the seed and the request alone, so that a run with the same seed meets the same faults.
"""
