"""A section with its place in the reference, and how a displacement over the planes changes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.atlas_building.reconstruction.comparisons import Nodes
from pipeline.atlas_building.reconstruction.surfaces import COLUMNS, ROWS
from pipeline.core.model import Alignment3d, Deformation, Float64, Plane, SectionAlignment, Status
from pipeline.geometry import affine
from pipeline.geometry.deformation import displacement_at, least_jacobian, section_to_volume
from pipeline.sections.thumbnail import SectionThumbnail

LATTICE_UM = 100.0  # distance of the nodes of a written Deformation
LEAST_JACOBIAN = 0.15  # of a section's map against its affine part
SCALE_BACK = 0.8  # factor on a step that would fold


@dataclass(frozen=True, eq=False)
class PlacedSection:
    """A section in the reference.

    Attributes
    ----------
    thumbnail : SectionThumbnail
        The image.
    section : SectionAlignment
        Its place in the volume, and its status.
    space : Alignment3d
        Volume to reference.
    """

    thumbnail: SectionThumbnail
    section: SectionAlignment
    space: Alignment3d

    @property
    def number(self) -> int:
        """Section number."""
        return self.thumbnail.section_number

    @property
    def is_used(self) -> bool:
        """Whether it becomes part of the volume."""
        return self.section.status is not Status.FAIL


def used(sections: Sequence[PlacedSection]) -> list[int]:
    """Return the indices of the sections that become part of the volume.

    Parameters
    ----------
    sections : sequence of PlacedSection
        All sections.

    Returns
    -------
    list of int
        Indices.
    """
    return [k for k, one in enumerate(sections) if one.is_used]


def moved(
    one: PlacedSection,
    step: Float64,
    nodes: Nodes,
    plane: Plane,
    first_um: Sequence[float] | Float64 = (0.0, 0.0, 0.0),
) -> PlacedSection:
    """Return a section displaced within the planes of the reference.

    Parameters
    ----------
    one : PlacedSection
        The section.
    step : (node rows, node columns, 2) float64, um
        Along rows and columns: the image at x + step comes to x.
    nodes : Nodes
        Where the steps are.
    plane : {"coronal", "sagittal"}
        Plane of section.
    first_um : (3,) float, um
        (P, I, R) of the first node; along the normal it does not count.

    Returns
    -------
    PlacedSection
        With a Deformation that does not fold; the heights stay.
    """
    lattice, spacing = _lattice(one)
    section, number = one.section, one.thumbnail.z_um
    volume = section_to_volume(section, lattice.reshape(-1, 2), number)
    reference = affine.apply(one.space.volume_to_reference, volume)
    axes = [ROWS, COLUMNS[plane]]
    at = (reference[:, axes] - np.asarray(first_um)[axes]) / nodes.step_um
    change = np.zeros_like(reference)
    for k, axis in enumerate(axes):
        change[:, axis] = -_bilinear(step[..., k], at)
    return _displaced(one, change @ one.space.reference_to_volume[:, :3].T, lattice, spacing)


def carried(one: PlacedSection, further: Callable[[Float64], Float64]) -> PlacedSection:
    """Return a section displaced in three dimensions.

    Parameters
    ----------
    one : PlacedSection
        The section.
    further : callable
        Takes places of the volume, (n, 3) um, and returns what is added to each, um.

    Returns
    -------
    PlacedSection
        With a Deformation that does not fold.
    """
    lattice, spacing = _lattice(one)
    volume = section_to_volume(one.section, lattice.reshape(-1, 2), one.thumbnail.z_um)
    return _displaced(one, further(volume), lattice, spacing)


def _displaced(one: PlacedSection, change: Float64, lattice: Float64, spacing: float) -> PlacedSection:
    """Return a section with a change, (n, 3) um in the volume, added at the nodes of its lattice."""
    section = one.section
    before = np.zeros_like(change)
    if section.deformation is not None:
        before = displacement_at(section.deformation, lattice.reshape(-1, 2))
    factor = 1.0
    for _ in range(20):
        total = (before + factor * change).T.reshape(3, *lattice.shape[:2])
        deformation = Deformation(np.ascontiguousarray(total, np.float32), spacing)
        if least_jacobian(section.alignment2d, deformation) >= LEAST_JACOBIAN:
            return replace(one, section=replace(section, deformation=deformation))
        factor *= SCALE_BACK
    return one


def _lattice(one: PlacedSection) -> tuple[Float64, float]:
    """Return the pixels of the nodes of a section's Deformation, (rows, columns, 2), and their distance."""
    present = one.section.deformation
    um = one.thumbnail.resolution_um
    if present is not None and present.origin_px == (0.0, 0.0):
        (rows, columns), spacing = present.displacement_um.shape[1:], present.spacing_px
    else:
        h, w = one.thumbnail.pixels.shape[:2]
        spacing = LATTICE_UM / um
        corner = affine.apply(one.thumbnail.thumbnail_to_section, [[w - 0.5, h - 0.5]])[0]
        columns, rows = (max(2, int(np.ceil(n / spacing)) + 1) for n in corner)
    x, y = np.meshgrid(spacing * np.arange(columns), spacing * np.arange(rows))
    return np.stack([x, y], axis=-1), float(spacing)


def _bilinear(field: Float64, at: Float64) -> Float64:
    """Return a field at places in node units, (n, 2); the value at the edge holds beyond it."""
    rows, columns = field.shape
    r, c = np.clip(at[:, 0], 0, rows - 1), np.clip(at[:, 1], 0, columns - 1)
    i, j = np.minimum(r.astype(int), rows - 2), np.minimum(c.astype(int), columns - 2)
    u, v = r - i, c - j
    top = field[i, j] * (1 - v) + field[i, j + 1] * v
    bottom = field[i + 1, j] * (1 - v) + field[i + 1, j + 1] * v
    return np.asarray(top * (1 - u) + bottom * u)
