"""Count what a process has open and running."""

from __future__ import annotations

import os
import threading
import time
from typing import TypeAlias

import anyio

#: Numbers of file descriptors, threads and tasks.
Counts: TypeAlias = tuple[int, int, int]

_PATIENCE = 5.0  # seconds; a thread or a server that has done its work may take a moment to end


def counts() -> Counts:
    """Return what there is outside of any loop, which has no tasks."""
    threads = [thread for thread in threading.enumerate() if not kept_by_trio(thread)]
    return len(os.listdir("/proc/self/fd")), len(threads), 0


def kept_by_trio(thread: threading.Thread) -> bool:
    """Return whether it is one of those that trio keeps for the next who needs one."""
    return thread.name.startswith("Trio thread")


def settled(before: Counts) -> Counts:
    """Return what there is as soon as it is the same as ``before``, or what it is after a while."""
    ends = time.monotonic() + _PATIENCE
    while (now := counts()) != before and time.monotonic() < ends:
        time.sleep(0.001)
    return now


def counts_in_loop() -> Counts:
    """Return what there is in a running loop."""
    return *counts()[:2], len(anyio.get_running_tasks())


async def settled_in_loop(before: Counts) -> Counts:
    """Do in a running loop as ``settled`` does."""
    for _ in range(5000):
        if counts_in_loop() == before:
            break
        await anyio.sleep(0.001)
    return counts_in_loop()
