"""OME-Zarr 0.5 images: a pyramid of one section with physical units, written and read."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numcodecs.checksum32 import CRC32C

from pipeline.core.errors import DataError, MissingResultError
from pipeline.core.kernels import kernel
from pipeline.core.model import Float64, UInt8
from pipeline.store.arrays import (
    AGAIN,
    DOCUMENT,
    ZSTD,
    Document,
    array_document,
    codecs,
    read_document,
    read_group,
    write_document,
    write_group,
)
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    import zarr
else:
    zarr = LazyModule("zarr")

Part = tuple[slice, slice]  # rows, columns
Pair = tuple[int, int]
OME_VERSION = "0.5"
SMALLEST_PX = 256  # longer side at which the pyramid ends
# With chunks of 1024 px a mask takes 10 % longer and 2 % more space, as fewer chunks are empty.
CHUNK_PX = 512
LABELS = "expressing"
# Side of a shard, large enough for one file a level: a section of 64 MP has 29 files instead of 161.
# Codecs, measured on its mask with labels and 8 levels:
# Zstandard 1: 0.08 s of CPU, 2.0 MB; LZ4: 0.06 s, 3.4 MB; faster levels of Zstandard are no faster.
SHARD_PX = 16384
ABSENT = 2**64 - 1  # offset and length of a chunk that is left out, by the zarr specification


def write_image(folder: Path, pixels: UInt8, resolution_um: float, attributes: dict[str, Any]) -> None:
    """Write an image as an OME-Zarr multiscale group, with a label image of its pixels above 0.

    Each level of the pyramid takes the maximum of 2 x 2 pixels of the finer one, so that single cells stay
    visible in overviews.

    Parameters
    ----------
    folder : Path
        Folder of the group.
    pixels : (H, W) uint8
        Image; 0 where nothing expresses.
    resolution_um : float
        Pixel size, um.
    attributes : dict of str to Any
        Further attributes of the group.
    """
    levels = pyramid(pixels)
    mask = folder / "labels" / LABELS
    write_group(folder, {"ome": multiscale_metadata(len(levels), resolution_um), **attributes})
    write_group(mask.parent, {"ome": {"version": OME_VERSION, "labels": [LABELS]}})
    color = {"label-value": 1, "rgba": [255, 64, 0, 255]}
    metadata = multiscale_metadata(len(levels), resolution_um, LABELS)
    metadata["image-label"] = {"colors": [color], "source": {"image": "../../"}}
    write_group(mask, {"ome": metadata})
    for number, level in enumerate(levels):
        _write_level((folder / str(number), mask / str(number)), level)


def _write_level(places: tuple[Path, Path], pixels: UInt8) -> None:
    """Write one level as two arrays: the image, and where it is above 0."""
    document, shard, chunk = _level_document(pixels.shape)
    for folder in places:
        write_document(folder, document)
    for row, top in enumerate(range(0, pixels.shape[0], shard[0])):
        for column, left in enumerate(range(0, pixels.shape[1], shard[1])):
            part = pixels[top : top + shard[0], left : left + shard[1]]
            for folder, content in zip(places, encode_shards(part, shard, chunk), strict=True):
                path = folder / "c" / str(row) / str(column)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def _level_document(shape: tuple[int, ...]) -> tuple[Document, Pair, Pair]:
    """Return the zarr document of a level of (rows, columns), and the sides of shards and chunks, px."""
    rows, columns = (min(CHUNK_PX, n) for n in shape)
    chunk = rows, columns
    shard = -(-min(SHARD_PX, shape[0]) // rows) * rows, -(-min(SHARD_PX, shape[1]) // columns) * columns
    sharded = {
        "chunk_shape": list(chunk),
        "codecs": codecs(np.uint8),
        "index_codecs": [codecs(np.uint64)[0], {"name": "crc32c"}],
        "index_location": "end",
    }
    coded: list[Document] = [{"name": "sharding_indexed", "configuration": sharded}]
    document = array_document(shape, np.uint8, shard, coded, {}) | {"dimension_names": ["y", "x"]}
    return document, shard, chunk


def encode_shards(pixels: UInt8, shard: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[bytes, bytes]:
    """Encode a shard of an image, and that of the image's label array (1 where the image is above 0).

    Chunks that hold nothing but zeros are left out.

    Parameters
    ----------
    pixels : (h, w) uint8
        Part of the image that the shard covers.
    shard : (int, int)
        Rows and columns of a shard, px.
    chunk : (int, int)
        Rows and columns of a chunk, px.

    Returns
    -------
    (bytes, bytes)
        Files of the two shards: chunks, then the index with its CRC-32C.
    """
    index = np.full((2, *(n // c for n, c in zip(shard, chunk, strict=True)), 2), ABSENT, "<u8")
    chunks: tuple[list[bytes], list[bytes]] = [], []
    sizes = [0, 0]
    pair = np.zeros(
        (2, *chunk), np.uint8
    )  # one chunk of the image and one of its labels: both fit into the processor's cache
    for i, j in np.ndindex(index.shape[1:3]):
        part = pixels[i * chunk[0] : (i + 1) * chunk[0], j * chunk[1] : (j + 1) * chunk[1]]
        if part.shape != chunk:
            pair[:] = 0
        if not _lay_out(part, pair):
            continue
        for k, content in enumerate(pair):
            chunks[k].append(ZSTD.encode(content))
            index[k, i, j] = sizes[k], len(chunks[k][-1])
            sizes[k] += len(chunks[k][-1])
    first, second = (b"".join([*c, CRC32C().encode(e.tobytes())]) for c, e in zip(chunks, index, strict=True))
    return first, second


@kernel
def _lay_out(part: UInt8, pair: UInt8) -> bool:
    """Copy pixels, and where they are above 0, to the corner of two blocks; tell whether any is above 0.

    Three loops: the compiler vectorises each of them, but not one loop that does all three.
    """
    found = np.uint8(0)
    for y in range(part.shape[0]):
        line, block, labels = part[y], pair[0, y], pair[1, y]
        for x in range(line.size):
            block[x] = line[x]
        for x in range(line.size):
            labels[x] = np.uint8(line[x] > 0)
        for x in range(line.size):
            found = np.uint8(found | line[x])
    return bool(found > 0)


def read_shards(place: Path, part: tuple[Pair, Pair], shard: Pair, chunk: Pair) -> UInt8:
    """Read a part of an array that was written as shards.

    Parameters
    ----------
    place : Path
        Folder of the array.
    part : ((int, int), (int, int))
        First (row, column) and the (row, column) after the last, px, inside the array.
    shard : (int, int)
        Rows and columns of a shard, px.
    chunk : (int, int)
        Rows and columns of a chunk, px.

    Returns
    -------
    (h, w) uint8
        Pixels of the part.

    Raises
    ------
    DataError
        Where a shard or chunk is damaged or missing.
    """
    (top, left), (bottom, right) = part
    out = np.zeros((max(bottom - top, 0), max(right - left, 0)), np.uint8)
    sides = shard[0] // chunk[0], shard[1] // chunk[1]
    opened = cache(lambda a, b: _read_shard(place / "c" / str(a) / str(b), sides))
    rows, columns = (range(lo // n, -(-hi // n)) for lo, hi, n in zip(*part, chunk, strict=True))
    for i, j in product(rows, columns):
        content, index = opened(i // sides[0], j // sides[1])
        start, size = (int(n) for n in index[i % sides[0], j % sides[1]])
        if start != ABSENT:
            try:
                block = np.frombuffer(ZSTD.decode(content[start : start + size]), np.uint8).reshape(chunk)
            except (RuntimeError, ValueError):
                raise DataError(f"{place}: expected whole chunks, got a torn one; run detect again") from None
            y, x = i * chunk[0], j * chunk[1]
            seen = block[max(top - y, 0) : bottom - y, max(left - x, 0) : right - x]
            y, x = max(y - top, 0), max(x - left, 0)
            out[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
    return out


def _read_shard(path: Path, sides: Pair) -> tuple[bytes, npt.NDArray[np.uint64]]:
    """Return the bytes of a shard, and offset and length of its chunks, (rows, columns, 2) uint64."""
    try:
        content = path.read_bytes()  # every shard is written, even where nothing expresses
        index = CRC32C().decode(content[-(sides[0] * sides[1] * 16 + 4) :])
    except (OSError, RuntimeError, ValueError):
        raise DataError(f"{path}: expected a whole shard, got a damaged one; run detect again") from None
    return content, np.frombuffer(index, "<u8").reshape(*sides, 2)


def pyramid(pixels: UInt8) -> list[UInt8]:
    """Return an image and its reductions by 2, 4, 8 ...

    Parameters
    ----------
    pixels : (H, W) uint8
        Image.

    Returns
    -------
    list of (h, w) uint8
        Levels, the finest first, until the longer side is 256 px or less.
    """
    levels = [pixels]
    while max(levels[-1].shape) > SMALLEST_PX:
        levels.append(_half(levels[-1]))
    return levels


@kernel
def _half(pixels: UInt8) -> UInt8:
    """Return the maximum of every 2 x 2 pixels; at an odd edge of the pixels that exist."""
    height, width = pixels.shape
    out = np.empty(((height + 1) // 2, (width + 1) // 2), np.uint8)
    for y in range(out.shape[0]):
        upper, lower = pixels[2 * y], pixels[min(2 * y + 1, height - 1)]
        for x in range(width // 2):
            left = max(upper[2 * x], lower[2 * x])
            out[y, x] = max(left, max(upper[2 * x + 1], lower[2 * x + 1]))
        if width % 2:
            out[y, width // 2] = max(upper[width - 1], lower[width - 1])
    return out


def multiscale_metadata(levels: int, resolution_um: float, name: str = "expression") -> dict[str, Any]:
    """Return the `ome` attribute of a two-dimensional image; pixel centres lie at integer indices.

    Parameters
    ----------
    levels : int
        Number of levels, each half the size of the one before.
    resolution_um : float
        Pixel size of the finest level, um.
    name : str
        Name of the image.

    Returns
    -------
    dict of str to Any
        OME-Zarr metadata with scale and translation of every level, um.
    """
    datasets = []
    for level in range(levels):
        scale = resolution_um * 2**level
        shift = resolution_um * (2**level - 1) / 2
        transforms = [
            {"type": "scale", "scale": [scale, scale]},
            {"type": "translation", "translation": [shift, shift]},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in ("y", "x")]
    return {
        "version": OME_VERSION,
        "multiscales": [{"name": name, "axes": axes, "datasets": datasets}],
    }


def read_level(folder: Path, level: int = 0, part: Part = (slice(None), slice(None))) -> UInt8:
    """Read one level of an image, or some of its rows and columns.

    Only the chunks that overlap `part` are decoded.

    Parameters
    ----------
    folder : Path
        Group of the image.
    level : int
        Level; 0 is the finest.
    part : (slice, slice)
        Rows and columns, px of this level.

    Returns
    -------
    (h, w) uint8
        Pixels.

    Raises
    ------
    MissingResultError
        Where there is no such image or level.
    DataError
        Where the level is not an array, or is damaged.
    """
    place, document = folder / str(level), _read_level_document(folder, level)
    shape = tuple(document["shape"])
    own, shard, chunk = _level_document(shape)
    if document == own:  # written by this module: read it without zarr, whose opening takes 10 ms
        starts, stops, _ = zip(*(side.indices(n) for side, n in zip(part, shape, strict=True)), strict=True)
        return read_shards(place, (starts, stops), shard, chunk)
    return np.asarray(zarr.open_array(place, mode="r")[part], dtype=np.uint8)


def level_axes_um(folder: Path, level: int = 0) -> tuple[float, Float64, Float64]:
    """Return where the pixels of a level lie, by the metadata of the image; no pixel is read.

    Parameters
    ----------
    folder : Path
        Group of the image.
    level : int
        Level; 0 is the finest.

    Returns
    -------
    pixel_um : float, um
        Size of a pixel of this level.
    y_um, x_um : (h,) and (w,) float64, um
        Pixel centres, from the centre of the first pixel of the finest level on.

    Raises
    ------
    MissingResultError
        Where there is no such image or level.
    DataError
        Where the level is not an array, or the image does not state where its pixels lie.
    """
    shape = _read_level_document(folder, level)["shape"]
    attributes = read_group(folder)[1] if (folder / DOCUMENT).exists() else {}
    try:
        datasets = attributes["ome"]["multiscales"][0]["datasets"]
        found = next(each for each in datasets if each["path"] == str(level))
        transforms = {each["type"]: each[each["type"]] for each in found["coordinateTransformations"]}
        (size_um, _), starts_um = transforms["scale"], transforms["translation"]
        y_um, x_um = (a + size_um * np.arange(n) for a, n in zip(starts_um, shape, strict=True))
    except (LookupError, TypeError, ValueError, StopIteration):
        raise DataError(
            f"{folder}: expected the scale and translation of level {level} in its metadata; {AGAIN}"
        ) from None
    return float(size_um), y_um, x_um


def _read_level_document(folder: Path, level: int) -> Document:
    """Return what a level says of itself; MissingResultError, DataError where it is not an array."""
    try:
        document = read_document(folder / str(level))
    except (FileNotFoundError, NotADirectoryError):
        raise MissingResultError(f"{folder}: no OME-Zarr image with level {level}") from None
    if document.get("node_type") != "array":
        raise DataError(f"{folder}: level {level} is a group, expected an array")
    return document


def level_count(folder: Path) -> int:
    """Return the number of levels of an image.

    Parameters
    ----------
    folder : Path
        Group of the image.

    Returns
    -------
    int
        Number of levels.

    Raises
    ------
    MissingResultError
        Where there is no image.
    """
    try:
        return sum(name.isdigit() for name in read_group(folder)[0])
    except FileNotFoundError:
        raise MissingResultError(f"{folder}: no OME-Zarr image") from None
