"""Memory of the machine, or what its container or shell leaves of it."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

SHARE = 0.8  # of the memory here that this program plans with
# Memory limit of a container: cgroup version 2, then version 1.
CGROUPS = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")


def limit_bytes() -> float:
    """Return the memory of the machine in bytes, or the limit of the container or the shell if lower.

    Returns
    -------
    float
        Bytes; whether other programs use some of it is not asked.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in CGROUPS:
        with suppress(OSError, ValueError):  # no such group, or "max"
            limits.append(int(path.read_text(encoding="ascii")))
    limits.append(resource.getrlimit(resource.RLIMIT_RSS)[0])
    return float(min(limit for limit in limits if limit > 0))
