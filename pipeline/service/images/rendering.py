"""From a region that is asked for to the bytes of the answer."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from pipeline.core.model import UInt8
from pipeline.service.images.caching import cache_headers, not_modified
from pipeline.service.images.colour_maps import colour_map
from pipeline.service.images.encoding import FINE_PX, as_jpeg, as_png
from pipeline.service.images.image_store import ImageStore, Opened, Subject
from pipeline.service.images.regions import Box, reduction, region
from pipeline.service.images.sources import Pixels, Size

EXPRESSION = 4  # number of the colour map of masks
MEDIA = {"jpg": "image/jpeg", "png": "image/png"}


@dataclass(frozen=True)
class Asked:
    """A region as an answer shows it.

    Attributes
    ----------
    box : (float, float, float, float)
        Left, top, width and height, px of the frame, inside it.
    out : (int, int)
        Width and height of the answer, px.
    format : str
        "jpg" or "png".
    is_grey : bool
        Grey instead of colour.
    """

    box: Box
    out: Size
    format: str
    is_grey: bool = False


def stored_tile(source: Pixels, asked: Asked) -> bytes | None:
    """Return the stored tile that is what is asked for.

    Parameters
    ----------
    source : Pixels
        The image.
    asked : Asked
        The region.

    Returns
    -------
    bytes or None
        A JPEG; None where the region is not a stored tile.
    """
    if asked.format != "jpg" or asked.is_grey or source.is_mask:
        return None
    left, top, width, height = asked.box
    for index, level in enumerate(source.levels):
        if width == level.tile_width * level.scale and height == level.tile_height * level.scale:
            fits = asked.out == (level.tile_width, level.tile_height)
            if fits and left % width == 0 and top % height == 0:
                return source.stored_tile(index, int(left // width), int(top // height))
    return None


def render(source: Pixels, asked: Asked) -> bytes:
    """Return a region as an image file.

    Parameters
    ----------
    source : Pixels
        The image.
    asked : Asked
        The region.

    Returns
    -------
    bytes
        JPEG or PNG; masks in the colours of `expression`, transparent where nothing expresses in a PNG.
    """
    pixels = region(source, asked.box, asked.out)
    if not source.is_mask:
        pixels = luma(pixels) if asked.is_grey else pixels
        fine = asked.out[0] * asked.out[1] <= FINE_PX
        return as_jpeg(pixels, fine=fine) if asked.format == "jpg" else as_png(pixels)
    if asked.is_grey:
        return as_jpeg(pixels) if asked.format == "jpg" else as_png(pixels)
    colours = colour_map(EXPRESSION)
    if asked.format == "png":
        return as_png(pixels, colours)
    return as_jpeg(colours[pixels], fine=True)


def luma(pixels: UInt8) -> UInt8:
    """Return the luma of pixels (ITU-R BT.601).

    Parameters
    ----------
    pixels : (h, w) or (h, w, 3) uint8
        Grey or RGB.

    Returns
    -------
    (h, w) uint8
        Grey.
    """
    return pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


async def answer_region(store: ImageStore, subject: Subject, opened: Opened, asked: Asked) -> bytes:
    """Return a region of an open image, at once where it is a stored tile.

    Parameters
    ----------
    store : ImageStore
        The images.
    subject : Subject
        The image that is asked.
    opened : OpenImage or OpenMask
        The same, open.
    asked : Asked
        The region.

    Returns
    -------
    bytes
        JPEG or PNG.

    Raises
    ------
    DataError
        Where the file is damaged.
    RequestError
        Where the region is out of bounds, or the server is busy.
    """
    source = await store.pixels(subject, opened, reduction(opened.size, asked.box, asked.out))
    stored = stored_tile(source, asked)
    return await store.pool.run(render, source, asked) if stored is None else stored


def unchanged(request: Request, subject: Subject) -> tuple[dict[str, str], Response | None]:
    """Return the caching headers of an answer, and the whole answer where nothing has changed.

    Parameters
    ----------
    request : Request
        The request.
    subject : Subject
        The image that is asked.

    Returns
    -------
    headers : dict of str to str
        Headers of the answer.
    response : Response or None
        Status 304; None where the answer has to be made.
    """
    headers = cache_headers(subject.identity)
    return headers, not_modified(request, headers)
