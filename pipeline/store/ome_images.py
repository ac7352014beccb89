"""Section images that come as OME-Zarr, of any writer: versions 0.4 and 0.5, with or without colour.

What a user brings may be torn or absurd: sizes are looked at before anything is decoded, and whatever zarr
and its codecs raise becomes one line that names the image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import DataError, PipelineError
from pipeline.later import Later
from pipeline.model import UInt8

if TYPE_CHECKING:
    import zarr
else:
    zarr = Later("zarr")

UNITS_UM = {
    "nanometer": 1e-3, "nm": 1e-3, "micrometer": 1.0, "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0,
    "millimeter": 1e3, "mm": 1e3, "centimeter": 1e4, "cm": 1e4, "meter": 1e6, "m": 1e6,
}  # fmt: skip
COLOURS = ("red", "green", "blue")


@contextmanager
def blaming(folder: Path) -> Iterator[None]:
    """Turn whatever zarr and its codecs raise into one line that names the image."""
    try:
        check_files(folder)
        yield
    except PipelineError:
        raise
    except Exception as error:  # of documents that hold anything, and of chunks that hold garbage
        what = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(
            f"{folder}: expected a whole OME-Zarr image, got one that cannot be read ({what}); copy it again"
        ) from error


def check_files(folder: Path) -> None:
    """Raise DataError for anything that is neither file nor folder: reading a named pipe is waiting."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            try:
                plain = stat.S_ISREG(path.stat().st_mode)
            except OSError:
                plain = False
            if not plain:
                raise DataError(
                    f"{path}: expected a file of an OME-Zarr image, got a pipe, device or dead link"
                )


class OmeImage:
    """One OME-Zarr image, open for reading.

    A folder of bioformats2raw holds its images in subfolders 0, 1 …: the largest is taken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.note = folder, ""
        group = _open(folder)
        images = {"": group} if _multiscales(group) else _inner(folder, group)
        if not images:
            raise DataError(
                f"{folder}: expected an OME-Zarr image (a group with `multiscales`, or the layout of"
                " bioformats2raw with it in .zarr/0), got none"
            )
        sizes = {name: _area(folder, image) for name, image in images.items()}
        taken = max(sizes, key=lambda name: sizes[name])
        if len(sizes) > 1:
            self.note = f"holds {len(sizes)} images: the largest is taken, {taken}"
        self.group, self.attributes = images[taken], _multiscales(images[taken])
        self.axes = [
            str(axis["name"] if isinstance(axis, dict) else axis) for axis in self.attributes["axes"]
        ]

    def level(self, number: int) -> zarr.Array[Any]:
        """Return one level of the pyramid, its shape held against the axes."""
        return _array(self.folder, self.group, self.attributes, number)

    def sides(self, number: int = 0) -> dict[str, int]:
        """Return the length of a level along each axis."""
        return dict(zip(self.axes, map(int, self.level(number).shape), strict=True))

    @property
    def levels(self) -> int:
        """How many levels there are."""
        return len(self.attributes["datasets"])

    @property
    def resolution_um(self) -> float | None:
        """Size of a pixel along x; None where the image states no length."""
        at = self.axes.index("x")
        axis = self.attributes["axes"][at]
        unit_um = UNITS_UM.get(str(axis.get("unit", "")) if isinstance(axis, dict) else "")
        transforms = self.attributes["datasets"][0].get("coordinateTransformations") or [{}]
        scale = next((t["scale"] for t in transforms if t.get("type") == "scale"), None)
        if scale is None or (
            unit_um is None and isinstance(axis, dict) and axis.get("unit") not in (None, "")
        ):
            return None
        return float(scale[at]) * (unit_um or 1.0)

    def check_colours(self) -> None:
        """Refuse three channels that are named, and are not red, green and blue."""
        found = dict(self.group.attrs)
        described: Any = found.get("ome", found)
        channels = (described.get("omero") or {}).get("channels") or ()
        names = [str(channel.get("label", "")).lower() for channel in channels]
        odd = [
            n
            for n in names
            if n and not n.startswith(("channel", "ch", "c:", "0", "1", "2")) and n not in COLOURS
        ]
        if odd and not set(names) <= {"r", "g", "b"}:
            raise DataError(
                f"{self.folder}: expected red, green and blue, got channels {', '.join(names)[:80]}"
            )

    def plane(self, number: int) -> npt.NDArray[Any]:
        """Return the one plane of a level as stored, (H, W) or (H, W, C)."""
        pixels, axes = np.asarray(self.level(number)[...]), list(self.axes)
        for axis in ("t", "z"):
            if axis in axes:
                if pixels.shape[axes.index(axis)] != 1:
                    raise DataError(
                        f"{self.folder}: expected one plane, got {pixels.shape} along axes {axes}"
                    )
                pixels = pixels.take(0, axis=axes.index(axis))
                axes.remove(axis)
        if "c" in axes:
            pixels = np.moveaxis(pixels, axes.index("c"), -1)
            pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        if (
            pixels.dtype not in (np.uint8, np.uint16)
            or pixels.ndim not in (2, 3)
            or pixels.shape[2:] not in ((), (3,))
        ):
            raise DataError(
                f"{self.folder}: expected grey or RGB of 8 or 16 bits, got {pixels.dtype} of shape"
                f" {pixels.shape}"
            )
        return np.ascontiguousarray(pixels)


def level_of(image: OmeImage, factor: int) -> tuple[int, int]:
    """Return the smallest level whose reduction divides `factor`, and that reduction."""
    full, best, reduction = image.sides(), 0, 1
    for level in range(1, image.levels if factor > 1 else 0):
        sides = image.sides(level)
        step = round(full["x"] / sides["x"])
        alike = all(abs(sides[a] - full[a] / step) <= 1 for a in "yx") if step else False
        if alike and step > reduction and factor % step == 0:
            best, reduction = level, step
    return best, reduction


def high_byte(pixels: npt.NDArray[Any], bits: int) -> UInt8:
    """Return samples that fill so many bits as 8 bits."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels)
    scaled = np.minimum(pixels, 2**bits - 1) * (255.0 / (2**bits - 1))
    return np.asarray(np.rint(scaled), np.uint8)


