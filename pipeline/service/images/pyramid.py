"""Pyramids of images that have no tiles of their own: tiled JPEG TIFFs in a bounded folder of the cache.

A pyramid is one file, named by what it is made of. It is written beside its place and renamed into it, so
that a build that dies leaves nothing that is served. A lock file for each pyramid keeps two servers from
building the same one. Where the folder cannot be written, a pyramid lives in memory instead.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import tifffile

from pipeline.core.blocks import block_mean
from pipeline.core.errors import DataError
from pipeline.core.model import UInt8
from pipeline.service.images.encoding import as_jpeg
from pipeline.service.images.sources import TILE_PX
from pipeline.system.whole_files import UNFINISHED, replacing

FORM = "1"  # changes whenever pyramids of the same pixels change
BUDGET_BYTES = 20 * 1024**3  # about 1,300 sections of 70 MP
SUFFIX = ".tif"
LOCK_SUFFIX = ".lock"
FINE_LEVEL = 2  # from which on tiles keep colour at full resolution
BIG_PX = 2**31  # samples from which on a pyramid may outgrow the 4 GB of a plain TIFF
Tile = tuple[int, int]  # width, height


def write_pyramid(stream: IO[bytes], pixels: UInt8, tile: Tile = (TILE_PX, TILE_PX)) -> None:
    """Write pixels and their halvings as a tiled TIFF of JPEGs.

    Parameters
    ----------
    stream : binary file
        Open for writing and seeking.
    pixels : (h, w) or (h, w, 3) uint8
        Grey or RGB.
    tile : (int, int)
        Width and height of a tile, px.

    Notes
    -----
    Levels end where one tile holds the whole. Edge tiles repeat the last pixels, so that padding leaves no
    ringing inside the image. Each tile is a complete JPEG of quality 90; colour is halved in the two finest
    levels, where it changes slowly from pixel to pixel.
    """
    levels = [pixels]
    while levels[-1].shape[1] > tile[0] or levels[-1].shape[0] > tile[1]:
        levels.append(block_mean(levels[-1], 2))
    with tifffile.TiffWriter(stream, bigtiff=pixels.size > BIG_PX) as file:
        for number, level in enumerate(levels):
            fine = number >= FINE_LEVEL
            sampling = {"subsampling": (1, 1) if fine else (2, 2)}
            file.write(
                _tiles(level, tile, fine=fine),
                shape=level.shape,
                dtype=np.uint8,
                tile=(tile[1], tile[0]),
                compression="jpeg",
                subifds=len(levels) - 1 if number == 0 else None,
                subfiletype=0 if number == 0 else 1,
                metadata=None,
                photometric="minisblack" if pixels.ndim == 2 else "ycbcr",
                **(sampling if pixels.ndim == 3 else {}),
            )


def _tiles(pixels: UInt8, tile: Tile, *, fine: bool) -> Iterator[bytes]:
    width, height = tile
    for top in range(0, pixels.shape[0], height):
        for left in range(0, pixels.shape[1], width):
            part = pixels[top : top + height, left : left + width]
            missing = ((0, height - part.shape[0]), (0, width - part.shape[1]))
            if any(after for _, after in missing):
                part = np.pad(part, (*missing, (0, 0))[: part.ndim], mode="edge")
            yield as_jpeg(part, fine=fine)


def pyramid_key(*parts: object) -> str:
    """Return the name of a pyramid.

    Parameters
    ----------
    *parts : object
        Everything that its pixels depend on.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    return hashlib.sha256(repr((FORM, *parts)).encode()).hexdigest()[:32]


