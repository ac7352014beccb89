"""TIFF in its many forms: tiled, striped, BigTIFF, OME-TIFF, pyramids; the first image at full size."""

from __future__ import annotations

import logging
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from pipeline.errors import DataError
from pipeline.formats.headers import INCH_UM, Header, plausible_um, square_um

MINISWHITE, MINISBLACK, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
COLOUR_NAMES = re.compile(r"r|g|b|red|green|blue|rgb|channel[ :_]?\d.*|c\d|\d")
SLACK = 1 << 16  # bytes of headers that a packed tile may have beyond its pixels
JPEG = 7  # compression whose tiles are whole JPEGs but for shared tables
JPEG_COMPRESSIONS = (6, 7, 34892, 33007)
ALPHAS = ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA = 1, 2
OME_UNIT_UM = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
IMAGEJ_UNITS = ("micron", "microns", "um", "µm", "μm", "\\u00B5m")

# Without a handler Python prints the reader's complaints beside the one line that says what to do.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def tiff_header(path: Path) -> Header:
    """Read size, bit depth, stated range and resolution of a TIFF."""
    with open_tiff(path) as tiff:
        return header_of(tiff)


def tiff_pixels(path: Path, check: Callable[[Header], None]) -> tuple[Header, npt.NDArray[Any]]:
    """Read the largest image of a TIFF at full size, after a check of what its header says.

    Returns
    -------
    Header, (H, W) or (H, W, S) array    samples as stored, palettes resolved; S counts alpha
    """
    with open_tiff(path) as tiff:
        header = header_of(tiff)
        level = main_level(tiff)
        page = level.keyframe
        check(header)
        check_segments(path, page)
        # A slide scanner leaves out tiles without tissue: glass, not darkness.
        page.nodata = 0 if page.photometric in (MINISWHITE, PALETTE) else _white(page, header)
        pixels = np.asarray(level.asarray())
        return header, _samples_last(pixels, level.axes, page)


def _white(page: Any, header: Header) -> int:
    return int(header.value_range[1]) if header.value_range else int(2**page.bitspersample - 1)


def open_tiff(path: Path) -> Any:
    """Open a TIFF by itself, whatever its OME header says of other files."""
    return tifffile.TiffFile(path, _multifile=False)


def main_series(tiff: Any) -> Any:
    """Return the largest image of an open TIFF: scanners add labels, thumbnails and overviews to the scan.

    DataError where two are of that size, or there is none.
    """
    areas = [_area(series) for series in tiff.series]
    if not areas or not max(areas):
        raise DataError("expected an image, got none")
    at = areas.index(max(areas))
    if areas.count(areas[at]) > 1:
        sizes = " and ".join(_size(tiff.series[n]) for n, area in enumerate(areas) if area == areas[at])
        raise DataError(
            f"expected one image, got several of one size ({sizes[:100]}); export the one that is meant"
        )
    return tiff.series[at]


def main_level(tiff: Any) -> Any:
    """Return the largest image of an open TIFF at full size."""
    return main_series(tiff).levels[0]


def is_one_plane(level: Any) -> bool:
    """Tell whether an image lies in one page, colours pixel by pixel; three planes are three pages."""
    return set(level.axes) <= set("YXS") and level.axes.startswith("YX") and len(level.pages) == 1


def _area(series: Any) -> int:
    sides = dict(zip(series.axes, series.shape, strict=True))
    return int(sides.get("Y", 0)) * int(sides.get("X", 0))


def _size(series: Any) -> str:
    sides = dict(zip(series.axes, series.shape, strict=True))
    return f"{sides.get('X', 0)} x {sides.get('Y', 0)} px"


def _other_images(tiff: Any) -> str:
    """Say which image was taken where a file holds several; empty where it holds one."""
    if len(tiff.series) == 1:
        return ""
    taken = main_series(tiff)
    others = ", ".join(_size(series) for series in tiff.series if series is not taken)
    return f"holds {len(tiff.series)} images: the largest is taken, {_size(taken)}, not {others[:80]}"


def header_of(tiff: Any) -> Header:
    """Return size, bit depth, stated range and resolution of an open TIFF."""
    level = main_level(tiff)
    page = level.keyframe
    _check_kind(page)
    axes = "".join(a for a, n in zip(level.axes, level.shape, strict=True) if n > 1 or a in "YX")
    lengths = dict(zip(level.axes, level.shape, strict=True))
    as_channels = axes == "CYX" and lengths["C"] == 3 and page.bitspersample == 8
    colour = page.photometric in (RGB, PALETTE, YCBCR) or as_channels
    samples = lengths.get("S", 1)
    surplus = samples - (3 if page.photometric in (RGB, YCBCR) else 1)
    if (axes not in ("YX", "YXS", "SYX") and not as_channels) or surplus not in (0, 1):
        raise DataError(
            f"expected one grey or RGB picture, got axes {level.axes} of shape {tuple(level.shape)};"
            " export one plane as grey or RGB"
        )
    ome = _ome_pixels(tiff.ome_metadata)
    if as_channels:
        _check_colours(tiff.ome_metadata)
    value_range, stated = _value_range(page, ome)
    return Header(
        "TIFF",
        width=int(page.imagewidth),
        height=int(page.imagelength),
        channels=3 if colour else 1,
        bits=int(page.bitspersample),
        resolution_um=_resolution_um(tiff, page, ome),
        orientation=int(page.tags.valueof("Orientation", 1) or 1),
        value_range=value_range,
        premultiplied=ASSOCIATED_ALPHA in page.extrasamples,
        range_stated=stated,
        note=_other_images(tiff),
    )


