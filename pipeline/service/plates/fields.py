"""Deformation fields of experiments, from the reference space to the affinely aligned stack.

The field d takes a reference point p, in um, to where the affine map alone finds it: the series' affine map
trv, applied to p + d(p), gives the point of the affinely aligned stack that shows p. That is the order in
which users of the atlas compose both: displacement first, then trv.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.model import Float32, Float64, Grid
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry import affine
from pipeline.geometry.deformation import displacement_at, nearest_section
from pipeline.geometry.sync import SyncGeometry

_AT_ONCE = 200_000  # points


def field_grid(reference: ReferenceSpace) -> Grid:
    """Return the lattice of deformation fields.

    Parameters
    ----------
    reference : ReferenceSpace
        Gives the box.

    Returns
    -------
    Grid
        The 200 um grid of the reference.
    """
    return reference.grid


def displacement_field(series: SyncGeometry, grid: Grid) -> Float32:
    """Return how the deformations of a series move reference points, apart from the affine map.

    Parameters
    ----------
    series : SyncGeometry
        Geometry of a series, with deformations.
    grid : Grid
        Points of the series' own reference space.

    Returns
    -------
    (P, I, R, 3) float32, um
        Along P, I, R. A point takes the displacement of the section that passes nearest to it.
    """
    points = grid.points_um()
    moved = np.empty((len(points), 3), np.float32)
    for start in range(0, len(points), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        moved[part] = _moved(series, points[part])
    return moved.reshape(*grid.shape, 3)


def _moved(series: SyncGeometry, points: Float64) -> Float64:
    """Return the displacement at reference points (n, 3), um."""
    volume = affine.apply(series.alignment3d.reference_to_volume, points)
    sections = [series.placed(alignment) for alignment in series.alignments2d]
    z_um = np.array([a.section_number for a in series.alignments2d]) * series.section_thickness_um
    index, pixels = nearest_section(sections, z_um, volume)
    bent = np.zeros_like(points)
    for number in np.unique(index):
        deformation = sections[number].deformation
        if deformation is not None:
            own = index == number
            bent[own] = displacement_at(deformation, pixels[own])
    return -bent @ series.alignment3d.volume_to_reference[:, :3].T
