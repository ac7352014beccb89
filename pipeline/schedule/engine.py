"""The task graph of any number of series, and the engines that run it.

The scheduler changes nothing: every task writes its own outputs and returns a receipt, so that threads
and processes give the same bytes.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dask
from dask.callbacks import Callback
from dask.delayed import Delayed, delayed

from pipeline.errors import ConfigError
from pipeline.jobs import SeriesJob, Stage, task_name
from pipeline.schedule.closing import REPORT
from pipeline.stages import STAGES
from pipeline.store.run import Receipt
from pipeline.tasks import run_task

STEPS = (*STAGES, REPORT)
ENGINES = ("threads", "processes")
Report = Callable[[Receipt], None]


class _Progress(Callback):  # type: ignore[misc]
    """Hands every receipt to a listener as soon as its task ends."""

    def __init__(self, listener: Report) -> None:
        super().__init__(posttask=self._ended)
        self.listener = listener

    def _ended(self, key: str, result: Any, dsk: Any, state: Any, worker_id: Any) -> None:
        if isinstance(result, Receipt):
            self.listener(result)


def run_jobs(
    jobs: Sequence[SeriesJob], engine: str, workers: int, listener: Report = lambda receipt: None
) -> list[dict[str, Receipt]]:
    """Run every stage of every series.

    Parameters
    ----------
    engine : `threads` or `processes`
    listener : called in this process with each receipt as its task ends

    Returns
    -------
    the receipts of each job, by task
    """
    if engine not in ENGINES:
        raise ConfigError(f"--scheduler {engine}: expected one of {', '.join(ENGINES)}")
    graphs = [list(_graph(job, number).values()) for number, job in enumerate(jobs)]
    options: dict[str, Any] = {"scheduler": engine, "num_workers": workers}
    if engine == "processes":
        # Forked children would inherit the threads of OpenMP and zarr in an unknown state.
        options |= {"context": multiprocessing.get_context("spawn"), "chunksize": 1}
    with _Progress(listener), dask.config.set({"multiprocessing.context": "spawn"}):
        results = dask.compute(*graphs, optimize_graph=False, **options)
    return [{receipt.task: receipt for receipt in receipts} for receipts in results]


def _graph(job: SeriesJob, number: int) -> dict[str, Delayed]:
    """Return one lazy receipt a task, by task name; stages come in the order of `STEPS`."""
    tasks: dict[str, Delayed] = {}
    for stage in STEPS:
        for section in job.sections if stage.scope == "section" else (None,):
            name = task_name(stage, section)
            before = {
                n: task
                for n, task in tasks.items()
                if n.rpartition("-")[0] in stage.after or n in stage.after
            }
            key = f"{name}-series-{number}"
            tasks[name] = delayed(_run, pure=False)(
                stage, job, section, list(before), list(before.values()), dask_key_name=key
            )
    return tasks


def _run(
    stage: Stage, job: SeriesJob, section: Any, names: Sequence[str], receipts: Sequence[Receipt]
) -> Receipt:
    upstream: Mapping[str, Receipt] = dict(zip(names, receipts, strict=True))
    return run_task(stage, job, section, upstream)


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
