"""A client that is faster than the server it measures: raw HTTP/1.1 over kept connections, a few at once.

A general client takes longer for a request than the server for its answer. This one writes bytes and finds
the end of an answer by its Content-Length; it understands nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from statistics import median, quantiles

END = b"\r\n\r\n"
LENGTH = b"content-length:"
MOST_S = 300.0  # of one measurement
FULL_LENGTH = 100_000_000  # bytes of an answer up to which it is kept for a look


@dataclass
class Load:
    """What came of some requests.

    Parameters
    ----------
    latencies_s : list of float, s     of each request, in the order of the answers
    wall_s : float, s                  from the first request to the last answer
    received : int, bytes              bodies only
    first : bytes                      body of the first answer
    failed : str                       the first answer with another status than 200
    """

    latencies_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    received: int = 0
    first: bytes = b""
    failed: str = ""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.wall_s

    @property
    def p50_ms(self) -> float:
        """Median time to an answer."""
        return 1e3 * median(self.latencies_s)

    @property
    def p95_ms(self) -> float:
        """Time that one of twenty answers exceeds."""
        few = len(self.latencies_s) < 2
        return self.p50_ms if few else 1e3 * quantiles(self.latencies_s, n=20)[-1]


def get(path: str) -> bytes:
    """Return a request for a path."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("ascii")


def post(path: str, body: bytes, media_type: str) -> bytes:
    """Return a request that sends a body."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body


def load(
    port: int, requests: Sequence[bytes], *, at_once: int = 8, seconds: float = 0.0, count: int = 0
) -> Load:
    """Send requests, one after another on each of some connections, and wait for every answer.

    Parameters
    ----------
    port : int                   of a server on this machine
    requests : sequence of bytes sent in turns, from the first again after the last
    at_once : int                connections
    seconds : float, s           for how long requests are sent; 0: for as many as `count`
    count : int                  requests in all; 0: each once, or as many as fit into `seconds`

    Raises
    ------
    RuntimeError
        Where an answer has another status than 200.
    """
    most = count or (0 if seconds else len(requests))
    given = islice(cycle(requests), most) if most else cycle(requests)
    found = asyncio.run(_load(port, given, at_once, seconds))
    if found.failed:
        raise RuntimeError(found.failed)
    return found


async def _load(port: int, requests: Iterator[bytes], at_once: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    found = Load()
    begun = time.perf_counter()
    end = begun + seconds if seconds else float("inf")
    made = [
        await loop.create_connection(lambda: _Connection(requests, end, found), "127.0.0.1", port)
        for _ in range(at_once)
    ]
    await asyncio.wait_for(asyncio.gather(*(protocol.done for _, protocol in made)), MOST_S)
    found.wall_s = time.perf_counter() - begun
    return found


class _Connection(asyncio.Protocol):
    """One connection: the next request goes out when the answer to the last is complete."""

    def __init__(self, requests: Iterator[bytes], end: float, found: Load) -> None:
        self._requests, self._end, self._found = requests, end, found
        self._head = b""
        self._body: list[bytes] | None = None  # of the very first answer
        self._left = -1  # bytes of the body; -1: the head is not complete
        self._sent = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._found.failed = self._found.failed or f"{self._line()}: the server closed the connection"
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            at = self._head.find(END)
            if at < 0:
                return
            head, data = self._head[:at], self._head[at + len(END) :]
            self._left = self._length(head)
            if not head.startswith(b"HTTP/1.1 200"):
                self._found.failed = self._found.failed or f"{self._line()}: {(head[:60] + data[:300])!r}"
            if not self._found.first and self._left <= FULL_LENGTH:
                self._body = []
        self._left -= len(data)
        self._found.received += len(data)
        if self._body is not None:
            self._body.append(data)
        if self._left == 0:
            self._answered()

    def _answered(self) -> None:
        self._found.latencies_s.append(time.perf_counter() - self._begun)
        if self._body is not None:
            self._found.first = self._found.first or b"".join(self._body)
            self._body = None
        self._next()

    def _next(self) -> None:
        request = None
        if time.perf_counter() < self._end and not self._found.failed:
            request = next(self._requests, None)
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._head, self._left, self._sent = b"", -1, request
        self._begun = time.perf_counter()
        self._transport.write(request)

    def _line(self) -> str:
        return self._sent.partition(b"\r\n")[0][:200].decode()

    @staticmethod
    def _length(head: bytes) -> int:
        lower = head.lower()
        at = lower.find(LENGTH)
        if at < 0:
            raise RuntimeError(f"expected a Content-Length, got {head[:300]!r}")
        return int(lower[at + len(LENGTH) :].partition(b"\r\n")[0])
