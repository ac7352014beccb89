"""The peak memory of a task: of its process while it ran, not of the tasks that the process ran before."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
RESET_PEAK = "5"

_lock = threading.Lock()
_watching = 0


@dataclass
class Peak:
    """Filled at the end of the watch."""

    mb: float = 0.0


@contextmanager
def watched() -> Iterator[Peak]:
    """Lend a Peak that is filled at the end.

    Where tasks share a process as threads, the peak is that of all of them since none was running; where
    the system keeps no peak that can be reset, that of the process since it began.
    """
    global _watching
    peak = Peak()
    with _lock:
        if _watching == 0:
            with suppress(OSError):
                RESET.write_text(RESET_PEAK)
        _watching += 1
    try:
        yield peak
    finally:
        with _lock:
            _watching -= 1
        peak.mb = process_peak_mb()


def process_peak_mb() -> float:
    """Return the peak memory of this process, MB."""
    with suppress(OSError):
        for line in STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
