"""The task graph of a batch: a plain Dask graph over series x stages, with one receipt for each task.

Its size grows linearly with the number of tasks: a section depends on its own tasks and those of the series,
a series on its sections. Statistics of other sections reach a section through the pool stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.code import code_digest
from pipeline.core.errors import ConfigError
from pipeline.runs.schedule.pool import is_abandoned
from pipeline.stages.job import SeriesJob, Stage
from pipeline.stages.run_task import lost_task, run_task
from pipeline.stages.specimen import measured_name
from pipeline.stages.table import STEPS
from pipeline.store.tasks import Receipt, task_name

BY_NAME = {step.name: step for step in STEPS}
SEPARATOR = "@"  # between the task and the number of its series in a key

# Key to a series' job, or to (function, arguments), in which keys stand for their results.
Graph = dict[str, Any]


def build_graph(jobs: Sequence[SeriesJob], lost: Mapping[str, str] | None = None, run: str = "") -> Graph:
    """Build the graph of a batch.

    Parameters
    ----------
    jobs : sequence of SeriesJob
        Series of the batch.
    lost : mapping of str to str or None
        Reasons, by key, for tasks that are abandoned and only recorded as failed.
    run : str
        Suffix of the keys that keeps runs on one scheduler apart.

    Returns
    -------
    dict of str to Any
        Key to a job, or to a function with arguments in which keys stand for their results.
    """
    code, graph = code_digest(), Graph()
    endings = {
        job.run.path: f"{number}{SEPARATOR}{run}" if run else str(number) for number, job in enumerate(jobs)
    }
    for job in jobs:
        ending = endings[job.run.path]
        graph[f"job{SEPARATOR}{ending}"] = job
        for step, name, number in tasks_of(job):
            before = {n: f"{n}{SEPARATOR}{ending}" for n in tasks_before(step, job, number)}
            first: list[str] = []
            if step.name == "align":
                measured, first = _of_specimen(job, endings)
                before |= measured
            if step.name in job.shared:
                first = [f"{name}{SEPARATOR}{endings[job.shared[step.name].path]}", *first]
            key = f"{name}{SEPARATOR}{ending}"
            where = (step.name, number, code, (lost or {}).get(key_without_run(key), ""))
            graph[key] = (
                _run, where, f"job{SEPARATOR}{ending}", list(before), list(before.values()), first
            )  # fmt: skip
    return graph


def tasks_of(job: SeriesJob) -> Iterator[tuple[Stage, str, int | None]]:
    """Iterate over the tasks of a series, stage by stage.

    Parameters
    ----------
    job : SeriesJob
        The series.

    Yields
    ------
    Stage
        Stage of the task.
    str
        Task name.
    int or None
        Section number; None for a task on the whole series.
    """
    for step in STEPS:
        for number in _numbers(job) if step.scope == "section" else (None,):
            yield step, task_name(step.name, number), number


def tasks_before(step: Stage, job: SeriesJob, number: int | None) -> list[str]:
    """Return the tasks that a task of the same series depends on.

    Parameters
    ----------
    step : Stage
        Stage of the task.
    job : SeriesJob
        The series.
    number : int or None
        Section number; None for a task on the whole series.

    Returns
    -------
    list of str
        Task names.
    """
    names = []
    for stage in (BY_NAME[name] for name in step.after):
        if stage.scope == "series":
            names.append(stage.name)
        else:
            names += [task_name(stage.name, n) for n in (_numbers(job) if number is None else (number,))]
    return names


def _numbers(job: SeriesJob) -> list[int]:
    return [section.section_number for section in job.sections]


def _of_specimen(job: SeriesJob, endings: Mapping[Path, str]) -> tuple[dict[str, str], list[str]]:
    """Return the dependencies of a series on the other series of its specimen.

    These are their measured sections (name to key), and the alignments of earlier series, which may already
    hold the alignment of this one.
    """
    measured: dict[str, str] = {}
    earlier: list[str] = []
    before = True
    for other in job.specimen_series:
        if other.run == job.run:
            before = False
            continue
        ending = endings[other.run.path]
        measured |= {
            measured_name(other, n): f"{task_name('measure', n)}{SEPARATOR}{ending}" for n in _numbers(other)
        }
        earlier += [f"align{SEPARATOR}{ending}"] if before else []
    return measured, earlier


def _run(
    where: tuple[str, int | None, str, str],
    job: SeriesJob,
    names: Sequence[str],
    receipts: Sequence[Receipt],
    first: Sequence[Receipt],
) -> Receipt:
    """Run one task on a worker, or record it as failed where it is abandoned or the code differs."""
    step_name, number, code, why = where
    step = BY_NAME[step_name]
    section = None if number is None else job.section(number)
    if is_abandoned():
        why = "its worker died repeatedly, the last time while it ran alone: out of memory?"
    elif code != code_digest():
        why = (
            f"the worker has another version of ish-pipeline (code {code_digest()}) than the run ({code});"
            " install the same version"
        )
    upstream: Mapping[str, Receipt] = dict(zip(names, receipts, strict=True))
    if why:
        return lost_task(step, job, section, why)
    return run_task(step, job, section, upstream)


def split_key(key: str) -> tuple[str, int]:
    """Split a key of the graph.

    Parameters
    ----------
    key : str
        Key, with or without the suffix of its run.

    Returns
    -------
    str
        Task name; empty where the key is that of a job.
    int
        Position of the series among the jobs; -1 where there is none.

    Examples
    --------
    >>> split_key("detect-00070@3"), split_key("job@3")
    (('detect-00070', 3), ('', 3))
    """
    task, _, rest = str(key).partition(SEPARATOR)
    number = rest.partition(SEPARATOR)[0]
    return ("", int(number)) if task == "job" else (task, int(number) if number.isdigit() else -1)


def key_without_run(key: str) -> str:
    """Return a key without the suffix of its run.

    Parameters
    ----------
    key : str
        Key of the graph.

    Returns
    -------
    str
        Task name and position of the series.

    Examples
    --------
    >>> key_without_run("grid@3@1f2e"), key_without_run("grid@3")
    ('grid@3', 'grid@3')
    """
    return SEPARATOR.join(key.split(SEPARATOR)[:2])


def steps_from(name: str) -> frozenset[str]:
    """Return a stage and all stages that build on it.

    Parameters
    ----------
    name : str
        Name of a stage.

    Returns
    -------
    frozenset of str
        Stage names, itself included.

    Raises
    ------
    ConfigError
        Where there is no stage of this name.
    """
    names = [step.name for step in STEPS]
    if name not in names:
        raise ConfigError(f"--from {name}: expected one of {', '.join(names)}")
    found = {name}
    for step in STEPS:
        if found & set(step.after):
            found.add(step.name)
    return frozenset(found)


def describe(jobs: Sequence[SeriesJob], key: str) -> tuple[str, str]:
    """Return the names of the series and the task of a key.

    Parameters
    ----------
    jobs : sequence of SeriesJob
        Jobs of the graph, in order.
    key : str
        Key of the graph.

    Returns
    -------
    (str, str)
        Name of the series, empty where it is not known, and task name.
    """
    task, number = split_key(key)
    return (jobs[number].name if 0 <= number < len(jobs) else "", task)
