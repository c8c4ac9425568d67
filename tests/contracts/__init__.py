"""The contracts of the ports: one class of tests each, run on the real implementation and on its in-memory twin."""
