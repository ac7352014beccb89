"""A part of an image, decoded no further than that where its form allows: the tiles of a TIFF."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.formats import tiff
from pipeline.formats.images import blaming, check_size, image_format, read_image
from pipeline.model import UInt8

PLAIN = (tiff.YCBCR, tiff.RGB, tiff.MINISBLACK)


def read_part(path: Path, rows: slice, columns: slice) -> UInt8:
    """Read some rows and columns of an image.

    Parameters
    ----------
    rows, columns : slice, px       with a start and a stop inside the image

    Returns
    -------
    (rows, columns) or (rows, columns, 3) uint8     as `read_image` gives them
    """
    kind = image_format(path)
    with blaming(path, kind), _plain_tiles(path, kind) as found:
        if found is not None:
            return _tiles(*found, rows, columns)
    return np.ascontiguousarray(read_image(path)[rows, columns])


def read_bands(path: Path) -> Iterator[tuple[int, UInt8]]:
    """Read an image from top to bottom: a band of tiles at a time of a tiled TIFF, else all at once.

    Yields
    ------
    int, px                                     where the band begins
    (rows, W) or (rows, W, 3) uint8             as `read_image` gives them
    """
    kind = image_format(path)
    with blaming(path, kind), _plain_tiles(path, kind) as found:
        if found is not None:
            page = found[1]
            for top in range(0, page.imagelength, page.chunks[0]):
                rows = slice(top, min(top + page.chunks[0], page.imagelength))
                yield top, _tiles(*found, rows, slice(0, page.imagewidth))
            return
    yield 0, read_image(path)


@contextmanager
def _plain_tiles(path: Path, kind: str) -> Iterator[tuple[Any, Any] | None]:
    """Lend the open file and the page of a TIFF whose tiles need only be put side by side, else None."""
    if kind != "TIFF":
        yield None
        return
    with tiff.open_tiff(path) as file:
        header = tiff.header_of(file)
        check_size(header)
        page = file.series[0].levels[0].keyframe
        plain = page.photometric in PLAIN and not page.extrasamples and page.planarconfig == 1
        if page.is_tiled and plain and header.orientation == 1 and header.value_range is None:
            tiff.check_segments(path, page)
            yield file, page
        else:
            yield None


def _tiles(file: Any, page: Any, rows: slice, columns: slice) -> UInt8:
    """Decode the tiles that a part touches; what is not there is glass."""
    height, width = page.chunks[:2]
    top, left = rows.start // height, columns.start // width
    bottom, right = -(-rows.stop // height), -(-columns.stop // width)
    samples = page.shape[2:]
    canvas = np.full(((bottom - top) * height, (right - left) * width, *samples), 255, np.uint8)
    for row in range(top, bottom):
        for column in range(left, right):
            index = row * page.chunked[1] + column
            if not page.databytecounts[index]:
                continue
            file.filehandle.seek(page.dataoffsets[index])
            data = file.filehandle.read(page.databytecounts[index])
            tile = page.decode(data, index, jpegtables=page.jpegtables)[0]
            y, x = (row - top) * height, (column - left) * width
            canvas[y : y + tile.shape[1], x : x + tile.shape[2]] = tile[0].reshape(*tile.shape[1:3], *samples)
    within = np.s_[
        rows.start - top * height : rows.stop - top * height,
        columns.start - left * width : columns.stop - left * width,
    ]
    return np.ascontiguousarray(canvas[within])
