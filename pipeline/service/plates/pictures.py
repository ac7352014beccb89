"""Plates as pictures: the template in grey, or structures in their colours with dark boundaries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from pipeline.core.model import Float32, UInt8
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.http.answers import RequestError
from pipeline.service.plates.atlases import AXES, AtlasImage
from pipeline.service.plates.cracks import Rings
from pipeline.service.served import LIMITS

BOUNDARY = (50, 50, 50)  # grey of the lines between structures
PAPER = 255  # grey outside the brain
LEAST_ZOOM = 3.0  # drawn pixels per voxel; smaller pictures are drawn this large, then reduced
SHIFT = 8  # binary digits of a pixel that OpenCV draws with
WHITE_PERCENTILE = 99.8  # of the template's values above 0: shown as white
MOST_DOWNSAMPLE = 12


@dataclass(frozen=True)
class View:
    """Which part of an image is shown, and how large.

    Attributes
    ----------
    left, top : int, px
        First column and row, in pixels of the full image.
    width, height : int, px
        Size of the picture, in pixels of the tier.
    downsample : int
        How often the full image is halved.
    """

    left: int
    top: int
    width: int
    height: int
    downsample: int = 0

    @property
    def factor(self) -> int:
        """Pixels of the full image per pixel of the picture."""
        return 1 << self.downsample


def view_of(
    size_px: tuple[int, int],
    downsample: int = 0,
    corner: tuple[int, int] = (0, 0),
    asked: tuple[int | None, int | None] = (None, None),
) -> View:
    """Return the view that a request asks for, cut to the image.

    Parameters
    ----------
    size_px : (int, int), px
        Width and height of the full image.
    downsample : int
        How often it is halved.
    corner : (int, int), px
        Left and top, in pixels of the full image.
    asked : (int or None, int or None), px
        Width and height of the picture, in pixels of the tier; None: as far as the image goes.

    Returns
    -------
    View
        Inside the image.

    Raises
    ------
    RequestError
        Where nothing of the image is asked for, or more than a picture may have.
    """
    factor = 2**downsample
    there = [math.ceil((size - start) / factor) for size, start in zip(size_px, corner, strict=True)]
    shown = [n if wanted is None else min(n, wanted) for n, wanted in zip(there, asked, strict=True)]
    if min(corner) < 0 or min(shown) < 1:
        raise RequestError(
            f"left, top, width, height: expected a part of the image of {size_px[0]} x {size_px[1]} pixels,"
            f" got {max(shown[0], 0)} x {max(shown[1], 0)} at {corner[0]}, {corner[1]}"
        )
    if shown[0] * shown[1] > LIMITS.region_px:
        raise RequestError(
            f"expected at most {LIMITS.region_px} pixels, got {shown[0]} x {shown[1]}; give downsample"
        )
    return View(corner[0], corner[1], shown[0], shown[1], downsample)


def coloured(rings: Rings, ontology: Ontology, unit_px: float, view: View) -> UInt8:
    """Draw structures in their colours, with dark lines between them.

    Parameters
    ----------
    rings : Rings
        Rings in pixels of a label image; their labels are ids of the ontology.
    ontology : Ontology
        Gives the colours.
    unit_px : float, px
        Pixels of the full image per pixel of the label image.
    view : View
        Part and size.

    Returns
    -------
    (height, width, 3) uint8
        Red, green, blue.
    """
    zoom = unit_px / view.factor
    finer = 2 ** max(math.ceil(math.log2(LEAST_ZOOM / zoom)), 0)
    scale = zoom * finer
    canvas = np.full((view.height * finer, view.width * finer, 3), PAPER, np.uint8)
    if not len(rings.labels):  # a plane beside the brain
        return _reduced(canvas, finer)
    corner = np.array([view.left, view.top]) * finer / view.factor
    drawn = np.rint((rings.points * scale - corner - 0.5) * 2**SHIFT).astype(np.int32)
    pieces = np.split(drawn, rings.starts[1:-1])
    first = np.flatnonzero(np.diff(rings.parts, prepend=-1))
    for start, end in zip(first, np.append(first[1:], len(pieces)), strict=True):
        colour = _colour(ontology, int(rings.labels[start]))
        cv2.fillPoly(canvas, pieces[start:end], colour, cv2.LINE_8, SHIFT)
    cv2.polylines(canvas, pieces, True, BOUNDARY, max(round(scale / 5), 1), cv2.LINE_AA, SHIFT)
    return _reduced(canvas, finer)


def grey(reference: ReferenceSpace, image: AtlasImage, view: View) -> UInt8:
    """Draw the template of a plate.

    Parameters
    ----------
    reference : ReferenceSpace
        A reference with a template.
    image : AtlasImage
        The plate.
    view : View
        Part and size.

    Returns
    -------
    (height, width) uint8
        Linear between planes of the template, cubic within them.
    """
    plane = _template_plane(reference, image)
    finer = max(
        2 ** max(math.ceil(math.log2(view.factor * image.resolution_um / reference.template_um)), 0), 1
    )
    step = view.factor / finer  # pixels of the full image per drawn pixel
    to_template = image.resolution_um / reference.template_um
    origin = 0.5 * (image.resolution_um - image.thickness_um) / reference.template_um
    x, y = (
        ((np.arange(n * finer) + 0.5) * step - 0.5 + start) * to_template + origin
        for n, start in ((view.width, view.left), (view.height, view.top))
    )
    columns, rows = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    drawn = cv2.remap(plane, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    return _reduced(np.clip(np.rint(drawn), 0, 255).astype(np.uint8), finer)


def jpeg(pixels: UInt8, quality: int) -> bytes:
    """Pack a picture.

    Parameters
    ----------
    pixels : (height, width[, 3]) uint8
        Grey, or red, green and blue.
    quality : int
        0 to 100.

    Returns
    -------
    bytes
        JPEG.
    """
    return _packed(pixels, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])


def png(pixels: UInt8) -> bytes:
    """Pack a picture without loss.

    Parameters
    ----------
    pixels : (height, width[, 3]) uint8
        Grey, or red, green and blue.

    Returns
    -------
    bytes
        PNG.
    """
    return _packed(pixels, ".png", [])


def _packed(pixels: UInt8, kind: str, options: list[int]) -> bytes:
    order = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(kind, order, options)[1])


def _colour(ontology: Ontology, structure_id: int) -> tuple[int, int, int]:
    text = ontology.by_id[structure_id].color
    return int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16)


def _reduced(pixels: UInt8, by: int) -> UInt8:
    """Return a picture `by` times smaller, each pixel the mean of those it covers."""
    if by == 1:
        return pixels
    height, width = pixels.shape[0] // by, pixels.shape[1] // by
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _template_plane(reference: ReferenceSpace, image: AtlasImage) -> Float32:
    """Return the template at the position of a plate, 0 to 255, linear between its planes."""
    template = reference.template
    assert template is not None
    normal, down, right = AXES[image.plane]
    planes = np.moveaxis(template, normal, 0)
    last = len(planes) - 1
    along = min(max(image.position_um / reference.template_um, 0.0), float(last))
    low = min(int(along), max(last - 1, 0))
    share = along - low
    plane = planes[low] * (1.0 - share)
    if share:
        plane = plane + planes[low + 1] * share
    shown = np.ascontiguousarray(plane if down < right else plane.T, dtype=np.float32)
    return shown * np.float32(255.0 / white_of(reference))


@lru_cache(maxsize=1)
def white_of(reference: ReferenceSpace) -> float:
    """Return the value of the template that is shown as white.

    Parameters
    ----------
    reference : ReferenceSpace
        A reference with a template.

    Returns
    -------
    float
        A high percentile of the values above 0, of every third voxel along each axis.
    """
    assert reference.template is not None
    some = reference.template[::3, ::3, ::3]
    some = some[some > 0]
    return float(np.percentile(some, WHITE_PERCENTILE)) if some.size else 1.0
