"""The ASGI application: all endpoints of the service over one state."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from platformdirs import user_cache_path
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from pipeline.core.errors import ConfigError, PipelineError
from pipeline.service import grids, older_services, reference_files, sync_endpoints, zarr_files
from pipeline.service.connected import services
from pipeline.service.http.answers import AGAIN_S, RequestError, as_json, envelope
from pipeline.service.http.security import Guard, allowed_hosts
from pipeline.service.images import endpoints as images
from pipeline.service.images import resampling
from pipeline.service.own import openapi
from pipeline.service.pages import routes as pages
from pipeline.service.plates import endpoints as plates
from pipeline.service.rma import endpoints as rma
from pipeline.service.rma.forms import xml_of_error
from pipeline.service.state import Service

RELOAD_S = 60.0  # s between looks for runs that were added or finished
MOST_SAID = 600  # characters of a line about a refused request


def default_cache() -> Path:
    """Return the folder where a server keeps what is expensive to make anew."""
    return user_cache_path("ish-pipeline") / "service"


def create_app(
    folders: Sequence[Path | str],
    *,
    index: Path | str | None = None,
    reference: Path | str | None = None,
    cache: Path | str | None = None,
    host: str = "127.0.0.1",
    cors: str | None = None,
    token: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Starlette:
    """Return the service over finished runs as an ASGI application.

    Parameters
    ----------
    folders : sequence of Path or str
        Runs, folders with data_set.xml and served grids, or folders that hold such.
    index : Path or str, optional
        Search index; default one in the cache, made from what is served.
    reference : Path or str, optional
        Folder of the reference; default that of the runs.
    cache : Path or str, optional
        Folder for image pyramids, the database and that index; default the cache folder of the user.
    host : str
        Address under which it is asked; other names are refused.
    cors : str, optional
        Origin whose pages may read answers, "*" for all; default none.
    token : str, optional
        Secret that each request must carry; default none.
    say : callable
        Receives notes, one line each.

    Returns
    -------
    Starlette
        The application; `app.state.service` is its `Service`.

    Raises
    ------
    ConfigError
        Where index, reference or cache do not fit.
    DataError
        Where a folder has nothing that can be served.
    """
    service = Service(
        [Path(folder) for folder in folders],
        Path(cache) if cache is not None else default_cache(),
        Path(index) if index is not None else None,
        Path(reference) if reference is not None else None,
        say,
    )
    app = Starlette(
        routes=[route for part in PARTS for route in part(service)],
        middleware=[Middleware(Guard, allowed_hosts(host), cors, token)],
        exception_handlers={PipelineError: _refused, HTTPException: _not_found},
        lifespan=lambda app: _living(service),
    )
    app.state.service = service
    return app


PARTS = (
    grids.routes,
    sync_endpoints.routes,
    images.routes,
    plates.routes,
    reference_files.routes,
    zarr_files.routes,
    lambda service: rma.routes(service, services(service.index.get, service.gene_id)),
    older_services.routes,
    openapi.routes,
    pages.routes,
)


async def _refused(request: Request, error: Exception) -> Response:
    """Answer an error of this package; damaged or changing files are a passing state of the server."""
    status = (
        error.status if isinstance(error, RequestError) else 400 if isinstance(error, ConfigError) else 503
    )
    headers = {"Retry-After": AGAIN_S} if status == 503 else {}
    _tell(request, status, str(error))
    if request.url.path.endswith(".xml"):
        return Response(xml_of_error(str(error)), status, headers, "application/xml")
    return _json(envelope(str(error), success=False), status, headers)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    page = pages.lost(request) if error.status_code == 404 else None
    if page is not None:
        return page
    allowed = (error.headers or {}).get("Allow", "GET")
    what = {
        404: f"{request.url.path}: no such address; /ish/v1/openapi.json lists those of this server",
        405: f"{request.url.path}: expected {allowed}, got {request.method}",
    }
    reason = what.get(error.status_code, str(error.detail))
    _tell(request, error.status_code, reason)
    said = envelope(reason, success=False)
    return _json(said, error.status_code, {"Allow": allowed} if error.status_code == 405 else {})


def _tell(request: Request, status: int, reason: str) -> None:
    """Tell whoever runs the server why a request was refused: many clients show the status alone.

    The query is left out, which may carry the token.
    """
    if status != 503:
        path = request.url.path
        line = f"{status} {path}: {reason.removeprefix(f'{path}: ')}"[:MOST_SAID]
        request.app.state.service.say("".join(c if c.isprintable() else "?" for c in line))


def _json(document: object, status: int, headers: dict[str, str]) -> Response:
    return Response(as_json(document), status, headers, "application/json")


@contextlib.asynccontextmanager
async def _living(service: Service) -> AsyncIterator[None]:
    """Look for changes every minute and on SIGHUP, as long as the server runs."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
        loop.add_signal_handler(signal.SIGHUP, asked.set)
    tasks = [
        asyncio.create_task(_follow(service, asked)),
        asyncio.create_task(service.pool.run(resampling.prepare)),  # no request should wait for it
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        service.close()


async def _follow(service: Service, asked: asyncio.Event) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), RELOAD_S)
        asked.clear()
        try:
            await asyncio.to_thread(service.reload)
        except Exception as error:  # whatever it is, the next look may succeed
            service.say(f"warning: not reloaded: {type(error).__name__}: {error}")
