"""Deformed sections: pixels to the volume and back, and whether a displacement field folds.

A pixel p of a section lies at (T p, z) + d(p) in the volume. T is its Alignment2d; d is bilinear between
the nodes of a lattice over the image. Without a deformation d is 0 and everything is affine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import Alignment2d, Deformation, Float32, Float64, Int64, SectionAlignment
from pipeline.geometry import affine

_STEPS = 60  # most Newton steps of a point
ROUNDING_UM = 1e-6  # by which sums along z may be off
_CLOSE_PX = 1e-7  # step at which a point counts as found, in node units


@kernel(inline=True)
def _cell(nodes, x, y):  # type: ignore[no-untyped-def]
    """Return the cell (i, j) of a place in node units, fractions in it, and 1 along axes where d varies."""
    columns, rows = nodes.shape[2], nodes.shape[1]
    cx, cy = min(max(x, 0.0), columns - 1.0), min(max(y, 0.0), rows - 1.0)
    i, j = min(int(cx), columns - 2), min(int(cy), rows - 2)  # the last node belongs to the cell before it
    varies_x = 1.0 if cx == x else 0.0  # beyond the lattice the edge value holds
    varies_y = 1.0 if cy == y else 0.0
    return i, j, cx - i, cy - j, varies_x, varies_y


@kernel
def _displace(nodes, at):  # type: ignore[no-untyped-def]
    """Interpolate the displacement, (n, 3) um, at places (n, 2) in node units."""
    out = np.empty((at.shape[0], 3))
    for n in range(at.shape[0]):
        i, j, fx, fy, _, _ = _cell(nodes, at[n, 0], at[n, 1])
        for c in range(3):
            top = nodes[c, j, i] * (1.0 - fx) + nodes[c, j, i + 1] * fx
            bottom = nodes[c, j + 1, i] * (1.0 - fx) + nodes[c, j + 1, i + 1] * fx
            out[n, c] = top * (1.0 - fy) + bottom * fy
    return out


@kernel
def _invert(nodes, forward, targets, at):  # type: ignore[no-untyped-def]
    """Solve forward(at) + d(at) = targets by Newton's method, in node units; `at` is changed in place.

    The map is bilinear in every cell, so Newton converges once it is in the right one. A step that does not
    bring the point nearer is halved.
    """
    for n in range(at.shape[0]):
        x, y = at[n, 0], at[n, 1]
        rx, ry = _residual(nodes, forward, targets[n], x, y)
        for _ in range(_STEPS):
            a, b, c, d = _jacobian(nodes, forward, x, y)
            det = a * d - b * c
            if det == 0.0:  # singular: fall back to the affine part
                a, b, c, d = forward[0, 0], forward[0, 1], forward[1, 0], forward[1, 1]
                det = a * d - b * c
            sx, sy = (d * rx - b * ry) / det, (a * ry - c * rx) / det
            share = 1.0
            for _ in range(8):  # step halving, at most eight times
                tx, ty = _residual(nodes, forward, targets[n], x + share * sx, y + share * sy)
                if tx * tx + ty * ty <= rx * rx + ry * ry:
                    break
                share *= 0.5
            x, y = x + share * sx, y + share * sy
            rx, ry = tx, ty
            if share * (abs(sx) + abs(sy)) < _CLOSE_PX:
                break
        at[n, 0], at[n, 1] = x, y


@kernel(inline=True)
def _between(nodes, c, i, j, fx, fy):  # type: ignore[no-untyped-def]
    """Return component c of the displacement in a cell, um."""
    top = nodes[c, j, i] * (1.0 - fx) + nodes[c, j, i + 1] * fx
    bottom = nodes[c, j + 1, i] * (1.0 - fx) + nodes[c, j + 1, i + 1] * fx
    return top * (1.0 - fy) + bottom * fy


@kernel(inline=True)
def _residual(nodes, forward, target, x, y):  # type: ignore[no-untyped-def]
    """Return target minus the in-plane map at a place, um."""
    i, j, fx, fy, _, _ = _cell(nodes, x, y)
    moved_x = forward[0, 0] * x + forward[0, 1] * y + forward[0, 2]
    moved_y = forward[1, 0] * x + forward[1, 1] * y + forward[1, 2]
    left_x = target[0] - moved_x - _between(nodes, 0, i, j, fx, fy)
    return left_x, target[1] - moved_y - _between(nodes, 1, i, j, fx, fy)


@kernel(inline=True)
def _slopes(nodes, c, i, j, fx, fy):  # type: ignore[no-untyped-def]
    """Return the derivatives of component c of the displacement in a cell, along x and y."""
    along_x = (nodes[c, j, i + 1] - nodes[c, j, i]) * (1.0 - fy)
    along_x += (nodes[c, j + 1, i + 1] - nodes[c, j + 1, i]) * fy
    along_y = (nodes[c, j + 1, i] - nodes[c, j, i]) * (1.0 - fx)
    along_y += (nodes[c, j + 1, i + 1] - nodes[c, j, i + 1]) * fx
    return along_x, along_y


@kernel(inline=True)
def _jacobian(nodes, forward, x, y):  # type: ignore[no-untyped-def]
    """Return the derivative of the in-plane map, row by row; beyond the lattice d is constant."""
    i, j, fx, fy, varies_x, varies_y = _cell(nodes, x, y)
    a, b = _slopes(nodes, 0, i, j, fx, fy)
    c, d = _slopes(nodes, 1, i, j, fx, fy)
    a, b = forward[0, 0] + varies_x * a, forward[0, 1] + varies_y * b
    return a, b, forward[1, 0] + varies_x * c, forward[1, 1] + varies_y * d


def displacement_at(deformation: Deformation, points: npt.ArrayLike) -> Float64:
    """Return the displacement at pixels of a section.

    Parameters
    ----------
    deformation : Deformation
        Displacement field of the section.
    points : (n, 2) float64, px
        Pixels (x, y) in the manifest's frame.

    Returns
    -------
    (n, 3) float64, um
        Along x, y, z of the volume.
    """
    return np.asarray(_displace(deformation.displacement_um, _in_nodes(deformation, points)))


def _in_nodes(deformation: Deformation, points: npt.ArrayLike) -> Float64:
    """Return pixels in node units, (n, 2)."""
    at = np.atleast_2d(np.asarray(points, dtype=np.float64))
    return np.ascontiguousarray((at - np.asarray(deformation.origin_px)) / deformation.spacing_px)


def section_to_volume(section: SectionAlignment, points: npt.ArrayLike, z_um: float) -> Float64:
    """Map pixels of a section to the volume.

    Parameters
    ----------
    section : SectionAlignment
        Alignment2d of the section and its deformation, if any.
    points : (n, 2) float64, px
        Pixels (x, y) in the manifest's frame.
    z_um : float, um
        Position of the section, section_number * section_thickness_um.

    Returns
    -------
    (n, 3) float64, um
        (x, y, z) of the volume.
    """
    at = np.atleast_2d(np.asarray(points, dtype=np.float64))
    plane = affine.apply(section.alignment2d.section_to_volume, at)
    volume = np.column_stack([plane, np.full(len(plane), float(z_um))])
    return volume if section.deformation is None else volume + displacement_at(section.deformation, at)


def volume_to_section(
    section: SectionAlignment, points_um: npt.ArrayLike, z_um: float
) -> tuple[Float64, Float64]:
    """Map volume points along z to the pixels of a section.

    Parameters
    ----------
    section : SectionAlignment
        Alignment2d of the section and its deformation, if any.
    points_um : (n, 3) float64, um
        (x, y, z) of the volume.
    z_um : float, um
        Position of the section, section_number * section_thickness_um.

    Returns
    -------
    points : (n, 2) float64, px
        Pixels (x, y) in the manifest's frame; may lie outside the image.
    offset_um : (n,) float64, um
        How far the volume points lie beyond the section, along z.
    """
    volume = np.atleast_2d(np.asarray(points_um, dtype=np.float64))
    start = affine.apply(section.alignment2d.volume_to_section, volume[:, :2])
    if section.deformation is None:
        return start, volume[:, 2] - z_um
    at = inverted(section.alignment2d, section.deformation, volume[:, :2], start)
    return at, volume[:, 2] - z_um - displacement_at(section.deformation, at)[:, 2]


def inverted(
    alignment: Alignment2d, deformation: Deformation, targets_um: Float64, start_px: Float64
) -> Float64:
    """Return the pixels that lie at given places of the plane.

    Parameters
    ----------
    alignment : Alignment2d
        Affine part of the map.
    deformation : Deformation
        Displacement field on top.
    targets_um : (n, 2) float64, um
        (x, y) of the volume.
    start_px : (n, 2) float64, px
        Pixels to start the search from.

    Returns
    -------
    (n, 2) float64, px
        Pixels in the manifest's frame.

    Notes
    -----
    Newton's method with step halving; it assumes that the map does not fold, see `least_jacobian`.
    """
    at = _in_nodes(deformation, start_px)
    lattice = lattice_to_section(deformation)
    forward = affine.compose(alignment.section_to_volume, lattice)
    targets = np.ascontiguousarray(targets_um, dtype=np.float64)
    _invert(deformation.displacement_um, forward, targets, at)
    return affine.apply(lattice, at)


def lattice_to_section(deformation: Deformation) -> Float64:
    """Return the map from nodes of a displacement field to pixels.

    Parameters
    ----------
    deformation : Deformation
        Displacement field.

    Returns
    -------
    (2, 3) float64
        Node (column, row) to manifest px.
    """
    spacing = deformation.spacing_px
    return np.array([[spacing, 0.0, deformation.origin_px[0]], [0.0, spacing, deformation.origin_px[1]]])


def least_jacobian(alignment: Alignment2d, deformation: Deformation) -> float:
    """Return how close the in-plane map of a section comes to folding.

    Parameters
    ----------
    alignment : Alignment2d
        Affine part of the map.
    deformation : Deformation
        Displacement field on top.

    Returns
    -------
    float
        Least determinant of the map over that of its affine part; 0 or less folds.

    Notes
    -----
    Within a cell the determinant of a bilinear map is linear in x and y, so its least value lies on a corner:
    where it is above 0 at all corners it is above 0 everywhere.
    """
    forward = affine.compose(alignment.section_to_volume, lattice_to_section(deformation))
    return float(_corner_determinants(deformation.displacement_um, forward).min())


def _corner_determinants(nodes: Float32, forward: Float64) -> Float64:
    """Return the determinant at the four corners of every cell over that of the affine part."""
    d = np.asarray(nodes[:2], dtype=np.float64)
    along_x, along_y = np.diff(d, axis=2), np.diff(d, axis=1)
    x, y = forward[:, 0, None, None], forward[:, 1, None, None]
    found = []
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            gx, gy = x + along_x[:, rows], y + along_y[:, :, columns]
            found.append(gx[0] * gy[1] - gx[1] * gy[0])
    return np.asarray(found) / float(np.linalg.det(forward[:, :2]))


def largest_z_um(section: SectionAlignment) -> float:
    """Return how far the pixels of a section leave its plane at most.

    Parameters
    ----------
    section : SectionAlignment
        Alignment of the section.

    Returns
    -------
    float, um
        Largest displacement along z, 0 without a deformation.
    """
    return 0.0 if section.deformation is None else float(np.abs(section.deformation.displacement_um[2]).max())


def nearest_section(
    sections: Sequence[SectionAlignment], z_um: Float64, volume: Float64, most_z_um: float | None = None
) -> tuple[Int64, Float64]:
    """Map volume points to the section that passes nearest to them along z.

    Parameters
    ----------
    sections : sequence of m SectionAlignment
        Sections of a series, not empty.
    z_um : (m,) float64, um
        Position of each section.
    volume : (n, 3) float64, um
        (x, y, z) of the volume.
    most_z_um : float, um, optional
        The largest of `largest_z_um` of the sections, where it is known already.

    Returns
    -------
    index : (n,) int64
        Index of the section.
    points : (n, 2) float64, px
        Pixels in that section; may lie outside the image.
    """
    if most_z_um is None:
        most_z_um = max(map(largest_z_um, sections))
    order = np.argsort(volume[:, 2], kind="stable")
    volume = volume[order]
    best = np.full(len(volume), np.inf)
    index, points = np.zeros(len(volume), np.int64), np.empty((len(volume), 2))
    first, last = _candidates(volume[:, 2], z_um, most_z_um)
    for number in np.flatnonzero(first < last).tolist():
        here = slice(first[number], last[number])
        found, offset = volume_to_section(sections[number], volume[here], float(z_um[number]))
        nearer = np.abs(offset) < best[here]  # with the deformation counted
        best[here][nearer] = np.abs(offset)[nearer]
        index[here][nearer], points[here][nearer] = number, found[nearer]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return index[back], points[back]


def _candidates(points_um: Float64, z_um: Float64, most_z_um: float) -> tuple[Int64, Int64]:
    """Return first and last + 1 of the points, ascending along z, that each section may be nearest to."""
    planes = np.sort(z_um)
    above = np.clip(np.searchsorted(planes, points_um), 1, len(planes) - 1) if len(planes) > 1 else 0
    apart = np.minimum(np.abs(points_um - planes[above - 1]), np.abs(points_um - planes[above]))
    # um; one section may be displaced away, another towards the point
    reach = 2.0 * most_z_um + ROUNDING_UM
    # Along z, the nearest plane comes no faster than the point goes: both sums ascend with the points.
    return (
        np.searchsorted(points_um + apart, z_um - reach, "left").astype(np.int64),
        np.searchsorted(points_um - apart, z_um + reach, "right").astype(np.int64),
    )
