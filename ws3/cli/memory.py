"""The C library's allocator, set for programs that free and take large blocks all the time."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let glibc keep what is freed instead of handing it back to the kernel.

    Every network pass otherwise faults the same pages in again. Results don't change. Call it
    before torch is imported; where the C library has no mallopt, nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)
