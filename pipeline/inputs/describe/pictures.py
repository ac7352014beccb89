"""Overview of the images of a new series: tissue, separate pieces, and a contact sheet of thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from skimage.measure import label, regionprops

from pipeline.core.blocks import block_mean
from pipeline.core.errors import DataError
from pipeline.core.model import SectionImage, UInt8
from pipeline.inputs.describe.draft import Draft
from pipeline.inputs.pixels import load_pixels
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.sections.thumbnail_tissue import tissue_image

LOOK_UM = 40.0  # pixel size at which tissue is looked for, um
JOIN_UM = 100.0  # radius of dilation, um: pieces nearer to one another than twice this are one
LARGE = 0.35  # smallest area of a large piece, relative to the largest
MARGIN_UM = 300.0  # between tissue and the box around it
USUAL_MM = (2.0, 40.0)  # longer side of the tissue of a section of a rodent brain, mm
CAN_BE_BOXED = "if not of one section, --boxes largest keeps the largest; or put boxes into sections.csv"
IS_BOXED = "only the largest counts, green on the sheet: is it the right one everywhere?"
TILE_PX = 220  # longer side of a thumbnail
CAPTION_PX = 34  # height of the two lines below it
WIDEST = 8  # thumbnails in a row, at most
PAPER, INK, GREY = (250, 250, 250), (20, 20, 20), (130, 130, 130)
BOXED, OTHER = (0, 150, 60), (230, 120, 0)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Look:
    """Result of looking at one image.

    Attributes
    ----------
    number : int
        Section number.
    name : str
        File name.
    picture : (h, w, 3) uint8 or None
        Thumbnail; None where the image cannot be decoded.
    pieces_px : tuple of (x, y, width, height)
        Boxes of the large pieces of tissue, largest piece first, manifest px.
    tissue_mm : (width, height)
        Extent of all tissue, mm; 0 where none was found.
    trouble : str
        Why the image cannot be decoded.
    """

    number: int
    name: str
    picture: UInt8 | None = None
    pieces_px: tuple[Box, ...] = ()
    tissue_mm: tuple[float, float] = (0.0, 0.0)
    trouble: str = ""


def look(made: Draft, listener: Callable[[int], None] = lambda number: None) -> list[Look]:
    """Look at every image of a draft, one at a time; a damaged one is noted.

    Parameters
    ----------
    made : Draft
        The manifest.
    listener : callable
        Progress callback: listener(section_number) after each image.

    Returns
    -------
    list of Look
        One for each section.
    """
    looks = []
    for image in made.data_set.section_images:
        looks.append(_look(image, made.files[image.section_number]))
        listener(image.section_number)
    return looks


def largest_boxes(looks: Sequence[Look]) -> dict[int, Box]:
    """Return the box of the largest piece of tissue of every section that has several.

    Parameters
    ----------
    looks : sequence of Look
        All sections.

    Returns
    -------
    dict of int to (x, y, width, height)
        Boxes by section number, manifest px.
    """
    return {seen.number: seen.pieces_px[0] for seen in looks if len(seen.pieces_px) > 1}


def notes(seen: Look) -> str:
    """Return what a person should check on an image, in a few words.

    Parameters
    ----------
    seen : Look
        One section.

    Returns
    -------
    str
        Empty where nothing is unusual.
    """
    if seen.trouble:
        return "cannot be read"
    if not seen.pieces_px:
        return "no tissue found"
    return f"{len(seen.pieces_px)} pieces of tissue" if len(seen.pieces_px) > 1 else ""


def doubts(looks: Sequence[Look], *, boxed: bool = False) -> list[str]:
    """Return warnings about the content of the images.

    Parameters
    ----------
    looks : sequence of Look
        All sections.
    boxed : bool
        Whether the largest of several pieces has a tissue box already.

    Returns
    -------
    list of str
        Warnings: unreadable images, several pieces of tissue, an unlikely size of tissue.
    """
    found = [f"{seen.trouble}; a run leaves it out" for seen in looks if seen.trouble]
    several = [seen.number for seen in looks if len(seen.pieces_px) > 1]
    if several:
        found.append(
            f"several large pieces of tissue on {len(several)} of {len(looks)} sections, first {several[0]}:"
            f" {IS_BOXED if boxed else CAN_BE_BOXED}"
        )
    sizes = [max(seen.tissue_mm) for seen in looks if seen.pieces_px]
    if sizes and not USUAL_MM[0] <= float(np.median(sizes)) <= USUAL_MM[1]:
        found.append(f"tissue is {np.median(sizes):.2g} mm long on most sections: is the pixel size right?")
    return found


def _look(image: SectionImage, name: str) -> Look:
    number = image.section_number
    try:
        pixels = load_pixels(image)
    except DataError as error:
        return Look(number, name, trouble=str(error))
    resolution_um = image.resolution_um
    step = max(1, int(min(LOOK_UM / resolution_um, min(pixels.shape[:2]) / 16)))
    reduced = block_mean(pixels, step)
    boxes, extent = tissue_pieces(reduced, resolution_um * step)
    height, width = pixels.shape[:2]
    pieces = tuple(_in_image(box, step, MARGIN_UM / resolution_um, (width, height)) for box in boxes)
    millimetres = (extent[0] * step * resolution_um / 1000, extent[1] * step * resolution_um / 1000)
    return Look(number, name, _thumbnail(reduced), pieces, millimetres)


def tissue_pieces(pixels: UInt8, pixel_um: float) -> tuple[list[Box], tuple[float, float]]:
    """Find large separate pieces of tissue.

    Parameters
    ----------
    pixels : (h, w) or (h, w, 3) uint8
        Image at some 20-60 um per pixel.
    pixel_um : float
        Pixel size, um.

    Returns
    -------
    boxes : list of (x, y, width, height)
        Boxes of the pieces, px, largest piece first.
    extent : (width, height)
        Extent of all tissue, px.

    Notes
    -----
    Connected components of the tissue mask, dilated by `JOIN_UM` so that torn tissue stays one piece.
    """
    mask = tissue_image(SectionThumbnail(0, 0.0, pixels, pixel_um, np.eye(2, 3))).mask
    if not mask.any():
        return [], (0.0, 0.0)
    joined = ndimage.binary_dilation(mask, iterations=max(1, round(JOIN_UM / pixel_um)))
    pieces = regionprops(np.where(mask, label(joined, connectivity=1), 0))
    least = LARGE * max(piece.area for piece in pieces)
    large = sorted((p for p in pieces if p.area >= least), key=lambda piece: -piece.area)
    _, _, width, height = _box(regionprops(mask.astype(np.uint8))[0].bbox)
    return [_box(piece.bbox) for piece in large], (width, height)


def _box(bounds: tuple[int, int, int, int]) -> Box:
    top, left, bottom, right = bounds
    return float(left), float(top), float(right - left), float(bottom - top)


def _in_image(box: Box, step: int, margin_px: float, size_px: tuple[int, int]) -> Box:
    """Return a box of the reduced image in whole px of the image, with a margin, clipped to the image."""
    x, y, width, height = (v * step for v in box)
    left, top = max(0, round(x - margin_px)), max(0, round(y - margin_px))
    right, bottom = (
        min(size_px[0], round(x + width + margin_px)),
        min(size_px[1], round(y + height + margin_px)),
    )
    return float(left), float(top), float(right - left), float(bottom - top)


def _thumbnail(pixels: UInt8) -> UInt8:
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    scale = TILE_PX / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def contact_sheet(made: Draft, looks: Sequence[Look]) -> UInt8:
    """Return all thumbnails on one sheet, numbered, with boxes around separate pieces of tissue.

    Parameters
    ----------
    made : Draft
        The manifest.
    looks : sequence of Look
        One for each section, in the order of the manifest.

    Returns
    -------
    (H, W, 3) uint8
        The sheet, RGB; a tissue box of the manifest is green, another piece orange.
    """
    columns = min(WIDEST, max(1, round((1.3 * len(looks)) ** 0.5)))
    rows = -(-len(looks) // columns)
    side, tall = TILE_PX + 8, TILE_PX + CAPTION_PX + 8
    sheet = np.full((rows * tall, columns * side, 3), PAPER, np.uint8)
    for at, (seen, image) in enumerate(zip(looks, made.data_set.section_images, strict=True)):
        row, column = divmod(at, columns)
        tile = sheet[row * tall : (row + 1) * tall, column * side : (column + 1) * side]
        _draw(tile, seen, image)
    return sheet


def _draw(tile: UInt8, seen: Look, image: SectionImage) -> None:
    canvas = np.ascontiguousarray(tile)
    if seen.picture is not None:
        height, width = seen.picture.shape[:2]
        left, top = 4 + (TILE_PX - width) // 2, 4 + (TILE_PX - height) // 2
        canvas[top : top + height, left : left + width] = seen.picture
        scale = width / image.width_px
        for box in seen.pieces_px if len(seen.pieces_px) > 1 else ():
            x, y, w, h = (round(v * scale) for v in box)
            colour = BOXED if box == image.tissue_box_px else OTHER
            cv2.rectangle(canvas, (left + x, top + y), (left + x + w - 1, top + y + h - 1), colour, 1)
    short = seen.name if len(seen.name) < 34 else f"{seen.name[:15]}...{seen.name[-16:]}"
    _write(canvas, f"{seen.number}  {notes(seen)}", TILE_PX + 18, 0.42, INK)
    _write(canvas, short, TILE_PX + 34, 0.33, GREY)
    tile[:] = canvas


def _write(canvas: UInt8, text: str, y: int, size: float, colour: tuple[int, int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()  # the font has no other letters
    cv2.putText(canvas, plain, (6, y), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
