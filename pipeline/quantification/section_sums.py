"""Expression per structure from the sections themselves: cells summed by the annotation that lies under them.

The 200 um grid smooths every structure with what lies around it. Here the fine cells of each section are
summed by label, each cell at sample points of its own, through the section's own placement. A section stands
for the slab of brain around it. Ratios come last, as everywhere.

Sources: Cavalieri's estimator of volumes from systematic sections (Gundersen and Jensen 1987, Journal of
Microscopy 147, 229-263).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import (
    SUM_FIELDS,
    Alignment3d,
    Bool,
    ExpressionSums,
    Float64,
    Int64,
    SectionAlignment,
    ratio,
)
from pipeline.geometry.deformation import section_to_volume
from pipeline.quantification.cells import SectionCells
from pipeline.quantification.label_volume import LabelVolume, number_at
from pipeline.quantification.table_rows import TableRows, both_sides

SECTION_COLUMNS = ("section_density", "section_intensity", "section_energy", "n_sections", "own_share")
POINTS = 3  # sample points along each side of a cell
MOST_GAP = 1.0  # spacings that a section stands for on one side at most
MOST_SCALED = 2.0  # factor between the volume of a label and what sections saw of it that still is chance
LEAST_SURE = 0.5  # of the eight places around a point: structures thinner than the error keep a weight
DEFAULT_ERROR_UM = 60.0  # of a section whose alignment states no error
_QUANTITIES = len(SUM_FIELDS)
# Eight places at the corners of a cube have the covariance of an isotropic error, and its first five moments.
_CORNERS = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], np.float64)

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class PlacedCells:
    """Cells of a section with its place.

    Attributes
    ----------
    cells : SectionCells
        Sums of the section, without what it lacks.
    z_um : float, um
        Position in the volume.
    alignment : SectionAlignment
        Map of its manifest pixels to the volume.
    """

    cells: SectionCells
    z_um: float
    alignment: SectionAlignment

    @property
    def error_um(self) -> float:
        """Estimated length of the section's placement error, um."""
        return float(self.alignment.measures.get("estimated_error_um", DEFAULT_ERROR_UM))

    @property
    def pixel_um2(self) -> float:
        """Area of a stored pixel in the volume, um2."""
        matrix = self.alignment.alignment2d.section_to_volume
        return float(abs(np.linalg.det(matrix[:, :2])) * self.cells.factor**2)


@dataclass(frozen=True, eq=False)
class LabelSums:
    """Sums of a series by label and side.

    Attributes
    ----------
    volume_um3 : (labels, 2) float64
        Volume of the reference that the summed pixels stand for.
    sums : (labels, 2, 4) float64
        The four sums, points weighted by how surely they lie in the label.
    found_in : (labels, 2, labels) float64
        Weighted pixels that count for a label and side, by the label that they lie in once the placement is
        blurred by the estimated error.
    hits : (labels, 2, sections) bool
        Which sections hit a label.
    """

    volume_um3: Float64
    sums: Float64
    found_in: Float64
    hits: Bool


def slabs_um(z_um: Sequence[float], spacing_um: float) -> Float64:
    """Return the thickness of brain that each section stands for.

    Parameters
    ----------
    z_um : sequence of float, um
        Positions of the sections that count, ascending.
    spacing_um : float, um
        Spacing of the manifest's sections.

    Returns
    -------
    (sections,) float64, um
        Half-way to the neighbours, at most one spacing on a side; half a spacing beyond the ends.

    Examples
    --------
    >>> slabs_um([0.0, 200.0, 400.0, 1400.0], 200.0)
    array([200., 200., 300., 300.])
    """
    half = np.minimum(np.diff(np.asarray(z_um, np.float64)) / 2, MOST_GAP * spacing_um)
    end = [spacing_um / 2]
    return np.asarray(np.concatenate([end, half]) + np.concatenate([half, end]))


def sum_by_label(
    sections: Sequence[PlacedCells],
    alignment3d: Alignment3d,
    volume: LabelVolume,
    spacing_um: float,
    points: int = POINTS,
) -> LabelSums:
    """Sum the cells of a series by the labels that lie under them.

    Parameters
    ----------
    sections : sequence of PlacedCells
        The sections that count.
    alignment3d : Alignment3d
        Volume to reference space.
    volume : LabelVolume
        Labels of the reference.
    spacing_um : float, um
        Spacing of the manifest's sections.
    points : int
        Sample points along each side of a cell.

    Returns
    -------
    LabelSums
        Sums by label and side.
    """
    placed = sorted(sections, key=lambda s: s.z_um)
    slabs = slabs_um([s.z_um for s in placed], spacing_um)
    numbers = len(volume.index.label_ids) + 1  # 0 is outside
    scale = abs(np.linalg.det(alignment3d.volume_to_reference[:, :3]))
    sums, found_in = np.zeros((numbers, 2, 1 + _QUANTITIES)), np.zeros((numbers, 2, numbers))
    hits = np.zeros((numbers, 2, len(placed)), np.bool_)
    for at, (section, slab) in enumerate(zip(placed, slabs, strict=True)):
        corners = corners_um(section, alignment3d)
        arrays = np.stack([np.asarray(a, np.float64) for a in section.cells.sums.arrays().values()])
        arrays *= slab * scale * section.pixel_um2 / points**2
        offsets = _CORNERS * section.error_um / np.sqrt(3.0)
        under = volume.numbers, volume.spacing_um, volume.midline_um
        _add_section(corners, arrays, *under, points, offsets, sums, found_in, hits[..., at])
    return LabelSums(sums[1:, :, 0], sums[1:, :, 1:], found_in[1:, :, 1:], hits[1:])


