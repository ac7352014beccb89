"""TIFF in its many forms: tiled, striped, BigTIFF, OME-TIFF, pyramids; the largest image is read."""

from __future__ import annotations

import logging
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from pipeline.core.errors import DataError
from pipeline.formats.images.headers import INCH_UM, Header, are_plain, plausible_um, square_um
from pipeline.formats.images.tiff_tiles import JPEGS, check_segments, check_tiles

MINISWHITE, MINISBLACK, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6  # PhotometricInterpretation
JPEG = 7  # Compression whose tiles are complete JPEGs except for shared tables
ALPHAS = ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA = 1, 2  # ExtraSamples; associated is premultiplied
OME_UNIT_UM = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
IMAGEJ_UNITS = ("micron", "microns", "um", "µm", "μm", "\\u00B5m")

# Without a handler Python prints tifffile's messages in addition to our one-line error.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def tiff_header(path: Path) -> Header:
    """Read size, bit depth, stated range and resolution of a TIFF.

    Parameters
    ----------
    path : Path
        TIFF file.

    Returns
    -------
    Header
        Properties of its largest image.
    """
    with open_tiff(path) as tiff:
        return header_of(tiff)


def tiff_pixels(path: Path) -> tuple[Header, npt.NDArray[Any]]:
    """Read the largest image of a TIFF at full size.

    Parameters
    ----------
    path : Path
        TIFF file.

    Returns
    -------
    header : Header
        Properties of the image.
    pixels : (H, W) or (H, W, S) array
        Samples as stored, palettes resolved, white-is-zero inverted; S includes alpha.

    Raises
    ------
    DataError
        Where the image is of an unsupported kind, or tiles are missing or invalid.
    """
    with open_tiff(path) as tiff:
        header = header_of(tiff)
        level = main_series(tiff).levels[0]
        page = level.keyframe
        check_segments(path, page)
        check_tiles(tiff, page)
        # Slide scanners omit tiles without tissue; the missing tiles are filled with white, as glass.
        page.nodata = 0 if page.photometric in (MINISWHITE, PALETTE) else _white(page, header)
        return header, _samples_last(np.asarray(level.asarray()), level.axes, page)


def _white(page: Any, header: Header) -> int:
    return int(header.value_range[1]) if header.value_range else int(2**page.bitspersample - 1)


def open_tiff(path: Path) -> Any:
    """Open a TIFF on its own, even where its OME header refers to other files.

    Parameters
    ----------
    path : Path
        TIFF file.

    Returns
    -------
    TiffFile
        A context manager.
    """
    return tifffile.TiffFile(path, _multifile=False)


def header_of(tiff: Any) -> Header:
    """Return size, bit depth, stated range and resolution of an open TIFF.

    Parameters
    ----------
    tiff : TiffFile
        The open file.

    Returns
    -------
    Header
        Properties of its largest image.

    Raises
    ------
    DataError
        Where that image is not a single grey, RGB or palette picture of up to 16 bits.
    """
    main = main_series(tiff)
    level = main.levels[0]
    page = level.keyframe
    _check_kind(page)
    ome = _ome_of(tiff.ome_metadata, page)
    axes = "".join(a for a, n in zip(level.axes, level.shape, strict=True) if n > 1 or a in "YX")
    lengths = dict(zip(level.axes, level.shape, strict=True))
    as_channels = axes == "CYX" and _are_colours(lengths["C"], ome, page)
    colour = page.photometric in (RGB, PALETTE, YCBCR) or as_channels
    samples = lengths.get("S", 1)
    surplus = samples - (3 if page.photometric in (RGB, YCBCR) else 1)
    if (axes not in ("YX", "YXS", "SYX") and not as_channels) or surplus not in (0, 1):
        raise DataError(
            f"expected one grey or RGB picture, got axes {level.axes} of shape {tuple(level.shape)};"
            " export one plane as grey or RGB"
        )
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
        notes=_others(tiff, main),
    )


def main_series(tiff: Any) -> Any:
    """Return the largest image of an open TIFF; others are its macro image, label and thumbnail.

    Parameters
    ----------
    tiff : TiffFile
        The open file.

    Returns
    -------
    TiffPageSeries
        The image with all its pyramid levels.

    Raises
    ------
    DataError
        Where there is no image, or the two largest have the same number of pixels: the user must choose.
    """
    pictures = [series for series in tiff.series if {"X", "Y"} <= set(series.axes)]
    if not pictures:
        raise DataError("expected a picture, got a TIFF without one; copy or export it again")
    largest = max(pictures, key=_area)
    alike = [series for series in pictures if _area(series) == _area(largest)]
    if len(alike) > 1:
        raise DataError(
            f"expected one image, or one larger than the others, got {_listed(pictures)}; export the section"
            " alone"
        )
    return largest


def _area(series: Any) -> int:
    return math.prod(_sides(series))


def _sides(series: Any) -> tuple[int, int]:
    lengths = dict(zip(series.axes, series.shape, strict=True))
    return int(lengths["X"]), int(lengths["Y"])


