"""Computes the read models from the log again, beside the running agents, and puts them in the place of the old ones.

The rows are built in a schema of their own, the shadow schema, from which no reader reads. Each partition has a
checkpoint there, which advances in the transaction that writes its rows, so an interrupted rebuild goes on where it
was. At the end the tables change places in one short transaction.
"""
