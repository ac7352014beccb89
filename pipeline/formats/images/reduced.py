"""Images reduced by an integer factor, decoded at reduced size where their format allows.

JPEG, whole or as tiles and strips of a TIFF, is decoded at an eighth to a half of its size by a smaller
inverse cosine transform; JPEG 2000 omits its finest wavelet levels; a pyramid has reduced levels. The rest of
the factor, and all of it for other formats, is averaged from the pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Jpeg2KImagePlugin

from pipeline.core.blocks import block_mean
from pipeline.core.errors import DataError
from pipeline.core.model import UInt8
from pipeline.formats.images import tiff
from pipeline.formats.images.files import (
    HEADERS,
    blaming,
    image_format,
    read_image,
    whole_jpeg,
)
from pipeline.formats.images.headers import Header
from pipeline.formats.images.tiff_tiles import check_segments, check_tile, check_tiles

# OpenCV's flags by reduction.
COLOUR = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
GREY = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"  # APP14: components are RGB, not YCbCr
START = b"\xff\xd8"  # JPEG start of image
SAME_PICTURE = 0.01  # relative deviation of a pyramid level's sides from the factor


def read_reduced(path: Path, factor: int, bits: int | None = None) -> UInt8:
    """Read an image reduced by an integer factor.

    Parameters
    ----------
    path : Path
        Image file.
    factor : int
        Ratio of full to reduced size.
    bits : int, optional
        As of `read_image`.

    Returns
    -------
    (ceil(H / factor), ceil(W / factor)[, 3]) uint8
        Grey or RGB; a pyramid level may be a pixel shorter.

    Raises
    ------
    DataError
        Where the factor is below 1, or the file is missing, damaged or of another kind.

    Notes
    -----
    Formats without reduced decoding yield the rounded mean of each factor x factor block, at the right and
    lower edge of the available pixels. Others yield a low pass whose sharpness depends on the format,
    positioned to within half a reduced pixel.
    """
    if factor < 1:
        raise DataError(f"expected a factor of at least 1, got {factor}")
    kind = image_format(path)
    with blaming(path, kind):
        found = _cheaper(path, kind, factor) if factor > 1 else None
    if found is None:
        return block_mean(read_image(path, bits), factor)
    header, pixels, done = found
    pixels = block_mean(pixels, factor // done)
    return np.ascontiguousarray(pixels[: -(-header.height // factor), : -(-header.width // factor)])


def _cheaper(path: Path, kind: str, factor: int) -> tuple[Header, UInt8, int] | None:
    """Return header, pixels and their reduction; None where only decoding at full size is correct."""
    if kind == "TIFF":
        return _tiff(path, factor)
    if kind not in ("JPEG", "JPEG 2000"):
        return None
    data = path.read_bytes()
    header = HEADERS[kind](data)
    if header.orientation != 1 or header.bits != 8:
        return None
    if kind == "JPEG 2000":
        return _jpeg2000(data, header, factor)
    step = _step(factor)
    if step == 1:
        return None
    pixels = np.asarray(whole_jpeg(data, lambda more: _jpeg(more, step, header.channels)))
    return _checked(header, pixels, step)


def _step(factor: int) -> int:
    """Return the largest of 1, 2, 4, 8 that divides a factor."""
    return int(np.gcd(factor, 8))


def _jpeg(data: bytes, step: int, channels: int) -> UInt8:
    flag = (GREY if channels == 1 else COLOUR)[step] | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    if pixels is None:
        raise DataError("expected a whole JPEG, got one that cannot be decoded; copy it again")
    return np.asarray(pixels if channels == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def _checked(header: Header, pixels: UInt8, step: int) -> tuple[Header, UInt8, int]:
    wanted = -(-header.height // step), -(-header.width // step)
    if pixels.shape[:2] != wanted:
        raise DataError(
            f"expected {header.width} x {header.height} pixels as its header says, got {pixels.shape[1]} x"
            f" {pixels.shape[0]} at a {step}th of them"
        )
    return header, pixels, step


def _jpeg2000(data: bytes, header: Header, factor: int) -> tuple[Header, UInt8, int] | None:
    image: Any = Jpeg2KImagePlugin.Jpeg2KImageFile(BytesIO(data))
    sides = header.width, header.height
    # Pillow rounds the reduced sides to nearest, the file holds them rounded up: use levels where both agree.
    fits = [i for i in range(1, 6) if all((n + 2**i // 2) // 2**i == -(-n // 2**i) for n in sides)]
    levels = max((i for i in fits if factor % 2**i == 0), default=0)
    if image.mode != ("RGB" if header.channels == 3 else "L") or levels == 0:
        return None
    image.reduce = levels
    try:
        pixels = np.array(image, np.uint8)
    except OSError:  # fewer levels than that, or damaged; reading at full size tells which
        return None
    return _checked(header, pixels, 2**levels)


def _tiff(path: Path, factor: int) -> tuple[Header, UInt8, int] | None:
    with tiff.open_tiff(path) as file:
        header = tiff.header_of(file)
        if header.orientation != 1 or header.bits != 8 or header.value_range is not None:
            return None
        main = tiff.main_series(file)
        level = _level(file, path, main.levels, header, factor)
        if level is not None:
            return header, *level
        page = main.levels[0].keyframe
        step = _step(factor)
        if step == 1 or page.compression != tiff.JPEG or not tiff.is_chunky(page, header):
            return None
        if page.chunks[0] % step or (page.is_tiled and page.chunks[1] % step):
            return None
        check_segments(path, page)
        return header, _tiles(file, page, header, step), step


def _level(file: Any, path: Path, levels: Any, header: Header, factor: int) -> tuple[UInt8, int] | None:
    """Return the smallest pyramid level that is not coarser than requested, and its factor."""
    best: tuple[Any, int] | None = None
    for level in levels[1:]:
        sides = dict(zip(level.axes, level.shape, strict=True))
        across, down = header.width / sides["X"], header.height / sides["Y"]
        step = round(across)
        alike = max(abs(across / step - 1), abs(down / step - 1)) <= SAME_PICTURE if step > 1 else False
        if alike and factor % step == 0 and level.dtype == levels[0].dtype and level.axes in ("YX", "YXS"):
            best = level, step
    if best is None:
        return None
    level, step = best
    page = level.keyframe
    if page.photometric not in (tiff.YCBCR, tiff.RGB, tiff.MINISBLACK) or page.extrasamples:
        return None
    check_segments(path, page)
    check_tiles(file, page)
    page.nodata = 255
    return np.asarray(level.asarray(), np.uint8), step


def _tiles(file: Any, page: Any, header: Header, step: int) -> UInt8:
    """Decode the tiles or strips of a TIFF at 1/step of their size; missing ones are filled with glass."""
    (height, width), rows = page.chunks[:2], header.height
    across = -(-header.width // width)
    shape = (-(-header.height // step), -(-header.width // step))
    canvas = np.full(shape if header.channels == 1 else (*shape, 3), 255, np.uint8)
    for index, data in _streams(file, page):
        # `height` and `width` are those of a tile, both multiples of `step`; a strip has column 0 only.
        y, x = (index // across) * height // step, (index % across) * width // step
        inside = min(height, rows - y * step), min(width, header.width - x * step)
        tile = _edge(data, step, header.channels, inside)
        part = canvas[y : y + tile.shape[0], x : x + tile.shape[1]]
        part[:] = tile[: part.shape[0], : part.shape[1]]
    return canvas


def _edge(data: bytes, step: int, channels: int, inside: tuple[int, int]) -> UInt8:
    """Decode a tile at 1/step; at an edge of the image its padding is cut off before averaging."""
    if inside[0] % step == 0 and inside[1] % step == 0:
        return _jpeg(data, step, channels)
    return block_mean(_jpeg(data, 1, channels)[: inside[0], : inside[1]], step)


def _streams(file: Any, page: Any) -> Iterator[tuple[int, bytes]]:
    """Yield index and complete JPEG of every stored tile, with shared tables and colour space added."""
    tables = page.jpegtables[2:-2] if page.jpegtables else b""
    colour = ADOBE_RGB if page.photometric == tiff.RGB else b""
    handle = file.filehandle
    for index, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        if count:
            handle.seek(offset)
            whole = handle.read(count)
            check_tile(page, whole)
            yield index, START + colour + tables + whole[2:]
