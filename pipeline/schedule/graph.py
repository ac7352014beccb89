"""The graph of a batch: one lazy receipt a task, over series x steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dask.delayed import Delayed, delayed

from pipeline.errors import ConfigError
from pipeline.jobs import SeriesJob, Stage, task_name
from pipeline.model import SectionImage
from pipeline.schedule.closing import REPORT
from pipeline.schedule.giving_up import given_up
from pipeline.siblings import measured_name
from pipeline.stages import STAGES
from pipeline.store.run import Receipt
from pipeline.tasks import code_digest, lost_task, run_task

STEPS = (*STAGES, REPORT)
BY_NAME = {step.name: step for step in STEPS}
SEPARATOR = "@"  # between the task and the number of its series in a key

Graphs = list[dict[str, Delayed]]


def build_graphs(jobs: Sequence[SeriesJob], lost: Mapping[str, str] | None = None, run: str = "") -> Graphs:
    """Return one lazy receipt a task, by task name, for every series.

    Parameters
    ----------
    lost : why tasks, by key, are given up instead of run
    run : keeps the keys of runs apart that share a scheduler
    """
    endings = [f"{number}{SEPARATOR}{run}" if run else str(number) for number in range(len(jobs))]
    lazy = [
        delayed(job, name=f"job{SEPARATOR}{ending}", traverse=False)
        for job, ending in zip(jobs, endings, strict=True)
    ]
    graphs: Graphs = [{} for _ in jobs]
    by_run = {job.run.path: graph for job, graph in zip(jobs, graphs, strict=True)}
    for step in STEPS:  # step by step: an alignment builds on what was measured of other series too
        for number, job in enumerate(jobs):
            _add(step, job, (lazy[number], endings[number]), by_run, lost or {})
    return graphs


def _add(
    step: Stage,
    job: SeriesJob,
    lazy: tuple[Delayed, str],
    graphs: Mapping[Path, dict[str, Delayed]],
    lost: Mapping[str, str],
) -> None:
    """Add the tasks of a step to the graph of a series; what it shares waits for what it is shared with."""
    lazy_job, ending = lazy
    tasks, code = graphs[job.run.path], code_digest()
    leader = graphs[job.shared[step.name].path] if step.name in job.shared else {}
    from_siblings, earlier = _of_siblings(job, graphs) if step.name == "align" else ({}, [])
    for section in job.sections if step.scope == "section" else (None,):
        name = task_name(step, section)
        before = {n: task for n, task in tasks.items() if stage_of(n) in step.after} | from_siblings
        key = f"{name}{SEPARATOR}{ending}"
        why = lost.get(key_without_run(key), "")
        first = [leader[name], *earlier] if name in leader else earlier
        where = (step.name, None if section is None else section.section_number, code, why)
        tasks[name] = delayed(_run, pure=False, traverse=False)(
            where, lazy_job, list(before), list(before.values()), first, dask_key_name=key
        )


def _of_siblings(
    job: SeriesJob, graphs: Mapping[Path, dict[str, Delayed]]
) -> tuple[dict[str, Delayed], list[Delayed]]:
    """Return what was measured of a series' siblings, and the alignments that may hold its own already."""
    measured: dict[str, Delayed] = {}
    earlier: list[Delayed] = []
    before = True
    for sibling in job.siblings:
        if sibling.run == job.run:
            before = False
            continue
        tasks = graphs[sibling.run.path]
        measured |= {
            measured_name(sibling, section.section_number): tasks[task_name("measure", section)]
            for section in sibling.sections
        }
        earlier += [tasks["align"]] if before else []
    return measured, earlier


def _run(
    where: tuple[str, int | None, str, str],
    job: SeriesJob,
    names: Sequence[str],
    receipts: Sequence[Receipt],
    first: Sequence[Receipt],
) -> Receipt:
    """Run one task where the scheduler has put it."""
    step_name, number, code, why = where
    step = BY_NAME[step_name]
    section = None if number is None else _section(job, number)
    if given_up():
        why = "its worker died again and again, the last time with nothing beside it: too little memory?"
    elif code != code_digest():
        why = (
            f"the worker runs another ish-pipeline (code {code_digest()}) than the run ({code}); install one"
        )
    upstream: Mapping[str, Receipt] = dict(zip(names, receipts, strict=True))
    if why:
        return lost_task(step, job, section, why)
    return run_task(step, job, section, upstream)


def _section(job: SeriesJob, number: int) -> SectionImage:
    return next(section for section in job.sections if section.section_number == number)


def stage_of(task: str) -> str:
    """Return the stage of a task's name.

    >>> stage_of("detect-00070"), stage_of("grid")
    ('detect', 'grid')
    """
    return task.rpartition("-")[0] or task


def split_key(key: str) -> tuple[str, int]:
    """Return task name and number of the series of a key; an empty name where the key is no task's.

    >>> split_key("detect-00070@3"), split_key("job@3")
    (('detect-00070', 3), ('', 3))
    """
    task, _, rest = str(key).partition(SEPARATOR)
    number = rest.partition(SEPARATOR)[0]
    return ("", int(number)) if task == "job" else (task, int(number) if number.isdigit() else -1)


def key_without_run(key: str) -> str:
    """Return a key as it is in every run.

    >>> key_without_run("grid@3@1f2e"), key_without_run("grid@3")
    ('grid@3', 'grid@3')
    """
    return SEPARATOR.join(key.split(SEPARATOR)[:2])


def steps_from(name: str) -> frozenset[str]:
    """Return a step's name with those of all steps that build on it."""
    names = [step.name for step in STEPS]
    if name not in names:
        raise ConfigError(f"--from {name}: expected one of {', '.join(names)}")
    found = {name}
    for step in STEPS:
        if found & set(step.after):
            found.add(step.name)
    return frozenset(found)


def describe(jobs: Sequence[SeriesJob], key: str) -> tuple[str, str]:
    """Return the series' name and the task's name of a key."""
    task, number = split_key(key)
    return (jobs[number].name if 0 <= number < len(jobs) else "", task)
