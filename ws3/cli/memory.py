"""The C library's allocator, set for programs that free and take large blocks all the time."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let glibc keep what is freed instead of handing it back to the kernel.

    Otherwise every network pass and every CRF faults the same pages in again. Measured: `ws3
    saliency` on one image of 400 x 400 (ResNet-50, 30 crops) has 0.38 million page faults instead
    of 1.04, and takes 13.1 s of CPU time instead of 14.7; ten masks of 375 x 500 have none instead
    of 108,000, and take 0.01 s of system time instead of 0.28.

    Results don't change. Call it before torch is imported; where the C library has no mallopt,
    nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)
