"""How long to wait before trying again."""


def backoff_seconds(failures: int, *, salt: int = 0, base: float = 1.0, ceiling: float = 60.0) -> float:
    """Doubles from `base` with each failure (1 is the first) up to `ceiling`, then takes off up to a quarter
    by `salt`, so that generations that failed together do not come back together, and a replay sees the same."""
    full = min(ceiling, base * 2.0 ** min(max(failures, 1) - 1, 32))
    return full * (1.0 - (salt % 1009) / 1009 / 4)
