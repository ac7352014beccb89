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

from pipeline.later import Later

if TYPE_CHECKING:
    import zarr
else:
    zarr = Later("zarr")

LEVEL = 1
ZSTD = Zstd(level=LEVEL)
DOCUMENT = "zarr.json"

Document = dict[str, Any]


def write_group(folder: Path, attributes: Mapping[str, Any]) -> None:
    """Write the document of a group."""
    write_document(folder, {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"})


def write_array(folder: Path, array: npt.NDArray[Any], attributes: Mapping[str, Any]) -> None:
    """Write an array as one chunk; zeros are left out, as zarr does."""
    write_document(
        folder, array_document(array.shape, array.dtype, array.shape, codecs(array.dtype), attributes)
    )
    content = np.ascontiguousarray(array).tobytes()
    if content.count(0) < len(content):
        chunk = _chunk(folder, array.ndim)
        chunk.parent.mkdir(parents=True, exist_ok=True)
        chunk.write_bytes(ZSTD.encode(content))


def read_group(folder: Path) -> tuple[list[str], Document]:
    """Return the names of what lies in a group, in order, and its attributes; FileNotFoundError."""
    attributes = read_document(folder).get("attributes", {})
    return sorted(path.parent.name for path in folder.glob(f"*/{DOCUMENT}")), attributes


def read_array(folder: Path) -> tuple[npt.NDArray[Any], Document]:
    """Read an array and its attributes."""
    document = read_document(folder)
    attributes = document.get("attributes", {})
    shape, dtype = tuple(document.get("shape", ())), np.dtype(document["data_type"])
    chunk = _chunk(folder, len(shape))
    if document == array_document(shape, dtype, shape, codecs(dtype), attributes) and chunk.exists():
        content = np.frombuffer(bytearray(ZSTD.decode(chunk.read_bytes())), dtype)
        return content.reshape(shape), attributes
    array = zarr.open_array(folder, mode="r")
    return np.asarray(array[...]), dict(array.attrs)


def read_document(folder: Path) -> Document:
    """Read what a group or an array says of itself."""
    document: Document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    return document


def codecs(dtype: npt.DTypeLike) -> list[Document]:
    """Return how a chunk becomes bytes."""
    order = {"configuration": {"endian": "little"}} if np.dtype(dtype).itemsize > 1 else {}
    zstd = {"name": "zstd", "configuration": {"level": LEVEL, "checksum": False}}
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
