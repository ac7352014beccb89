"""Work of a server: so much of it at a time, none of it for clients that have gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path

import pytest

from pipeline.service.http.answers import RequestError
from pipeline.service.http.pool import Pool, client_gone
from pipeline.service.images.image_store import ImageStore


async def _held(pool: Pool, begun: threading.Event, go_on: threading.Event) -> asyncio.Task[bool]:
    """Keep the only thread of a pool at work."""
    task = asyncio.create_task(pool.run(lambda: begun.set() or go_on.wait(30)))  # type: ignore[func-returns-value]
    await asyncio.to_thread(begun.wait, 30)
    return task


def test_more_than_the_queue_holds_is_refused() -> None:
    async def case() -> None:
        pool, begun, go_on = Pool(1, queue=2), threading.Event(), threading.Event()
        first = await _held(pool, begun, go_on)
        waiting = [asyncio.create_task(pool.run(int, text)) for text in ("1", "2")]
        await asyncio.sleep(0)
        with pytest.raises(RequestError) as refusal:
            await pool.run(int, "3")
        assert refusal.value.status == 503
        go_on.set()
        assert await first
        assert await asyncio.gather(*waiting) == [1, 2]
        assert await pool.run(int, "4") == 4
        pool.close()

    asyncio.run(case())


def test_what_waits_for_a_client_that_went_is_not_done() -> None:
    async def case() -> None:
        pool, begun, go_on = Pool(1), threading.Event(), threading.Event()
        left, done = [False], []

        def asked(by: Callable[[], bool], what: str) -> asyncio.Task[None]:
            context = copy_context()
            context.run(client_gone.set, by)
            return asyncio.create_task(pool.run(done.append, what), context=context)

        first = await _held(pool, begun, go_on)
        tasks = [asked(lambda: left[0], "left"), asked(lambda: False, "stayed")]
        await asyncio.sleep(0)
        left[0] = True
        go_on.set()
        await first
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert done == ["stayed"]
        assert isinstance(found[0], RequestError)
        pool.close()

    asyncio.run(case())


def test_work_for_several_clients_goes_on_without_the_first(tmp_path: Path) -> None:
    async def case() -> None:
        store = ImageStore(tmp_path, Pool(1))
        seen = []

        async def shared() -> None:
            seen.append(await store.pool.run(lambda: "done"))

        client_gone.set(lambda: True)
        await store._once("image", shared)
        assert seen == ["done"]
        store.pool.close()

    asyncio.run(case())
