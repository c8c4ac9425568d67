"""Roles whose code changed are started again. A process of its own watches the files, so that `dev` has no thread when
it starts children, and tells `dev` which roles each change concerns."""
