"""Random actions of several users, admins and workers: no byte of one reaches another."""
