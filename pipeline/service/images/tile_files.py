"""Tiled TIFFs of JPEG tiles, kept open: any tile is one read, as stored or decoded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import imagecodecs
import numpy as np
import tifffile

from pipeline.core.errors import DataError
from pipeline.core.model import Int64, UInt8
from pipeline.formats.images import tiff
from pipeline.formats.images.files import blaming
from pipeline.formats.images.headers import Header
from pipeline.formats.images.tiff_tiles import check_segments_within, check_tile
from pipeline.service.images.sources import WHITE, Level, Size

START = b"\xff\xd8"  # start of a JPEG
JFIF, ADOBE = b"\xff\xe0", b"\xff\xee"  # markers of the segments that tell what the components are
# APP14 of Adobe: version 100, no flags, components are RGB (0) or YCbCr (1); ITU-T T.872, 6.5.3.
ADOBE_RGB = ADOBE + b"\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
ADOBE_YCBCR = ADOBE_RGB[:-1] + b"\x01"
SAME_PICTURE = 0.01  # relative deviation of a level's sides from the finest, reduced


@dataclass(frozen=True)
class TileForm:
    """What the check of a tile's stated size asks of a TIFF page."""

    tilelength: int
    tilewidth: int
    compression: int = tiff.JPEG
    is_tiled: bool = True


