"""Times that mean something on a shared machine: ratios of medians, both sides in turns, in one run."""

from __future__ import annotations

import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

Clock = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    what, against : str     what is measured, and what it is held against
    ours, theirs : float    medians, in `unit`
    ratio : float           median of the ratios of the turns
    bound : str             what the ratio must reach: ">= 30", "<= 3", or "" where there is no such thing
    agreement : str         how far both give the same answer
    """

    family: str
    what: str
    against: str
    ours: float
    theirs: float
    ratio: float
    bound: str = ""
    agreement: str = ""
    unit: str = "ms"

    @property
    def holds(self) -> bool:
        """Whether the ratio is what it must be."""
        if not self.bound:
            return True
        sign, value = self.bound.split()
        return self.ratio >= float(value) if sign == ">=" else self.ratio <= float(value)


def seconds(function: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Return how long one call takes."""
    start = clock()
    function()
    return clock() - start


def duel(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, clock: Clock = time.perf_counter
) -> tuple[float, float, float]:
    """Return the median seconds of both, taken in turns (A B A B), and the median of theirs ÷ ours.

    Both run once before, so that nothing is compiled or read from disk while the clock runs.
    """
    ours(), theirs()
    times = [(seconds(ours, clock), seconds(theirs, clock)) for _ in range(rounds)]
    return median(a for a, _ in times), median(b for _, b in times), median(b / a for a, b in times)


def duel_of_minima(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, clock: Clock
) -> tuple[float, float, float]:
    """Return the least seconds of both, taken in turns, and the ratio of these; for short work of one thread.

    What else the machine does can only add to a time, so the least one repeats best.
    """
    ours(), theirs()
    times = [(seconds(ours, clock), seconds(theirs, clock)) for _ in range(rounds)]
    a, b = (min(side) for side in zip(*times, strict=True))
    return a, b, b / a


def fresh(function: Callable[[], float]) -> float:
    """Return what a function of a module gives in a process of its own, where nothing was loaded before."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return float(pool.apply(function))


def machine_facts() -> dict[str, Any]:
    """Return what the times depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    packages = ("numpy", "numba", "opencv-python-headless", "scikit-image", "imagecodecs", "zarr")
    return {
        "processor": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "load": round(os.getloadavg()[0], 2),
    }


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, a line each."""
    head = ("", "what", "against", "ours", "theirs", "ratio", "must be", "agreement")
    cells = [head]
    for row in rows:
        mark = "ok" if row.holds else "SHORT"
        numbers = (f"{row.ours:.4g} {row.unit}", f"{row.theirs:.4g} {row.unit}", f"{row.ratio:.3g}")
        cells.append((mark, row.what, row.against, *numbers, row.bound, row.agreement))
    widths = [max(len(line[k]) for line in cells) for k in range(len(head))]
    lines = ["  ".join(t.ljust(n) for t, n in zip(c, widths, strict=True)).rstrip() for c in cells]
    return "\n".join(lines)
