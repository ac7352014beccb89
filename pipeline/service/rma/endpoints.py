"""Endpoints of RMA: queries, single records, the schema and trees."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.core.did_you_mean import hint
from pipeline.service.http.answers import RequestError, as_json, envelope
from pipeline.service.rma.answer import Answer, Services, answer
from pipeline.service.rma.forms import FORMS, described, xml_of_error
from pipeline.service.rma.parse import query_of, truth
from pipeline.service.rma.schema import MODELS, model_named
from pipeline.service.rma.tree_search import tree_search
from pipeline.service.served import LIMITS, Serving

ROOT = "/api/v2/data"
BODY_BYTES = 4 * LIMITS.query_bytes  # a query with every byte written as %XX is three times as long


def routes(serving: Serving, services: Services | None = None) -> list[Route]:
    """Return the routes of RMA.

    Parameters
    ----------
    serving : Serving
        The server, whose database is queried.
    services : mapping of str to callable, optional
        Connected services by name: from parameters to rows, which run in a thread of the pool.

    Returns
    -------
    list of Route
        All routes under /api/v2/data and /api/v2/tree_search.
    """
    asked = _Endpoints(serving, services or {})
    both = ["GET", "POST"]
    return [
        Route(f"{ROOT}/query.{{form}}", asked.query, methods=both),
        Route(f"{ROOT}/query", asked.query, methods=both),
        Route(f"{ROOT}.{{form}}", asked.schema),
        Route(f"{ROOT}/enumerate.{{form}}", asked.schema),
        Route(f"{ROOT}/{{model}}/query.{{form}}", asked.query, methods=both),
        Route(f"{ROOT}/{{model}}/query", asked.query, methods=both),
        Route(f"{ROOT}/{{model}}/describe.{{form}}", asked.schema),
        Route(f"{ROOT}/{{model}}/{{id:int}}.{{form}}", asked.query),
        Route(f"{ROOT}/{{model}}/{{id:int}}", asked.query),
        Route(f"{ROOT}/{{model}}.{{form}}", asked.schema),
        Route("/api/v2/tree_search/{model}/{rest}", asked.tree),
    ]


class _Endpoints:
    def __init__(self, serving: Serving, services: Services) -> None:
        self._serving = serving
        self._services = services

    async def query(self, request: Request) -> Response:
        form = _form(request.path_params.get("form", "json"), FORMS)
        try:
            parameters = await _parameters(request)
            return await self._serving.pool.run(self._query, parameters, request.path_params, form)
        except RequestError as error:
            return _refused(error, form)

    def _query(self, parameters: Mapping[str, str], path: Mapping[str, Any], form: str) -> Response:
        model, number = path.get("model", ""), path.get("id")
        if number is not None:
            parameters = {**parameters, "id": str(number)}
        query = query_of(parameters, model_named(model).name if model else "")
        found = answer(self._serving.database, query, services=self._services)
        if number is not None and not found.rows:
            raise RequestError(f"{model} {number} does not exist here", status=404)
        return _response(found, form)

    async def schema(self, request: Request) -> Response:
        _form(request.path_params.get("form", "json"), ("json",))
        name = request.path_params.get("model")
        models = [model_named(name)] if name else list(MODELS.values())
        return Response(
            as_json(envelope([described(model) for model in models])), media_type="application/json"
        )

    async def tree(self, request: Request) -> Response:
        # the documentation writes `695.json&descendants=true`, with & for the question mark
        number, _, slip = request.path_params["rest"].partition("&")
        match = re.fullmatch(r"([0-9]{1,18})(?:\.(\w+))?", number, re.ASCII)
        form = _form((match[2] if match else "") or "json", ("json", "xml"))
        try:
            if match is None:
                raise RequestError(f"tree_search: expected an id such as 315.json, got {number[:40]!r}")
            given = {**dict(parse_qsl(slip)), **request.query_params}
            wanted = {name: truth(name, given.get(name, "false")) for name in ("ancestors", "descendants")}
            model = request.path_params["model"]
            found = await self._serving.pool.run(
                tree_search, self._serving.database, model, int(match[1]), **wanted
            )
            return _response(found, form)
        except RequestError as error:
            return _refused(error, form)


def _response(found: Answer, form: str) -> Response:
    kind, write = FORMS[form]
    return Response(write(found), media_type=kind)


def _refused(error: RequestError, form: str) -> Response:
    """Answer in XML where that was asked; the app answers all else."""
    if form != "xml":
        raise error
    return Response(xml_of_error(str(error)), error.status, media_type=FORMS["xml"][0])


def _form(form: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    if form not in known:
        raise RequestError(f"form {form[:20]!r} is not known here; {hint(form, known)}", status=404)
    return form


async def _parameters(request: Request) -> dict[str, str]:
    """Return the parameters of the URL and, over them, those of a form or JSON document that was posted."""
    parameters = dict(request.query_params)
    if request.method != "POST":
        return parameters
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise RequestError(f"RMA query: at most {BODY_BYTES} bytes in a form", status=414)
    text = body.decode("utf-8", "replace")
    if "json" not in request.headers.get("content-type", ""):
        return parameters | dict(parse_qsl(text, keep_blank_values=True))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise RequestError('RMA query: expected a JSON object of texts, such as {"criteria": "model::Gene"}')
    return parameters | document
