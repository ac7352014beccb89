"""Run the graph of a batch on a Dask cluster: local processes, a running scheduler, or SLURM jobs."""

from __future__ import annotations

import logging
import math
import shutil
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import dask
from dask.utils import parse_bytes

from pipeline.core.code import code_digest
from pipeline.core.errors import ConfigError, DataError
from pipeline.inputs.config import ClusterConfig
from pipeline.runs.schedule.graph import build_graph, describe, key_without_run, split_key, tasks_of
from pipeline.stages.job import SeriesJob
from pipeline.store.tasks import Receipt
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    import distributed
    from distributed import Client
else:
    distributed = LazyModule("distributed")
dask_jobqueue = LazyModule("dask_jobqueue")

CONNECT_S = 10.0  # seconds to wait for a scheduler and its first worker
CLOSE_S = 3.0  # seconds to wait for client and cluster to close
LOOK_S = 2.0  # seconds between two queries of which tasks run where
WORKERS = {  # settings of workers: jobs of SLURM read them from their environment
    "distributed.worker.memory.target": False,  # receipts are small: there is nothing to spill
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,  # a worker that pauses with nothing to free waits for ever
}
SETTINGS = WORKERS | {
    "distributed.comm.timeouts.connect": "10s",
    "distributed.scheduler.allowed-failures": 3,  # lost workers before a task counts as failed
    "distributed.admin.large-graph-warning-threshold": "1GB",
}
LEAST_BYTES = 512_000_000  # of a worker: 370 MB are its libraries, and it is ended at 95 % of its memory
LOST = "its worker died repeatedly: out of memory?"

OnTask = Callable[[str, str, Receipt | None, str], None]


def run_on_cluster(client: Client, jobs: Sequence[SeriesJob], on_task: OnTask) -> list[dict[str, Receipt]]:
    """Run the graph of all jobs on a cluster.

    A task that kills its workers is recorded as failed, and the rest of the graph runs on.

    Parameters
    ----------
    client : Client
        Client of the cluster.
    jobs : sequence of SeriesJob
        Series of the batch.
    on_task : callable
        Progress callback with (series, task, receipt or None at the start, where).

    Returns
    -------
    list of dict of str to Receipt
        For each job the receipts by task name.

    Raises
    ------
    DataError
        Where the scheduler is lost, or a task ends in an error other than the death of its workers.
    """
    lost: dict[str, str] = {}
    while True:
        receipts, killers = _round(client, jobs, lost, on_task)
        if not killers:
            return [{name: receipts[n, name] for _, name, _ in tasks_of(job)} for n, job in enumerate(jobs)]
        lost |= dict.fromkeys(killers, LOST)


def _round(
    client: Client, jobs: Sequence[SeriesJob], lost: dict[str, str], on_task: OnTask
) -> tuple[dict[tuple[int, str], Receipt], set[str]]:
    """Submit the graph once; return the receipts by series and task, and the tasks that killed workers."""
    graph = build_graph(jobs, lost, run=uuid.uuid4().hex[:8])
    tasks = [key for key in graph if split_key(key)[0]]
    futures = client.get(graph, tasks, sync=False)
    receipts: dict[tuple[int, str], Receipt] = {}
    killers: set[str] = set()
    watch = _Watch(client, jobs, on_task)
    try:
        for future in distributed.as_completed(futures, loop=client.loop):
            if future.status == "finished":
                receipt = future.result()
                receipts[split_key(future.key)[1], receipt.task] = receipt
                on_task(*describe(jobs, future.key), receipt, receipt.where)
            else:
                killers.add(_killer(future))
            watch.look()
    except BaseException:
        with suppress(Exception):
            client.cancel(futures)
        raise
    return receipts, killers


def _killer(future: Any) -> str:
    """Return the key of the task that killed a future's workers; DataError for any other failure."""
    error = future.exception() if future.status == "error" else None
    if isinstance(error, distributed.KilledWorker):
        return key_without_run(str(error.args[0]))
    why = f"{type(error).__name__}: {error}" if error else "the scheduler has gone"
    raise DataError(f"{future.key}: {why}; finished outputs are kept; run the same command again to resume")


class _Watch:
    """Asks the scheduler every few seconds which tasks run where, and reports those that are new."""

    def __init__(self, client: Client, jobs: Sequence[SeriesJob], on_task: OnTask) -> None:
        self.client, self.jobs, self.on_task = client, jobs, on_task
        self.known: set[str] = set()
        self.last = 0.0

    def look(self) -> None:
        """Ask the scheduler if `LOOK_S` has passed since the last time."""
        if time.monotonic() - self.last < LOOK_S:
            return
        self.last = time.monotonic()
        for worker, keys in self.client.processing().items():
            for key in set(map(str, keys)) - self.known:
                self.known.add(key)
                series, task = describe(self.jobs, key)
                if task:
                    self.on_task(series, task, None, worker)


