"""Endpoints of /ish/v1: what each takes, checked by the same words that its OpenAPI document states."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.core.did_you_mean import hint
from pipeline.service.http.answers import RequestError, as_json, envelope
from pipeline.service.served import Serving

BASE = "/ish/v1"
JSON = "application/json"
LARGEST_ID = 2**63 - 1
MOST_TEXT = 2_000  # characters of a parameter that is text
MOST_BODY = 64 << 20  # bytes of a body
MOST_BODIES = 4 * MOST_BODY  # of all that are read at the same time

Kind = Literal["integer", "number", "string", "boolean"]


@dataclass(frozen=True)
class Parameter:
    """A parameter of an endpoint.

    Attributes
    ----------
    name : str
        Its name.
    kind : str
        integer, number, string or boolean.
    about : str
        What it means, with its unit.
    place : str
        "path" or "query".
    default : Any
        Value where it is not given; `REQUIRED` where it must be.
    words : tuple of str
        Values that a string may have; empty: any.
    least, most : float or None
        Bounds of a number, or of a string's length.
    pattern : str
        Regular expression that a string fits; its function says what was expected. Empty: any.
    """

    name: str
    kind: Kind
    about: str
    place: Literal["path", "query"] = "query"
    default: Any = None
    words: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    pattern: str = ""

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of its values."""
        found: dict[str, Any] = {"type": self.kind}
        if self.words:
            found["enum"] = list(self.words)
        if self.kind == "string" and not self.words:
            found["minLength"] = int(self.least or 1)
            found["maxLength"] = int(self.most or MOST_TEXT)
            if self.pattern:
                found["pattern"] = self.pattern
        elif self.kind in ("integer", "number"):
            found["minimum"], found["maximum"] = self._bounds()
        if self.default is not None and self.default is not REQUIRED:
            found["default"] = self.default
        return found

    def parsed(self, text: str) -> Any:
        """Return the value that a text states.

        Parameters
        ----------
        text : str
            The text.

        Returns
        -------
        int, float, str or bool
            The value.

        Raises
        ------
        RequestError
            Where the text is no such value or out of bounds.
        """
        if self.kind == "string":
            return self._text(text)
        if self.kind == "boolean":
            if text not in ("true", "false"):
                raise RequestError(f"{self.name}: expected true or false, got {text[:40]!r}")
            return text == "true"
        return self._number(text)

    def _text(self, text: str) -> str:
        if self.words and text not in self.words:
            raise RequestError(
                f"{self.name}: expected one of {', '.join(self.words)}, got {text[:40]!r};"
                f" {hint(text[:40], self.words)}"
            )
        if not 1 <= len(text) <= (self.most or MOST_TEXT):
            raise RequestError(
                f"{self.name}: expected 1 to {self.most or MOST_TEXT} characters, got {len(text)}"
            )
        return text

    def _number(self, text: str) -> float | int:
        what = "a whole number" if self.kind == "integer" else "a number"
        try:
            value: float | int = int(text) if self.kind == "integer" and len(text) < 20 else float(text)
        except ValueError:
            value = math.nan
        least, most = self._bounds()
        whole = self.kind != "integer" or isinstance(value, int)
        if not (whole and least <= value <= most and text.isascii() and "_" not in text):
            raise RequestError(f"{self.name}: expected {what} from {least:g} to {most:g}, got {text[:40]!r}")
        return value

    def _bounds(self) -> tuple[float, float]:
        largest = 2**53 if self.kind == "integer" else 1e9
        return -1e9 if self.least is None else self.least, largest if self.most is None else self.most


REQUIRED = object()
Values = dict[str, Any]
Function = Callable[[Serving, Values], Any]  # an answer, or a Response


@dataclass(frozen=True)
class Endpoint:
    """An endpoint.

    Attributes
    ----------
    path : str
        After `/ish/v1`, with parameters in braces.
    about : str
        What it answers, one sentence.
    function : callable
        Called with the server and the values of the parameters; a POST also has `body` and `content_type`.
    parameters : tuple of Parameter
        What it takes.
    answer : Any
        JSON schema of `msg`, or the media type of an answer that is not JSON.
    method : str
        "GET" or "POST".
    body : mapping of str to Any
        Content of the body by media type, as OpenAPI states it; empty: it has none.
    quick : bool
        Whether it is answered in less than 2 ms, on the event loop.
    also : tuple of str
        Further media types of its answer.
    """

    path: str
    about: str
    function: Function
    parameters: tuple[Parameter, ...] = ()
    answer: Mapping[str, Any] | str = field(default_factory=dict)
    method: Literal["GET", "POST"] = "GET"
    body: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = False
    also: tuple[str, ...] = ()

    def route(self, serving: Serving) -> Route:
        """Return the route of the endpoint.

        Parameters
        ----------
        serving : Serving
            The server.

        Returns
        -------
        Route
            Route.
        """

        bodies = Bodies()

        async def answer(request: Request) -> Response:
            values = self.values(request)
            if self.method == "GET":
                return await answered(values)
            values["content_type"] = request.headers.get("content-type", JSON).partition(";")[0].strip()
            async with bodies.body_of(request) as values["body"]:
                return await answered(values)

        async def answered(values: Values) -> Response:
            if self.quick:
                found = self.function(serving, values)
            else:
                found = await serving.pool.run(self.function, serving, values)
            return (
                found if isinstance(found, Response) else Response(as_json(envelope(found)), media_type=JSON)
            )

        return Route(BASE + self.path, answer, methods=[self.method])

    def values(self, request: Request) -> Values:
        """Return the values of the parameters of a request.

        Parameters
        ----------
        request : Request
            The request.

        Returns
        -------
        dict of str to Any
            By name; defaults where they are not given.

        Raises
        ------
        RequestError
            Where one is missing, unknown or wrong.
        """
        known = {p.name for p in self.parameters if p.place == "query"} | {"token"}
        for name in request.query_params:
            if name not in known:
                raise RequestError(
                    f"parameter {name[:40]!r} does not exist here; {hint(name[:40], known - {'token'})}"
                )
        found: Values = {}
        for parameter in self.parameters:
            given = request.path_params if parameter.place == "path" else request.query_params
            text = given.get(parameter.name)
            if text is None and parameter.default is REQUIRED:
                raise RequestError(
                    f"{parameter.name}: expected {parameter.about}, got none; give &{parameter.name}="
                )
            found[parameter.name] = parameter.default if text is None else parameter.parsed(str(text))
        return found


class Bodies:
    """Bodies of the requests of one endpoint, which together take so much memory."""

    def __init__(self) -> None:
        self._held = 0

    @asynccontextmanager
    async def body_of(self, request: Request) -> AsyncIterator[bytes]:
        """Read the body of a request.

        Parameters
        ----------
        request : Request
            The request.

        Yields
        ------
        bytes
            Its body, which counts until the block ends.

        Raises
        ------
        RequestError
            Where it is larger than `MOST_BODY`, or with others than `MOST_BODIES`: it is not read to its end
            then.
        """
        parts, size = [], 0
        try:
            async for part in request.stream():
                size, self._held = size + len(part), self._held + len(part)
                if size > MOST_BODY:
                    raise RequestError(
                        f"body: expected at most {MOST_BODY >> 20} MB, got more; send it in parts", status=413
                    )
                if self._held > MOST_BODIES:
                    raise RequestError("the server is busy with other bodies; ask again", status=503)
                parts.append(part)
            yield b"".join(parts)
        finally:
            self._held -= size
