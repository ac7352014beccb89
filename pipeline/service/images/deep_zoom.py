"""Deep Zoom Images (DZI, Microsoft's Deep Zoom file format of 2008) of section images and masks.

Level 0 is one pixel, each level doubles the size of the one before, the last is the frame. Tiles do not
overlap, so that stored ones are handed out as they are.
"""

from __future__ import annotations

import math
import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.service.http.answers import RequestError
from pipeline.service.images.image_store import ImageStore, find_subject, refusing
from pipeline.service.images.rendering import MEDIA, Asked, answer_region, unchanged
from pipeline.service.images.sources import TILE_PX, Size
from pipeline.service.served import Serving

NAMESPACE = "http://schemas.microsoft.com/deepzoom/2008"
TILE = re.compile(r"([0-9]{1,9})_([0-9]{1,9})\.([a-z]{3})")


def routes(serving: Serving, store: ImageStore) -> list[Route]:
    """Return the routes of Deep Zoom.

    Parameters
    ----------
    serving : Serving
        The server.
    store : ImageStore
        Its images.

    Returns
    -------
    list of Route
        Descriptions and tiles.
    """

    async def description(request: Request) -> Response:
        subject = find_subject(serving.catalogue, request.path_params["name"])
        headers, response = unchanged(request, subject)
        if response is None:
            with refusing(subject):
                opened = await store.opened(subject)
            text = described(opened.size, tile_side(opened.tile), "png" if subject.is_mask else "jpg")
            response = Response(text, headers=headers, media_type="application/xml")
        return response

    async def tile(request: Request) -> Response:
        subject = find_subject(serving.catalogue, request.path_params["name"])
        headers, response = unchanged(request, subject)
        if response is None:
            words = request.path_params
            with refusing(subject):
                opened = store.opened_now(subject) or await store.opened(subject)
                asked = parsed(opened.size, tile_side(opened.tile), words["level"], words["last"])
                content = await answer_region(store, subject, opened, asked)
            response = Response(content, headers=headers, media_type=MEDIA[asked.format])
        return response

    return [
        Route("/dzi/{name}.dzi", description),
        Route("/dzi/{name}_files/{level}/{last}", tile),
    ]


def tile_side(tile: Size) -> int:
    """Return the side of the square tiles of an image.

    Parameters
    ----------
    tile : (int, int)
        Width and height of its stored tiles, px.

    Returns
    -------
    int, px
        That of the stored tiles where they are square.
    """
    return tile[0] if tile[0] == tile[1] else TILE_PX


def described(size: Size, side: int, form: str) -> str:
    """Return the description of an image.

    Parameters
    ----------
    size : (int, int)
        Width and height of the frame, px.
    side : int
        Side of a tile, px.
    form : str
        "jpg" or "png".

    Returns
    -------
    str
        XML.
    """
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<Image xmlns="{NAMESPACE}" TileSize="{side}" Overlap="0" Format="{form}">'
        f'<Size Width="{size[0]}" Height="{size[1]}"/></Image>'
    )


def parsed(size: Size, side: int, level: str, last: str) -> Asked:
    """Understand the path of a tile.

    Parameters
    ----------
    size : (int, int)
        Width and height of the frame, px.
    side : int
        Side of a tile, px.
    level : str
        Number of the level; the frame has the last.
    last : str
        Column, row and format, such as 3_5.jpg.

    Returns
    -------
    Asked
        What is to be answered.

    Raises
    ------
    RequestError
        Where a word is not understood, or (404) there is no such tile.

    Examples
    --------
    >>> parsed((1000, 600), 256, "9", "1_1.jpg")
    Asked(box=(512, 512, 488, 88), out=(244, 44), format='jpg', is_grey=False)
    """
    deepest = math.ceil(math.log2(max(size)))
    found = TILE.fullmatch(last)
    if not re.fullmatch(r"[0-9]{1,3}", level) or found is None or found[3] not in MEDIA:
        raise RequestError(
            f"expected a level and a tile such as 9/0_0.jpg or .png, got {level[:20]!r} and {last[:40]!r}"
        )
    if int(level) > deepest:
        raise RequestError(f"level {level}: the levels are 0 to {deepest}", status=404)
    scale = 2 ** (deepest - int(level))
    left, top = (int(found[i]) * side * scale for i in (1, 2))
    if left >= size[0] or top >= size[1]:
        across, down = (math.ceil(n / (side * scale)) for n in size)
        raise RequestError(
            f"tile {last[:40]} of level {level}: it has {across} columns and {down} rows of tiles", status=404
        )
    box = left, top, min(side * scale, size[0] - left), min(side * scale, size[1] - top)
    return Asked(box, (math.ceil(box[2] / scale), math.ceil(box[3] / scale)), found[3])
