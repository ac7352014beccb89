"""How much memory a task needs, from the sizes that image headers tell, and how much there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import distributed.system

from pipeline.errors import ConfigError
from pipeline.jobs import SeriesJob
from pipeline.schedule.graph import split_key, stage_of

SHARE = 0.8  # of the memory of the machine, or of the job's limit, that tasks may take
BYTES_PER_PIXEL = {"measure": 8.0, "detect": 24.0}  # stored pixels; see workflows/bench_batch.py
SERIES_MB = 400.0  # a task of a whole series works on reduced images and 200 um grids
BASE_MB = 60.0
MB = 1024.0**2
UNITS = {"": 1.0, "MB": 1.0, "M": 1.0, "GB": 1024.0, "G": 1024.0, "TB": 1024.0**2, "T": 1024.0**2}


def budget_mb(asked: str | None) -> float:
    """Return how many MB the tasks of this machine may take together.

    >>> budget_mb("6GB")
    6144.0
    """
    if asked is None:
        return SHARE * float(distributed.system.memory_limit()) / MB
    text = asked.strip().upper()
    number = text.rstrip("BGMT")
    try:
        value = float(number) * UNITS[text[len(number) :]]
    except (ValueError, KeyError):
        value = -1.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"--memory {asked}: expected an amount such as 6GB or 800MB")
    return value


def need_mb(job: SeriesJob, task: str) -> float:
    """Return about how many MB a task needs at its peak."""
    factor = BYTES_PER_PIXEL.get(stage_of(task))
    if factor is None:
        return SERIES_MB
    return BASE_MB + factor * job.pixels.get(int(task.rpartition("-")[2]), 0) / MB


def needs(jobs: Sequence[SeriesJob]) -> Callable[[str], float]:
    """Return the function that tells the need of a task by its key."""

    def need(key: str) -> float:
        task, number = split_key(key)
        return need_mb(jobs[number], task) if task and 0 <= number < len(jobs) else 0.0

    return need
