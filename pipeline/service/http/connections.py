"""What one connection may take: bytes before a request is whole, and time to send it or to read the answer.

uvicorn bounds neither. A client that sends headers without end would fill the memory of the server, and some
hundred that send nothing at all would keep everybody else out, both before any token is asked for.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeline.service.http.answers import AGAIN_S, as_json, envelope
from pipeline.service.http.security import GONE, MOST_URL, refuse

CONNECTIONS = 512  # at the same time; further ones get 503
MOST_HEAD = 2 * MOST_URL  # bytes of address and headers
HEAD_S = 20.0  # s until address and headers are there
BODY_S = 120.0  # s until the body is there: 64 MB at half a megabyte a second
STALL_S = 60.0  # s in which a client takes nothing of its answer
LOOK_S = 5.0  # s between two looks at the clock
TOO_LONG = f"the address is longer than {MOST_URL} bytes; send the query as a form (POST)"
NO_HTTP = "expected an HTTP/1.1 request; characters of an address beyond ASCII are written %XX, as UTF-8"


class Connection(HttpToolsProtocol):
    """A connection of uvicorn's that ends where it takes too much; its errors have the envelope, too."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; where too many are open, all that is asked on this one is answered with 503.

        Parameters
        ----------
        transport : asyncio.Transport
            The socket.
        """
        super().connection_made(transport)
        self._head_bytes, self._reading_head = 0, False
        self._read_by: float | None = self.loop.time() + HEAD_S
        self._written_by: float | None = None
        self._look = self.loop.call_later(LOOK_S, self._look_at_clock)
        if len(self.connections) > CONNECTIONS:
            self.app = refusing(503, f"the server is busy: {CONNECTIONS} connections are open; ask again")

    def connection_lost(self, exc: Exception | None) -> None:
        """End.

        Parameters
        ----------
        exc : Exception or None
            Why.
        """
        self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of requests.

        Parameters
        ----------
        data : bytes
            Bytes.
        """
        if self._read_by is None:  # something follows an answer; a request has to begin with it
            self._read_by = self.loop.time() + HEAD_S
        super().data_received(data)
        if self._reading_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD:
                self._answer(431, f"expected at most {MOST_HEAD} bytes of address and headers, got more")

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._head_bytes, self._reading_head = 0, True
        self._read_by = self.loop.time() + HEAD_S

    def on_headers_complete(self) -> None:
        """Hand a request on, or refuse it where its address is too long; say where to ask for its client."""
        self._reading_head = False
        self._read_by = self.loop.time() + BODY_S
        if len(self.url) >= MOST_URL:
            self.url, self.app = b"/", refusing(414, TOO_LONG)
        super().on_headers_complete()
        cycle = self.cycle
        self.scope["state"][GONE] = lambda: cycle.disconnected

    def on_message_complete(self) -> None:
        """Note that a request is whole."""
        self._read_by = None
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Note that the client is behind with reading."""
        self._written_by = self.loop.time() + STALL_S
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client has read."""
        self._written_by = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP.

        Parameters
        ----------
        msg : str
            What uvicorn says of it.
        """
        self._answer(400, NO_HTTP)

    def _look_at_clock(self) -> None:
        now = self.loop.time()
        if any(by is not None and by < now for by in (self._read_by, self._written_by)):
            self.transport.abort()
        else:
            self._look = self.loop.call_later(LOOK_S, self._look_at_clock)

    def _answer(self, status: int, message: str) -> None:
        body = as_json(envelope(message, success=False))
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def refusing(status: int, message: str) -> ASGIApp:
    """Return an application that refuses everything and ends the connection.

    Parameters
    ----------
    status : int
        HTTP status.
    message : str
        What it says.

    Returns
    -------
    ASGI application
        The application.
    """
    headers = {"connection": "close"} | ({"retry-after": AGAIN_S} if status == 503 else {})

    async def refused(scope: Scope, receive: Receive, send: Send) -> None:
        await refuse(send, status, message, headers)

    return refused
