"""Bounds on chunks of foreign zarr arrays: none is decoded that would inflate beyond its size.

A codec allocates as much as a chunk declares, and some codecs run code that a chunk holds. So only the codecs
named here are accepted, and the size that a chunk declares is checked before it is decoded: in the header of
zstd (RFC 8878), Blosc and LZ4. gzip and zlib declare none and are inflated no further than the expected size.
Shards carry an index of their chunks (https://zarr-specs.readthedocs.io, sharding codec 1.0).
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from pipeline.core.errors import DataError
from pipeline.system.files import check_plain, read_json_value, shown

COMPRESSORS = ("blosc", "gzip", "lz4", "zlib", "zstd")
KEEPING = ("bytes", "crc32c", "shuffle", "transpose")  # codecs that keep the size, but for a checksum
SHARDS = "sharding_indexed"
MOST_CHUNKS = 1_000_000  # each takes some 50 us to look up
SLACK = 4096  # bytes for checksums and padding
EMPTY = 2**64 - 1  # offset of a chunk that a shard does not hold
DEFLATE = 1032  # largest number of bytes that deflate makes of one
HEADER = 32  # bytes at the start of a chunk that declare its size
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

Buffer = bytes | mmap.mmap


@dataclass(frozen=True)
class Chunks:
    """How the files of an array become chunks.

    Attributes
    ----------
    compressor : str or None
        Name of the codec that compresses, None where chunks are stored as they are.
    size : int, bytes
        Largest size of a decoded chunk.
    inner : int or None
        Number of chunks in a shard; None where a file is one chunk.
    index_first : bool
        Whether the index of a shard comes first in its file.
    index_checked : bool
        Whether a checksum follows the index.
    """

    compressor: str | None
    size: int
    inner: int | None = None
    index_first: bool = False
    index_checked: bool = True


def chunks_of(folder: Path, shape: Sequence[int], chunk: Sequence[int], itemsize: int) -> Chunks:
    """Return how an array is stored.

    Parameters
    ----------
    folder : Path
        Folder of the array.
    shape : sequence of int
        Shape of the array.
    chunk : sequence of int
        Shape of the chunks that are decoded: in a shard, the inner ones.
    itemsize : int, bytes
        Size of a sample.

    Returns
    -------
    Chunks
        Compressor, size and layout of the chunks.

    Raises
    ------
    DataError
        For codecs that are not read here, chunks much larger than the array, and more than MOST_CHUNKS of
        them.
    """
    if min(chunk, default=1) < 1 or math.prod(chunk) > max(4 * math.prod(shape), 2**26):
        raise DataError(f"{folder}: expected chunks of a part of the image, got {shown(tuple(chunk))}")
    count = math.prod(-(-side // part) for side, part in zip(shape, chunk, strict=True))
    if count > MOST_CHUNKS:
        raise DataError(
            f"{folder}: expected at most {MOST_CHUNKS:,} chunks, got {count:,} of {shown(tuple(chunk))};"
            " write it with larger ones"
        )
    size = math.prod(chunk) * itemsize
    try:
        document = _document(folder)
        outer = _codecs(folder, document)
        shard = next((node for node in outer if _name(node) == SHARDS), None)
        if shard is None:
            return Chunks(_compressor(folder, outer), size)
        inner, index = shard["configuration"]["codecs"], shard["configuration"]["index_codecs"]
        parts = zip(document["chunk_grid"]["configuration"]["chunk_shape"], chunk, strict=True)
        return Chunks(
            _compressor(folder, [*(node for node in outer if node is not shard), *inner]),
            size,
            math.prod(-(-int(whole) // part) for whole, part in parts),
            shard["configuration"].get("index_location", "end") == "start",
            _is_checked(folder, index),
        )
    except (KeyError, TypeError, AttributeError):
        raise DataError(f"{folder}: expected codecs as zarr names them, got others") from None


def chunk_files(folder: Path) -> Iterator[Path]:
    """Yield the chunk files of an array; DataError for one that is not a regular file."""
    pending = [str(folder)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
                check_plain(Path(entry.path), "a chunk")
                if not entry.name.startswith(".") and entry.name != "zarr.json":
                    yield Path(entry.path)


def check_chunks(files: Iterator[Path], chunks: Chunks) -> None:
    """Refuse files of an array that would inflate to more than its chunks.

    Parameters
    ----------
    files : iterator of Path
        Files of chunks or shards.
    chunks : Chunks
        How they are stored.

    Raises
    ------
    DataError
        For an empty file, a shard without its whole index, and a chunk that declares or inflates to too much.
    """
    for path in files:
        with path.open("rb") as file:
            if not file.read(1):  # zarr takes an empty shard for one without a chunk: for zeros
                raise DataError(f"{path}: expected a chunk, got an empty file; copy it again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for start, stop in _parts(path, content, chunks):
                    _check(path, content, start, stop, chunks)


def _document(folder: Path) -> Any:
    """Return the document of an array, whichever version of zarr wrote it."""
    name = "zarr.json" if (folder / "zarr.json").exists() else ".zarray"
    return read_json_value(folder / name, "a zarr document", finite=False)


def _codecs(folder: Path, document: Any) -> Sequence[Mapping[str, Any]]:
    """Return the codecs of a document: of zarr 3 in order, of zarr 2 filters and compressor."""
    if (folder / "zarr.json").exists():
        return list(document["codecs"])
    found = [*(document.get("filters") or ()), document.get("compressor")]
    return [node for node in found if node is not None]


def _name(node: Mapping[str, Any]) -> str:
    """Return the name of a codec: `name` in zarr 3, `id` in zarr 2."""
    return str(node["name"] if "name" in node else node["id"]).removeprefix("numcodecs.")


def _compressor(folder: Path, nodes: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the one codec that compresses; DataError for codecs not named here and for several."""
    names = [_name(node) for node in nodes]
    strange = [name for name in names if name not in (*COMPRESSORS, *KEEPING)]
    if strange:
        raise DataError(
            f"{folder}: expected chunks in {', '.join(COMPRESSORS)} or none of them, got codec"
            f" {shown(strange[0])}; write it with one of these"
        )
    found = [name for name in names if name in COMPRESSORS]
    if len(found) > 1:
        raise DataError(f"{folder}: expected one compressor, got {', '.join(found)[:60]}; write it with one")
    return found[0] if found else None


