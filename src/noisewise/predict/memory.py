"""Measure the free memory, and keep allocated memory for reuse."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path

import torch

from noisewise import control_group

FALLBACK = 2 << 30  # bytes, if the system does not say


def free_bytes(device: torch.device | str = "cpu") -> int:
    """Bytes that can be allocated now, on the accelerator, or in main memory within a container's limit."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limit = control_group.memory_bytes()
    return _available() if limit is None else max(0, min(_available(), limit))


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return FALLBACK


@functools.cache
def keep_pages() -> None:
    """Let the C library reuse freed memory for the next tensor, on Linux.

    By default glibc returns each large block to the system, and maps and zeroes the next one of the same size again:
    measured on two cores, this took a third of the time of a training step. `mallopt(M_MMAP_MAX, 0)` keeps large
    blocks on the heap, and the other two options prevent the heap from shrinking.
    """
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 64 << 20)
