"""OME-Zarr images of microscopes and converters: versions 0.1 to 0.5, one or several images in a folder."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError, PipelineError
from pipeline.core.intensity import fitting_bits, to_uint8
from pipeline.core.model import UInt8
from pipeline.formats.images.headers import are_plain
from pipeline.store.chunk_bounds import check_chunks, chunk_files, chunks_of
from pipeline.system.files import check_plain, real_path, shown
from pipeline.system.lazy import LazyModule
from pipeline.system.limits import check_size

if TYPE_CHECKING:
    import zarr
else:
    zarr = LazyModule("zarr")

AXES = "tczyx"  # order of the axes where an image names none
UNIT_UM = {
    "angstrom": 1e-4, "nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "centimeter": 1e4,
    "meter": 1e6, "nm": 1e-3, "um": 1.0, "µm": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6,
}  # fmt: skip
DOCUMENTS = ("zarr.json", ".zgroup", ".zattrs", ".zarray", ".zmetadata")
LARGEST_DOCUMENT = 16 * 1024**2  # bytes


@dataclass(frozen=True)
class OmeInfo:
    """Properties of an OME-Zarr image.

    Attributes
    ----------
    width_px, height_px : int
        Size of the finest level, px.
    channels : int
        1 for grey, 3 for RGB.
    bits : int
        8 or 16 bits a sample.
    resolution_um : float or None
        Pixel size, um; None where it is not stated.
    notes : tuple of str
        Warnings on how the image is read.
    """

    width_px: int
    height_px: int
    channels: int  # 1 grey, 3 RGB
    bits: int
    resolution_um: float | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Image:
    """One image of a folder with its levels, the finest first."""

    place: Path
    axes: str
    levels: tuple[Any, ...]
    described: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def sides(self, level: int = 0) -> dict[str, int]:
        """Length along each axis."""
        return dict(zip(self.axes, self.levels[level].shape, strict=True))


def image_info(folder: Path) -> OmeInfo:
    """Return size, channels and pixel size of an OME-Zarr image, without decoding it.

    Parameters
    ----------
    folder : Path
        Folder of the image, or of several images of which the largest is taken.

    Returns
    -------
    OmeInfo
        Properties.

    Raises
    ------
    DataError
        Where the folder is not an OME-Zarr image that can be read.
    """
    with _blaming(folder):
        image = _open(folder)
        sides, dtype = image.sides(), np.dtype(image.levels[0].dtype)
        notes = image.notes + _missing_chunks(image)
        return OmeInfo(
            sides["x"], sides["y"], sides.get("c", 1), 8 * dtype.itemsize, _resolution_um(image), notes
        )


def brightest(folder: Path) -> int | None:
    """Return the largest sample of a 16-bit image; such an image states no range.

    Parameters
    ----------
    folder : Path
        Folder of the image.

    Returns
    -------
    int or None
        Largest sample; None for an 8-bit image.

    Raises
    ------
    DataError
        Where the folder is not an OME-Zarr image that can be read.
    """
    with _blaming(folder):
        image = _open(folder)
        return None if np.dtype(image.levels[0].dtype).itemsize == 1 else int(_samples(image, 0).max())


def read_pixels(folder: Path, factor: int = 1, bits: int | None = None) -> tuple[UInt8, int]:
    """Read the pixels of an OME-Zarr image, at a reduced level where that suffices.

    Parameters
    ----------
    folder : Path
        Folder of the image.
    factor : int
        Largest reduction allowed, along x and y.
    bits : int or None
        Bits that 16-bit samples use; None takes the smallest range that holds the brightest sample.

    Returns
    -------
    (H, W) or (H, W, 3) uint8
        Coarsest level whose reduction divides `factor`.
    int
        Its reduction.

    Raises
    ------
    DataError
        Where the folder is not an OME-Zarr image that can be read.
    """
    with _blaming(folder):
        image = _open(folder)
        level, reduction = _level(image, factor)
        pixels = _samples(image, level)
        if pixels.dtype != np.uint8:
            bits = bits or fitting_bits(int(pixels.max()))
            pixels = to_uint8(np.minimum(pixels, 2**bits - 1), (0, 2**bits - 1))
        return np.ascontiguousarray(pixels), reduction


@contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    """Turn whatever zarr and its codecs raise into a DataError of one line that names the folder."""
    try:
        yield
    except PipelineError as error:
        text = str(error)
        raise DataError(text if str(folder) in text else f"{folder}: {text}") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zarr and codecs raise what they like on damaged documents and chunks
        what = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(
            f"{folder}: expected a whole OME-Zarr image, got one that cannot be read ({what}); copy it again"
        ) from error


def _open(folder: Path) -> _Image:
    """Open the image of a folder; of several, as bioformats2raw writes them, the largest."""
    attributes = _attributes(folder)
    if "multiscales" in attributes:
        return _opened(folder, attributes)
    found = [(name, _attributes(folder / name)) for name in _inner(folder)]
    images = [(name, inner) for name, inner in found if "multiscales" in inner]
    if not images:
        raise DataError(
            f"{folder}: expected an OME-Zarr image (a group with `multiscales`, or bioformats2raw's with"
            f" images in {folder.name}/0, {folder.name}/1 …), got none"
        )
    opened = [_opened(folder / name, inner) for name, inner in images]
    return _largest(folder, opened)


def _largest(folder: Path, images: Sequence[_Image]) -> _Image:
    sizes = [math.prod(image.sides()[axis] for axis in "yx") for image in images]
    if len(images) == 1:
        return images[0]
    names = ", ".join(
        f"{image.place.name} ({image.sides()['x']} x {image.sides()['y']} px)" for image in images[:6]
    )
    if sizes.count(max(sizes)) > 1:
        raise DataError(
            f"{folder}: expected one image, or one larger than the others, got {names}; name the one that is"
            f" meant in sections.csv, such as {folder.name}/{images[0].place.name}"
        )
    chosen = images[sizes.index(max(sizes))]
    note = f"holds {len(images)} images, {names}; the largest, {chosen.place.name}, is read"
    return _Image(chosen.place, chosen.axes, chosen.levels, chosen.described, (note, *chosen.notes))


def _inner(folder: Path) -> list[str]:
    """Return the names of subfolders that may be images, numbers first and in order."""
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name != "OME"]
    return sorted(names, key=lambda name: (not name.isdigit(), len(name), name))[:64]


def _attributes(folder: Path) -> Mapping[str, Any]:
    """Return the attributes of a zarr group; empty for a folder that is not one."""
    _check_documents(folder)
    if not any((folder / name).exists() for name in ("zarr.json", ".zgroup")):
        if not (folder / ".zattrs").exists():
            return {}
        raise DataError(f"{folder}: expected .zgroup beside .zattrs, got none; copy it again")
    attributes = dict(zarr.open_group(folder, mode="r", use_consolidated=False).attrs)
    inner = attributes.get("ome", attributes)
    if not isinstance(inner, Mapping):
        raise DataError(f"{folder}: expected `ome` to hold names and values, got {type(inner).__name__}")
    return inner


def _check_documents(folder: Path) -> None:
    """Refuse documents that are not plain files or are too large, before they are opened."""
    for name in DOCUMENTS:
        path = folder / name
        size = check_plain(path, "a document") if path.exists() else 0
        if size > LARGEST_DOCUMENT:
            raise DataError(f"{path}: expected a document, got {size} bytes")


def _opened(place: Path, attributes: Mapping[str, Any]) -> _Image:
    """Open the levels of an image, and compare its metadata with what can be read."""
    try:
        described = attributes["multiscales"][0]
        paths = [str(dataset["path"]) for dataset in described["datasets"]]
    except (KeyError, IndexError, TypeError):
        raise DataError(f"{place}: expected `multiscales` with `datasets`, got none; copy it again") from None
    if not paths:
        raise DataError(f"{place}: expected an image with levels, got none")
    for path in paths:
        target = real_path(place / path)
        if not target.is_relative_to(real_path(place)):
            links = f", which links to {shown(str(target))}" if ".." not in Path(path).parts else ""
            raise DataError(f"{place}: expected levels inside it, got {shown(path)}{links}")
        _check_documents(place / path)
    levels = tuple(zarr.open_array(place / path, mode="r") for path in paths)
    image = _Image(place, _axes(described, levels[0].ndim), levels, {**described, **_omero(attributes)})
    for level in levels:
        _check_level(image, level)
    _check_channels(image)
    return image


def _omero(attributes: Mapping[str, Any]) -> dict[str, Any]:
    omero = attributes.get("omero")
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    return {"channels": channels if isinstance(channels, list) else []}


def _axes(described: Mapping[str, Any], count: int) -> str:
    """Return the letter of each axis: objects from 0.4 on, words in 0.3, not stated before."""
    stated = described.get("axes", list(AXES[-count:]))
    names = [str(axis.get("name") if isinstance(axis, Mapping) else axis).lower() for axis in stated]
    if len(names) != count or len(set(names)) != count or not {"x", "y"} <= set(names) <= set(AXES):
        raise DataError(f"expected axes of t, c, z, y, x, each once, got {', '.join(names)[:60]}")
    return "".join(names)


def _check_level(image: _Image, level: Any) -> None:
    """Refuse levels that cannot be a section, before a byte of them is decoded."""
    dtype = np.dtype(level.dtype).newbyteorder("=")
    if dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise DataError(f"{image.place}: expected 8-bit or 16-bit samples without sign, got {dtype}")
    if len(level.shape) != len(image.axes):
        raise DataError(f"{image.place}: expected levels along axes {image.axes}, got {level.shape}")
    sides = dict(zip(image.axes, level.shape, strict=True))
    check_size(sides["x"], sides["y"])
    long = {axis: sides[axis] for axis in "tz" if sides.get(axis, 1) != 1}
    if long or sides.get("c", 1) < 1:
        raise DataError(f"{image.place}: expected one plane, got shape {level.shape} along axes {image.axes}")
    chunks_of(_folder(level), level.shape, level.chunks, dtype.itemsize)


def _check_channels(image: _Image) -> None:
    """Refuse channels other than one grey one, or red, green and blue."""
    count = image.sides().get("c", 1)
    stated = image.described["channels"]
    names = [str(c.get("label") or "") if isinstance(c, Mapping) else "" for c in stated][:count]
    if count == 1 or (count == 3 and are_plain(names)):
        return
    which = f" ({', '.join(names)[:80]})" if any(names) else ""
    raise DataError(
        f"{image.place}: expected one grey channel, or red, green and blue, got {count} channels{which};"
        " export one channel, or RGB"
    )


def _resolution_um(image: _Image) -> float | None:
    """Return the pixel size in um; a scale without a unit counts as um.

    None where no scale is stated, a scale of 1 has no unit, a unit is unknown, or pixels are not square
    within 1 %.
    """
    datasets = image.described["datasets"]
    scales = [_scale(image, node) for node in (datasets[0], image.described)]
    if scales[0] is None and scales[1] is None:
        return None
    sizes = {}
    for axis in "yx":
        at = image.axes.index(axis)
        size = math.prod(float(scale[at]) for scale in scales if scale is not None)
        unit = _unit(image, axis)
        factor = UNIT_UM.get(unit, 0.0) if unit else float(size != 1.0)
        sizes[axis] = size * factor
    square = math.isfinite(sizes["x"]) and abs(sizes["x"] - sizes["y"]) <= 0.01 * sizes["x"]
    return float(f"{sizes['x']:.9g}") if square and sizes["x"] > 0 else None


def _unit(image: _Image, axis: str) -> str:
    stated = image.described.get("axes") or []
    node = stated[image.axes.index(axis)] if stated else None
    return str(node.get("unit") or "").strip().lower() if isinstance(node, Mapping) else ""


def _scale(image: _Image, node: Mapping[str, Any]) -> Sequence[float] | None:
    transforms = node.get("coordinateTransformations") or []
    found = next((t["scale"] for t in transforms if isinstance(t, Mapping) and "scale" in t), None)
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != len(image.axes):
        raise DataError(f"{image.place}: expected a scale for axes {image.axes}, got {found!r:.60}")
    return found


def _level(image: _Image, factor: int) -> tuple[int, int]:
    """Return the coarsest level whose reduction divides a factor, and that reduction."""
    full, best, reduction = image.sides(), 0, 1
    for level in range(1, len(image.levels) if factor > 1 else 0):
        sides = image.sides(level)
        step = max(1, round(full["x"] / sides["x"]))
        alike = all(abs(sides[a] - full[a] / step) <= 1 for a in "yx")
        if alike and step > reduction and factor % step == 0:
            best, reduction = level, step
    return best, reduction


def _samples(image: _Image, level: int) -> npt.NDArray[Any]:
    """Return the samples of a level as (H, W) or (H, W, 3), in native byte order."""
    array = image.levels[level]
    folder, itemsize = _folder(array), np.dtype(array.dtype).itemsize
    check_chunks(chunk_files(folder), chunks_of(folder, array.shape, array.chunks, itemsize))
    pixels, axes = np.asarray(array[...]), image.axes
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    for axis in "tz":
        if axis in axes:
            pixels, axes = pixels.take(0, axis=axes.index(axis)), axes.replace(axis, "")
    pixels = pixels.transpose([axes.index(axis) for axis in "yxc" if axis in axes])
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels


def _folder(array: Any) -> Path:
    return Path(str(array.store.root)) / str(array.path)


def _missing_chunks(image: _Image) -> tuple[str, ...]:
    """Return a warning about missing chunks: they read as the fill value, which may be black."""
    array = image.levels[0]
    parts = array.shards or array.chunks
    expected = math.prod(-(-side // part) for side, part in zip(array.shape, parts, strict=True))
    there = sum(1 for _ in chunk_files(_folder(array)))
    if there == 0:
        raise DataError(f"{image.place}: expected pixels, got none of its {expected} chunks; copy it again")
    if there >= expected:
        return ()
    missing, value = expected - there, array.fill_value
    return (f"{missing} of {expected} chunks are not there and count as {value or 0}; is the copy whole?",)
