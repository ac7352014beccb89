"""Zarr groups and arrays as the few files that they are: documents, and arrays of one chunk.

The calls of zarr go through an event loop and many layers: 2 to 4 ms of CPU each, and a section needs fifty
of them. The documents are those that zarr writes; arrays that were not written here are read by zarr itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numcodecs import Zstd

from pipeline.core.errors import DataError, MissingResultError
from pipeline.system.lazy import LazyModule
from pipeline.system.whole_files import replacing

if TYPE_CHECKING:
    import zarr
else:
    zarr = LazyModule("zarr")

LEVEL = 1  # of zstd: the quickest that still compresses
ZSTD = Zstd(level=LEVEL, checksum=True)  # a chunk that is not what was written fails to decode
DOCUMENT = "zarr.json"
AGAIN = "the same `ish run` makes it anew"

PLAIN_GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}  # holds one group a section

Document = dict[str, Any]


def write_group(folder: Path, attributes: Mapping[str, Any]) -> None:
    """Write the document of a group.

    Parameters
    ----------
    folder : Path
        Folder of the group; made where it does not exist.
    attributes : mapping of str to JSON value
        Attributes of the group.
    """
    write_document(folder, {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"})


def write_array(folder: Path, array: npt.NDArray[Any], attributes: Mapping[str, Any]) -> None:
    """Write an array as one chunk.

    A chunk of zeros is written too: a missing chunk is then always a loss.

    Parameters
    ----------
    folder : Path
        Folder of the array; made where it does not exist.
    array : ndarray
        Values of any shape.
    attributes : mapping of str to JSON value
        Attributes of the array.
    """
    write_document(
        folder, array_document(array.shape, array.dtype, array.shape, codecs(array.dtype), attributes)
    )
    chunk = _chunk(folder, array.ndim)
    chunk.parent.mkdir(parents=True, exist_ok=True)
    chunk.write_bytes(ZSTD.encode(np.ascontiguousarray(array).tobytes()))


def read_group(folder: Path) -> tuple[list[str], Document]:
    """Read the names of the members of a group, and its attributes.

    Parameters
    ----------
    folder : Path
        Folder of the group.

    Returns
    -------
    names : list of str
        Members of the group, sorted.
    attributes : dict
        Attributes of the group.

    Raises
    ------
    FileNotFoundError
        Where there is no group.
    DataError
        Where its document is torn.
    """
    attributes = read_document(folder).get("attributes", {})
    return sorted(path.parent.name for path in folder.glob(f"*/{DOCUMENT}")), attributes


def read_array(folder: Path) -> tuple[npt.NDArray[Any], Document]:
    """Read an array and its attributes.

    Parameters
    ----------
    folder : Path
        Folder of the array.

    Returns
    -------
    array : ndarray
        The values.
    attributes : dict
        Attributes of the array.

    Raises
    ------
    FileNotFoundError
        Where there is no array.
    DataError
        Where a part of it is torn or missing.
    """
    document = read_document(folder)
    try:
        attributes = document.get("attributes", {})
        shape, dtype = tuple(document["shape"]), np.dtype(document["data_type"])
        own = document == array_document(shape, dtype, shape, codecs(dtype), attributes)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise DataError(f"{folder / DOCUMENT}: expected the document of an array, got another") from None
    # An array of one chunk in our own codecs needs no zarr, and no import of it.
    if own:
        return _read_chunk(_chunk(folder, len(shape)), shape, dtype), attributes
    array = zarr.open_array(folder, mode="r")
    return np.asarray(array[...]), dict(array.attrs)


def _read_chunk(chunk: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Decode the only chunk of an array; DataError where it is missing or torn."""
    try:
        content = bytearray(ZSTD.decode(chunk.read_bytes()))
        return np.frombuffer(content, dtype).reshape(shape)
    except FileNotFoundError:
        raise DataError(f"{chunk}: a chunk of this array is missing; {AGAIN}") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{chunk}: expected a whole chunk, got a torn one ({error}); {AGAIN}") from None


def read_document(folder: Path) -> Document:
    """Read the document of a group or an array.

    Parameters
    ----------
    folder : Path
        Folder of the group or array.

    Returns
    -------
    dict
        The document as JSON.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    DataError
        Where it is torn, or is not a JSON object.
    """
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
    """Return whether a path within a zarr group names one of the files that zarr keeps there.

    Parameters
    ----------
    path : Path
        Path relative to the group.

    Returns
    -------
    bool
        True for documents and chunks.

    Examples
    --------
    >>> [is_zarr_part(Path(name)) for name in ("0/zarr.json", "labels/a/0/c/0/1", "c/notes.txt", "a.txt")]
    [True, True, False, False]
    """
    _, found, chunk = f"/{path.as_posix()}".rpartition("/c/")
    return path.name == DOCUMENT or (bool(found) and all(part.isdecimal() for part in chunk.split("/")))


