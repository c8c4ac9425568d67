"""The fold of the log into the shadow schema, in several processes and then behind the live projections."""
