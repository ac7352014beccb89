"""The original's image download: a section or its mask, at a tier, as a JPEG.

`downsample` n halves the image n times. `left` and `top` count pixels of the whole image, `width` and
`height` those of the tier. The default is the tissue box.

The mask is grey, as the original's is: `view=expression` and `expression=true` mean it. Projections are masks
of connectivity experiments; for a section of an ISH experiment `view=projection` is the photo, as scripts in
R rely on. `colormap=…,4` colours the mask blue, green, red. Values of `range` are those of the image, 0 to
255.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

import numpy as np
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pipeline.core.did_you_mean import hint, nearest
from pipeline.core.model import UInt8
from pipeline.service.content.catalogue import ServedSection
from pipeline.service.http.answers import RequestError
from pipeline.service.images.colour_maps import NAMES, coloured, contrast, gain, window
from pipeline.service.images.encoding import FINE_PX, as_jpeg
from pipeline.service.images.image_store import ImageStore, find_subject, refusing
from pipeline.service.images.regions import Box, check_out, clipped, reduction, region
from pipeline.service.images.rendering import luma, unchanged
from pipeline.service.images.sources import Pixels, Size
from pipeline.service.plates.atlases import is_atlas_image_id
from pipeline.service.served import LIMITS, Serving

PATHS = ("image_download", "section_image_download", "projection_image_download")
VIEWS = ("expression", "projection")
MOST_HALVINGS = 31
QUALITY = 90
YES, NO = ("true", "1", "t"), ("false", "0", "f", "")
NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{0,20})?|\.[0-9]{1,20}")
WHOLE = re.compile(r"[0-9]{1,9}(\.0*)?")  # some clients write whole numbers with a point
KNOWN = (
    "downsample", "quality", "left", "top", "width", "height", "view", "expression", "projection",
    "tumor_feature_annotation", "tumor_feature_boundary", "downsample_dimensions", "colormap", "range", "rgb",
    "contrast", "annotation", "atlas",
)  # fmt: skip
LIKENESS = 0.8  # from which on an unknown parameter counts as a known one, mistyped


@dataclass(frozen=True)
class Filters:
    """What is done to the values, in this order; None: nothing.

    Attributes
    ----------
    range : tuple of 6 float or None
        Lower and upper value of red, green and blue that become 0 and 255.
    contrast : (float, float) or None
        Gain and bias, 0.5 and 0.5 in the middle.
    colormap : tuple of 5 float or None
        Gain (0.5: none), threshold (0-1), lower and upper value, number of the map.
    rgb : tuple of 3 float or None
        Gain of red, green and blue, 0-1.
    """

    range: tuple[float, ...] | None = None
    contrast: tuple[float, ...] | None = None
    colormap: tuple[float, ...] | None = None
    rgb: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Download:
    """An image download as it was asked for.

    Attributes
    ----------
    downsample : int
        Number of halvings.
    quality : int
        Of the JPEG, 0-100.
    left, top : int or None, px
        Corner in the whole image.
    width, height : int or None, px
        Size of the answer.
    is_mask : bool
        The expression mask instead of the image.
    filters : Filters
        What is done to the values.
    """

    downsample: int
    quality: int
    left: int | None
    top: int | None
    width: int | None
    height: int | None
    is_mask: bool
    filters: Filters

    def place(self, size: Size, default: Box | None = None) -> tuple[Box, Size]:
        """Return the region and its size in the answer.

        Parameters
        ----------
        size : (int, int)
            Width and height of the whole image, px.
        default : (float, float, float, float), optional
            Left, top, width and height where they are not asked for; default the whole image.

        Returns
        -------
        box : (float, float, float, float)
            Left, top, width and height, px of the whole image.
        out : (int, int)
            Width and height of the answer, px; partial pixels at the far edges are left out.

        Raises
        ------
        RequestError
            Where the region lies outside the image, or is too large.
        """
        scale = 2**self.downsample
        usual = clipped(size, default) if default else (0, 0, *size)
        left, top = (
            math.floor(usual[axis]) if asked is None else asked
            for axis, asked in enumerate((self.left, self.top))
        )
        width, height = (
            math.ceil(usual[axis]) if asked is None else min(asked * scale, 2**30)
            for axis, asked in ((2, self.width), (3, self.height))
        )
        box = clipped(size, (left, top, width, height))
        out = max(int(box[2]) // scale, 1), max(int(box[3]) // scale, 1)
        check_out(out, LIMITS.decoded_px)
        return (box[0], box[1], min(out[0] * scale, box[2]), min(out[1] * scale, box[3])), out


def routes(serving: Serving, store: ImageStore) -> list[Route]:
    """Return the routes of the image download.

    Parameters
    ----------
    serving : Serving
        The server.
    store : ImageStore
        Its images.

    Returns
    -------
    list of Route
        One for each name of the service.
    """

    async def download(request: Request) -> Response:
        name, words = split_path(request.path_params["name"], request.query_params)
        if name.isdecimal() and is_atlas_image_id(int(name)):
            return RedirectResponse(f"/api/v2/atlas_image_download/{name}?{urlencode(words)}", 307)
        asked = parsed(words)
        subject = find_subject(serving.catalogue, f"{name}:mask" if asked.is_mask else name)
        headers, response = unchanged(request, subject)
        if response is None:
            default = tissue_box(subject.section)
            with refusing(subject):
                opened = store.opened_now(subject) or await store.opened(subject)
                box, out = asked.place(opened.size, default)
                source = await store.pixels(subject, opened, reduction(opened.size, box, out))
                content, media = await store.pool.run(_answer, source, asked, default)
            response = Response(content, headers=headers, media_type=media)
        return response

    return [Route(f"/api/v2/{path}/{{name}}", download) for path in PATHS]


def answer_download(
    pixels: Pixels, parameters: Mapping[str, str], default: Box | None = None
) -> tuple[bytes, str]:
    """Return any image as the image download does: a section, a mask, a plate.

    Parameters
    ----------
    pixels : Pixels
        The image.
    parameters : mapping of str to str
        Parameters of the URL; `view`, `expression` and `projection` are up to the caller.
    default : (float, float, float, float), optional
        Left, top, width and height where they are not asked for, px; default the whole image.

    Returns
    -------
    bytes
        A JPEG.
    str
        Its media type.

    Raises
    ------
    RequestError
        Where a parameter is not understood, or the region is out of bounds.
    """
    return _answer(pixels, parsed(parameters), default)


def tissue_box(section: ServedSection) -> Box | None:
    """Return the box around the tissue of a section.

    Parameters
    ----------
    section : ServedSection
        The section.

    Returns
    -------
    (float, float, float, float) or None
        Left, top, width and height, px of the frame; None where the manifest has none, or an empty one.
    """
    box = section.image.tissue_box_px
    return box if box is not None and min(box[2:]) > 0 else None


def _answer(pixels: Pixels, asked: Download, default: Box | None) -> tuple[bytes, str]:
    box, out = asked.place(pixels.size, default)
    values = filtered(region(pixels, box, out, LIMITS.decoded_px), asked.filters)
    return as_jpeg(values, asked.quality, fine=pixels.is_mask or out[0] * out[1] <= FINE_PX), "image/jpeg"


def filtered(pixels: UInt8, filters: Filters) -> UInt8:
    """Apply filters to pixels.

    Parameters
    ----------
    pixels : (h, w) or (h, w, 3) uint8
        Grey or RGB.
    filters : Filters
        What is to be done.

    Returns
    -------
    (h, w) or (h, w, 3) uint8
        Grey, or RGB where the pixels or a filter are in colour.
    """
    if filters.range is not None:
        pairs = list(zip(filters.range[::2], filters.range[1::2], strict=True))
        pixels = _by_channel(pixels, [window(low, high) for low, high in pairs])
    if filters.contrast is not None:
        pixels = contrast(*filters.contrast)[pixels]
    if filters.colormap is not None:
        strength, threshold, low, high, number = filters.colormap
        grey = window(low, high)[luma(pixels)]
        grey = np.where(grey < threshold * 255, 0, gain(2 * strength)[grey]).astype(np.uint8)
        pixels = coloured(grey, int(number))
    if filters.rgb is not None:
        pixels = _by_channel(pixels, [gain(factor) for factor in filters.rgb])
    return pixels


def _by_channel(pixels: UInt8, tables: list[UInt8]) -> UInt8:
    """Apply a table to each channel; grey stays grey where all three are the same."""
    if pixels.ndim == 2:
        if all(np.array_equal(table, tables[0]) for table in tables):
            return np.asarray(tables[0][pixels])
        return np.stack([table[pixels] for table in tables], axis=-1)
    return np.stack([table[pixels[..., c]] for c, table in enumerate(tables)], axis=-1)


def split_path(text: str, query: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return id and parameters of a download.

    Parameters
    ----------
    text : str
        The id, perhaps with .jpg, perhaps followed by `&downsample=3` as the documentation once had it.
    query : mapping of str to str
        Parameters after the question mark.

    Returns
    -------
    str
        The id.
    dict of str to str
        All parameters.

    Examples
    --------
    >>> split_path("101.jpg&downsample=3", {"quality": "50"})
    ('101', {'downsample': '3', 'quality': '50'})
    """
    name, _, slipped = text.partition("&")
    name = name.removesuffix(".jpg")
    return name, {**dict(parse_qsl(slipped, keep_blank_values=True)), **query}


