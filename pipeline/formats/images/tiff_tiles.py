"""Checks of a TIFF's tiles and strips: all present, and none decodes to more pixels than the TIFF states.

Deflate, LZW and similar codecs decode into a buffer of the size of a tile. Image codecs use the size that the
tile itself states, which is therefore checked first.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError
from pipeline.formats.images.headers import (
    JPEG_FRAMES,
    Header,
    jpeg2000_header,
    jpeg_segments,
    png_header,
)

# Values of the TIFF tag Compression.
JPEGS = (6, 7, 33007, 34892)
JPEGS_2000 = (33003, 33004, 33005, 34712)
PNG, WEBP = 34933, 50001
START_OF_SCAN = b"\xff\xda"  # ends the header of a JPEG
BOUNDED = (1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 34926, 50000, 50013)  # decoded into a tile's buffer
LARGEST_TILE = 2**26  # pixels; four times the image where that is more


def check_segments(path: Path, page: Any) -> None:
    """Refuse a TIFF with fewer tiles or strips than its size requires, or whose file ends before them.

    Parameters
    ----------
    path : Path
        TIFF file.
    page : TiffPage
        Page of the image.

    Raises
    ------
    DataError
        Where segments are missing, cut off, too large or in an unsupported compression.
    """
    check_segments_within(path.stat().st_size, page)


def check_segments_within(size: int, page: Any) -> None:
    """Refuse a TIFF as `check_segments` does, for a file that may have no path.

    Parameters
    ----------
    size : int, bytes
        Size of the file.
    page : TiffPage
        Page of the image.

    Raises
    ------
    DataError
        Where segments are missing, cut off, too large or in an unsupported compression.
    """
    _check_compression(page)
    expected = math.prod(page.chunked)
    got = min(len(page.dataoffsets), len(page.databytecounts))
    if got < expected:
        raise DataError(
            f"expected {expected} strips or tiles for {page.imagewidth} x {page.imagelength} pixels,"
            f" got {got}; the header or the file is damaged: copy it again"
        )
    height, width = _tile_sides(page)
    if height * width > max(4 * page.imagewidth * page.imagelength, LARGEST_TILE):
        raise DataError(
            f"expected tiles of a part of the image, got {width} x {height} px for {page.imagewidth} x"
            f" {page.imagelength}; the header is damaged: copy it again"
        )
    end = max(o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
    if end > size:
        raise DataError(f"expected pixels up to byte {end}, got a file of {size} bytes; copy it again")


def check_tiles(tiff: Any, page: Any) -> None:
    """Refuse a TIFF with a tile or strip that states more pixels than the TIFF: a decompression bomb.

    Parameters
    ----------
    tiff : TiffFile
        The open file.
    page : TiffPage
        Page of the image.

    Raises
    ------
    DataError
        Where a tile states too many pixels.
    """
    if page.compression in BOUNDED:
        return
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if count:
            tiff.filehandle.seek(offset)
            check_tile(page, tiff.filehandle.read(count))


def check_tile(page: Any, data: bytes) -> None:
    """Refuse a tile or strip that states more pixels than the TIFF: a decompression bomb.

    Parameters
    ----------
    page : TiffPage
        Page of the image.
    data : bytes
        The tile as stored.

    Raises
    ------
    DataError
        Where the tile states too many pixels.
    """
    if page.compression in BOUNDED:
        return
    rows, columns = _tile_sides(page)
    for width, height in SIZES[int(page.compression)](data):
        if height >= rows + 16 or width >= columns + 16:  # codecs may pad to whole blocks of 16 px
            raise DataError(
                f"expected tiles of {columns} x {rows} px as the header says, got one of {width} x {height};"
                " copy it again"
            )


def _check_compression(page: Any) -> None:
    if page.compression in BOUNDED or page.compression in SIZES:
        return
    name = getattr(page.compression, "name", page.compression)
    raise DataError(
        f"expected TIFF without compression or in LZW, deflate, zstd, JPEG or JPEG 2000, got {name};"
        " save it as one of these"
    )


def _tile_sides(page: Any) -> tuple[int, int]:
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return min(int(page.rowsperstrip), int(page.imagelength)), int(page.imagewidth)


def _jpeg_sizes(data: bytes) -> Iterable[tuple[int, int]]:
    """Return the sizes that the header of a JPEG states; tiles of one file share most of their headers."""
    scan = data.find(START_OF_SCAN)
    if scan > 0:
        length = int.from_bytes(data[scan + 2 : scan + 4], "big")
        with suppress(DataError):  # the marker may lie inside a table, too
            return _sizes_of_header(data[: scan + 2 + length])
    return tuple(_frame_sizes(data))


@lru_cache(maxsize=64)
def _sizes_of_header(header: bytes) -> tuple[tuple[int, int], ...]:
    return tuple(_frame_sizes(header))


def _frame_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    for marker, start, _ in jpeg_segments(data):
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 1)
            yield width, height


def _header_size(read: Callable[[bytes], Header], data: bytes) -> Iterator[tuple[int, int]]:
    header = read(data)
    yield header.width, header.height


def _webp_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the size that a WebP states (RFC 9649) in its first chunk, for each kind of chunk."""
    kind = data[12:16]
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        raise DataError("expected tiles of WebP, got other bytes; copy it again")
    if kind == b"VP8X":
        yield 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        yield 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = struct.unpack_from("<HH", data, 26)
        yield width & 0x3FFF, height & 0x3FFF


Sizes = Callable[[bytes], Iterable[tuple[int, int]]]
SIZES: Mapping[int, Sizes] = {
    **dict.fromkeys(JPEGS, _jpeg_sizes),
    **dict.fromkeys(JPEGS_2000, partial(_header_size, jpeg2000_header)),
    PNG: partial(_header_size, png_header),
    WEBP: _webp_sizes,
}
