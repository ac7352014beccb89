"""Older services of the original: valid answers, empty where a lab's own results have no content for them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pipeline.service.http.answers import RequestError, as_json, envelope
from pipeline.service.http.parameters import id_of
from pipeline.service.served import Serving

EMPTY = ("annotated_section_data_sets", "compound_annotated_section_data_sets")
XML = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<Response success="true" start_row="0" num_rows="0" total_rows="0"/>'
)
PASSED_ON = ("quality", "left", "top", "width", "height", "colormap", "rgb", "contrast", "range", "view")


def section_of_path(database: Path, path: str) -> tuple[int, int]:
    """Return the section image that has a path; the path is compared, never opened.

    Parameters
    ----------
    database : Path
        SQLite file of the models.
    path : str
        `SectionImage.path`.

    Returns
    -------
    section_image_id : int
        Its id.
    tier_count : int
        Its number of tiers.

    Raises
    ------
    RequestError
        With 404 where no section has this path.
    """
    query = "SELECT id, tier_count FROM sub_images WHERE path = ? OR expression_path = ? LIMIT 1"
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        found = connection.execute(query, (path, path)).fetchone()
    if found is None:
        raise RequestError("imageservice: path is not that of a SectionImage served here", status=404)
    return int(found[0]), int(found[1])


def routes(serving: Serving) -> list[Route]:
    """Return the endpoints of older services.

    Parameters
    ----------
    serving : Serving
        The server.

    Returns
    -------
    list of Route
        `/cgi-bin/imageservice` and the searches by manual annotation, which are empty.
    """

    async def image(request: Request) -> Response:
        asked = request.query_params
        one, tiers = await serving.pool.run(section_of_path, serving.database, asked.get("path", ""))
        zoom = asked.get("zoom")
        # Zoom 0 is the coarsest tier, the largest zoom full resolution.
        downsample = (
            asked.get("downsample", "0") if zoom is None else str(max(tiers - 1 - id_of(zoom, "zoom"), 0))
        )
        wanted = {name: asked[name] for name in PASSED_ON if name in asked} | {"downsample": downsample}
        return RedirectResponse(f"/api/v2/image_download/{one}?{urlencode(wanted)}", status_code=307)

    async def nothing(request: Request) -> Response:
        form = request.path_params.get("form", "json")
        if form not in ("json", "xml"):
            raise RequestError(f"expected .json or .xml, got .{form[:20]}", status=404)
        if form == "xml":
            return Response(XML, media_type="application/xml")
        return Response(as_json(envelope([])), media_type="application/json")

    return [
        Route("/cgi-bin/imageservice", image),
        *(Route(f"/api/v2/{name}.{{form}}", nothing) for name in EMPTY),
        *(Route(f"/api/v2/{name}", nothing) for name in EMPTY),
    ]