@contextmanager
def connected(name: str, workers: int, address: str | None, site: ClusterConfig) -> Iterator[Client]:
    """Connect to a cluster; whatever was started for it ends with the block.

    Parameters
    ----------
    name : str
        Engine: distributed or slurm.
    workers : int
        Number of worker processes.
    address : str or None
        Address of a running scheduler; None starts a cluster.
    site : ClusterConfig
        How SLURM is asked for jobs.

    Yields
    ------
    Client
        Client of the cluster.

    Raises
    ------
    ConfigError
        Where the scheduler does not answer, SLURM is not available, or workers run different code.
    """
    import_module("distributed")  # imported first: its defaults and loggers would override the settings below
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with dask.config.set(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="distributed|dask_jobqueue")
        cluster = _cluster(name, workers, address, site)
        client = None
        try:
            client = _client(address if cluster is None else cluster)
            with suppress(TimeoutError):  # workers that join later compare the code in each task
                client.wait_for_workers(1, timeout=CONNECT_S)
            _check_workers(client)
            yield client
        finally:
            if client is not None:
                with suppress(Exception):
                    client.close(timeout=CLOSE_S)
            if cluster is not None:
                with suppress(Exception):
                    cluster.close(timeout=CLOSE_S)


def _client(where: Any) -> Client:
    try:
        return distributed.Client(where, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        text = str(error).splitlines()[0]
        raise ConfigError(
            f"--address {where}: expected a Dask scheduler such as tcp://host:8786, got no answer ({text})"
        ) from None


def _cluster(name: str, workers: int, address: str | None, site: ClusterConfig) -> Any:
    if address is not None:
        return None
    if name == "slurm":
        return _slurm(workers, site)
    return distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        memory_limit=0,
        silence_logs=logging.ERROR,
    )


def _slurm(workers: int, site: ClusterConfig) -> Any:
    _check_memory(site)
    check_slurm()
    host = {key: value for key, value in (("host", site.host), ("interface", site.interface)) if value}
    cluster = dask_jobqueue.SLURMCluster(
        queue=site.queue,
        account=site.account,
        cores=site.cores,
        memory=site.memory,
        processes=site.processes,
        walltime=site.walltime,
        interface=site.interface,
        local_directory=str(site.local_directory) if site.local_directory else None,
        log_directory=str(site.log_directory) if site.log_directory else None,
        job_extra_directives=list(site.job_extra),
        job_script_prologue=[*_exports(), *site.prologue],
        python=site.python or sys.executable,
        scheduler_options={**host, "dashboard_address": None},
    )
    try:
        _check_job(cluster.job_script())
    except ConfigError:
        cluster.close(timeout=CLOSE_S)
        raise
    jobs = math.ceil(workers / site.processes)
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs, interval="5s")  # replaces jobs that end
    return cluster


def _check_memory(site: ClusterConfig) -> None:
    """Raise ConfigError where a worker has less memory than it needs to start: it would start for ever."""
    each = parse_bytes(site.memory) / site.processes
    if each < LEAST_BYTES:
        raise ConfigError(
            f"cluster: memory {site.memory} for {site.processes} processes is {each / 1e6:.0f} MB a worker,"
            f" expected {LEAST_BYTES / 1e6:.0f} MB and more; raise cluster.memory or lower cluster.processes"
        )


def _exports() -> list[str]:
    """Return lines of a shell by which Dask in a job has the settings of workers."""
    names = {name: name.upper().replace(".", "__").replace("-", "_") for name in WORKERS}
    return [f"export DASK_{names[name]}={value}" for name, value in WORKERS.items()]


def _check_job(script: str) -> None:
    """Raise ConfigError where SLURM would refuse a job, of which nothing else but a traceback is seen."""
    words = ["sbatch", "--test-only"]
    done = subprocess.run(words, input=script, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (line.removeprefix("sbatch: error: ").strip() for line in done.stderr.splitlines())
        why = "; ".join(line for line in lines if line) or f"sbatch ended with {done.returncode}"
        raise ConfigError(
            f"cluster: SLURM refuses a job of these settings: {why}; `sinfo` lists partitions and nodes"
        )


def check_slurm() -> None:
    """Raise ConfigError where SLURM jobs cannot be submitted from this machine."""
    if find_spec("dask_jobqueue") is None:  # an optional extra
        raise ConfigError("--scheduler slurm: needs dask-jobqueue: pip install 'ish-pipeline[slurm]'")
    if shutil.which("sbatch") is None:
        raise ConfigError(
            "--scheduler slurm: found no sbatch here; run where jobs can be submitted, or choose processes"
        )


def _check_workers(client: Client) -> None:
    """Raise ConfigError where a worker cannot run this package or has another version of it."""
    try:
        codes = client.run(code_digest)
    except Exception as error:
        raise ConfigError(
            f"a worker cannot run ish-pipeline: {type(error).__name__}: {error}; install it there"
        ) from None
    for worker, code in codes.items():
        if code != code_digest():
            raise ConfigError(
                f"worker {worker}: expected the ish-pipeline of this run (code {code_digest()}), got another"
                f" (code {code}); install one version on all"
            )