@dataclass(frozen=True, eq=False)
class TileTable:
    """Where the tiles of one level lie in the file.

    Attributes
    ----------
    level : Level
        Its sizes.
    offsets, counts : (n,) int64, bytes
        Place and length of every tile, row by row; a length of 0 is glass.
    tables : bytes
        Tables that all tiles share, without start and end of their stream.
    colour : bytes
        Segment that tells what the components are, for tiles that do not.
    channels : int
        1 or 3.
    """

    level: Level
    offsets: Int64
    counts: Int64
    tables: bytes
    colour: bytes
    channels: int

    @property
    def across(self) -> int:
        """Number of tiles in a row."""
        return -(-self.level.width // self.level.tile_width)


class Descriptor:
    """An open file, read at any place by many threads, closed when nobody holds it any more.

    Parameters
    ----------
    number : int
        File descriptor; owned from now on.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        os.close(self._number)

    def read(self, count: int, offset: int) -> bytes:
        """Return bytes of the file.

        Parameters
        ----------
        count : int, bytes
            How many.
        offset : int, bytes
            Where they begin.

        Returns
        -------
        bytes
            As many as asked; fewer at the end of the file.
        """
        return os.pread(self._number, count, offset)


class TiledFile:
    """Levels of one open TIFF, as `Pixels`.

    Parameters
    ----------
    path : Path
        The file, for messages.
    file : Descriptor
        The open file.
    size : (int, int)
        Width and height of the frame, px.
    tables : sequence of TileTable
        Levels, the finest first.
    """

    is_mask = False

    def __init__(self, path: Path, file: Descriptor, size: Size, tables: Sequence[TileTable]) -> None:
        self.size = size
        self.levels = [table.level for table in tables]
        self._path, self._file, self._tables = path, file, tuple(tables)

    def read(self, level: int, rows: slice, columns: slice) -> UInt8:
        """Return some pixels of a level, as `Pixels.read`.

        Parameters
        ----------
        level : int
            Index into `levels`.
        rows, columns : slice
            Start and stop inside the level, px of the level.

        Returns
        -------
        (h, w) or (h, w, 3) uint8
            Grey or RGB.

        Raises
        ------
        DataError
            Where a tile is damaged.
        """
        table = self._tables[level]
        high, wide = table.level.tile_height, table.level.tile_width
        shape = rows.stop - rows.start, columns.stop - columns.start
        canvas = np.empty(shape if table.channels == 1 else (*shape, 3), np.uint8)
        with blaming(self._path, "TIFF"):
            for row in range(rows.start // high, -(-rows.stop // high)):
                for column in range(columns.start // wide, -(-columns.stop // wide)):
                    top, left = max(row * high, rows.start), max(column * wide, columns.start)
                    part = canvas[
                        top - rows.start : (row + 1) * high - rows.start,
                        left - columns.start : (column + 1) * wide - columns.start,
                    ]
                    tile = self._decoded(table, row * table.across + column)
                    part[:] = tile[top - row * high :, left - column * wide :][
                        : part.shape[0], : part.shape[1]
                    ]
        return canvas

    def stored_tile(self, level: int, column: int, row: int) -> bytes | None:
        """Return a tile as stored, as `Pixels.stored_tile`.

        Parameters
        ----------
        level : int
            Index into `levels`.
        column, row : int
            Place of the tile.

        Returns
        -------
        bytes or None
            A complete JPEG; None for glass that is not stored, and at the edge, where tiles are padded.

        Raises
        ------
        DataError
            Where the tile is damaged.
        """
        table = self._tables[level]
        size = table.level
        if (column + 1) * size.tile_width > size.width or (row + 1) * size.tile_height > size.height:
            return None
        return self._stream(table, row * table.across + column)

    def check_whole(self) -> None:
        """Check that the levels go down to a tile, and the first and last tile of each is there.

        Raises
        ------
        DataError
            Where the file is torn.
        """
        last = self.levels[-1]
        if last.width > last.tile_width or last.height > last.tile_height:
            raise DataError(f"{self._path}: expected levels down to a tile, got {len(self.levels)} levels")
        for table in self._tables:
            for index in (0, table.offsets.size - 1):
                self._stream(table, index)

    def _stream(self, table: TileTable, index: int) -> bytes | None:
        """Return a tile as a complete JPEG; None where it is not stored."""
        count = int(table.counts[index])
        if count == 0:
            return None
        stored = self._file.read(count, int(table.offsets[index]))
        if not stored.startswith(START) or len(stored) < count:
            raise DataError(f"{self._path}: expected a JPEG as tile {index}, got other bytes; copy it again")
        return complete_jpeg(stored, table.tables, table.colour)

    def _decoded(self, table: TileTable, index: int) -> UInt8:
        stream = self._stream(table, index)
        form = TileForm(table.level.tile_height, table.level.tile_width)
        if stream is None:
            shape = form.tilelength, form.tilewidth
            return np.full(shape if table.channels == 1 else (*shape, 3), WHITE, np.uint8)
        check_tile(form, stream)
        return np.asarray(imagecodecs.jpeg8_decode(stream))


def complete_jpeg(tile: bytes, tables: bytes, colour: bytes) -> bytes:
    """Make a JPEG that stands alone from a tile of a TIFF (TIFF Technical Note 2).

    Parameters
    ----------
    tile : bytes
        The tile as stored, which may lack the tables.
    tables : bytes
        Segments to put in front.
    colour : bytes
        Segment that tells what the components are; left out where the tile tells it itself.

    Returns
    -------
    bytes
        What every JPEG decoder reads in the colours that the TIFF means.
    """
    states_colour = (tile[2:4] == JFIF and tile[6:10] == b"JFIF") or tile[2:4] == ADOBE
    if not tables and (states_colour or not colour):
        return tile
    if tile[2:4] == JFIF and states_colour:  # JFIF requires its segment to be the first
        first = 4 + int.from_bytes(tile[4:6], "big")
        return tile[:first] + tables + tile[first:]
    return START + (b"" if states_colour else colour) + tables + tile[2:]


def open_tiles(path: Path, stream: IO[bytes], size: Size, factor: int) -> TiledFile | None:
    """Open a TIFF whose tiles can be handed out as they are: 8-bit JPEG tiles of an upright image.

    Parameters
    ----------
    path : Path
        The file, for messages.
    stream : binary file
        The file, open; it may be closed afterwards.
    size : (int, int)
        Width and height of the frame, px.
    factor : int
        Pixels of the frame along each side of a pixel of the finest level.

    Returns
    -------
    TiledFile or None
        The open file with the levels of its pyramid; None for any other TIFF.

    Raises
    ------
    DataError
        Where it is no TIFF, or tiles are missing.
    """
    with (
        blaming(path, "TIFF"),
        os.fdopen(os.dup(stream.fileno()), "rb") as own,
        tifffile.TiffFile(own, name=path.name, _multifile=False) as file,
    ):
        header = tiff.header_of(file)
        levels = tiff.main_series(file).levels
        first = levels[0].keyframe
        if header.orientation != 1 or header.bits != 8 or not _passes(first, header):
            return None
        pages = [(first, 1), *_reductions(levels[1:], header)]
        for page, _ in pages:
            check_segments_within(os.fstat(stream.fileno()).st_size, page)
        tables = [_table(page, header, factor * step) for page, step in pages]
    return TiledFile(path, Descriptor(os.dup(stream.fileno())), size, tables)


def _passes(page: Any, header: Header) -> bool:
    """Tell whether tiles of a page need only their shared tables to be JPEGs of the picture."""
    sides = (page.tilelength, page.tilewidth) if page.is_tiled else (0, 0)
    return bool(
        page.compression == tiff.JPEG
        and min(sides) > 0
        and page.jpegheader is None  # Hamamatsu's strips are no JPEGs by themselves
        and tiff.is_chunky(page, header)
        and page.bitspersample == 8
    )


def _reductions(levels: Sequence[Any], header: Header) -> list[tuple[Any, int]]:
    """Return pages and reductions of the levels of a pyramid that show the same picture."""
    found: list[tuple[Any, int]] = []
    for level in levels:
        page = level.keyframe
        step = round(header.width / page.imagewidth)
        sides = (header.width / page.imagewidth, header.height / page.imagelength)
        alike = all(abs(side / max(step, 1) - 1) <= SAME_PICTURE for side in sides)
        coarser = step > (found[-1][1] if found else 1)
        if alike and coarser and _passes(page, header):
            found.append((page, step))
    return found


def _table(page: Any, header: Header, scale: int) -> TileTable:
    level = Level(
        int(page.imagewidth), int(page.imagelength), scale, int(page.tilewidth), int(page.tilelength)
    )
    colour = {tiff.RGB: ADOBE_RGB, tiff.YCBCR: ADOBE_YCBCR}.get(int(page.photometric), b"")
    tables = page.jpegtables[2:-2] if page.jpegtables else b""
    number = -(-level.width // level.tile_width) * -(-level.height // level.tile_height)
    offsets, counts = (np.array(each[:number], np.int64) for each in (page.dataoffsets, page.databytecounts))
    return TileTable(level, offsets, counts, tables, colour, header.channels)
