"""Memory that a task needs, estimated from image headers, and memory that is available."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.core.errors import ConfigError
from pipeline.runs.schedule.graph import split_key
from pipeline.stages.job import SeriesJob
from pipeline.stages.memory import BASE_MB, MB, section_mb
from pipeline.store.tasks import TaskId
from pipeline.system.machine_memory import SHARE, limit_bytes

SERIES_MB = 1000.0  # MB of a task on a whole series: a 25 um reference has 300 MB, and two are cached
SECTION_MB = 5.0  # MB a section, where several series are aligned together
WORKER_MB = 370.0  # MB of a worker process that has only imported its libraries
UNITS = {"": 1.0, "MB": 1.0, "M": 1.0, "GB": 1024.0, "G": 1024.0, "TB": 1024.0**2, "T": 1024.0**2}  # in MB


def budget_mb(asked: str | None, processes: int = 0) -> float:
    """Return the memory that the tasks of this machine may use together.

    Parameters
    ----------
    asked : str or None
        Amount such as 6GB or 800MB; None takes `SHARE` of the memory of the machine, container or shell.
    processes : int
        Number of worker processes, whose own memory is subtracted.

    Returns
    -------
    float
        Budget, MB of 2**20 bytes; at least what the smallest task on a section needs.

    Raises
    ------
    ConfigError
        Where the amount cannot be parsed or is not positive, or the worker processes leave too little of it
        for any task; the message says what would be enough.

    Examples
    --------
    >>> budget_mb("6GB")
    6144.0
    """
    if asked is None:
        return _left(SHARE * limit_bytes() / MB, processes, f"{SHARE:.0%} of the memory here")
    text = asked.strip().upper()
    number = text.rstrip("BGMT")
    try:
        value = float(number) * UNITS[text[len(number) :]]
    except (ValueError, KeyError):
        value = -1.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"--memory {asked}: expected an amount such as 6GB or 800MB")
    return _left(value, processes, f"--memory {asked.strip()}")


def _left(whole_mb: float, processes: int, what: str) -> float:
    """Return what worker processes leave of an amount; ConfigError where that is too little for any task."""
    own_mb = WORKER_MB * processes
    if whole_mb - own_mb >= BASE_MB:
        return whole_mb - own_mb
    if not processes:
        raise ConfigError(f"{what}: a task takes {BASE_MB:.0f} MB or more; {SERIES_MB:.0f}MB would be enough")
    raise ConfigError(
        f"{what}: {processes} worker processes take {own_mb:.0f} of these {whole_mb:.0f} MB themselves;"
        f" --memory {own_mb + SERIES_MB:.0f}MB would be enough, or fewer --workers, or --scheduler threads"
    )


def need_mb(job: SeriesJob, task: str) -> float:
    """Estimate the peak memory of a task.

    Parameters
    ----------
    job : SeriesJob
        Series of the task.
    task : str
        Task name, such as detect-00070.

    Returns
    -------
    float
        Peak, MB of 2**20 bytes.
    """
    known = TaskId.parse(task)
    number = known.section_number
    found = None if number is None else section_mb(known.stage, job.pixels.get(number, 0))
    if found is None:
        return SERIES_MB + SECTION_MB * sum(len(s.sections) for s in job.specimen_series if task == "align")
    return found


def needs(jobs: Sequence[SeriesJob]) -> Callable[[str], float]:
    """Return the function that estimates the peak memory of a task from its key in the graph.

    Parameters
    ----------
    jobs : sequence of SeriesJob
        Jobs of the graph, in order.

    Returns
    -------
    callable
        From key to MB; 0 for a key that is not a task.
    """

    def need(key: str) -> float:
        task, number = split_key(key)
        return need_mb(jobs[number], task) if task and 0 <= number < len(jobs) else 0.0

    return need
