"""IIIF Image API 3.0 over section images and masks: level 1, and some of level 2.

https://iiif.io/api/image/3.0/ is the source of every rule here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from pipeline.service.http.answers import RequestError
from pipeline.service.images.image_store import ImageStore, Opened, find_subject, refusing
from pipeline.service.images.regions import LARGEST_SIDE, Box, check_out, clipped
from pipeline.service.images.rendering import MEDIA, Asked, answer_region, unchanged
from pipeline.service.images.sources import Size
from pipeline.service.served import LIMITS, Serving

CONTEXT = "http://iiif.io/api/image/3/context.json"
QUALITIES = ("default", "color", "gray")
WHOLE = re.compile(r"[0-9]{1,9}")
NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{0,20})?|\.[0-9]{1,20}")
FEATURES = (
    "regionByPct",
    "sizeByPct",
    "sizeByWh",
    "sizeByConfinedWh",
    "sizeUpscaling",
    "canonicalLinkHeader",
)


def routes(serving: Serving, store: ImageStore) -> list[Route]:
    """Return the routes of the IIIF Image API.

    Parameters
    ----------
    serving : Serving
        The server.
    store : ImageStore
        Its images.

    Returns
    -------
    list of Route
        Base URI, information and images.
    """

    async def base(request: Request) -> Response:
        find_subject(serving.catalogue, request.path_params["name"])
        return RedirectResponse(f"{base_uri(request)}/info.json", status_code=303)

    async def info(request: Request) -> Response:
        subject = find_subject(serving.catalogue, request.path_params["name"])
        headers, response = unchanged(request, subject)
        if response is None:
            with refusing(subject):
                opened = await store.opened(subject)
            document = information(base_uri(request), opened, is_mask=subject.is_mask)
            linked = "application/ld+json" in request.headers.get("accept", "")
            media = f'application/ld+json;profile="{CONTEXT}"' if linked else "application/json"
            response = JSONResponse(document, headers=headers | {"Vary": "Accept"}, media_type=media)
        return response

    async def image(request: Request) -> Response:
        subject = find_subject(serving.catalogue, request.path_params["name"])
        headers, response = unchanged(request, subject)
        if response is None:
            with refusing(subject):
                opened = store.opened_now(subject) or await store.opened(subject)
                asked = parsed(opened.size, request.path_params)
                content = await answer_region(store, subject, opened, asked)
            link = f'<{base_uri(request)}/{canonical(opened.size, asked)}>;rel="canonical"'
            response = Response(content, headers=headers | {"Link": link}, media_type=MEDIA[asked.format])
        return response

    return [
        Route("/iiif/3/{name}", base),
        Route("/iiif/3/{name}/", base),
        Route("/iiif/3/{name}/info.json", info),
        Route("/iiif/3/{name}/{region}/{size}/{rotation}/{last}", image),
    ]


def base_uri(request: Request) -> str:
    """Return the base URI of the image that a request names.

    Parameters
    ----------
    request : Request
        The request.

    Returns
    -------
    str
        Without a slash at its end.
    """
    return f"{str(request.base_url).rstrip('/')}/iiif/3/{request.path_params['name']}"


def information(uri: str, opened: Opened, *, is_mask: bool) -> dict[str, Any]:
    """Return what info.json states (section 5).

    Parameters
    ----------
    uri : str
        Base URI of the image.
    opened : OpenImage or OpenMask
        The open image.
    is_mask : bool
        Whether it is a mask, better served as PNG.

    Returns
    -------
    dict of str to Any
        The document. Tiles have the size of the stored ones, at halvings until one tile holds the image.
    """
    (width, height), tile = opened.size, opened.tile
    scales = [1]
    while width > scales[-1] * tile[0] or height > scales[-1] * tile[1]:
        scales.append(2 * scales[-1])
    sizes = [(math.ceil(width / scale), math.ceil(height / scale)) for scale in reversed(scales)]
    return {
        "@context": CONTEXT,
        "id": uri,
        "type": "ImageService3",
        "protocol": "http://iiif.io/api/image",
        "profile": "level1",
        "width": width,
        "height": height,
        "maxWidth": LARGEST_SIDE,
        "maxHeight": LARGEST_SIDE,
        "maxArea": LIMITS.region_px,
        "sizes": [{"width": w, "height": h} for w, h in sizes if w * h <= LIMITS.region_px],
        "tiles": [{"width": tile[0], "height": tile[1], "scaleFactors": scales}],
        "preferredFormats": ["png"] if is_mask else ["jpg"],
        "extraFormats": ["png"],
        "extraQualities": ["color", "gray"],
        "extraFeatures": list(FEATURES),
    }


def parsed(size: Size, words: dict[str, str]) -> Asked:
    """Understand the path of an image request (section 4).

    Parameters
    ----------
    size : (int, int)
        Width and height of the image, px.
    words : dict of str to str
        `region`, `size`, `rotation` and `last`, which is quality and format.

    Returns
    -------
    Asked
        What is to be answered.

    Raises
    ------
    RequestError
        Where a word is not understood or not served.
    """
    box = parsed_region(size, words["region"])
    out = parsed_size(box, words["size"])
    if not re.fullmatch(r"0+(\.0*)?", words["rotation"]):
        raise RequestError(
            f"rotation: expected 0, got {words['rotation'][:40]!r}; turn the image where it is shown"
        )
    quality, _, form = words["last"].rpartition(".")
    if quality not in QUALITIES or form not in MEDIA:
        raise RequestError(
            f"expected a quality of {', '.join(QUALITIES)} and a format of {', '.join(MEDIA)}, such as"
            f" default.jpg, got {words['last'][:40]!r}"
        )
    return Asked(box, out, form, is_grey=quality == "gray")


def parsed_region(size: Size, text: str) -> Box:
    """Understand a region (section 4.1).

    Parameters
    ----------
    size : (int, int)
        Width and height of the image, px.
    text : str
        full, square, x,y,w,h or pct:x,y,w,h.

    Returns
    -------
    (int, int, int, int)
        Left, top, width and height, px, inside the image.

    Raises
    ------
    RequestError
        Where it is none of these, or has no pixel of the image.

    Examples
    --------
    >>> parsed_region((300, 200), "square"), parsed_region((300, 200), "pct:50,50,60,25")
    ((50, 0, 200, 200), (150, 100, 150, 50))
    """
    width, height = size
    if text == "full":
        return 0, 0, width, height
    if text == "square":
        side = min(size)
        return (width - side) // 2, (height - side) // 2, side, side
    if text.startswith("pct:"):
        parts = _numbers(text, text.removeprefix("pct:"), NUMBER, 4)
        x, y, w, h = (round(part * size[i % 2] / 100) for i, part in enumerate(parts))
        if parts[2] > 0 and parts[3] > 0:  # a share of less than half a pixel is still a pixel
            w, h = max(w, 1), max(h, 1)
    else:
        x, y, w, h = (int(part) for part in _numbers(text, text, WHOLE, 4))
    return clipped(size, (x, y, w, h))


def parsed_size(box: Box, text: str) -> Size:
    """Understand a size (section 4.2).

    Parameters
    ----------
    box : (int, int, int, int)
        The region.
    text : str
        max, w,h, w,, ,h, pct:n or !w,h, each with ^ in front where it may enlarge.

    Returns
    -------
    (int, int)
        Width and height of the answer, px.

    Raises
    ------
    RequestError
        Where it is none of these, enlarges without ^, or is larger than served.

    Examples
    --------
    >>> box = (0, 0, 300, 200)
    >>> parsed_size(box, "max"), parsed_size(box, "150,"), parsed_size(box, "!60,60")
    ((300, 200), (150, 100), (60, 40))
    """
    grows, word = text.startswith("^"), text.removeprefix("^")
    width, height = int(box[2]), int(box[3])
    if word == "max":
        largest = _largest_scale(width, height)
        out = _scaled(width, height, largest if grows else min(largest, 1.0), math.floor)
    elif word.startswith("pct:"):
        (percent,) = _numbers(text, word.removeprefix("pct:"), NUMBER, 1)
        out = _scaled(width, height, percent / 100, round)
    elif word.startswith("!"):
        w, h = _numbers(text, word.removeprefix("!"), WHOLE, 2)
        out = _confined((width, height), (int(w), int(h)), grows=grows)
    else:
        out = _stated(text, word, width, height)
    if not grows and (out[0] > width or out[1] > height):
        raise RequestError(
            f"size {text[:40]!r}: larger than the region of {width} x {height} px; ^{word[:40]} enlarges it"
        )
    check_out(out)
    return out


def canonical(size: Size, asked: Asked) -> str:
    """Return the one path of an answer among all that lead to it (section 4.7).

    Parameters
    ----------
    size : (int, int)
        Width and height of the image, px.
    asked : Asked
        The answer.

    Returns
    -------
    str
        Region, size, rotation, quality and format.
    """
    left, top, width, height = (int(v) for v in asked.box)
    whole = (left, top, width, height) == (0, 0, *size)
    grows = asked.out[0] > width or asked.out[1] > height
    shrinks = width * height > LIMITS.region_px or max(width, height) > LARGEST_SIDE
    largest = asked.out == (parsed_size(asked.box, "max") if shrinks else (width, height))
    where = "full" if whole else f"{left},{top},{width},{height}"
    out = "max" if largest else f"{'^' if grows else ''}{asked.out[0]},{asked.out[1]}"
    return f"{where}/{out}/0/{'gray' if asked.is_grey else 'default'}.{asked.format}"


def _stated(text: str, word: str, width: int, height: int) -> Size:
    """Return a size whose width, height or both are stated."""
    w, comma, h = word.partition(",")
    if not comma or not (w or h) or not all(WHOLE.fullmatch(side) for side in (w, h) if side):
        raise RequestError(
            f"size: expected max, w,h or w, or ,h or pct:n or !w,h, with ^ before it to enlarge, got"
            f" {text[:40]!r}"
        )
    across = int(w) if w else round(width * int(h) / height)
    down = int(h) if h else round(height * int(w) / width)
    return across, down


def _largest_scale(width: int, height: int) -> float:
    side = min(LARGEST_SIDE / width, LARGEST_SIDE / height)
    return min(side, math.sqrt(LIMITS.region_px / (width * height)))


def _scaled(width: int, height: int, scale: float, rounded: Callable[[float], int]) -> Size:
    return rounded(width * scale + 1e-9), rounded(height * scale + 1e-9)


def _confined(region: Size, most: Size, *, grows: bool) -> Size:
    """Return the largest size of a region's shape that fits into another; a thin region keeps a pixel."""
    if min(most) < 1:
        return 0, 0
    scale = min(most[0] / region[0], most[1] / region[1], _largest_scale(*region))
    across, down = _scaled(*region, scale if grows else min(scale, 1.0), round)
    across, down = min(max(across, 1), most[0]), min(max(down, 1), most[1])
    return (across, down) if across * down <= LIMITS.region_px else _scaled(*region, scale, math.floor)


def _numbers(text: str, listed: str, form: re.Pattern[str], count: int) -> list[float]:
    parts = listed.split(",")
    if len(parts) != count or not all(form.fullmatch(part) for part in parts):
        raise RequestError(
            f"expected {count} number{'s' if count > 1 else ''} of 0 or more, got {text[:60]!r}"
        )
    return [float(part) for part in parts]
