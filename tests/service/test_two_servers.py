"""Server processes that share a cache, are killed, told of new runs, and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from conftest import COMMAND, ID
from service_cases import write_served

from pipeline.service.http.server import bound

START_S, END_S = 120.0, 15.0
SETS = 120


class Server:
    """A server process."""

    def __init__(self, folder: Path, cache: Path) -> None:
        words = [*COMMAND, "serve", str(folder), "--cache", str(cache), "--port", "0"]
        environment = {k: v for k, v in os.environ.items() if k != "ISH_REFERENCE"}
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.port = 0

    def started(self) -> Server:
        """Wait until it says its address."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r":(\d+)/", line)
        assert found, line + self.said()
        self.port = int(found[1])
        return self

    def get(self, path: str) -> Any:
        """Return `msg` of an answer."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, content
            return json.loads(content)["msg"]

    def stopped(self, number: signal.Signals) -> int:
        """Send a signal, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(END_S)

    def said(self) -> str:
        """Return what it wrote to standard error; it must have ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read()


@contextmanager
def starting(folder: Path, cache: Path) -> Iterator[Server]:
    server = Server(folder, cache)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def wait_for(what: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.005)
    return False


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and many served data sets."""
    folder = tmp_path_factory.mktemp("both") / "runs"
    for number in range(1, SETS + 1):
        write_served(folder / f"{number:03d}", number, sections=range(40, 60), first_image_id=100 * number)
    shutil.copytree(finished, folder / ID)
    return folder


def test_two_servers_fill_one_cache_at_the_same_time(folder: Path, tmp_path: Path) -> None:
    with starting(folder, tmp_path) as first, starting(folder, tmp_path) as second:
        both = [server.started() for server in (first, second)]
        lists = [server.get("/ish/v1/experiments") for server in both]
        assert [one["id"] for one in lists[0]] == [*range(1, SETS + 1), int(ID)]
        assert lists[0] == lists[1]
        query = "/api/v2/data/query.json?criteria=model::SectionImage,rma::options[num_rows$eqall]"
        images = [server.get(query) for server in both]
        assert len(images[0]) == 20 * SETS + 6
        assert images[0] == images[1]
        unionized = [server.get(f"{query.replace('SectionImage', 'StructureUnionize')}") for server in both]
        assert unionized[0] == unionized[1]
        assert len({(r["structure_id"], r["hemisphere_id"]) for r in unionized[0]}) == len(unionized[0]) > 0
        assert [server.stopped(signal.SIGTERM) for server in both] == [0, 0]
        assert [server.said() for server in both] == ["", ""]


def test_parts_of_an_answer_do_not_wait_for_the_client_to_acknowledge() -> None:
    options: list[int] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken = writer.get_extra_info("socket")
        options.append(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def connect(listening: socket.socket) -> None:
        async with await asyncio.start_server(take, sock=listening):
            reader, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
            await reader.read()
            writer.close()

    asyncio.run(connect(bound("127.0.0.1", 0)))
    assert options == [1]


def rows_of(cache: Path, table: str) -> int:
    """Return how many rows a database has by now; -1: it or the table is not there."""
    for path in cache.glob("models-*.sqlite"):
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
                return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        except sqlite3.Error:
            return -1
    return -1


@pytest.mark.parametrize(("table", "rows"), [("state_", 0), ("served_", 1)])
def test_a_server_that_was_killed_while_it_read_the_runs_starts_again(
    folder: Path, tmp_path: Path, table: str, rows: int
) -> None:
    with starting(folder, tmp_path) as server:
        assert wait_for(lambda: rows_of(tmp_path, table) >= rows, START_S)
        server.process.kill()
        server.process.wait()
    assert rows_of(tmp_path, "served_") < SETS + 1  # not all were read
    with starting(folder, tmp_path) as again:
        found = again.started().get("/ish/v1/experiments")
        assert [one["id"] for one in found] == [*range(1, SETS + 1), int(ID)]
        rows_there = again.get(
            f"/api/v2/data/query.json?criteria=model::StructureUnionize,rma::criteria,[section_data_set_id$eq{ID}]"
        )
        assert rows_there
        assert again.stopped(signal.SIGINT) in (0, 130)
        assert "Traceback" not in again.said()


def test_a_new_run_is_there_at_once_on_sighup_and_open_connections_hold_up_no_end(
    finished: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    write_served(runs / "first", 1)
    with starting(runs, tmp_path / "cache") as server:
        begun = time.monotonic()
        server.started()
        shutil.copytree(finished, tmp_path / "made")
        (tmp_path / "made").rename(runs / ID)
        server.process.send_signal(signal.SIGHUP)
        there = wait_for(lambda: len(server.get("/ish/v1/experiments")) == 2, 30)
        assert there
        assert time.monotonic() - begun < 60  # by itself it looks every minute
        with socket.create_connection(("127.0.0.1", server.port)) as kept:
            kept.sendall(b"GET /ish/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert kept.recv(100).startswith(b"HTTP/1.1 200")
            with socket.create_connection(("127.0.0.1", server.port)) as slow:
                slow.sendall(b"GET /ish/v1/status HTTP/1.1\r\n")  # and no more
                assert server.stopped(signal.SIGINT) in (0, 130)
        assert "Traceback" not in server.said()
