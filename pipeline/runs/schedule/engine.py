"""The engines that run the graph of a batch: threads, processes, and clusters.

The choice of engine changes no number: every task writes its own outputs and returns a receipt, so all
engines produce the same outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dask.multiprocessing
import dask.threaded
from dask.callbacks import Callback

from pipeline.core.errors import ConfigError
from pipeline.inputs.config import ClusterConfig
from pipeline.runs.schedule.cluster import check_slurm, connected, run_on_cluster
from pipeline.runs.schedule.graph import build_graph, describe, split_key
from pipeline.runs.schedule.memory import budget_mb, needs
from pipeline.runs.schedule.pool import Pool
from pipeline.stages.job import SeriesJob
from pipeline.store.tasks import Receipt, TaskId

LOCAL = ("threads", "processes")
CLUSTERS = ("distributed", "slurm")
ENGINES = LOCAL + CLUSTERS
GRACE_S = 5.0  # seconds that running tasks have to finish when the run is stopped


@dataclass(frozen=True)
class Engine:
    """Where and how a batch runs; no setting changes a number of the results.

    Attributes
    ----------
    name : str
        One of `ENGINES`.
    workers : int
        Number of worker threads or processes.
    memory : str or None
        Memory that the tasks of this machine may use together, such as 6GB; None: 80 % of what is available.
    address : str or None
        Address of a running Dask scheduler.
    cluster : ClusterConfig
        How SLURM is asked for jobs.
    """

    name: str = "threads"
    workers: int = 2
    memory: str | None = None
    address: str | None = None
    cluster: ClusterConfig = field(default_factory=ClusterConfig)


@dataclass(frozen=True)
class Event:
    """A task that starts or has ended.

    Attributes
    ----------
    series : str
        Name of the series in the batch.
    task : str
        Task name.
    receipt : Receipt or None
        Outcome; None at the start.
    where : str
        Host and process, or worker; empty where not known.
    """

    series: str
    task: str
    receipt: Receipt | None
    where: str = ""

    @property
    def step(self) -> str:
        """The stage that the task belongs to."""
        return TaskId.parse(self.task).stage


Listener = Callable[[Event], None]


def run_jobs(
    jobs: Sequence[SeriesJob], engine: Engine, listener: Listener = lambda event: None
) -> list[dict[str, Receipt]]:
    """Run every stage of every series.

    Parameters
    ----------
    jobs : sequence of SeriesJob
        Series of the batch.
    engine : Engine
        Where and how the tasks run.
    listener : callable
        Progress callback, called in this process as each task starts and ends.

    Returns
    -------
    list of dict of str to Receipt
        For each job the receipts by task name.

    Raises
    ------
    ConfigError
        Where the engine cannot be used.
    """
    check_engine(engine)
    if engine.name in LOCAL:
        return _run_here(jobs, engine, listener)
    if not jobs:
        return []
    with connected(engine.name, engine.workers, engine.address, engine.cluster) as client:
        return run_on_cluster(client, jobs, lambda *what: listener(Event(*what)))


def check_engine(engine: Engine) -> None:
    """Check the settings of an engine.

    Parameters
    ----------
    engine : Engine
        Settings.

    Raises
    ------
    ConfigError
        Where the engine is unknown, has an address that it does not take, cannot submit jobs, or has a memory
        limit that cannot be parsed or leaves nothing for tasks.
    """
    if engine.name not in ENGINES:
        raise ConfigError(f"--scheduler {engine.name}: expected one of {', '.join(ENGINES)}")
    if engine.address is not None and engine.name != "distributed":
        raise ConfigError(f"--address {engine.address}: only with --scheduler distributed, got {engine.name}")
    if engine.name == "slurm":
        check_slurm()
    _budget_mb(engine)


def _budget_mb(engine: Engine) -> float:
    return budget_mb(engine.memory, engine.workers if engine.name == "processes" else 0)


class _ProgressCallback(Callback):  # type: ignore[misc]
    """Dask callback that passes every task that starts or ends to the progress callback."""

    def __init__(self, jobs: Sequence[SeriesJob], listener: Listener) -> None:
        super().__init__(pretask=self._starts, posttask=self._ended)
        self.jobs, self.listener = jobs, listener

    def _starts(self, key: str, dsk: Any, state: Any) -> None:
        if split_key(key)[0]:
            self.listener(Event(*describe(self.jobs, key), None))

    def _ended(self, key: str, result: Any, dsk: Any, state: Any, worker_id: Any) -> None:
        if isinstance(result, Receipt):
            self.listener(Event(*describe(self.jobs, key), result, result.where))


def _run_here(jobs: Sequence[SeriesJob], engine: Engine, listener: Listener) -> list[dict[str, Receipt]]:
    # The report is one task for a whole series: it may use the workers that the other series leave idle.
    spare = max(1, engine.workers // max(1, len(jobs)))
    budget = _budget_mb(engine)
    graph = build_graph([replace(job, threads=spare, memory_mb=budget) for job in jobs])
    keys = [key for key in graph if split_key(key)[0]]
    pool = Pool(engine.name, engine.workers, budget, needs(jobs))
    get = dask.threaded.get if engine.name == "threads" else dask.multiprocessing.get
    options: dict[str, Any] = {} if engine.name == "threads" else {"optimize_graph": False}
    try:
        with _ProgressCallback(jobs, listener):
            results = get(graph, keys, pool=pool, num_workers=engine.workers, chunksize=1, **options)
    except BaseException:
        pool.stop(GRACE_S)
        raise
    pool.shutdown()
    receipts: list[dict[str, Receipt]] = [{} for _ in jobs]
    for key, receipt in zip(keys, results, strict=True):
        receipts[split_key(key)[1]][receipt.task] = receipt
    return receipts
