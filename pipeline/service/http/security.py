"""What a request must pass before it reaches an endpoint, and what every answer carries."""

from __future__ import annotations

import hmac
import logging
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.service.http.answers import as_json, envelope
from pipeline.service.http.pool import client_gone

LOG = logging.getLogger(__name__)
MOST_URL = 65_536  # bytes of a path with its query; a longer query can be sent as a form
GONE = "client_gone"  # in the state of a request: tells whether its client has gone
TOKEN_COOKIE = "ish_token"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1", "testserver")
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:;"
    " style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
ALL_METHODS = "GET, HEAD, POST"
CORS_HEADERS = "Content-Length, Content-Range, Accept-Ranges, ETag"


class Guard:
    """ASGI middleware: allowed hosts, length of the URL, token, CORS, and no fault without an answer.

    Browsers send the name that they looked up as Host. A page of another site that resolves its own name to
    this machine (DNS rebinding) is therefore told by it and refused.

    Parameters
    ----------
    app : ASGI application
        What answers.
    hosts : iterable of str
        Names under which the server may be asked, without ports.
    origin : str or None
        Origin whose pages may read answers, "*" for all; None: no page of another origin may.
    token : str or None
        Secret that each request must carry, as `Authorization: Bearer` or `token=`; None: none is needed.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], origin: str | None, token: str | None) -> None:
        self._app, self._origin, self._token = app, origin, token
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it.

        Parameters
        ----------
        scope, receive, send : ASGI
            The request.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if "//" in scope["path"]:  # of a base_uri that ends in a slash
            scope = {**scope, "path": re.sub("/{2,}", "/", scope["path"])}
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._add(MutableHeaders(scope=message), headers)
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refuse(answer, *refusal, {"www-authenticate": "Bearer"} if refusal[0] == 401 else {})
        elif scope["method"] == "OPTIONS":
            await self._options(scope, receive, answer)
        else:
            client_gone.set(scope.get("state", {}).get(GONE))
            try:
                await self._app(scope, receive, answer)
            except ClientDisconnect:
                LOG.debug("%s: the client went away", scope["method"])
            except Exception as error:  # the last border: nothing may leave a request without an answer
                LOG.error("%s: %s\n%s", scope["method"], type(error).__name__, _places(error))
                if not begun:
                    await refuse(answer, 500, f"unexpected {type(error).__name__}; the server's log has more")

    async def _options(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer which methods an address has: those that the router names when it refuses this one."""
        allowed = ALL_METHODS if scope["path"] == "*" else ""

        async def note(message: Message) -> None:
            nonlocal allowed
            if message["type"] == "http.response.start":
                allowed = Headers(raw=message["headers"]).get("allow", allowed)

        if not allowed:
            await self._app(scope, receive, note)
        if not allowed:
            await refuse(send, 404, "no such address; /ish/v1/openapi.json lists those of this server")
            return
        methods = sorted({*allowed.split(", "), "OPTIONS"})
        headers = [(b"allow", ", ".join(methods).encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Return status and message where a request is refused."""
        host = _host(headers.get("host", ""))
        if host not in self._hosts and "*" not in self._hosts:
            return 400, "Host: expected the address that `ish serve` printed, got another name"
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MOST_URL:
            return 414, f"the address is longer than {MOST_URL} bytes; send the query as a form (POST)"
        if scope["method"] == "OPTIONS":
            return None
        if self._token is not None and not self._has_token(scope, headers):
            return 401, "expected the token of this server, as header Authorization: Bearer TOKEN or &token="
        return None

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        scheme, _, sent = headers.get("authorization", "").strip().partition(" ")
        given = sent.strip().encode("latin-1") if scheme.lower() == "bearer" else b""  # the bytes as sent
        if not given:
            given = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token", "").encode()
        if not given:  # of a page that was opened with the token; other sites cannot have it sent
            given = cookie_parser(headers.get("cookie", "")).get(TOKEN_COOKIE, "").encode()
        return hmac.compare_digest(given, (self._token or "").encode())

    def _add(self, answer: MutableHeaders, request: Headers) -> None:
        for name, value in ALWAYS.items():
            answer.setdefault(name, value)
        # Without it any web page could show sections, or ask which ids there are, though not read them.
        answer["Cross-Origin-Resource-Policy"] = "same-origin" if self._origin is None else "cross-origin"
        if self._origin is not None:
            answer["Access-Control-Allow-Origin"] = self._origin
            answer["Access-Control-Expose-Headers"] = CORS_HEADERS
            answer["Access-Control-Allow-Headers"] = "Authorization, Content-Type, Range, If-None-Match"
            answer["Access-Control-Allow-Methods"] = "GET, HEAD, POST, OPTIONS"
            if self._origin != "*":
                answer.add_vary_header("Origin")


def allowed_hosts(host: str, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names under which a server may be asked.

    Parameters
    ----------
    host : str
        Address that it listens at.
    names : sequence of str
        Further names.

    Returns
    -------
    tuple of str
        Those of the loopback, the address and the names; all names for an address that stands for all.
    """
    everywhere = ("*",) if host in ("0.0.0.0", "::") else ()
    return (*LOOPBACK, host, *names, *everywhere)


def _host(text: str) -> str:
    """Return the name in a Host header, without its port."""
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0].lower()


async def refuse(send: Send, status: int, message: str, also: Mapping[str, str] | None = None) -> None:
    """Answer with an error.

    Parameters
    ----------
    send : ASGI
        Where the answer goes.
    status : int
        HTTP status.
    message : str
        One line.
    also : mapping of str to str, optional
        Further headers.
    """
    body = as_json(envelope(message, success=False))
    named = {"content-type": "application/json", "content-length": str(len(body)), **(also or {})}
    headers = [(name.encode(), value.encode()) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _places(error: Exception) -> str:
    """Return where an error arose, without its message: that may hold what was asked."""
    return "".join(traceback.format_tb(error.__traceback__))
