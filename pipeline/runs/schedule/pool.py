"""A pool of workers on this machine that limits memory use and survives the death of workers.

No task starts that would not fit into memory beside those that run. A task whose worker died runs again on
another. After two lost workers it runs alone, so that a third loss identifies the task that kills workers. It
is then abandoned: it runs once more, in this process, only to be recorded as failed.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait as wait_for
from typing import Any, TypeVar

ALONE_AFTER = 2  # lost workers after which a task runs alone
ABANDONED_AFTER = 3  # lost workers after which a task is abandoned and recorded as failed
END_S = 5.0  # seconds that idle workers have to end by themselves
WATCH_S = 0.25  # seconds between two checks that the parent process is alive

Need = Callable[[str], float]
Result = TypeVar("Result")
_ABANDONED: ContextVar[bool] = ContextVar("abandoned", default=False)


@dataclass(eq=False)
class _Item:
    """A batch of tasks on its way to a worker; each batch holds one task here."""

    run: Callable[..., Any]
    batch: Sequence[Any]
    need_mb: float
    future: Future[Any] = field(default_factory=Future)
    losses: int = 0


class Pool(Executor):
    """An executor in the form that Dask's local schedulers expect.

    Parameters
    ----------
    engine : str
        threads or processes.
    workers : int
        Number of workers.
    budget_mb : float
        Memory that running tasks may need together, MB.
    need : callable
        Estimates the peak memory of a task from its key, MB.
    """

    def __init__(self, engine: str, workers: int, budget_mb: float, need: Need) -> None:
        # Number of tasks that Dask submits at once: one more than there are processes, so that no process
        # idles while the next task is on its way.
        self._max_workers = workers + (engine == "processes")
        self._workers = workers
        self._engine, self._budget_mb, self._need = engine, budget_mb, need
        self._lock = threading.RLock()
        self._waiting: deque[_Item] = deque()
        self._running: list[_Item] = []
        self._stopped = False
        self._inner = self._make()

    def _make(self) -> Executor:
        if self._engine == "threads":
            return ThreadPoolExecutor(self._workers, thread_name_prefix="ish")
        # Forked children would inherit the threads of OpenMP and zarr in an unknown state.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(
            self._workers, mp_context=context, initializer=_begin_worker, initargs=(os.getpid(),)
        )

    def submit(self, run: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Queue a batch of tasks.

        Parameters
        ----------
        run : callable
            Function that runs a batch.
        *arguments : sequence
            The batch: one sequence of tasks, each a tuple that begins with its key.
        **keywords : Any
            Ignored.

        Returns
        -------
        Future
            Result of the batch.
        """
        (batch,) = arguments
        item = _Item(run, batch, max(self._need(str(task[0])) for task in batch))
        with self._lock:
            self._waiting.append(item)
        self._start()
        return item.future

    def _start(self) -> None:
        """Start queued tasks that fit, in order, so that small ones do not starve a large one."""
        with self._lock:
            while self._waiting and not self._stopped and self._fits(self._waiting[0]):
                item = self._waiting.popleft()
                inner = self._inner
                try:
                    ended = inner.submit(item.run, item.batch)
                except BrokenExecutor:  # a worker died, and the futures of its tasks have not failed yet
                    self._waiting.appendleft(item)
                    self._replace(inner)
                    continue
                self._running.append(item)
                ended.add_done_callback(partial(self._ended, item, inner))

    def _fits(self, item: _Item) -> bool:
        if not self._running:
            return True
        return sum(other.need_mb for other in self._running) + item.need_mb <= self._budget_mb

    def _ended(self, item: _Item, inner: Executor, ended: Future[Any]) -> None:
        with self._lock:
            self._running.remove(item)
            error = None if ended.cancelled() else ended.exception()
            lost = isinstance(error, BrokenExecutor) and not self._stopped
            if lost:
                self._replace(inner)
                item.losses += 1
                item.need_mb = math.inf if item.losses >= ALONE_AFTER else item.need_mb
                if item.losses < ABANDONED_AFTER:
                    self._waiting.appendleft(item)
        if not lost and not ended.cancelled():
            _resolve(item.future, ended.result, error)
        elif lost and item.losses >= ABANDONED_AFTER:
            _resolve(item.future, partial(run_abandoned, item.run, item.batch), None)
        self._start()

    def _replace(self, broken: Executor) -> None:
        if self._inner is broken:
            # End the other workers too: the dead one may hold the lock of the shared task queue. Their tasks
            # run again on new workers.
            _kill_workers()
            broken.shutdown(wait=False)
            self._inner = self._make()

    def stop(self, grace_s: float) -> None:
        """Start nothing more, let running tasks finish for a while, then end the workers.

        Parameters
        ----------
        grace_s : float
            How long to wait for running tasks, s.
        """
        with self._lock:
            self._stopped = True
        deadline = time.monotonic() + grace_s
        while self._running and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._engine == "processes":
            _kill_workers()
        self._inner.shutdown(wait=False, cancel_futures=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers once they are idle.

        Parameters
        ----------
        wait : bool
            Whether to return only when all have ended.
        cancel_futures : bool
            Whether queued tasks are cancelled.
        """
        workers = multiprocessing.active_children() if wait and self._engine == "processes" else []
        self._inner.shutdown(wait=wait and not workers, cancel_futures=cancel_futures)
        if not workers:
            return
        while self._running:
            time.sleep(0.05)
        # One that died while idle may hold the lock of the task queue: the others then never hear of the end.
        deadline = time.monotonic() + END_S
        for worker in workers:
            wait_for([worker.sentinel], timeout=max(0.0, deadline - time.monotonic()))
        _kill_workers()
        self._inner.shutdown()


def is_abandoned() -> bool:
    """Return whether the running task is abandoned and only to be recorded."""
    return _ABANDONED.get()


def run_abandoned(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function inside which `is_abandoned()` is true.

    Parameters
    ----------
    function : callable
        Function to call.
    *arguments : object
        Its arguments.

    Returns
    -------
    object
        What the function returns.
    """
    token = _ABANDONED.set(True)
    try:
        return function(*arguments)
    finally:
        _ABANDONED.reset(token)


def _resolve(future: Future[Any], result: Callable[[], Any], error: BaseException | None) -> None:
    if error is not None:
        future.set_exception(error)
        return
    try:
        future.set_result(result())
    except BaseException as fault:
        future.set_exception(fault)


def _kill_workers() -> None:
    """End the worker processes with SIGKILL, as they ignore SIGTERM; see `_begin_worker`."""
    for child in multiprocessing.active_children():
        child.kill()


def _begin_worker(parent: int) -> None:
    """Ignore SIGINT and SIGTERM, which the main process handles, and end when that process has died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)