def _listed(pictures: Sequence[Any]) -> str:
    named = [f"{name!r} " if (name := str(s.name or "").strip()[:24]) else "" for s in pictures]
    sizes = [" x ".join(map(str, _sides(series))) for series in pictures]
    more = f" and {len(pictures) - 6} more" if len(pictures) > 6 else ""
    listed = ", ".join(f"{name}{size}" for name, size in zip(named[:6], sizes, strict=False))
    return f"{len(pictures)} images ({listed} px{more})"


def _others(tiff: Any, main: Any) -> tuple[str, ...]:
    """Note which image is read where a file holds others that are not reductions of it."""
    width, height = _sides(main)
    pictures = [series for series in tiff.series if {"X", "Y"} <= set(series.axes)]
    others = [s for s in pictures if s is not main and not _is_reduction(_sides(s), (width, height))]
    if not others or tiff.is_svs:  # tifffile tells the images of Aperio slides apart
        return ()
    return (f"holds {_listed(pictures)}; the largest is read",)


def _is_reduction(sides: tuple[int, int], full: tuple[int, int]) -> bool:
    step = max(1, round(full[0] / sides[0]))
    return step > 1 and all(abs(n - whole / step) <= 1 for n, whole in zip(sides, full, strict=True))


def is_chunky(page: Any, header: Header) -> bool:
    """Check that tiles or strips hold complete 8-bit pixels, so that decoding them needs no further step.

    Parameters
    ----------
    page : TiffPage
        Page of the image.
    header : Header
        Properties of the image.

    Returns
    -------
    bool
        False for planar, palette, inverted, alpha or scaled samples.
    """
    return (
        page.photometric in (YCBCR, RGB, MINISBLACK)
        and not page.extrasamples
        and (page.planarconfig == 1 or page.samplesperpixel == 1)
        and page.samplesperpixel == header.channels
        and header.value_range is None
    )


def _are_colours(count: int, ome: Mapping[str, Any], page: Any) -> bool:
    """Check that planes are red, green and blue; DataError names channels that are not."""
    names = list(ome.get("channels", ()))
    named = [name.strip().lower()[:1] for name in names] == ["r", "g", "b"]
    if count == 3 and are_plain(names) and (page.bitspersample == 8 or named):
        return True
    which = f" ({', '.join(names)[:80]})" if any(names) else ""
    raise DataError(
        f"expected one grey channel, or red, green and blue of 8 bits, got {count} channels of"
        f" {page.bitspersample} bits{which}; export one channel, or RGB"
    )


def _check_kind(page: Any) -> None:
    if page.dtype is None or page.dtype.kind not in "bu" or page.dtype.itemsize > 2:
        raise DataError(f"expected 8-bit or 16-bit samples without sign, got {page.dtype}; convert it")
    if page.photometric == YCBCR and page.compression in JPEGS:
        return
    if page.photometric not in (MINISWHITE, MINISBLACK, RGB, PALETTE):
        name = getattr(page.photometric, "name", page.photometric)
        raise DataError(f"expected a grey, RGB or palette TIFF, got {name}; save it as RGB")


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


def _value_range(page: Any, ome: Mapping[str, Any]) -> tuple[tuple[int, int] | None, bool]:
    """Return black and white of a TIFF's samples, None for plain 8 bits, and whether the file states them.

    16 significant bits do not count as stated: writers that know only the type put them.
    """
    if page.photometric == PALETTE:
        return (0, 65535), True
    bits = int(page.bitspersample)
    if bits == 8:
        return None, True
    significant = ome.get("SignificantBits", "")
    low = _first(page.tags.valueof("SMinSampleValue", page.tags.valueof("MinSampleValue")), 0)
    high = _first(page.tags.valueof("SMaxSampleValue", page.tags.valueof("MaxSampleValue")), 0)
    if bits == 16 and 0 <= low < high < 2**bits:
        return (low, high), True
    if significant.isdecimal() and 0 < int(significant) < bits:
        return (0, 2 ** int(significant) - 1), True
    return (0, 2**bits - 1), bits < 16 or page.photometric == MINISWHITE


def _first(value: Any, default: int) -> int:
    if value is None:
        return default
    return int(value[0] if isinstance(value, (tuple, list, np.ndarray)) else value)


def _resolution_um(tiff: Any, page: Any, ome: Mapping[str, Any]) -> float | None:
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


def _ome_of(document: str | None, page: Any) -> dict[str, Any]:
    """Return the OME description of the image of a page: the attributes of Pixels, and `channels`."""
    if not document or "<!DOCTYPE" in document:
        return {}
    found = [e for e in ElementTree.fromstring(document).iter() if _tag(e) == "Pixels"]
    size = str(page.imagewidth), str(page.imagelength)
    pixels = next((e for e in found if (e.get("SizeX"), e.get("SizeY")) == size), None)
    if pixels is None:
        return {}
    channels = [e.get("Name", "") for e in pixels if _tag(e) == "Channel"]
    return {**pixels.attrib, "channels": channels}


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _ome_resolution_um(ome: Mapping[str, Any]) -> float | None:
    sizes = []
    for axis in "XY":
        unit = OME_UNIT_UM.get(ome.get(f"PhysicalSize{axis}Unit", "µm"), 0.0)
        sizes.append(float(ome.get(f"PhysicalSize{axis}", ome["PhysicalSizeX"])) * unit)
    if min(sizes) <= 0:
        return None
    return square_um(1.0 / sizes[0], 1.0 / sizes[1], 1.0)
