"""The C library's own statistics, each in a separate process, as an option cannot be reset."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the options are those of glibc")

MAPPED_FOR_AN_IMAGE = """
import ctypes, sys
from gengui_stream.process.malloc import give_back_large_blocks

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"

class Counts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Counts

if sys.argv[1] == "told":
    assert give_back_large_blocks()
bytearray(16 << 20)  # freed at once
before = mallinfo2().hblkhd
image = bytearray(4 << 20)
print(mallinfo2().hblkhd - before)
"""

HEAPS_OF_SIX_THREADS = """
import ctypes, sys, threading
from gengui_stream.process.malloc import share_heaps

if sys.argv[1] == "told":
    assert share_heaps()
together = threading.Barrier(7)

def hold():
    block = bytearray(10_000)
    together.wait()
    together.wait()

for _ in range(6):
    threading.Thread(target=hold).start()
together.wait()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
together.wait()
"""


def said(script: str, told: str) -> str:
    return subprocess.run([sys.executable, "-c", script, told], capture_output=True, text=True, check=True).stdout


def test_large_blocks_lie_outside_of_the_heap() -> None:
    assert int(said(MAPPED_FOR_AN_IMAGE, "told")) >= 4 << 20
    assert int(said(MAPPED_FOR_AN_IMAGE, "left alone")) == 0, "otherwise there is nothing to tell"


def test_threads_share_heaps() -> None:
    assert said(HEAPS_OF_SIX_THREADS, "told").count("<heap nr") == 2
    assert said(HEAPS_OF_SIX_THREADS, "left alone").count("<heap nr") > 2, "otherwise there is nothing to tell"
