"""The delay before a retry."""


def backoff_seconds(failures: int, *, salt: int = 0, base: float = 1.0, ceiling: float = 60.0) -> float:
    """Seconds. Doubles from `base` with each failure (1 is the first) up to `ceiling`, less up to a quarter chosen by
    `salt`: generations that failed together do not retry together, and a replay computes the same delay."""
    full = min(ceiling, base * 2.0 ** min(max(failures, 1) - 1, 32))
    return full * (1.0 - (salt % 1009) / 1009 / 4)
