"""The shared client as the rest of the system holds it."""


class SharedRedis:
    """Opaque: what runs on the shared client are the typed modules of `redis_io`, none of which blocks (law 9)."""
