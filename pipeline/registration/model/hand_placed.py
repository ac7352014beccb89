"""Sections that a person has placed: they stay where they are, and the rest is solved around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.errors import AlignmentError
from pipeline.core.model import (
    Alignment2d,
    Alignment3d,
    Deformation,
    Float64,
    SectionAlignment,
    SeriesAlignment,
    Status,
)
from pipeline.geometry import affine
from pipeline.geometry.deformation import displacement_at
from pipeline.registration.model.state import State
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.system.lazy import Later

if TYPE_CHECKING:
    from scipy import interpolate
else:
    interpolate = Later("scipy.interpolate")

BY_HAND = "by_hand"
_NODE_UM = 100.0
_MARKER_UM = 1000.0
_FLAT_UM = 1e-3
_BORDER = 0.1


@dataclass(frozen=True, eq=False)
class Correction:
    """Where a person put a section.

    Parameters
    ----------
    to_reference : (3, 3) float64       (x, y, 1) of manifest pixels to (P, I, R) um
    size_px : (width, height)           of the manifest's frame
    resolution_um : float               of a manifest pixel
    markers : (n, 4) float64, px        (x, y, x', y'): what lies at (x, y) of the plane shows at (x', y')
    """

    to_reference: Float64
    size_px: tuple[float, float]
    resolution_um: float
    markers: Float64


def held(state: State, planes: Mapping[int, Float64]) -> State:
    """Return the state with the held sections on their planes, as far as that is in-plane.

    Parameters
    ----------
    planes : index of a section -> (3, 3) float64, (x, y, 1) thumbnail px to (P, I, R) um
    """
    if not planes:
        return state
    back = affine.invert(state.volume)
    sections = state.sections.copy()
    for k, plane in planes.items():
        sections[k] = _in_volume(back, plane)[:2]
    return state.replaced(sections)


def _in_volume(reference_to_volume: Float64, plane: Float64) -> Float64:
    """Return (x, y, 1) px to volume um, (3, 3), of a plane in the reference."""
    found = reference_to_volume[:, :3] @ plane
    found[:, 2] += reference_to_volume[:, 3]
    return found


def planes_of(
    corrections: Mapping[int, Correction], thumbnails: Sequence[SectionThumbnail]
) -> dict[int, Float64]:
    """Return the planes of the corrected sections among thumbnails, by index; see `held`."""
    found = {}
    for k, thumbnail in enumerate(thumbnails):
        correction = corrections.get(thumbnail.section_number)
        if correction is not None:
            lift = np.vstack([thumbnail.thumbnail_to_section, [0.0, 0.0, 1.0]])
            found[k] = correction.to_reference @ lift
    return found


def with_corrections(
    alignment: SeriesAlignment, corrections: Mapping[int, Correction], z_um: Mapping[int, float]
) -> SeriesAlignment:
    """Return the alignment with every corrected section exactly where it was put."""
    sections = []
    for section in alignment.sections:
        number = section.alignment2d.section_number
        if number in corrections:
            section = placed(number, corrections[number], alignment.alignment3d, z_um[number])
        sections.append(section)
    bent = any(s.deformation is not None for s in sections)
    deformable = BY_HAND if bent and alignment.deformable == "none" else alignment.deformable
    return replace(alignment, sections=tuple(sections), deformable=deformable)


def placed(number: int, correction: Correction, space: Alignment3d, z_um: float) -> SectionAlignment:
    """Return a section where a person put it.

    What of the plane lies in the section's own plane of the volume is its Alignment2d; tilt, distance along z
    and markers are its Deformation, where there are any.
    """
    plane = _in_volume(space.reference_to_volume, correction.to_reference)
    alignment = Alignment2d(number, plane[:2])
    spacing = _NODE_UM / correction.resolution_um
    columns, rows = (int(np.ceil(n / spacing)) + 1 for n in correction.size_px)
    x, y = np.meshgrid(spacing * np.arange(max(columns, 2)), spacing * np.arange(max(rows, 2)))
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    sources = points + marker_shift(correction, points)
    there = np.column_stack([sources, np.ones(len(points))]) @ plane.T
    flat = np.column_stack([affine.apply(alignment.section_to_volume, points), np.full(len(points), z_um)])
    nodes = (there - flat).T.reshape(3, *x.shape)
    measures = {BY_HAND: 1.0, "beyond_plane_um": round(float(np.abs(nodes[2]).max()), 3)}
    bent = np.abs(nodes).max() > _FLAT_UM
    deformation = Deformation(nodes.astype(np.float32), spacing) if bent else None
    return SectionAlignment(alignment, Status.PASS, measures, deformation)


def marker_shift(correction: Correction, points: Float64) -> Float64:
    """Return how far from each pixel (n, 2) the pixel lies whose place on the plane it takes, (n, 2) px.

    Linear in the triangles of Delaunay's triangulation of the markers' places in the section and four
    corners a tenth of the image beyond it, which stay.
    """
    markers = correction.markers
    if not len(markers):
        return np.zeros((len(points), 2))
    w, h = correction.size_px
    ends = [(-_BORDER * w, (1.0 + _BORDER) * w), (-_BORDER * h, (1.0 + _BORDER) * h)]
    corners = np.array([[x, y] for x in ends[0] for y in ends[1]])
    at = np.vstack([corners, markers[:, 2:]])
    shift = np.vstack([np.zeros((4, 2)), markers[:, :2] - markers[:, 2:]])
    return np.asarray(interpolate.LinearNDInterpolator(at, shift, fill_value=0.0)(points))


def markers_of(section: SectionAlignment, size_px: tuple[float, float], resolution_um: float) -> Float64:
    """Return markers, (n, 4) px as in `Correction`, that bend a plane as a section's deformation does.

    They stand every millimetre; what leaves the plane has no marker.
    """
    if section.deformation is None:
        return np.zeros((0, 4))
    step = _MARKER_UM / resolution_um
    axes = [0.5 * (n - 1 - step * np.floor((n - 1) / step)) + np.arange(0.0, n - 1, step) for n in size_px]
    x, y = np.meshgrid(*axes)
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    shift = displacement_at(section.deformation, points)[:, :2]
    linear = section.alignment2d.section_to_volume[:, :2]
    return np.column_stack([points + shift @ np.linalg.inv(linear).T, points])


def volume_of(
    planes: Mapping[int, Float64], z_um: Mapping[int, float], reference_space_id: int
) -> Alignment3d:
    """Return the Alignment3d that stands best on the planes of a series.

    Parameters
    ----------
    planes : section number -> (3, 3) float64, (x, y, 1) manifest px to (P, I, R) um

    Raises
    ------
    AlignmentError
        where fewer than two sections are given: nothing says which way the series runs.
    """
    if len(planes) < 2:
        raise AlignmentError(f"alignment: expected planes of two sections or more, got {len(planes)}")
    numbers = sorted(planes)
    along = [np.mean([_unit(planes[n][:, axis]) for n in numbers], axis=0) for axis in (0, 1)]
    x = _unit(along[0])
    y = _unit(along[1] - x * (along[1] @ x))
    normal = np.cross(x, y)
    z = np.array([z_um[n] for n in numbers])
    heights = np.array([planes[n][:, 2] @ normal for n in numbers])
    slope, offset = np.polyfit(z, heights, 1)
    return Alignment3d(reference_space_id, np.column_stack([x, y, slope * normal, offset * normal]))


def _unit(vector: Float64) -> Float64:
    return np.asarray(vector / np.linalg.norm(vector))
