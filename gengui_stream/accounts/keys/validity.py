"""Conditions in SQL under which a user, and a key, is accepted: each is written here alone."""

from typing import Final

OPEN_ACCOUNT: Final = "u.deleted_at IS NULL AND coalesce(u.delete_after, 'infinity') > now()"
"""Of `accounts.users u`: not deleted, and the time of a requested deletion has not come."""

VALID_KEY: Final = "k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())"
"""Of `accounts.api_keys k`, whatever its user."""
