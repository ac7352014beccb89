"""Routes of all images of a server: download, IIIF, Deep Zoom."""

from __future__ import annotations

from starlette.routing import Route

from pipeline.service.images import deep_zoom, download, iiif
from pipeline.service.images.image_store import ImageStore
from pipeline.service.served import Serving


def routes(serving: Serving) -> list[Route]:
    """Return the routes of section images and masks; they share one store of open images.

    Parameters
    ----------
    serving : Serving
        The server; its cache may be unwritable or full, images are then served without it.

    Returns
    -------
    list of Route
        For the application.
    """
    store = ImageStore(serving.cache, serving.pool)
    return [
        *download.routes(serving, store),
        *iiif.routes(serving, store),
        *deep_zoom.routes(serving, store),
    ]
