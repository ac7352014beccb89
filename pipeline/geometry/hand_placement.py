"""Placement of a section by hand: a plane in the reference, and markers that deform it.

Planes and markers are those of QuickNII and VisuAlign, whose files `inputs.hand_corrections` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.errors import AlignmentError
from pipeline.core.model import Alignment2d, Alignment3d, Deformation, Float64, SectionAlignment, Status
from pipeline.geometry import affine
from pipeline.geometry.deformation import displacement_at
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    from scipy import interpolate
else:
    interpolate = LazyModule("scipy.interpolate")

BY_HAND = "by_hand"  # name of the deformation and of its measure
_NODE_UM = 100.0  # spacing of the nodes of a displacement field, um
_MARKER_UM = 1000.0  # spacing of exported markers, um
_LEAST_DISPLACEMENT_UM = 1e-3  # smaller displacements are rounding: no displacement field is kept, um
_BORDER = 0.1  # share of width and height by which the fixed corners lie beyond the image


@dataclass(frozen=True, eq=False)
class Correction:
    """Where a person placed a section.

    Attributes
    ----------
    to_reference : (3, 3) float64
        (x, y, 1) of manifest px to (P, I, R) um.
    size_px : (float, float), px
        Width and height of the manifest's frame.
    resolution_um : float, um
        Size of a manifest pixel.
    markers : (n, 4) float64, px
        (x, y, x', y'): what lies at (x, y) of the plane shows at (x', y') of the section.
    """

    to_reference: Float64
    size_px: tuple[float, float]
    resolution_um: float
    markers: Float64


def in_volume(reference_to_volume: Float64, plane: Float64) -> Float64:
    """Return a plane of the reference in the volume.

    Parameters
    ----------
    reference_to_volume : (3, 4) float64, um to um
        Reference to volume.
    plane : (3, 3) float64
        (x, y, 1) px to (P, I, R) um.

    Returns
    -------
    (3, 3) float64
        (x, y, 1) px to (x, y, z) um of the volume.
    """
    found = reference_to_volume[:, :3] @ plane
    # Only the column of 1 of (x, y, 1) takes the translation.
    found[:, 2] += reference_to_volume[:, 3]
    return found


def placed(number: int, correction: Correction, space: Alignment3d, z_um: float) -> SectionAlignment:
    """Return the alignment of a section where a person placed it.

    The in-plane part of the plane becomes the Alignment2d. Tilt, distance along z and markers become the
    Deformation; there is none where they are below 0.001 um.

    Parameters
    ----------
    number : int
        Section number.
    correction : Correction
        Plane and markers.
    space : Alignment3d
        Volume to reference.
    z_um : float, um
        Position of the section in the volume.

    Returns
    -------
    SectionAlignment
        Status `pass`, with the largest distance from the section's plane as `beyond_plane_um`.
    """
    plane = in_volume(space.reference_to_volume, correction.to_reference)
    alignment = Alignment2d(number, plane[:2])
    # Nodes over the whole frame, at least two along each axis for bilinear interpolation.
    spacing = _NODE_UM / correction.resolution_um
    columns, rows = (int(np.ceil(n / spacing)) + 1 for n in correction.size_px)
    x, y = np.meshgrid(spacing * np.arange(max(columns, 2)), spacing * np.arange(max(rows, 2)))
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    sources = points + marker_shift(correction, points)
    # Where the person put each node, less where the Alignment2d puts it.
    there = np.column_stack([sources, np.ones(len(points))]) @ plane.T
    flat = np.column_stack([affine.apply(alignment.section_to_volume, points), np.full(len(points), z_um)])
    nodes = (there - flat).T.reshape(3, *x.shape)
    measures = {BY_HAND: 1.0, "beyond_plane_um": round(float(np.abs(nodes[2]).max()), 3)}
    deformed = np.abs(nodes).max() > _LEAST_DISPLACEMENT_UM
    deformation = Deformation(nodes.astype(np.float32), spacing) if deformed else None
    return SectionAlignment(alignment, Status.PASS, measures, deformation)


def marker_shift(correction: Correction, points: Float64) -> Float64:
    """Return where the markers move pixels: from each pixel to the pixel whose place on the plane it takes.

    Parameters
    ----------
    correction : Correction
        Markers and frame.
    points : (n, 2) float64, px
        Pixels of the section, (x, y) of the manifest's frame.

    Returns
    -------
    (n, 2) float64, px
        Displacements; zeros without markers and outside the triangulation.

    Notes
    -----
    Linear in the triangles of the Delaunay triangulation of the markers' places in the section and of four
    fixed corners, a tenth of the image beyond it.
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
    """Return markers that deform a plane as a section's deformation does, one every millimetre.

    Markers lie in the plane: the component of the deformation along z is lost.

    Parameters
    ----------
    section : SectionAlignment
        Section with or without a deformation.
    size_px : (float, float), px
        Width and height of the manifest's frame.
    resolution_um : float, um
        Size of a manifest pixel.

    Returns
    -------
    (n, 4) float64, px
        Markers as in `Correction`; n = 0 without a deformation.
    """
    if section.deformation is None:
        return np.zeros((0, 4))
    step = _MARKER_UM / resolution_um
    axes = [_centred(n - 1, step) for n in size_px]
    x, y = np.meshgrid(*axes)
    # The displacement is in um of the volume; the inverse linear part takes it to px.
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    shift = displacement_at(section.deformation, points)[:, :2]
    linear = section.alignment2d.section_to_volume[:, :2]
    return np.column_stack([points + shift @ np.linalg.inv(linear).T, points])


def _centred(length: float, step: float) -> Float64:
    """Return as many points as fit, `step` apart, with a rim of equal width on both sides."""
    count = int(length / step) + 1
    return np.asarray(0.5 * (length - step * (count - 1)) + step * np.arange(count), np.float64)


def volume_of(
    planes: Mapping[int, Float64], z_um: Mapping[int, float], reference_space_id: int
) -> Alignment3d:
    """Return the Alignment3d that fits the planes of a series best.

    Parameters
    ----------
    planes : mapping of int to (3, 3) float64
        (x, y, 1) manifest px to (P, I, R) um, by section number.
    z_um : mapping of int to float
        Position of each section in the volume, um, by section number.
    reference_space_id : int
        Allen's id of the reference space.

    Returns
    -------
    Alignment3d
        Orthogonal axes: x and y along the mean image axes with unit scale, z along their normal.

    Raises
    ------
    AlignmentError
        Where fewer than two sections are given: they do not determine the direction of z.

    Notes
    -----
    Scale and offset of z are the least-squares line of the planes' distance along the normal over z.
    """
    if len(planes) < 2:
        raise AlignmentError(f"alignment: expected planes of two sections or more, got {len(planes)}")
    numbers = sorted(planes)
    # Mean directions of the image axes over all planes.
    along = [np.mean([_unit(planes[n][:, axis]) for n in numbers], axis=0) for axis in (0, 1)]
    # Gram-Schmidt: y loses its part along x.
    x = _unit(along[0])
    y = _unit(along[1] - x * (along[1] @ x))
    normal = np.cross(x, y)
    z = np.array([z_um[n] for n in numbers])
    # Distance of each plane's origin along the common normal.
    heights = np.array([planes[n][:, 2] @ normal for n in numbers])
    slope, offset = np.polyfit(z, heights, 1)
    return Alignment3d(reference_space_id, np.column_stack([x, y, slope * normal, offset * normal]))


def _unit(vector: Float64) -> Float64:
    """Return a vector divided by its length."""
    return np.asarray(vector / np.linalg.norm(vector))
