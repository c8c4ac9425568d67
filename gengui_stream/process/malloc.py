"""Tunes the C library's malloc for processes with images, as its defaults suit many small blocks.

Each function returns whether the C library has the option. glibc does; musl does not, and needs no tuning.
"""

import ctypes
from typing import Final

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""mallopt(3)."""

LARGE_BYTES: Final = 1 << 20
HEAPS_MAX: Final = 2


def give_back_large_blocks() -> bool:
    """Returns blocks from LARGE_BYTES on to the system as soon as they are freed; each new one then needs fresh pages.

    By default, glibc raises its threshold to the size of freed blocks, up to 32 MiB, and keeps later blocks of that
    size in a heap, among small blocks that prevent the heap from shrinking.
    """
    return _set_option(M_MMAP_THRESHOLD, LARGE_BYTES)


def share_heaps() -> bool:
    """Lets threads share HEAPS_MAX heaps, so that one can use what another has freed. Call it before threads start.

    By default, glibc creates a heap for each thread, up to eight per core.
    """
    return _set_option(M_ARENA_MAX, HEAPS_MAX)


def _set_option(option: int, value: int) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(option, value))
