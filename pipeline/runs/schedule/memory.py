"""How much memory a task needs, from the sizes that image headers tell, and how much there is."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.core.errors import ConfigError
from pipeline.runs.schedule.graph import split_key
from pipeline.stages.job import SeriesJob
from pipeline.stages.memory import MB, section_mb
from pipeline.store.tasks import TaskId

SHARE = 0.8  # of the memory of the machine, or of the job's limit, that tasks may take
SERIES_MB = 1000.0  # a reference of 25 um has 300 MB, and a task keeps two resolutions
SECTION_MB = 5.0  # of an alignment of many series together
WORKER_MB = 370.0  # of a process that has done nothing yet but import its libraries
CGROUPS = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
UNITS = {"": 1.0, "MB": 1.0, "M": 1.0, "GB": 1024.0, "G": 1024.0, "TB": 1024.0**2, "T": 1024.0**2}


def budget_mb(asked: str | None, processes: int = 0) -> float:
    """Return how many MB the tasks of this machine may take together, beside worker processes.

    >>> budget_mb("6GB")
    6144.0
    """
    if asked is None:
        return SHARE * _limit_bytes() / MB - WORKER_MB * processes
    text = asked.strip().upper()
    number = text.rstrip("BGMT")
    try:
        value = float(number) * UNITS[text[len(number) :]]
    except (ValueError, KeyError):
        value = -1.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"--memory {asked}: expected an amount such as 6GB or 800MB")
    return value - WORKER_MB * processes


def _limit_bytes() -> float:
    """Return the memory of the machine, or what a container or the shell leaves of it."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in CGROUPS:
        with suppress(OSError, ValueError):  # no such group, or "max"
            limits.append(int(path.read_text(encoding="ascii")))
    limits.append(resource.getrlimit(resource.RLIMIT_RSS)[0])
    return float(min(limit for limit in limits if limit > 0))


def need_mb(job: SeriesJob, task: str) -> float:
    """Return about how many MB a task needs at its peak."""
    known = TaskId.parse(task)
    number = known.section_number
    found = None if number is None else section_mb(known.stage, job.pixels.get(number, 0))
    if found is None:
        return SERIES_MB + SECTION_MB * sum(len(s.sections) for s in job.siblings if task == "align")
    return found


def needs(jobs: Sequence[SeriesJob]) -> Callable[[str], float]:
    """Return the function that tells the need of a task by its key."""

    def need(key: str) -> float:
        task, number = split_key(key)
        return need_mb(jobs[number], task) if task and 0 <= number < len(jobs) else 0.0

    return need
