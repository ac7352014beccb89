"""Zarr arrays that are also plain memory: nothing is compressed, so a chunk is its numbers in C order.

Rows of an index lie in sharded arrays: a shard is one file that begins with zarr's own list of which of
its ROWS rows are there, and grows by a row at a time. A row is written and then entered into that list,
so any zarr reader sees it, and this package maps the file instead of reading it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.atomic import replacing, write_at
from pipeline.errors import DataError, MissingResultError
from pipeline.later import Later

if TYPE_CHECKING:
    import zarr
else:
    zarr = Later("zarr")

ROWS = 256  # their list fills a page of memory, so that rows begin at the next
_ENTRY = 16  # bytes of a row in that list: offset and length, little-endian; all ones = absent
_HEAD = ROWS * _ENTRY


def create_rows(group: Path, name: str, length: int, dtype: str, missing: int) -> None:
    """Create an array of rows in a zarr group, without a row."""
    codec = zarr.codecs.ShardingCodec(
        chunk_shape=(1, length),
        codecs=[zarr.codecs.BytesCodec()],
        index_codecs=[zarr.codecs.BytesCodec()],
        index_location="start",
    )
    zarr.open_group(group, mode="a").create_array(
        name,
        shape=(0, length),
        dtype=dtype,
        chunks=(ROWS, length),
        serializer=codec,
        compressors=None,
        filters=None,
        fill_value=missing,
    )


def map_rows(group: Path, name: str) -> list[npt.NDArray[Any]]:
    """Map the shards of an array of rows, each (rows, length) of ROWS or, the last, fewer; read-only."""
    array = _array(group, name)
    length, found = int(array.shape[1]), list[npt.NDArray[Any]]()
    while (path := group / name / "c" / str(len(found)) / "0").exists():
        rows = (path.stat().st_size - _HEAD) // (length * array.dtype.itemsize)
        found.append(_map(path, array.dtype, (rows, length), _HEAD))
    return found


def row_length(group: Path, name: str) -> int:
    """Return how many numbers a row of an array has."""
    return int(_array(group, name).shape[1])


class RowWriter:
    """Writes rows of one array in place; the shard in hand stays open."""

    def __init__(self, group: Path, name: str) -> None:
        self.array = _array(group, name, mode="r+")
        self.folder = group / name / "c"
        self.row_bytes = int(self.array.shape[1]) * self.array.dtype.itemsize
        self.shard, self.file = -1, -1

    def write(self, slot: int, row: npt.NDArray[Any]) -> None:
        """Write one row whole, then make it known to zarr."""
        if row.nbytes != self.row_bytes or row.dtype != self.array.dtype:
            raise DataError(
                f"{self.folder}: expected a row of {self.row_bytes} bytes, got {row.nbytes} ({row.dtype})"
            )
        shard, place = divmod(slot, ROWS)
        if shard != self.shard:
            self._open(shard)
        offset = _HEAD + place * self.row_bytes
        listed = np.array([offset, self.row_bytes], "<u8").tobytes()
        write_at(self.file, row.tobytes(), offset)
        write_at(self.file, listed, place * _ENTRY)

    def sync(self) -> None:
        """Make sure that what was written would outlive a loss of power."""
        if self.file >= 0:
            os.fsync(self.file)

    def close(self) -> None:
        """Sync and close the shard in hand."""
        self.sync()
        if self.file >= 0:
            os.close(self.file)
        self.shard, self.file = -1, -1

    def _open(self, shard: int) -> None:
        self.close()
        path = self.folder / str(shard) / "0"
        if not path.exists():
            with replacing(path) as fresh:
                fresh.write_bytes(b"\xff" * _HEAD)
        rows = max((shard + 1) * ROWS, self.array.shape[0])
        if rows > self.array.shape[0]:
            self.array.resize((rows, self.array.shape[1]))
        self.file, self.shard = os.open(path, os.O_RDWR), shard


def write_whole(group: zarr.Group, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Write arrays into a group, each as one chunk without compression."""
    for name, array in arrays.items():
        chunks = tuple(max(1, n) for n in array.shape)
        group.create_array(
            name, data=np.ascontiguousarray(array), chunks=chunks, compressors=None, filters=None
        )


def map_whole(group: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Map arrays that `write_whole` wrote, read-only; MissingResultError where one is not there."""
    found = {}
    for name in names:
        array = _array(group, name)
        path = group.joinpath(name, "c", *("0" for _ in array.shape))
        empty = np.zeros(array.shape, array.dtype)
        # zarr writes no chunk that holds nothing but the fill value
        found[name] = _map(path, array.dtype, array.shape) if path.exists() else empty
    return found


def _map(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int = 0) -> npt.NDArray[Any]:
    if not np.prod(shape):
        return np.empty(shape, dtype)
    try:
        return np.memmap(path, dtype, mode="r", offset=offset, shape=shape)
    except FileNotFoundError:
        raise MissingResultError(f"{path}: a part of the index is not there; build the index again") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: a part of the index cannot be mapped ({error}); build it again") from None


def _array(group: Path, name: str, mode: Any = "r") -> zarr.Array[Any]:
    with suppress(FileNotFoundError, KeyError):
        found = zarr.open_group(group, mode=mode)[name]
        if isinstance(found, zarr.Array):
            return found
    raise MissingResultError(f"{group / name}: a part of the index is not there; build the index again")
