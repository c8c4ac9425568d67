"""The admin API. Each act, and each read of what belongs to a user, is in the audit trail before it is answered."""
