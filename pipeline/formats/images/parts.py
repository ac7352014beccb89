"""Parts of an image, decoded tile by tile where a TIFF has tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from pipeline.core.model import UInt8
from pipeline.formats.images import tiff
from pipeline.formats.images.files import (
    blaming,
    check_decoded,
    image_format,
    read_image,
    whole_jpeg,
)
from pipeline.formats.images.headers import jpeg_header
from pipeline.formats.images.tiff_tiles import check_segments, check_tile


def read_part(path: Path, rows: slice, columns: slice, bits: int | None = None) -> UInt8:
    """Read some rows and columns of an image.

    Parameters
    ----------
    path : Path
        Image file.
    rows, columns : slice, px
        Start and stop inside the image.
    bits : int, optional
        As of `read_image`.

    Returns
    -------
    (rows, columns) or (rows, columns, 3) uint8
        Pixels as of `read_image`.

    Raises
    ------
    DataError
        Where the file is missing, damaged or of another kind.
    """
    kind = image_format(path)
    with blaming(path, kind), _plain_tiles(path, kind) as found:
        if found is not None:
            return _tiles(*found, rows, columns)
    return np.ascontiguousarray(read_image(path, bits)[rows, columns])


def read_luma(path: Path, bits: int | None = None) -> Iterator[tuple[int, int, UInt8]]:
    """Read an image for its luma, in parts that cover it: the tiles of a tiled TIFF, else the whole at once.

    Parameters
    ----------
    path : Path
        Image file.
    bits : int, optional
        As of `read_image`.

    Yields
    ------
    row, column : int, px
        Position of the part's first pixel.
    part : (rows, columns[, 3]) uint8
        Luma, or RGB as of `read_image`.

    Raises
    ------
    DataError
        Where the file is missing, damaged or of another kind.

    Notes
    -----
    JPEG stores luma and colour separately. The stored luma of a JPEG image or tile is used directly, at half
    the cost of converting to RGB and back. The two differ in 3 of 10 000 pixels, by the rounding in between.
    """
    kind = image_format(path)
    with blaming(path, kind), _plain_tiles(path, kind) as found:
        if found is not None:
            file, page = found
            decode = _decode_luma if _stores_luma(page) else _decode
            rows, columns = page.chunked[:2]
            for row in range(rows):
                for column in range(columns):
                    yield _tile(file, page, (row, column), decode)
            return
    with blaming(path, kind):
        luma = _jpeg_luma(path) if kind == "JPEG" else None
    yield 0, 0, read_image(path, bits) if luma is None else luma


def _jpeg_luma(path: Path) -> UInt8 | None:
    """Return the stored luma of a JPEG; None where an orientation has to be applied."""
    data = path.read_bytes()
    header = jpeg_header(data)
    if header.orientation != 1:
        return None
    luma = whole_jpeg(data, partial(imagecodecs.jpeg8_decode, outcolorspace="GRAYSCALE"))
    check_decoded(header, luma)
    return luma


def _stores_luma(page: Any) -> bool:
    return bool(page.compression == tiff.JPEG and page.photometric == tiff.YCBCR and page.bitspersample == 8)


def _decode(page: Any, data: bytes, index: int) -> UInt8:
    tile = page.decode(data, index, jpegtables=page.jpegtables)[0][0]
    return np.asarray(tile.reshape(*tile.shape[:2], *page.shape[2:]))


def _decode_luma(page: Any, data: bytes, index: int) -> UInt8:
    tile = imagecodecs.jpeg8_decode(
        data, tables=page.jpegtables, colorspace="YCBCR", outcolorspace="GRAYSCALE"
    )
    return np.asarray(tile)


@contextmanager
def _plain_tiles(path: Path, kind: str) -> Iterator[tuple[Any, Any] | None]:
    """Provide the open file and the page of a TIFF whose tiles need only be assembled, else None."""
    if kind != "TIFF":
        yield None
        return
    with tiff.open_tiff(path) as file:
        header = tiff.header_of(file)
        page = tiff.main_series(file).levels[0].keyframe
        if page.is_tiled and tiff.is_chunky(page, header) and header.orientation == 1:
            check_segments(path, page)
            yield file, page
        else:
            yield None


def _tiles(file: Any, page: Any, rows: slice, columns: slice) -> UInt8:
    """Decode the tiles that a part overlaps."""
    canvas = np.empty((rows.stop - rows.start, columns.stop - columns.start, *page.shape[2:]), np.uint8)
    height, width = page.chunks[:2]
    for row in range(rows.start // height, -(-rows.stop // height)):
        for column in range(columns.start // width, -(-columns.stop // width)):
            y, x, tile = _tile(file, page, (row, column), _decode)
            top, left = max(y, rows.start), max(x, columns.start)
            part = canvas[
                top - rows.start : y + height - rows.start, left - columns.start : x + width - columns.start
            ]
            part[:] = tile[top - y :, left - x :][: part.shape[0], : part.shape[1]]
    return canvas


def _tile(
    file: Any, page: Any, place: tuple[int, int], decode: Callable[[Any, bytes, int], UInt8]
) -> tuple[int, int, UInt8]:
    """Decode one tile, cropped to the image, and return its position too; a missing tile is glass."""
    row, column = place
    y, x = row * page.chunks[0], column * page.chunks[1]
    shape = min(page.chunks[0], page.imagelength - y), min(page.chunks[1], page.imagewidth - x)
    index = row * page.chunked[1] + column
    if not page.databytecounts[index]:
        return y, x, np.full((*shape, *page.shape[2:]), 255, np.uint8)
    file.filehandle.seek(page.dataoffsets[index])
    data = file.filehandle.read(page.databytecounts[index])
    check_tile(page, data)
    return y, x, decode(page, data, index)[: shape[0], : shape[1]]
