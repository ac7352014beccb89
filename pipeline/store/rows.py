"""Zarr arrays that can be memory-mapped: chunks are not compressed, so a chunk is its numbers in C order.

Rows of an index lie in sharded arrays. A shard is one file that begins with zarr's index of which of its ROWS
rows exist, and grows by one row at a time. A row is written first and then entered into that index, so that
any zarr reader sees it, and this package maps the file instead of reading it. Checksums protect the content,
so that a lost or torn file is never taken for numbers.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError, MissingResultError
from pipeline.store.arrays import DOCUMENT, Document, array_document
from pipeline.system.files import read_json_value
from pipeline.system.whole_files import replacing, sync, write_at

ROWS = 256  # in a shard: its index fills one memory page of 4096 bytes, and rows begin at the next
_ENTRY = 16  # bytes of an index entry: offset and length, little-endian uint64; all bits set = absent
_HEAD = ROWS * _ENTRY  # bytes of the index
_CHECKSUMS = "crc32"


@dataclass(frozen=True)
class RowArray:
    """Layout of an array of rows.

    Attributes
    ----------
    name : str
        Name of the array in its group.
    length : int
        Numbers in a row.
    dtype : str
        Type of the numbers.
    missing : int
        Value that stands for missing data.
    """

    name: str
    length: int
    dtype: str
    missing: int

    @property
    def row_bytes(self) -> int:
        """Size of a row in bytes."""
        return self.length * np.dtype(self.dtype).itemsize


def shard_file(group: Path, name: str, shard: int) -> Path:
    """Return the file of a shard.

    Parameters
    ----------
    group : Path
        Folder of the zarr group.
    name : str
        Name of the array.
    shard : int
        Number of the shard, from 0.

    Returns
    -------
    Path
        The file.
    """
    return group / name / "c" / str(shard) / "0"


def write_rows_document(group: Path, array: RowArray, shards: int) -> None:
    """Write the zarr metadata of an array of rows.

    Parameters
    ----------
    group : Path
        Folder of the zarr group.
    array : RowArray
        Layout.
    shards : int
        Number of shards; the array has ROWS rows for each.
    """
    plain = _bytes_codec(array.dtype)
    index = {
        "chunk_shape": [1, array.length],
        "codecs": plain,
        "index_codecs": _bytes_codec("<u8"),
        "index_location": "start",
    }
    sharding = [{"name": "sharding_indexed", "configuration": index}]
    shape = (shards * ROWS, array.length)
    document = array_document(shape, array.dtype, (ROWS, array.length), sharding, {})
    _write_document(group / array.name, document | {"fill_value": array.missing})


def map_rows(group: Path, array: RowArray) -> list[npt.NDArray[Any]]:
    """Map the shards of an array of rows, read-only.

    Parameters
    ----------
    group : Path
        Folder of the zarr group.
    array : RowArray
        Layout.

    Returns
    -------
    list of (rows, length) array
        One array for each shard, of ROWS rows; the last one may have fewer.

    Raises
    ------
    MissingResultError
        Where a shard vanished meanwhile.
    DataError
        Where a shard cannot be mapped.
    """
    found: list[npt.NDArray[Any]] = []
    while (path := shard_file(group, array.name, len(found))).is_file():
        rows = max(0, path.stat().st_size - _HEAD) // array.row_bytes
        found.append(_map(path, np.dtype(array.dtype), (min(rows, ROWS), array.length), _HEAD))
    return found


class RowWriter:
    """Writes rows of one array in place; the file of the current shard stays open.

    Parameters
    ----------
    group : Path
        Folder of the zarr group.
    array : RowArray
        Layout.
    """

    def __init__(self, group: Path, array: RowArray) -> None:
        self.group, self.array = group, array
        self.shard, self.file, self.shards = -1, -1, 0
        while shard_file(group, array.name, self.shards).exists():
            self.shards += 1
        write_rows_document(group, array, self.shards)  # restores a document that was lost

    def write(self, slot: int, row: npt.NDArray[Any]) -> None:
        """Write one row, then enter it into the index of its shard.

        Parameters
        ----------
        slot : int
            Number of the row in the array.
        row : (length,) array
            Row, of the type of the array.

        Raises
        ------
        DataError
            Where the row has another size or type.
        """
        size = self.array.row_bytes
        if row.nbytes != size or row.dtype != self.array.dtype:
            raise DataError(
                f"{self.group / self.array.name}: expected a row of {size} bytes, got {row.nbytes}"
                f" ({row.dtype})"
            )
        shard, place = divmod(slot, ROWS)
        if shard != self.shard:
            self._open(shard)
        offset = _HEAD + place * size
        listed = np.array([offset, size], "<u8").tobytes()
        write_at(self.file, row.tobytes(), offset)
        write_at(self.file, listed, place * _ENTRY)

    def sync(self) -> None:
        """Flush to disk, so that what was written survives a loss of power."""
        if self.file >= 0:
            os.fsync(self.file)

    def close(self) -> None:
        """Flush and close the current shard."""
        self.sync()
        if self.file >= 0:
            os.close(self.file)
        self.shard, self.file = -1, -1

    def _open(self, shard: int) -> None:
        self.close()
        path = shard_file(self.group, self.array.name, shard)
        if not path.exists():
            with replacing(path) as fresh:
                fresh.write_bytes(b"\xff" * _HEAD)
            sync(path.parent)
            sync(path.parent.parent)
        if shard >= self.shards:
            self.shards = shard + 1
            write_rows_document(self.group, self.array, self.shards)
        self.file, self.shard = os.open(path, os.O_RDWR), shard


@dataclass(frozen=True, eq=False)
class Whole:
    """A mapped array with the checksums of its rows; a one-dimensional array counts as one row.

    Attributes
    ----------
    path : Path
        File of its only chunk.
    array : array
        The numbers, read-only.
    checksums : sequence of int
        CRC-32 of every row, together with salt and row number.
    salt : str
        Text that the checksums include.
    """

    path: Path
    array: npt.NDArray[Any]
    checksums: Sequence[int]
    salt: str

    def check(self, rows: Iterable[int] | None = None) -> None:
        """Compare rows with their checksums.

        Parameters
        ----------
        rows : iterable of int or None
            Rows to check; None for all.

        Raises
        ------
        DataError
            Where a row differs from what was written.
        """
        lines = _lines(self.array)
        for row in range(len(lines)) if rows is None else rows:
            if _checksum(lines, row, self.salt) != self.checksums[row]:
                raise DataError(f"{self.path}: a part of the index is damaged; run `ish index` again")


def write_whole(folder: Path, array: npt.NDArray[Any], salt: str) -> None:
    """Write an array as one chunk without compression, even where it holds only zeros.

    Parameters
    ----------
    folder : Path
        Folder of the array.
    array : array
        Numbers.
    salt : str
        Text that the checksums include, so that an array in the place of another is detected.
    """
    array = np.ascontiguousarray(array)
    lines, salt = _lines(array), _salt(array, salt)
    checksums = [_checksum(lines, row, salt) for row in range(len(lines))]
    chunk = tuple(max(1, n) for n in array.shape)
    codecs, attributes = _bytes_codec(array.dtype), {_CHECKSUMS: checksums}
    path = _chunk(folder, array.ndim)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(array.tobytes())
    _write_document(folder, array_document(array.shape, array.dtype, chunk, codecs, attributes))


def map_whole(folder: Path, salt: str) -> Whole:
    """Map an array that `write_whole` wrote, read-only.

    Parameters
    ----------
    folder : Path
        Folder of the array.
    salt : str
        The text that it was written with.

    Returns
    -------
    Whole
        The array; its checksums are not compared yet.

    Raises
    ------
    DataError
        Where there is no such array, or it has the wrong size.
    """
    document = read_json_value(folder / DOCUMENT, "the document of an array")
    try:
        shape, dtype = tuple(document["shape"]), np.dtype(document["data_type"])
        checksums = document["attributes"][_CHECKSUMS]
        fits = min(shape) >= 0 and len(checksums) == (shape[0] if len(shape) > 1 else 1)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError):
        fits = False
    path = _chunk(folder, len(shape) if fits else 0)
    if not fits or not path.is_file() or path.stat().st_size != size:
        raise DataError(f"{path}: a part of the index is torn or missing; run `ish index` again")
    array = _map(path, dtype, shape)
    return Whole(path, array, checksums, _salt(array, salt))


def _lines(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array if array.ndim > 1 else array.reshape(1, -1)


def _checksum(lines: npt.NDArray[Any], row: int, salt: str) -> int:
    return zlib.crc32(lines[row].data if lines[row].size else b"", zlib.crc32(f"{salt} {row}".encode()))


def _salt(array: npt.NDArray[Any], salt: str) -> str:
    return f"{salt} {array.shape} {array.dtype.name}"


def _map(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int = 0) -> npt.NDArray[Any]:
    if not np.prod(shape):
        return np.empty(shape, dtype)
    try:
        return np.memmap(path, dtype, mode="r", offset=offset, shape=shape)
    except FileNotFoundError:
        raise MissingResultError(f"{path}: a part of the index is not there; build the index again") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: a part of the index cannot be mapped ({error}); build it again") from None


def _bytes_codec(dtype: npt.DTypeLike) -> list[Document]:
    order = {"configuration": {"endian": "little"}} if np.dtype(dtype).itemsize > 1 else {}
    return [{"name": "bytes", **order}]


def _write_document(folder: Path, document: Document) -> None:
    with replacing(folder / DOCUMENT) as fresh:
        fresh.write_text(json.dumps(document), encoding="utf-8")


def _chunk(folder: Path, axes: int) -> Path:
    """Return the file of the only chunk of an array."""
    return folder.joinpath("c", *("0",) * axes)
