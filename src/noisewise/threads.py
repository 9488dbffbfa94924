"""Threads of the processor: how many there are, and work that is divided among them.

Threads of OpenMP, which torch uses within an operation, wait for each other by spinning: two processes side by side
bring each other almost to a halt. So large pieces of work are divided among Python threads with one OpenMP thread each.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import ceil
from typing import TypeVar

import torch

from noisewise import control_group

T = TypeVar("T")
R = TypeVar("R")


_outer: list[int] = []  # torch's number of threads outside of `limited`
_here = threading.local()


def available() -> int:
    """Cores that this process may use: torch's number of threads, the affinity, and the quota of its control group."""
    counts = [_outer[0] if _outer else torch.get_num_threads()]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    if (cores := control_group.cpu_cores()) is not None:
        counts.append(ceil(cores))
    return max(1, min(counts))


@contextmanager
def limited(count: int) -> Iterator[None]:
    """Use this number of OpenMP threads, here and in threads that are started here."""
    before = torch.get_num_threads()
    _outer.append(_outer[0] if _outer else before)
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _outer.pop()


def for_training() -> int:
    """OpenMP threads of a training: half the cores, since terms of a loss are computed side by side."""
    return max(1, available() // 2)


@contextmanager
def pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads that share the cores: each has its part of the OpenMP threads."""
    with limited(max(1, available() // workers)), ThreadPoolExecutor(workers, initializer=_mark) as executor:
        yield executor


def _mark() -> None:
    _here.in_pool = True


def in_parallel(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Results of a function for all items, each computed by one of the cores; within a pool, one after the other."""
    items = list(items)
    workers = min(available(), len(items))
    if workers < 2 or getattr(_here, "in_pool", False):
        return [function(item) for item in items]
    with pool(workers) as executor:
        return list(executor.map(function, items))
