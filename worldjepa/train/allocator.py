"""The memory of a step, kept for the next one."""

from __future__ import annotations

import ctypes
import platform

# Of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed instead of giving it back to the system; returns whether it listens (glibc).

    A training step frees and asks for the same large tensors over and over. By default glibc maps each of them anew, and
    the system fills every page with zeros first: some 5 % of a step on a processor (`docs/performance.md`). The process keeps
    its largest size, which it would reach in every step anyway.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_MAX, 0)) and bool(library.mallopt(_TRIM_THRESHOLD, _NEVER))