def corners_um(section: PlacedCells, alignment3d: Alignment3d) -> Float64:
    """Return where the corners of a section's cells lie; between them the places are bilinear.

    Parameters
    ----------
    section : PlacedCells
        The section.
    alignment3d : Alignment3d
        Volume to reference space.

    Returns
    -------
    (rows + 1, columns + 1, 3) float64, um
        (P, I, R).
    """
    cells = section.cells
    rows, columns = cells.sums.sum_pixels.shape
    x, y = ((np.arange(n + 1) * cells.pitch_px - 0.5) * cells.factor for n in (columns, rows))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    volume = section_to_volume(section.alignment, grid, section.z_um)
    matrix = alignment3d.volume_to_reference
    return np.ascontiguousarray((volume @ matrix[:, :3].T + matrix[:, 3]).reshape(rows + 1, columns + 1, 3))


@kernel
def _add_section(  # type: ignore[no-untyped-def]
    corners, arrays, numbers, spacing_um, midline_um, points, offsets, sums, found_in, hit
):
    """Add the cells (4, rows, columns) of a section, each at points x points places."""
    near = np.empty(offsets.shape[0], np.int64)
    for row in range(arrays.shape[1]):
        for column in range(arrays.shape[2]):
            pixels = arrays[0, row, column]
            if pixels <= 0:
                continue
            for place in range(points * points):
                fy, fx = (place // points + 0.5) / points, (place % points + 0.5) / points
                p, i, r = _within(corners[row : row + 2, column : column + 2], fx, fy)
                own = number_at(numbers, spacing_um, p, i, r)
                if own == 0:
                    continue
                same = 0
                for m in range(near.size):
                    off = offsets[m]
                    near[m] = number_at(numbers, spacing_um, p + off[0], i + off[1], r + off[2])
                    same += near[m] == own
                side = 0 if r < midline_um else 1
                weight = ((same + LEAST_SURE) / near.size) ** 2
                hit[own, side] = True
                total, places = sums[own, side], found_in[own, side]
                total[0] += pixels
                for k in range(arrays.shape[0]):
                    total[1 + k] += weight * arrays[k, row, column]
                if same == near.size:
                    places[own] += weight * pixels
                else:
                    for m in range(near.size):
                        places[near[m]] += weight * pixels / near.size


@kernel(inline=True)
def _within(corners, fx, fy):  # type: ignore[no-untyped-def]
    """Return the place (P, I, R) at fractions of a cell with these four corners."""
    a, b, c, d = (1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx
    p = a * corners[0, 0, 0] + b * corners[0, 1, 0] + c * corners[1, 0, 0] + d * corners[1, 1, 0]
    i = a * corners[0, 0, 1] + b * corners[0, 1, 1] + c * corners[1, 0, 1] + d * corners[1, 1, 1]
    r = a * corners[0, 0, 2] + b * corners[0, 1, 2] + c * corners[1, 0, 2] + d * corners[1, 1, 2]
    return p, i, r


def structure_sums(found: LabelSums, volume: LabelVolume) -> tuple[Float64, Float64]:
    """Return what every label adds to its structure and to all above.

    The sums of a label are brought to the volume that the annotation gives it, as far as the sections bear
    it out: a label of which they saw more or less counts for what it is. So an ancestor is the mean of its
    descendants by volume, although points near borders weigh less.

    Parameters
    ----------
    found : LabelSums
        Sums of the series.
    volume : LabelVolume
        The labels of these sums.

    Returns
    -------
    sums : (labels, 2, 4) float64
        The four sums, in um3 of pixels.
    found_in : (labels, 2, labels) float64
        `found_in` on the same scale.
    """
    seen = found.volume_um3
    wanted = np.clip(volume.volumes_um3, seen / MOST_SCALED, seen * MOST_SCALED)
    factor = np.divide(wanted, found.sums[..., 0], out=np.zeros_like(seen), where=seen > 0)[..., None]
    return found.sums * factor, found.found_in * factor


def section_columns(
    found: LabelSums, volume: LabelVolume, structure_id: Int64, hemisphere_id: Int64
) -> Columns:
    """Return the columns of section energy for the rows of a structure table.

    Parameters
    ----------
    found : LabelSums
        Sums of the series.
    volume : LabelVolume
        The labels of these sums.
    structure_id, hemisphere_id : (rows,) int64
        Structures of the table; 1 left, 2 right, 3 both.

    Returns
    -------
    dict of str to (rows,) array
        `section_density`, `section_intensity`, `section_energy`, `n_sections` and `own_share`; NaN, and 0
        sections, where no section hit the structure.
    """
    index = volume.index
    by_label, found_in = structure_sums(found, volume)
    totals = both_sides(index.propagate(by_label))
    sums = ExpressionSums(*(totals[..., k] for k in range(_QUANTITIES)))
    hit = both_sides(index.propagate(found.hits.astype(np.float64))) > 0
    inside = index.propagate(np.eye(len(index.label_ids)))
    own = both_sides(np.einsum("sdl,sl->sd", index.propagate(found_in), inside))
    values = sums.density, sums.intensity, sums.energy, hit.sum(axis=-1), ratio(own, totals[..., 0])
    rows = TableRows(index, structure_id, hemisphere_id)
    return {
        name: rows.take(value, 0 if name == "n_sections" else np.nan)
        for name, value in zip(SECTION_COLUMNS, values, strict=True)
    }