class PyramidFolder:
    """Pyramids in a folder, no more bytes of them than a budget.

    Parameters
    ----------
    folder : Path
        The folder; made at the first pyramid.
    budget_bytes : int
        Bytes that pyramids may take; the ones used longest ago are removed.
    """

    def __init__(self, folder: Path, budget_bytes: int = BUDGET_BYTES) -> None:
        self._folder, self._budget = folder, budget_bytes
        self._sweep()

    def find(self, key: str) -> IO[bytes] | None:
        """Open a pyramid that is there, and note that it is used.

        Parameters
        ----------
        key : str
            Its name.

        Returns
        -------
        binary file or None
            The open file; None where there is none.
        """
        path = self._path(key)
        try:
            stream = path.open("rb")
        except OSError:
            return None
        self.touch(key)
        return stream

    def touch(self, key: str) -> None:
        """Note that a pyramid is used, where the folder can be written.

        Parameters
        ----------
        key : str
            Its name.
        """
        with suppress(OSError):
            os.utime(self._path(key))

    def forget(self, key: str) -> None:
        """Remove a pyramid that turned out to be damaged.

        Parameters
        ----------
        key : str
            Its name.
        """
        with suppress(OSError):
            self._path(key).unlink()

    def make(self, key: str, load: Callable[[], UInt8], tile: Tile = (TILE_PX, TILE_PX)) -> IO[bytes]:
        """Build a pyramid, unless another server has built it meanwhile.

        Parameters
        ----------
        key : str
            Its name.
        load : callable
            Returns the pixels.
        tile : (int, int)
            Width and height of a tile, px.

        Returns
        -------
        binary file
            The open pyramid, in the folder or, where that cannot be written, in memory.

        Raises
        ------
        DataError
            As of `load`.
        """
        with self._locked(key) as is_alone:
            found = self.find(key)
            if found is not None:
                return found
            if is_alone:
                self._remove_unfinished(key)
            pixels = load()
            try:
                with replacing(self._path(key)) as fresh, fresh.open("wb") as stream:
                    write_pyramid(stream, pixels, tile)
                opened: IO[bytes] = self._path(key).open("rb")
            except (DataError, OSError):  # no space, no rights: slower, but nothing fails
                return in_memory(pixels, tile)
        self._evict()
        return opened

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{SUFFIX}"

    @contextmanager
    def _locked(self, key: str) -> Iterator[bool]:
        """Hold the lock of a pyramid, and tell whether it is held: the folder may have no locks or rights."""
        number = self._take(key, wait=True)
        try:
            yield number is not None
        finally:
            if number is not None:
                self._release(key, number)

    def _take(self, key: str, *, wait: bool) -> int | None:
        """Return the descriptor of a lock file once it is ours; None where it is not to be had."""
        path = self._folder / f"{key}{LOCK_SUFFIX}"
        while True:
            number = None
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
                fcntl.flock(number, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last holder removed the file: whoever waited for it has to take the new one.
                if os.path.samestat(os.fstat(number), path.stat()):
                    return number
            except FileNotFoundError:
                pass
            except OSError:
                if number is not None:
                    os.close(number)
                return None
            if number is not None:
                os.close(number)
            elif not self._folder.is_dir():
                return None

    def _release(self, key: str, number: int) -> None:
        with suppress(OSError):
            (self._folder / f"{key}{LOCK_SUFFIX}").unlink()
        os.close(number)

    def _remove_unfinished(self, key: str) -> None:
        """Remove what a build that died left of a pyramid; the caller holds its lock."""
        with suppress(OSError):
            for path in self._folder.glob(f"{UNFINISHED}*-{key}{SUFFIX}"):
                path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what builds that died left, but nothing that another server is writing."""
        with suppress(OSError):
            left = [path.name for path in self._folder.iterdir() if _is_left(path.name)]
            for key in {name.removesuffix(LOCK_SUFFIX).removesuffix(SUFFIX)[-32:] for name in left}:
                number = self._take(key, wait=False)
                if number is not None:
                    self._remove_unfinished(key)
                    self._release(key, number)

    def _evict(self) -> None:
        """Remove the pyramids that were used longest ago until the rest fits the budget."""
        found = []
        with suppress(OSError):
            for path in self._folder.glob(f"*{SUFFIX}"):
                if not path.name.startswith(UNFINISHED):
                    with suppress(FileNotFoundError):  # another server evicts, too
                        status = path.stat()
                        found.append((status.st_mtime_ns, status.st_size, path))
            total = sum(size for _, size, _ in found)
            for _, size, path in sorted(found):
                if total <= self._budget:
                    break
                path.unlink(missing_ok=True)
                total -= size


def _is_left(name: str) -> bool:
    return name.endswith(LOCK_SUFFIX) or (name.startswith(UNFINISHED) and name.endswith(SUFFIX))


def in_memory(pixels: UInt8, tile: Tile = (TILE_PX, TILE_PX)) -> IO[bytes]:
    """Return a pyramid that no folder holds.

    Parameters
    ----------
    pixels : (h, w) or (h, w, 3) uint8
        Grey or RGB.
    tile : (int, int)
        Width and height of a tile, px.

    Returns
    -------
    binary file
        Gone once it is closed.
    """
    content = BytesIO()
    write_pyramid(content, pixels, tile)
    if hasattr(os, "memfd_create"):
        stream: IO[bytes] = os.fdopen(os.memfd_create("pyramid"), "w+b")
    else:
        stream = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    stream.write(content.getbuffer())
    stream.seek(0)
    return stream
