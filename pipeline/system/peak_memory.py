"""Peak memory of a task: that of its process while the task ran, without earlier tasks of the process."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
RESET_PEAK = "5"  # written to clear_refs, resets the peak resident size (VmHWM), see proc(5)

_lock = threading.Lock()
_watching = 0


@dataclass
class Peak:
    """Peak memory in MB, filled when the measurement ends."""

    mb: float = 0.0


@contextmanager
def watched() -> Iterator[Peak]:
    """Measure the peak memory of a block.

    Threads share the peak of their process: while tasks overlap, it is that of all of them since none was
    running. Where the system cannot reset the peak, it is that of the process since its start.

    Yields
    ------
    Peak
        Filled at the end of the block.
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
    """Return the peak memory of this process since its start or the last reset, MB."""
    with suppress(OSError):
        for line in STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
