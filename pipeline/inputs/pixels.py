"""Pixels of sections, from images of any supported format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.core.blocks import block_mean
from pipeline.core.errors import DataError
from pipeline.core.intensity import put_darkness
from pipeline.core.model import Bool, Polygon, SectionImage, UInt8
from pipeline.formats.images import files as images
from pipeline.formats.images.files import ImageInfo, probe, read_image
from pipeline.formats.images.parts import read_luma, read_part
from pipeline.formats.images.reduced import read_reduced
from pipeline.sections.padding import enlarged
from pipeline.sections.scan import Rectangle, scan_rectangle, valid_region
from pipeline.store import ome_images
from pipeline.store.ome_images import image_info, read_pixels

FRAME_TOLERANCE = 0.01  # relative deviation of the sides from the manifest's that is accepted


def load_info(section: SectionImage) -> ImageInfo:
    """Return size, depth and resolution of a section's image, without decoding it.

    Parameters
    ----------
    section : SectionImage
        The section.

    Returns
    -------
    ImageInfo
        Content of the file's header.

    Raises
    ------
    DataError
        Where there is no image or it cannot be read.
    """
    return probe_any(_path(section))


def probe_any(path: Path) -> ImageInfo:
    """Return size, depth and resolution of an image file or an OME-Zarr folder, without decoding it.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    ImageInfo
        Content of the header.
    """
    if path.is_dir():
        found = image_info(path)
        size = found.width_px, found.height_px, found.channels, found.bits
        return ImageInfo(*size, found.resolution_um, "OME-Zarr", found.bits == 8, found.notes)
    return probe(path)


def brightest(section: SectionImage) -> int | None:
    """Return the largest sample of a 16-bit image whose file states no range.

    Parameters
    ----------
    section : SectionImage
        The section.

    Returns
    -------
    int or None
        The sample; None for any other image.
    """
    path = _path(section)
    return ome_images.brightest(path) if path.is_dir() else images.brightest(path)


def frame_factor(section: SectionImage, info: ImageInfo) -> int:
    """Return how many manifest pixels a stored pixel spans along each axis.

    Parameters
    ----------
    section : SectionImage
        The section, with the manifest's width and height.
    info : ImageInfo
        The stored image.

    Returns
    -------
    int
        A power of two: full-resolution pixel = factor x stored pixel.

    Raises
    ------
    DataError
        Where width or height fit no power of two within 1 %.
    """
    ratio = section.width_px / info.width_px
    # Stored images are halved once or more; rounding of the sides adds up to one stored pixel at most.
    factor = 2 ** max(0, round(math.log2(ratio))) if ratio > 0 else 1
    off_width = abs(ratio / factor - 1.0)
    off_height = abs(section.height_px - factor * info.height_px)
    if off_width > FRAME_TOLERANCE or off_height > max(factor, FRAME_TOLERANCE * section.height_px):
        raise DataError(
            f"section {section.section_number}: expected {section.width_px} x {section.height_px} px as the"
            f" manifest says, or that halved some times, got {info.width_px} x {info.height_px} in"
            f" {section.path}; is it another image or a crop?"
        )
    return factor


def load_pixels(section: SectionImage) -> UInt8:
    """Return the pixels of a section as stored.

    Parameters
    ----------
    section : SectionImage
        The section.

    Returns
    -------
    (H, W) or (H, W, 3) uint8
        Grey or RGB.
    """
    path = _path(section)
    found = read_pixels(path, bits=section.bits)[0] if path.is_dir() else read_image(path, section.bits)
    return _as_stain(found, section)


def _as_stain(pixels: UInt8, section: SectionImage) -> UInt8:
    """Return pixels, those of a mask inverted: its values become darkness."""
    return ~pixels if section.is_mask else pixels


def load_dark(section: SectionImage) -> tuple[UInt8, Rectangle]:
    """Return the darkness of a section as stored, and the rectangle of its scan.

    Colour is dropped tile by tile, so that a tiled TIFF is never in memory as a whole. White luma at a border
    is only a hint of white padding; the colour pixels decide.

    Parameters
    ----------
    section : SectionImage
        The section.

    Returns
    -------
    dark : (H, W) uint8
        Darkness 0-255; larger = darker stain.
    rectangle : (x0, y0, x1, y1)
        The scan inside white padding, px of the stored image.
    """
    path, info = _path(section), load_info(section)
    height, width = info.height_px, info.width_px
    dark = np.empty((height, width), np.uint8)
    white = [True] * 4  # whether top, bottom, left, right are all white in the parts read so far
    whole = read_pixels(path, bits=section.bits)[0] if path.is_dir() else None
    parts = read_luma(path, section.bits) if whole is None else ((0, 0, whole),)
    for y, x, stored in parts:
        pixels = _as_stain(stored, section)
        bottom, right = y + pixels.shape[0], x + pixels.shape[1]
        put_darkness(dark, y, x, pixels)
        sides = pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]
        outer = y == 0, bottom == height, x == 0, right == width
        white = [w and not (o and (s != 255).any()) for w, o, s in zip(white, outer, sides, strict=True)]
    padded = any(white) and not section.is_mask  # a mask has neither glass nor padding
    return dark, scan_rectangle(load_pixels(section)) if padded else (0, 0, width, height)


def load_part(section: SectionImage, rows: slice, columns: slice) -> UInt8:
    """Return some rows and columns of a section's pixels, as stored.

    Of a tiled TIFF, only the tiles that the part touches are decoded.

    Parameters
    ----------
    section : SectionImage
        The section.
    rows, columns : slice
        Range in px, with a start and a stop inside the image.

    Returns
    -------
    (h, w) or (h, w, 3) uint8
        Grey or RGB.
    """
    path = _path(section)
    if path.is_dir():
        return load_pixels(section)[rows, columns]
    return _as_stain(read_part(path, rows, columns, section.bits), section)


def load_reduced(section: SectionImage, factor: int) -> UInt8:
    """Return a section's pixels, reduced by an integer factor.

    The image is decoded no further than needed where its format allows that.

    Parameters
    ----------
    section : SectionImage
        The section.
    factor : int
        Stored pixels per reduced pixel, along each axis.

    Returns
    -------
    (h, w) or (h, w, 3) uint8
        Grey or RGB.
    """
    path = _path(section)
    if not path.is_dir():
        return _as_stain(read_reduced(path, factor, section.bits), section)
    pixels, done = read_pixels(path, factor, section.bits)
    return _as_stain(block_mean(pixels, factor // done), section)


def valid_pixels(
    section: SectionImage,
    shape: tuple[int, ...],
    factor: int,
    rectangle: Rectangle,
    padding: tuple[Bool, int] | None = None,
) -> Bool:
    """Return which pixels of an image count: inside tissue box and scan, outside padding and every polygon.

    Parameters
    ----------
    section : SectionImage
        The section, with tissue box and polygons in manifest px.
    shape : (H, W)
        Size of the image, px.
    factor : int
        Manifest pixels per pixel of the image.
    rectangle : (x0, y0, x1, y1)
        The scan inside white padding, px of the image.
    padding : ((h, w) bool, int), optional
        Further padding, and pixels of the image per pixel of it.

    Returns
    -------
    (H, W) bool
        True where the pixel counts.
    """
    box = None if section.tissue_box_px is None else tuple(v / factor for v in section.tissue_box_px)
    polygons = _reduced((*section.dark_polygons_px, *section.missing_polygons_px), factor)
    valid = valid_region((shape[0], shape[1]), box, polygons, rectangle)  # type: ignore[arg-type]
    return valid if padding is None else valid & ~enlarged(*padding, shape)


def drawn_missing(section: SectionImage, shape: tuple[int, ...], factor: int) -> Bool:
    """Return where the manifest marks missing tissue.

    Parameters
    ----------
    section : SectionImage
        The section, with polygons in manifest px.
    shape : (H, W)
        Size of the image, px.
    factor : int
        Manifest pixels per pixel of the image.

    Returns
    -------
    (H, W) bool
        True where tissue is missing.
    """
    return ~valid_region((shape[0], shape[1]), None, _reduced(section.missing_polygons_px, factor), None)


def _reduced(polygons: Sequence[Polygon], factor: int) -> list[Polygon]:
    """Return polygons of the manifest's frame in that of a reduced image.

    Pixel centres lie at integers, so that the frame begins at -0.5: hence the half pixels.
    """
    return [tuple(((x + 0.5) / factor - 0.5, (y + 0.5) / factor - 0.5) for x, y in ring) for ring in polygons]


def _path(section: SectionImage) -> Path:
    if section.path is None:
        raise DataError(
            f"section {section.section_number}: the manifest names it, but no image file is there"
        )
    return section.path