def _check_kind(page: Any) -> None:
    if page.dtype is None or page.dtype.kind not in "bu" or page.dtype.itemsize > 2:
        raise DataError(f"expected 8-bit or 16-bit samples without sign, got {page.dtype}; convert it")
    if page.photometric == YCBCR and page.compression in JPEG_COMPRESSIONS:
        return
    if page.photometric not in (MINISWHITE, MINISBLACK, RGB, PALETTE):
        name = getattr(page.photometric, "name", page.photometric)
        raise DataError(f"expected a grey, RGB or palette TIFF, got {name}; save it as RGB")


def check_segments(path: Path, page: Any) -> None:
    """Refuse a file that has fewer tiles or strips than its size asks for, or ends before them."""
    expected = math.prod(page.chunked)
    got = min(len(page.dataoffsets), len(page.databytecounts))
    if got < expected:
        raise DataError(
            f"expected {expected} strips or tiles for {page.imagewidth} x {page.imagelength} pixels,"
            f" got {got}; the header or the file is damaged: copy it again"
        )
    unpacked = math.prod(page.chunks) * max(1, page.bitspersample // 8)
    if max(page.databytecounts[:expected], default=0) > 2 * unpacked + SLACK:
        raise DataError(
            f"expected tiles of at most {unpacked} bytes, got one that is larger packed; copy it again"
        )
    size = path.stat().st_size
    end = max(o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
    if end > size:
        raise DataError(f"expected pixels up to byte {end}, got a file of {size} bytes; copy it again")


def _samples_last(pixels: npt.NDArray[Any], axes: str, page: Any) -> npt.NDArray[Any]:
    keep = [a for a, n in zip(axes, pixels.shape, strict=True) if n > 1 or a in "YX"]
    pixels = pixels.reshape([n for a, n in zip(axes, pixels.shape, strict=True) if a in keep])
    if keep[0] in ("S", "C") and len(keep) == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric == MINISWHITE:
        top = 2**page.bitspersample - 1
        pixels = (top - pixels.astype(np.uint16)).astype(np.uint8 if top < 256 else np.uint16)
    if page.photometric == PALETTE:
        pixels = np.moveaxis(page.colormap[:, pixels], 0, -1)
    if page.extrasamples and not set(page.extrasamples) & set(ALPHAS):
        pixels = pixels[..., : -len(page.extrasamples)]
    return pixels


def _check_colours(document: str | None) -> None:
    """Refuse three planes that are other channels than red, green and blue, where they are named."""
    if not document or "<!DOCTYPE" in document:
        return
    root = ElementTree.fromstring(document)
    names = [e.get("Name", "").lower() for e in root.iter() if e.tag.rpartition("}")[2] == "Channel"]
    odd = [name for name in names if name and not COLOUR_NAMES.fullmatch(name)]
    if odd:
        raise DataError(
            f"expected red, green and blue, got channels {', '.join(names)[:80]}; export one plane or RGB"
        )


def _value_range(page: Any, ome: dict[str, str]) -> tuple[tuple[int, int] | None, bool]:
    """Return what black and white are in the samples of a TIFF, None for plain 8 bits; whether it says so."""
    if page.photometric == PALETTE:
        return (0, 65535), True
    bits = int(page.bitspersample)
    if bits == 8:
        return None, True
    significant = ome.get("SignificantBits", "")
    low = _first(page.tags.valueof("SMinSampleValue", page.tags.valueof("MinSampleValue")), 0)
    high = _first(page.tags.valueof("SMaxSampleValue", page.tags.valueof("MaxSampleValue")), 0)
    if bits == 16 and low < high:
        return (low, high), True
    if significant.isdigit() and 0 < int(significant) <= bits:
        # Writers that know nothing better state the bits of the type.
        return (0, 2 ** int(significant) - 1), int(significant) < bits
    return (0, 2**bits - 1), bits < 16


def _first(value: Any, default: int) -> int:
    if value is None:
        return default
    return int(value[0] if isinstance(value, (tuple, list, np.ndarray)) else value)


def _resolution_um(tiff: Any, page: Any, ome: dict[str, str]) -> float | None:
    if "PhysicalSizeX" in ome:
        return _ome_resolution_um(ome)
    aperio = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", page.description or "")
    if aperio:
        return plausible_um(float(aperio[1]))
    x, y = (_ratio(page.tags.valueof(tag)) for tag in ("XResolution", "YResolution"))
    unit = (tiff.imagej_metadata or {}).get("unit") if tiff.is_imagej else None
    if unit in IMAGEJ_UNITS:
        return square_um(x, y, 1.0)
    return square_um(x, y, {2: INCH_UM, 3: 10_000.0}.get(page.tags.valueof("ResolutionUnit", 2), 0.0))


def _ratio(value: Any) -> float:
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return 0.0
    return float(value[0]) / float(value[1])


def _ome_pixels(document: str | None) -> dict[str, str]:
    """Return the attributes of the first Pixels element of an OME header."""
    if not document or "<!DOCTYPE" in document:
        return {}
    root = ElementTree.fromstring(document)
    pixels = next((e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"), None)
    return {} if pixels is None else dict(pixels.attrib)


def _ome_resolution_um(ome: dict[str, str]) -> float | None:
    sizes = []
    for axis in "XY":
        unit = OME_UNIT_UM.get(ome.get(f"PhysicalSize{axis}Unit", "µm"), 0.0)
        sizes.append(float(ome.get(f"PhysicalSize{axis}", ome["PhysicalSizeX"])) * unit)
    if min(sizes) <= 0:
        return None
    return square_um(1.0 / sizes[0], 1.0 / sizes[1], 1.0)