def _open(folder: Path) -> zarr.Group:
    try:
        return zarr.open_group(folder, mode="r")
    except FileNotFoundError:
        raise DataError(
            f"{folder}: expected an OME-Zarr image (a group with `multiscales`), got none"
        ) from None


def _multiscales(group: zarr.Group) -> dict[str, Any]:
    """Return what a group says of the image that it is; empty where it is none."""
    found = dict(group.attrs)
    described: Any = found.get("ome", found)
    images = described.get("multiscales") if isinstance(described, dict) else None
    return dict(images[0]) if isinstance(images, list) and images and isinstance(images[0], dict) else {}


def _inner(folder: Path, group: zarr.Group) -> dict[str, zarr.Group]:
    """Return the images in numbered subfolders."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name.isdecimal() and path.is_dir():
            inner = group[path.name]
            if isinstance(inner, zarr.Group) and _multiscales(inner):
                found[path.name] = inner
    return found


def _area(folder: Path, group: zarr.Group) -> int:
    attributes = _multiscales(group)
    shape = _array(folder, group, attributes, 0).shape
    return int(shape[-1]) * int(shape[-2])


def _array(folder: Path, group: zarr.Group, attributes: dict[str, Any], level: int) -> zarr.Array[Any]:
    try:
        array = group[attributes["datasets"][level]["path"]]
    except (FileNotFoundError, KeyError, IndexError, TypeError):
        raise DataError(f"{folder}: expected an OME-Zarr image, got none at level {level}") from None
    if not isinstance(array, zarr.Array):
        raise DataError(f"{folder}: level {level} is not an array")
    shape = tuple(map(int, array.shape))
    if len(shape) != len(attributes["axes"]) or min(shape, default=0) < 1:
        raise DataError(f"{folder}: expected sides along {len(attributes['axes'])} axes, got shape {shape}")
    return array
