"""Restarts the roles whose code changed. A separate process watches the files, so that `dev` has no thread when
it starts children, and reports the affected roles of each change to `dev`."""
