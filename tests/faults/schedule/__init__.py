"""A schedule of kills and pauses over every role and every server, under load, checked by `tests.oracle`."""