def codecs(dtype: npt.DTypeLike) -> list[Document]:
    """Return how a chunk becomes bytes.

    Parameters
    ----------
    dtype : dtype
        Type of the values.

    Returns
    -------
    list of dict
        Codecs of zarr: little-endian bytes, then zstd with a checksum.
    """
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
    """Return the document of an array that is 0 where nothing was written.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array.
    dtype : dtype
        Type of the values.
    chunk : sequence of int
        Shape of a chunk, or of a shard.
    coded : list of dict
        Codecs of zarr, as `codecs` returns them.
    attributes : mapping of str to JSON value
        Attributes of the array.

    Returns
    -------
    dict
        The document, as zarr 3 writes it.
    """
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
    """Write the document of a group or an array.

    Parameters
    ----------
    folder : Path
        Its folder; made where it does not exist.
    document : dict
        The document, JSON values only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DOCUMENT).write_text(json.dumps(document), encoding="utf-8")


def _chunk(folder: Path, axes: int) -> Path:
    """Return where the only chunk of an array lies."""
    return folder.joinpath("c", *("0",) * axes)


def write_bundle(folder: Path, arrays: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
    """Write arrays and attributes as one group, whole or not at all.

    Parameters
    ----------
    folder : Path
        Folder of the group; a group that is there is replaced.
    arrays : mapping of str to ndarray
        Arrays by name.
    attributes : mapping of str to JSON value
        Attributes of the group.
    """
    write_fields(folder, {name: (array, {}) for name, array in arrays.items()}, attributes)


def read_bundle(folder: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read arrays and attributes that `write_bundle` wrote.

    Parameters
    ----------
    folder : Path
        Folder of the group.

    Returns
    -------
    arrays : dict of str to ndarray
        Arrays by name.
    attributes : dict
        Attributes of the group.

    Raises
    ------
    MissingResultError
        Where the group is not written yet.
    DataError
        Where a part of it is torn or missing.
    """
    names, attributes = _group(folder)
    return {name: read_array(folder / name)[0] for name in names}, attributes


def read_attributes(folder: Path) -> dict[str, Any]:
    """Read the attributes of a bundle and none of its arrays.

    Parameters
    ----------
    folder : Path
        Folder of the group.

    Returns
    -------
    dict
        Attributes of the group.

    Raises
    ------
    MissingResultError
        Where the group is not written yet.
    DataError
        Where its document is torn.
    """
    return _group(folder)[1]


def _group(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Return names and attributes of a group; MissingResultError where it is not written."""
    try:
        return read_group(folder)
    except FileNotFoundError:
        raise MissingResultError(f"{folder}: not written yet; run `ish run` first") from None


def ensure_group(folder: Path) -> None:
    """Make a folder a zarr group into which sections are written one by one.

    Parameters
    ----------
    folder : Path
        The folder; a document that is there and whole stays.
    """
    try:
        whole = read_document(folder) == PLAIN_GROUP
    except (OSError, DataError):
        whole = False
    if not whole:
        with replacing(folder / DOCUMENT) as fresh:
            fresh.write_text(json.dumps(PLAIN_GROUP), encoding="utf-8")


Field = tuple[npt.NDArray[Any], Mapping[str, Any]]  # an array and its attributes


def write_fields(folder: Path, fields: Mapping[str, Field], attributes: Mapping[str, Any]) -> None:
    """Write arrays, each with attributes of its own, as one group, whole or not at all.

    Parameters
    ----------
    folder : Path
        Folder of the group; a group that is there is replaced.
    fields : mapping of str to (ndarray, mapping)
        Arrays with their attributes, by name.
    attributes : mapping of str to JSON value
        Attributes of the group.
    """
    with replacing(folder, is_zarr_part) as fresh:
        write_group(fresh, attributes)
        for name, (array, own) in fields.items():
            write_array(fresh / name, array, own)


def read_fields(folder: Path) -> dict[str, Field]:
    """Read arrays and their attributes that `write_fields` wrote.

    Parameters
    ----------
    folder : Path
        Folder of the group.

    Returns
    -------
    dict of str to (ndarray, dict)
        Arrays with their attributes, by name.

    Raises
    ------
    FileNotFoundError
        Where there is no group.
    DataError
        Where a part of it is torn or missing.
    """
    return {name: read_array(folder / name) for name in read_group(folder)[0]}
