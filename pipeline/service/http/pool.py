"""Work that takes longer than a moment, off the event loop, and no more of it than the machine can take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import ParamSpec, TypeVar

from pipeline.service.http.answers import RequestError

P = ParamSpec("P")
T = TypeVar("T")
# Tells whether the client of the present request has gone; None where work is not for one client alone.
client_gone: ContextVar[Callable[[], bool] | None] = ContextVar("client_gone", default=None)


class Pool:
    """Two threads with a queue; what does not fit into the queue is refused at once.

    Parameters
    ----------
    threads : int
        Calls at the same time.
    queue : int
        Calls that may wait.
    """

    def __init__(self, threads: int = 2, queue: int = 64) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="ish-serve")
        self._most = threads + queue
        self._now = 0

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a thread of the pool, unless its client has gone by then.

        A viewer that is moved quickly drops most of what it asked for before its turn comes.

        Parameters
        ----------
        function : callable
            What to call.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        T
            What it returns.

        Raises
        ------
        RequestError
            With 503 where too many calls wait already.
        """
        if self._now >= self._most:
            raise RequestError(f"the server is busy: {self._now} requests are waiting; ask again", status=503)
        self._now += 1
        try:
            loop = asyncio.get_running_loop()
            call = partial(_unless_gone, client_gone.get(), partial(function, *args, **kwargs))
            return await loop.run_in_executor(self._threads, call)
        finally:
            self._now -= 1

    def close(self) -> None:
        """End the threads; calls that wait are given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _unless_gone(gone: Callable[[], bool] | None, call: Callable[[], T]) -> T:
    if gone is not None and gone():
        raise RequestError("the client has gone", status=503)  # nobody reads it
    return call()
