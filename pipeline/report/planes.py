"""The reconstructed specimen in three planes of the reference space.

Every point of a plane takes its pixel from the nearest section along z, and stays empty where that is more
than half the spacing away. Nothing is interpolated between sections, so that steps between neighbours stay
visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import MissingResultError
from pipeline.core.model import EXTENT_UM, MIDLINE_UM, Bool, Float64, SectionAlignment, SeriesAlignment, UInt8
from pipeline.geometry import affine
from pipeline.geometry.deformation import nearest_section
from pipeline.quantification.gridding import LEAST_REACH_UM
from pipeline.report.coarse_atlas import OUTSIDE, CoarseAtlas
from pipeline.report.contents import RunContents
from pipeline.report.frames import Thumbnail, read_thumbnail
from pipeline.report.outlines import Outline, outlines
from pipeline.report.pictures import jpeg_uri
from pipeline.report.sections import is_used, rounding_px

PLANE_UM = 40.0  # pixel size of a plane
PLANE_BYTES = 150_000  # budget of a picture
EMPTY = 222  # grey level of points without a section
COARSE_UM = 200.0  # lattice that finds the middle of the tissue; also the spacing of a lone section
# (name, axis across the plane, axis down, axis right) of (P, I, R)
VIEWS = (("coronal", 0, 1, 2), ("horizontal", 1, 0, 2), ("sagittal", 2, 1, 0))
AXES = "PIR"


@dataclass(frozen=True, eq=False)
class PlaneView:
    """One plane through the specimen, a picture with pixels of PLANE_UM and the outlines of the reference."""

    name: str
    where: str
    down: str
    right: str
    width: int
    height: int
    uri: str
    mm: float
    outlines: tuple[Outline, ...]


@dataclass(frozen=True, eq=False)
class Stack:
    """The detected and aligned sections, in ascending order of z.

    Attributes
    ----------
    alignment : SeriesAlignment
        Alignment of the series.
    z_um : (n,) float64, um
        Position of each section along the cutting axis of the volume.
    sections : tuple of SectionAlignment
        Alignment of each section.
    thumbnails : tuple of Thumbnail
        Reduced image of each section.
    reach_um : float, um
        Greatest distance along z at which a section is shown.
    """

    alignment: SeriesAlignment
    z_um: Float64
    sections: tuple[SectionAlignment, ...]
    thumbnails: tuple[Thumbnail, ...]
    reach_um: float

    def sample(self, points_um: Float64) -> tuple[UInt8, Bool]:
        """Return the colour of the specimen at reference points.

        Parameters
        ----------
        points_um : (n, 3) float64, um
            Positions (P, I, R).

        Returns
        -------
        colours : (n, 3) uint8
            RGB, EMPTY where no section reaches.
        there : (n,) bool
            Where a valid pixel was found.
        """
        volume = affine.apply(self.alignment.alignment3d.reference_to_volume, points_um)
        near = np.flatnonzero(np.abs(volume[:, 2:3] - self.z_um).min(axis=1) <= self.reach_um)
        nearest, pixels = nearest_section(self.sections, self.z_um, volume[near])
        colours = np.full((len(volume), 3), EMPTY, np.uint8)
        there = np.zeros(len(volume), bool)
        for number in np.unique(nearest):
            own = nearest == number
            thumbnail = self.thumbnails[number]
            at = affine.apply(affine.invert(thumbnail.to_section), pixels[own])
            colours[near[own]], there[near[own]] = _look_up(thumbnail, at)
        return colours, there


def _look_up(thumbnail: Thumbnail, at: Float64) -> tuple[UInt8, Bool]:
    """Return the colours of thumbnail pixels (n, 2), nearest pixel, and which of them are valid."""
    h, w = thumbnail.valid.shape
    x, y = np.rint(at).astype(np.int64).T
    inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    x, y = np.clip(x, 0, w - 1), np.clip(y, 0, h - 1)
    inside &= thumbnail.valid[y, x]
    grey = thumbnail.pixels if thumbnail.pixels.ndim == 3 else thumbnail.pixels[..., None]
    colours = np.broadcast_to(grey[y, x], (len(x), 3))
    return np.where(inside[:, None], colours, EMPTY).astype(np.uint8), inside


def read_stack(contents: RunContents) -> Stack:
    """Read the thumbnails of all sections that are detected, aligned and not failed.

    Parameters
    ----------
    contents : RunContents
        The run.

    Returns
    -------
    Stack
        The sections in ascending order of z.

    Raises
    ------
    MissingResultError
        Where there is no alignment or no such section.
    """
    alignment = contents.alignment.content
    if alignment is None:
        raise MissingResultError(contents.alignment.reason)
    thickness = float(contents.data_set["section_thickness_um"])
    placed: Mapping[int, tuple[Thumbnail, SectionAlignment]] = {
        s.number: (read_thumbnail(contents, s), s.alignment)
        for s in contents.sections
        if is_used(s) and s.alignment
    }
    if not placed:
        raise MissingResultError("no section is both detected and aligned")
    numbers = sorted(placed)
    gaps = np.diff([s.number for s in contents.sections])
    spacing = float(np.median(gaps)) * thickness if gaps.size else COARSE_UM
    return Stack(
        alignment=alignment,
        z_um=np.array(numbers) * thickness,
        sections=tuple(placed[n][1] for n in numbers),
        thumbnails=tuple(placed[n][0] for n in numbers),
        reach_um=max(spacing / 2, LEAST_REACH_UM),
    )


def planes(contents: RunContents, atlas: CoarseAtlas | None) -> list[PlaneView]:
    """Return the coronal, horizontal and sagittal planes through the middle of the placed tissue.

    Parameters
    ----------
    contents : RunContents
        The run.
    atlas : CoarseAtlas or None
        Gives the outlines and the extent; None leaves the outlines out.

    Returns
    -------
    list of PlaneView
        The three planes.

    Raises
    ------
    MissingResultError
        Where no section was placed inside the reference.
    """
    stack = read_stack(contents)
    extent = np.array(EXTENT_UM if atlas is None else atlas.reference.extent_um)
    middle = _middle(stack, atlas, extent)
    return [_view(stack, atlas, view, middle, extent) for view in VIEWS]


def _middle(stack: Stack, atlas: CoarseAtlas | None, extent: Float64) -> Float64:
    """Return the median point of the placed tissue, (P, I, R) um, in the better covered hemisphere.

    A single hemisphere keeps the sagittal plane away from the midline.
    """
    axes = [np.arange(0, e, COARSE_UM) for e in extent]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    there = stack.sample(points)[1]
    if atlas is not None:
        there &= atlas.at(points) != OUTSIDE
    if not there.any():
        raise MissingResultError("no section was placed inside the reference")
    midline_um = MIDLINE_UM if atlas is None else atlas.reference.midline_um
    left = there & (points[:, 2] < midline_um)
    right = there & ~left
    side = left if left.sum() >= right.sum() else right
    return np.asarray(np.median(points[side], axis=0))


def _view(
    stack: Stack, atlas: CoarseAtlas | None, view: tuple[str, int, int, int], middle: Float64, extent: Float64
) -> PlaneView:
    """Return one plane through `middle`."""
    name, across, down, right = view
    height, width = (int(extent[a] // PLANE_UM) + 1 for a in (down, right))
    points = np.empty((height, width, 3))
    points[..., across] = middle[across]
    points[..., down] = PLANE_UM * np.arange(height)[:, None]
    points[..., right] = PLANE_UM * np.arange(width)
    colours, _ = stack.sample(points.reshape(-1, 3))
    drawn: tuple[Outline, ...] = ()
    if atlas is not None:
        drawn = outlines(atlas.at(points), rounding_px(atlas.reference.annotation_um, PLANE_UM))
    return PlaneView(
        name=name,
        where=f"{AXES[across]} = {middle[across] / 1000:.1f} mm",
        down=AXES[down],
        right=AXES[right],
        width=width,
        height=height,
        uri=jpeg_uri(colours.reshape(height, width, 3), PLANE_BYTES),
        mm=1000.0 / PLANE_UM,
        outlines=drawn,
    )