def parsed(words: Mapping[str, str]) -> Download:
    """Understand the parameters of a download.

    Parameters
    ----------
    words : mapping of str to str
        Parameters of the URL. Unknown ones count for nothing unless they look like known ones, mistyped.

    Returns
    -------
    Download
        What is asked.

    Raises
    ------
    RequestError
        Where a value is not understood or not served; the message says what is.
    """
    for word in words:
        if word not in KNOWN and nearest(word, KNOWN, likeness=LIKENESS):
            raise RequestError(f"{word[:40]}: no such parameter; {hint(word, KNOWN)}")
    for word in ("tumor_feature_annotation", "tumor_feature_boundary"):
        if _yes(words, word):
            raise RequestError(
                f"{word}: ISH sections have no tumour features; served are image and expression mask"
            )
    view = words.get("view", "")
    if view not in ("", *VIEWS):
        raise RequestError(f"view: expected {' or '.join(VIEWS)}, or none for the image, got {view[:40]!r}")
    _yes(words, "projection")  # checked only
    is_mask = view == "expression" or _yes(words, "expression")
    downsample = _whole(words, "downsample", MOST_HALVINGS) or 0
    quality = _whole(words, "quality", 100)
    width, height = (_whole(words, word) for word in ("width", "height"))
    if _yes(words, "downsample_dimensions"):  # then they count pixels of the whole image, too
        width, height = (n if n is None else max(n >> downsample, 1) for n in (width, height))
    return Download(
        downsample,
        QUALITY if quality is None else quality,
        _whole(words, "left"),
        _whole(words, "top"),
        width,
        height,
        is_mask,
        _filters(words),
    )


