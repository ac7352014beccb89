"""Connections that send too much, too slowly or no HTTP, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from pipeline.service.http import connections
from pipeline.service.http.security import GONE, MOST_URL
from pipeline.service.http.server import bound, configured

REQUEST = b"GET /ok HTTP/1.1\r\nHost: localhost\r\n\r\n"


SEEN: list[Scope] = []


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    SEEN.append(scope)
    if scope["path"] == "/wait":
        while not scope["state"][GONE]():
            await asyncio.sleep(0.01)
        SEEN.append({"gone": True})
        return
    size = 64 << 20 if scope["path"] == "/large" else 2
    head: Any = [(b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"o" * size})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that loses its patience soon."""
    for name, value in {
        "HEAD_S": 0.3,
        "BODY_S": 0.3,
        "STALL_S": 0.3,
        "LOOK_S": 0.05,
        "CONNECTIONS": 8,
    }.items():
        monkeypatch.setattr(connections, name, value)
    listening = bound("127.0.0.1", 0)
    config = configured(_app)
    config.lifespan = "off"
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    listening.close()


def _connected(port: int, sent: bytes = b"") -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port), timeout=10)
    found.sendall(sent)
    return found


def _read(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    found = b""
    with connection:
        try:
            while part := connection.recv(65_536):
                found += part
        except ConnectionResetError:
            pass
    return found


def _said(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "sent", [b"", b"GET /ok HTT", b"\r\n", REQUEST[:-2], b"POST /ok HTTP/1.1\r\nHost: a\r\n"]
)
def test_a_request_that_does_not_end_is_given_up(port: int, sent: bytes) -> None:
    assert _read(_connected(port, sent)) == b""


def test_a_body_that_does_not_come_is_given_up(port: int) -> None:
    sent = b"POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234"
    assert _read(_connected(port, sent)).endswith(b"oo")


def test_nothing_after_an_answer_keeps_a_connection(port: int) -> None:
    connection = _connected(port, REQUEST)
    while not connection.recv(4096).endswith(b"oo"):
        pass
    connection.sendall(b"\r\n")
    assert _read(connection) == b""


def test_a_request_tells_whether_its_client_has_gone(port: int) -> None:
    SEEN.clear()
    with _connected(port, REQUEST.replace(b"/ok", b"/wait")):
        for _ in range(500):
            if SEEN:
                break
            time.sleep(0.01)
        assert not SEEN[0]["state"][GONE]()
    for _ in range(500):
        if len(SEEN) == 2:
            break
        time.sleep(0.01)
    assert SEEN[1:] == [{"gone": True}]


def test_an_answer_that_is_not_read_is_given_up(port: int) -> None:
    connection = _connected(port, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(1.5)  # longer than STALL_S
    assert len(_read(connection)) < 64 << 20


def test_requests_of_a_patient_client_are_answered(port: int) -> None:
    with _connected(port) as connection:
        for _ in range(4):
            for part in (REQUEST[:9], REQUEST[9:]):
                connection.sendall(part)
                time.sleep(0.1)  # less than HEAD_S, all of them more
            assert connection.recv(4096).endswith(b"oo")


@pytest.mark.parametrize("line", [b"X: aaaaaaa\r\n" * 40_000, b"X: " + b"a" * 500_000])
def test_headers_without_end_are_refused(port: int, line: bytes) -> None:
    with _connected(port, b"GET /ok HTTP/1.1\r\n") as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # closed before all was sent
            connection.sendall(line)
            connection.sendall(b"\r\n\r\n")
        answer = _read(connection)
    assert answer == b"" or _said(answer)[0] == 431  # the reset may overtake the answer


def test_an_address_that_is_too_long_is_414(port: int) -> None:
    for length in (MOST_URL, MOST_URL + 30_000):
        sent = b"GET /ok?x=" + b"a" * length + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        status, document = _said(_read(_connected(port, sent)))
        assert status == 414
        assert document["success"] is False
        assert "POST" in document["msg"]


@pytest.mark.parametrize("sent", [b"GET /\xc3\x9c HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\r\n", b"GET /ok\n\n"])
def test_what_is_no_http_is_told_so(port: int, sent: bytes) -> None:
    status, document = _said(_read(_connected(port, sent)))
    assert status == 400
    assert list(document) == ["success", "id", "start_row", "num_rows", "total_rows", "msg"]


def test_too_many_connections_are_told_to_come_again(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 5.0)
    idle = [_connected(port, b"GET") for _ in range(8)]
    answer = _read(_connected(port, REQUEST))
    status, document = _said(answer)
    assert status == 503
    assert b"retry-after: 2" in answer
    assert document["success"] is False
    for one in idle:
        one.close()
    for _ in range(50):
        with _connected(port, REQUEST) as connection:
            if connection.recv(4096).endswith(b"oo"):
                break
        time.sleep(0.05)
    else:
        pytest.fail("connections that closed still count")
