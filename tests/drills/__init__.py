"""Disasters under load, and the recovery from each by the commands of docs/recovery.md, evaluated by `tests.oracle`."""