def _is_checked(folder: Path, nodes: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the index of shards has a checksum; DataError for other codecs."""
    names = [_name(node) for node in nodes]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        raise DataError(f"{folder}: expected the index of shards in bytes and crc32c, got {shown(names)}")
    return len(names) == 2


def _parts(path: Path, content: Buffer, chunks: Chunks) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each chunk in a file: the file, or what the index of a shard names."""
    if chunks.inner is None:
        yield 0, len(content)
        return
    length = 16 * chunks.inner
    whole = length + 4 * chunks.index_checked
    if len(content) < whole:
        raise DataError(
            f"{path}: expected a shard with an index of {whole} bytes, got {len(content)}; copy it again"
        )
    at = 0 if chunks.index_first else len(content) - whole
    index = np.frombuffer(content[at : at + length], "<u8").reshape(-1, 2)
    for offset, count in index[index[:, 0] != EMPTY].tolist():
        if offset + count > len(content):
            raise DataError(f"{path}: expected chunks inside the shard, got one beyond it; copy it again")
        yield offset, offset + count


def _check(path: Path, content: Buffer, start: int, stop: int, chunks: Chunks) -> None:
    """Raise DataError where a chunk inflates to more than its size; damage is left to its decoder."""
    size, name = chunks.size, chunks.compressor
    most = size + SLACK
    try:
        if name is None:
            got = stop - start
        elif name in ("gzip", "zlib"):
            got = _inflated(content[start:stop], most)
        elif name == "zstd":
            got = _zstd_size(content, start, stop, most)
        else:
            (got,) = struct.unpack_from(
                "<I", content[start : min(stop, start + HEADER)], 4 if name == "blosc" else 0
            )
    except (struct.error, zlib.error, imagecodecs.ZstdError):
        return  # damaged: its decoder reports it
    if got > most:
        raise DataError(f"{path}: expected a chunk of {size} bytes, got one that inflates to more")


def _inflated(data: bytes, most: int) -> int:
    """Return the size of what gzip or zlib packed, member after member, or anything above `most`."""
    if len(data) * DEFLATE <= most:
        return 0
    got, rest = 0, data
    while rest and got <= most:
        inflating = zlib.decompressobj(wbits=47)  # zlib or gzip
        got += len(inflating.decompress(rest, most + 1 - got))
        rest = inflating.unused_data if inflating.eof else b""
    return got


def _zstd_size(content: Buffer, start: int, stop: int, most: int) -> int:
    """Return the size that a zstd frame declares.

    Where it declares none: the size of what it holds, or anything above `most`.
    """
    head = content[start : min(stop, start + HEADER)]
    if head[:4] != ZSTD_MAGIC:
        return 0
    (flags,) = struct.unpack_from("<B", head, 4)
    single = flags >> 5 & 1
    length = (single, 2, 4, 8)[flags >> 6]
    at = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    if length:
        return int.from_bytes(head[at : at + length], "little") + (256 if length == 2 else 0)
    try:
        return len(imagecodecs.zstd_decode(content[start:stop], out=bytearray(most)))
    except imagecodecs.ZstdError as error:
        if "too small" in str(error).lower():
            return most + 1
        raise
