"""The OpenAPI document of /ish/v1, generated from its endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.service.http.answers import as_json
from pipeline.service.own import experiments, following, numbers, places, plates, searches
from pipeline.service.own.endpoint import BASE, JSON, REQUIRED, Endpoint, Parameter
from pipeline.service.own.schemas import FLAG, INTEGER, TEXT, record
from pipeline.service.served import Serving

ENDPOINTS: tuple[Endpoint, ...] = (
    *experiments.ENDPOINTS,
    *places.ENDPOINTS,
    *following.ENDPOINTS,
    *plates.ENDPOINTS,
    *numbers.ENDPOINTS,
    *searches.ENDPOINTS,
)
ERRORS = {
    "400": "a parameter is missing or wrong; msg says what was expected",
    "401": "the token is missing",
    "404": "no such id, or a file that is gone; msg names what exists",
    "413": "the body is too large",
    "414": "the address is too long",
    "503": "the server is busy, or a run is just being written; ask again",
}


def routes(serving: Serving) -> list[Route]:
    """Return the endpoints of /ish/v1 and their document.

    Parameters
    ----------
    serving : Serving
        The server.

    Returns
    -------
    list of Route
        Routes.
    """
    content = as_json(document(ENDPOINTS))

    async def openapi(request: Request) -> Response:
        return Response(content, media_type=JSON)

    return [*(one.route(serving) for one in ENDPOINTS), Route(f"{BASE}/openapi.json", openapi)]


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI document of endpoints.

    Parameters
    ----------
    endpoints : sequence of Endpoint
        Endpoints.

    Returns
    -------
    dict of str to Any
        OpenAPI 3.1.
    """
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        paths.setdefault(BASE + one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ish-pipeline",
            "version": version("ish-pipeline"),
            "description": (
                "Results of ISH experiments: places, pictures, numbers, search. Lengths are um in the"
                " reference (P, I, R) and px of a section's frame. The original's own API lies beside it,"
                " under /api/v2."
            ),
        },
        "paths": paths,
        "components": {"schemas": {"Error": _envelope(TEXT)}},
    }


def _operation(one: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": one.about,
        "operationId": one.path.strip("/").replace("/", "_").replace("{", "").replace("}", ""),
        "parameters": [_parameter(parameter) for parameter in one.parameters],
        "responses": {"200": {"description": "the answer", "content": _content(one)}} | _errors(),
    }
    if one.body:
        found["requestBody"] = {"required": True, "content": dict(one.body)}
    return found


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.about,
        "required": parameter.place == "path" or parameter.default is REQUIRED,
        "schema": parameter.schema(),
    }


def _content(one: Endpoint) -> dict[str, Any]:
    also = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in one.also}
    if isinstance(one.answer, str):
        return {one.answer: {"schema": {"type": "string", "format": "binary"}}} | also
    return {JSON: {"schema": _envelope(dict(one.answer))}} | also


def _envelope(message: dict[str, Any]) -> dict[str, Any]:
    return record(
        success=FLAG, id=INTEGER, start_row=INTEGER, num_rows=INTEGER, total_rows=INTEGER, msg=message
    )


def _errors() -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {
        status: {"description": about, "content": {JSON: {"schema": schema}}}
        for status, about in ERRORS.items()
    }
