"""A pool of workers on this machine that minds the memory and outlives its workers.

No task starts that would not fit beside those that run. What ran on a worker that died runs again on
another; what lost its worker twice runs with nothing beside it, so that if the worker dies once more
it is known which task kills it.
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
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.runs.schedule.giving_up import giving_up

ALONE_AFTER = 2  # lost workers
GIVEN_UP_AFTER = 3
WATCH_S = 0.25

Need = Callable[[str], float]


@dataclass(eq=False)
class _Item:
    """A batch of tasks on its way; Dask sends one task a batch here."""

    run: Callable[..., Any]
    batch: Sequence[Any]
    need_mb: float
    future: Future[Any] = field(default_factory=Future)
    losses: int = 0


class Pool(Executor):
    """An executor in the form that Dask's local schedulers expect."""

    def __init__(self, engine: str, workers: int, budget_mb: float, need: Need) -> None:
        # Dask sends so many at once: one more than there are processes, so that none of them idles until
        # it is told what is next.
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
        """Take a batch of tasks, each a tuple that begins with its key."""
        (batch,) = arguments
        item = _Item(run, batch, max(self._need(str(task[0])) for task in batch))
        with self._lock:
            self._waiting.append(item)
        self._start()
        return item.future

    def _start(self) -> None:
        """Start what fits, in order: what is large does not wait for ever behind what is small."""
        with self._lock:
            while self._waiting and not self._stopped and self._fits(self._waiting[0]):
                item = self._waiting.popleft()
                inner = self._inner
                try:
                    ended = inner.submit(item.run, item.batch)
                except BrokenExecutor:  # found out before its tasks were told
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
                if item.losses < GIVEN_UP_AFTER:
                    self._waiting.appendleft(item)
        if not lost and not ended.cancelled():
            _settle(item.future, ended.result, error)
        elif lost and item.losses >= GIVEN_UP_AFTER:
            _settle(item.future, partial(giving_up, item.run, item.batch), None)
        self._start()

    def _replace(self, broken: Executor) -> None:
        if self._inner is broken:
            # The others stop as well: the dead one may hold the lock by which they are given tasks, and
            # theirs are run again elsewhere.
            _kill_workers()
            broken.shutdown(wait=False)
            self._inner = self._make()

    def stop(self, grace_s: float) -> None:
        """Start nothing more, let what runs come to its end for a while, then end the workers."""
        with self._lock:
            self._stopped = True
        deadline = time.monotonic() + grace_s
        while self._running and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._engine == "processes":
            _kill_workers()
        self._inner.shutdown(wait=False, cancel_futures=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers once they are idle."""
        self._inner.shutdown(wait=wait, cancel_futures=cancel_futures)


def _settle(future: Future[Any], result: Callable[[], Any], error: BaseException | None) -> None:
    if error is not None:
        future.set_exception(error)
        return
    try:
        future.set_result(result())
    except BaseException as fault:
        future.set_exception(fault)


def _kill_workers() -> None:
    """End the worker processes; SIGTERM they ignore, see `_begin_worker`."""
    for child in multiprocessing.active_children():
        child.kill()


def _begin_worker(parent: int) -> None:
    """Leave signals to the run itself, and end when it has died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)
