"""Zarr groups and arrays as the few files that they are: documents, and arrays of one chunk.

zarr's own calls go through an event loop and many layers, 2 to 4 ms of CPU each, of which a section would ask
for fifty. The documents are those that zarr writes; what was not written here is read by zarr itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numcodecs import Zstd

from pipeline.core.errors import DataError
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    import zarr
else:
    zarr = LazyModule("zarr")

LEVEL = 1
ZSTD = Zstd(level=LEVEL, checksum=True)  # a chunk that is not what was written fails to decode
DOCUMENT = "zarr.json"
AGAIN = "the same `ish run` makes it anew"

Document = dict[str, Any]


def write_group(folder: Path, attributes: Mapping[str, Any]) -> None:
    """Write the document of a group."""
    write_document(folder, {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"})


def write_array(folder: Path, array: npt.NDArray[Any], attributes: Mapping[str, Any]) -> None:
    """Write an array as one chunk, also where it holds nothing but zeros: a chunk that lacks is a loss."""
    write_document(
        folder, array_document(array.shape, array.dtype, array.shape, codecs(array.dtype), attributes)
    )
    chunk = _chunk(folder, array.ndim)
    chunk.parent.mkdir(parents=True, exist_ok=True)
    chunk.write_bytes(ZSTD.encode(np.ascontiguousarray(array).tobytes()))


def read_group(folder: Path) -> tuple[list[str], Document]:
    """Return the names of what lies in a group, in order, and its attributes; FileNotFoundError."""
    attributes = read_document(folder).get("attributes", {})
    return sorted(path.parent.name for path in folder.glob(f"*/{DOCUMENT}")), attributes


def read_array(folder: Path) -> tuple[npt.NDArray[Any], Document]:
    """Read an array and its attributes; DataError where a part of it is torn or missing."""
    document = read_document(folder)
    try:
        attributes = document.get("attributes", {})
        shape, dtype = tuple(document["shape"]), np.dtype(document["data_type"])
        own = document == array_document(shape, dtype, shape, codecs(dtype), attributes)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise DataError(f"{folder / DOCUMENT}: expected the document of an array, got another") from None
    if own:
        return _read_chunk(_chunk(folder, len(shape)), shape, dtype), attributes
    array = zarr.open_array(folder, mode="r")
    return np.asarray(array[...]), dict(array.attrs)


def _read_chunk(chunk: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    try:
        content = bytearray(ZSTD.decode(chunk.read_bytes()))
        return np.frombuffer(content, dtype).reshape(shape)
    except FileNotFoundError:
        raise DataError(f"{chunk}: a chunk of this array is missing; {AGAIN}") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{chunk}: expected a whole chunk, got a torn one ({error}); {AGAIN}") from None


def read_document(folder: Path) -> Document:
    """Read what a group or an array says of itself; FileNotFoundError, DataError where it is torn."""
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{folder / DOCUMENT}: expected a zarr document, got {error}; {AGAIN}") from None
    if not isinstance(document, dict):
        raise DataError(f"{folder / DOCUMENT}: expected a zarr document, got another; {AGAIN}")
    return document


def is_zarr_part(path: Path) -> bool:
    """Tell whether a path within a zarr group names one of the files that zarr keeps there.

    >>> [is_zarr_part(Path(name)) for name in ("0/zarr.json", "labels/a/0/c/0/1", "c/notes.txt", "a.txt")]
    [True, True, False, False]
    """
    _, found, chunk = f"/{path.as_posix()}".rpartition("/c/")
    return path.name == DOCUMENT or (bool(found) and all(part.isdecimal() for part in chunk.split("/")))


def codecs(dtype: npt.DTypeLike) -> list[Document]:
    """Return how a chunk becomes bytes."""
    order = {"configuration": {"endian": "little"}} if np.dtype(dtype).itemsize > 1 else {}
    zstd = {"name": "zstd", "configuration": {"level": LEVEL, "checksum": True}}
    return [{"name": "bytes", **order}, zstd]


def array_document(
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    chunk: Sequence[int],
    coded: list[Document],
    attributes: Mapping[str, Any],
) -> Document:
    """Return the document of an array that is 0 where nothing was written."""
    return {
        "shape": list(shape),
        "data_type": np.dtype(dtype).name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": np.zeros((), dtype).item(),
        "codecs": coded,
        "attributes": dict(attributes),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def write_document(folder: Path, document: Document) -> None:
    """Write what a group or an array says of itself, and the folder where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DOCUMENT).write_text(json.dumps(document), encoding="utf-8")


def _chunk(folder: Path, axes: int) -> Path:
    """Return where the only chunk of an array lies."""
    return folder.joinpath("c", *("0",) * axes)
