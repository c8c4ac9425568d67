"""How the C library manages memory in the processes that hold images: its habits suit many small blocks.

Each returns whether the C library knows the option. glibc does; musl does not, and needs none.
"""

import ctypes
from typing import Final

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""mallopt(3)."""

LARGE_BYTES: Final = 1 << 20
HEAPS_MAX: Final = 2


def give_back_large_blocks() -> bool:
    """Blocks from LARGE_BYTES on go back to the system as soon as they are freed, at the price of fresh pages for each.

    Unless told, glibc learns from the blocks that are freed, up to 32 MiB, and keeps the next ones of that size in a
    heap, among small blocks that keep the heap from shrinking.
    """
    return _told(M_MMAP_THRESHOLD, LARGE_BYTES)


def share_heaps() -> bool:
    """The threads share HEAPS_MAX heaps, and what one has freed another can use. Before the threads begin.

    Unless told, glibc makes a heap for each thread, up to eight a core.
    """
    return _told(M_ARENA_MAX, HEAPS_MAX)


def _told(option: int, value: int) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(option, value))