def _filters(words: Mapping[str, str]) -> Filters:
    ranges = _numbers(words, "range", 6, "lower and upper of red, green, blue: 0,255,0,255,0,255", 65535)
    pairs = () if ranges is None else tuple(zip(ranges[::2], ranges[1::2], strict=True))
    if any(low >= high for low, high in pairs):
        raise RequestError(f"range: expected each lower value below its upper, got {words['range'][:60]!r}")
    colours = _numbers(words, "colormap", 5, "gain, threshold, lower, upper, map: 0.5,0.1,0,256,4", 65535)
    if colours is not None and (colours[4] not in NAMES or max(colours[:2]) > 1 or colours[2] >= colours[3]):
        maps = ", ".join(f"{number} {name}" for number, name in NAMES.items())
        raise RequestError(
            f"colormap: expected gain and threshold of 0 to 1, lower below upper, and a map of {maps};"
            f" got {words['colormap'][:60]!r}"
        )
    return Filters(
        ranges,
        _numbers(words, "contrast", 2, "gain and bias of 0 to 1: 0.5,0.5", 1),
        colours,
        _numbers(words, "rgb", 3, "red, green and blue of 0 to 1: 1,1,1", 1),
    )


def _numbers(
    words: Mapping[str, str], word: str, count: int, meant: str, most: float
) -> tuple[float, ...] | None:
    text = words.get(word, "")
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != count or not all(NUMBER.fullmatch(part) and float(part) <= most for part in parts):
        raise RequestError(f"{word}: expected {count} numbers, {meant}; got {text[:60]!r}")
    return tuple(float(part) for part in parts)


def _whole(words: Mapping[str, str], word: str, most: int = 2**31 - 1) -> int | None:
    text = words.get(word, "").strip()
    if not text:
        return None
    value = int(float(text)) if WHOLE.fullmatch(text) else -1
    if not 0 <= value <= most:
        raise RequestError(f"{word}: expected a whole number from 0 to {most}, got {text[:40]!r}")
    return value


def _yes(words: Mapping[str, str], word: str) -> bool:
    text = words.get(word, "").strip().lower()
    if text not in (*YES, *NO):
        raise RequestError(f"{word}: expected true or false, got {text[:40]!r}")
    return text in YES
