"""Zarr stores of runs over HTTP, as zarr, napari and Neuroglancer read them: files, with ranges."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from pipeline.service.http.answers import RequestError
from pipeline.service.http.parameters import id_of
from pipeline.service.images.caching import not_modified
from pipeline.service.served import Serving

STORES = ("expression.zarr", "grid.zarr", "deformation.zarr", "thumbnails.zarr", "cells.zarr", "volume.zarr")
BYTES = "application/octet-stream"


def file_inside(folder: Path, name: str) -> Path:
    """Return a file of one of a run's zarr stores.

    Parameters
    ----------
    folder : Path
        The run.
    name : str
        Path inside the run, beginning with a store.

    Returns
    -------
    Path
        A regular file that lies, links resolved, inside that store.

    Raises
    ------
    RequestError
        With 404 where there is none.
    """
    store = name.partition("/")[0]
    if store not in STORES or "\0" in name:
        raise RequestError(f"zarr: expected one of {', '.join(STORES)}, got {store[:40]!r}", status=404)
    inside = os.path.realpath(folder / store)
    place = os.path.realpath(folder / name)
    if not place.startswith(inside + os.sep) or not os.path.isfile(place):
        raise RequestError(f"zarr: no such file in {store}", status=404)
    return Path(place)


def routes(serving: Serving) -> list[Route]:
    """Return the endpoint of zarr stores.

    Parameters
    ----------
    serving : Serving
        The server.

    Returns
    -------
    list of Route
        `/zarr/<run>/<store>/…`; a Range may also name a suffix, as sharded arrays are read.
    """

    async def file(request: Request) -> Response:
        experiment = serving.catalogue.experiment(id_of(request.path_params["id"], "SectionDataSet"))
        if not experiment.is_run:
            raise RequestError(
                f"SectionDataSet {experiment.id}: is served grids, which have no zarr", status=404
            )
        place = file_inside(experiment.folder, request.path_params["path"])
        kind = "application/json" if place.suffix == ".json" else BYTES
        try:
            state = os.stat(place)
        except OSError:  # a run that is just being written or removed
            raise RequestError("zarr: the file has just gone; ask again", status=503) from None
        found = FileResponse(place, media_type=kind, headers={"Cache-Control": "no-cache"}, stat_result=state)
        names = ("ETag", "Last-Modified", "Cache-Control")
        return not_modified(request, {name: found.headers[name] for name in names}) or found

    return [Route("/zarr/{id}/{path:path}", file)]
