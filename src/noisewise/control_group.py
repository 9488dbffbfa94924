"""Limits of the control groups (Linux) that this process is in: of a container, or of the job of a cluster.

A process may use what its own group allows and every group above it, so that the smallest limit counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

GROUPS_OF_PROCESS = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60  # version 1 states no limit as a number above this


def memory_bytes() -> int | None:
    """Bytes that may still be allocated, None without a limit; less than 0 beyond it.

    Of what is in use, file contents that the system can drop do not count.
    """
    found = []
    for folder in folders("memory"):
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with suppress(OSError, ValueError):  # no such file, or "max"
                allowed = int((folder / limit).read_text())
                if allowed < UNLIMITED:
                    found.append(allowed - int((folder / usage).read_text()) + droppable(folder))
    return min(found, default=None)


def droppable(folder: Path) -> int:
    """Bytes of file contents in memory that are not in use; 0 where it is not known."""
    with suppress(OSError, ValueError):
        lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        values = {line[0]: int(line[1]) for line in lines if len(line) == 2}
        return values.get("total_inactive_file", values.get("inactive_file", 0))
    return 0


def cpu_cores() -> float | None:
    """Cores that may be used at a time, as a fraction; None without a limit."""
    found = []
    for folder in folders("cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
            quota, period = map(int, (folder / "cpu.max").read_text().split())
            found.append(quota / period)
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if quota > 0:
                found.append(quota / period)
    return min(found, default=None)


def folders(controller: str) -> Iterator[Path]:
    """Folders of the groups of this process that may limit it, from its own to the outermost."""
    try:
        lines = GROUPS_OF_PROCESS.read_text().splitlines()
    except OSError:  # another system
        return
    for line in lines:
        _, controllers, name = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        own = PurePosixPath("/") / name
        if ".." in own.parts:  # a group outside of this namespace
            own = PurePosixPath("/")
        # Version 2 lists all controllers in one tree; version 1 has a tree for each.
        for tree in (ROOT / controller,) if controllers else (ROOT, ROOT / "unified"):
            # In a container, the group's name may be that outside of it, and only the outermost folder is there.
            yield from (tree / str(part).lstrip("/") for part in (own, *own.parents))
