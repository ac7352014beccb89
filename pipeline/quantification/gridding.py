"""From the sums of sections to the 200 um grid: smoothing, assembly in the reference space.

Only sums are carried. A section is summed into fine square cells of its own frame (see `cells`). The cells
are averaged over the 200 um window and smoothed in plane (`smooth`). Every voxel of the reference grid then
gathers from the sections near it (`assemble`), with a Gaussian weight along the cutting axis. The fine map is
sampled at the voxel's own place, which interpolates once; pasting 200 um cells into a volume and resampling
that would interpolate twice. Ratios come last, in ExpressionSums.

Source: the algorithm that the Allen Mouse Brain Atlas states (Lein et al. 2007; Ng et al. 2009; white paper
"Informatics Data Processing": sums per 200 x 200 um division, in-plane smoothing, smoothing in z, transform
to the reference space).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.core.model import (
    SUM_FIELDS,
    Alignment3d,
    Bool,
    ExpressionSums,
    Float64,
    Grid,
    Int64,
    SectionAlignment,
)
from pipeline.geometry import affine
from pipeline.geometry.deformation import largest_z_um, volume_to_section
from pipeline.quantification.cells import CELL_UM, SectionCells

TRUNCATE_SIGMA = 4.0  # a Gaussian is cut off here, in sigmas
LEAST_REACH_UM = 50.0  # um along z that a section fills at least
MOST_LACKING = 0.5  # share of a cell that may lack where a voxel has data


@dataclass(frozen=True, eq=False)
class PlacedSection:
    """Smoothed cells of a section with its place.

    Attributes
    ----------
    cells : SectionCells
        Sums of the section, smoothed.
    z_um : float, um
        Position in the volume.
    alignment : SectionAlignment
        Map of its manifest pixels to the volume.
    lacking : (rows, columns) float64 or None
        Share of each cell where tissue is missing or nothing was scanned: there it has no data.
    """

    cells: SectionCells
    z_um: float
    alignment: SectionAlignment
    lacking: Float64 | None = None


def window(width: float, sigma: float) -> Float64:
    """Return a box convolved with a Gaussian, sampled at integers.

    Parameters
    ----------
    width : float
        Width of the box, in samples.
    sigma : float
        Standard deviation of the Gaussian, in samples; 0 leaves the box.

    Returns
    -------
    (2 * n + 1,) float64
        Weights that sum to 1.

    Examples
    --------
    >>> window(4.0, 0.0)
    array([0.125, 0.25 , 0.25 , 0.25 , 0.125])
    """
    half = width / 2
    reach = int(np.ceil(half + TRUNCATE_SIGMA * sigma - 0.5))
    edges = np.arange(-reach, reach + 2) - 0.5
    if sigma <= 0:
        weights = np.diff(np.clip(edges, -half, half))  # overlap of the box with each sample
    else:
        fine = 16  # steps of the numerical integration in a sample
        at = np.linspace(-reach - 0.5, reach + 0.5, (2 * reach + 1) * fine + 1)
        at = (at[1:] + at[:-1]) / 2
        box = (np.abs(at) < half).astype(float)
        weights = ndimage.gaussian_filter1d(box, sigma * fine, mode="constant", truncate=TRUNCATE_SIGMA)
        weights = weights.reshape(-1, fine).sum(axis=1)
    return np.asarray(weights / weights.sum())


def smooth(cells: SectionCells, smoothing_um: float) -> SectionCells:
    """Average the fine cells of a section over the 200 um window and a Gaussian.

    Parameters
    ----------
    cells : SectionCells
        Sums as accumulated.
    smoothing_um : float, um
        Standard deviation of the Gaussian in the plane; 0 for none.

    Returns
    -------
    SectionCells
        Same cells with float64 sums; beyond the image all sums count as 0.
    """
    kernel = window(max(1.0, CELL_UM / cells.pitch_um), smoothing_um / cells.pitch_um)

    def operator(values: npt.NDArray[np.int64]) -> Float64:
        spread = ndimage.convolve1d(values.astype(np.float64), kernel, axis=0, mode="constant")
        return np.asarray(ndimage.convolve1d(spread, kernel, axis=1, mode="constant"))

    return SectionCells(
        cells.sums.map(operator), cells.pitch_px, cells.factor, cells.resolution_um, cells.rectangle_px
    )


def assemble(
    sections: Sequence[PlacedSection],
    alignment3d: Alignment3d,
    grid: Grid,
    spacing_um: float,
    z_smoothing_um: float,
) -> tuple[ExpressionSums, Bool]:
    """Gather smoothed sections on a grid of the reference space.

    Parameters
    ----------
    sections : sequence of PlacedSection
        The usable sections, smoothed.
    alignment3d : Alignment3d
        Volume to reference space.
    grid : Grid
        Voxels of the reference space.
    spacing_um : float, um
        Spacing of the manifest's sections; half of it is how far a section reaches along z.
    z_smoothing_um : float, um
        Standard deviation of the Gaussian along z; 0 takes the nearest section alone.

    Returns
    -------
    sums : ExpressionSums of grid.shape float64
        A fully covered voxel holds one 200 um cell of pixels; 0 where there is no data.
    covered : grid.shape bool
        Where voxels have data.
    """
    volume = affine.apply(alignment3d.reference_to_volume, grid.points_um())
    # um; the tolerance keeps a voxel half-way between two sections covered
    reach = max(spacing_um / 2, LEAST_REACH_UM) + 1e-6
    offset, places = _places(sections, volume, max(reach, TRUNCATE_SIGMA * z_smoothing_um))
    nearest = offset.argmin(axis=1)
    least = offset.min(axis=1)
    covered = least <= reach
    within = covered.copy()
    totals = np.zeros((len(SUM_FIELDS), len(volume)))
    weights = np.zeros(len(volume))
    for number, (section, (near, points)) in enumerate(zip(sections, places, strict=True)):
        own = nearest[near] == number
        covered[near[own]] &= _inside(section, points[own])  # data only where the nearest section was scanned
        weight = _z_weight(offset[near, number], least[near], z_smoothing_um)
        used = (weight > 0) & within[near]  # neighbours contribute beside the nearest section
        totals[:, near[used]] += weight[used] * _sample(section, points[used])
        weights[near[used]] += weight[used]
    totals = np.divide(totals, weights, out=np.zeros_like(totals), where=weights > 0) * covered
    sums = ExpressionSums(*(t.reshape(grid.shape) for t in totals))
    return sums, covered.reshape(grid.shape)


def _places(
    sections: Sequence[PlacedSection], volume: Float64, limit_um: float
) -> tuple[Float64, list[tuple[Int64, Float64]]]:
    """Return how far volume points lie from every section along z, and their pixels in the near sections.

    Returns
    -------
    offset : (n, m) float64, um
        Distance of each point from each section; above the limit only a lower bound.
    places : m x ((k,) int64, (k, 2) float64 px)
        Indices of the near points of each section, and their stored pixels in it.
    """
    offset = np.abs(volume[:, 2:3] - np.array([section.z_um for section in sections]))
    places = []
    for number, section in enumerate(sections):
        # a displacement along z may bring a point within the limit
        near = np.flatnonzero(offset[:, number] <= limit_um + largest_z_um(section.alignment))
        points, away = volume_to_section(section.alignment, volume[near], section.z_um)
        offset[near, number] = np.abs(away)
        places.append((near, points / section.cells.factor))
    return offset, places


def _z_weight(offset: Float64, least: Float64, sigma_um: float) -> Float64:
    """Return Gaussian weights along z, relative to the nearest section: every voxel in reach has data."""
    if sigma_um <= 0:
        return (offset <= least).astype(np.float64)
    weight = np.exp((least**2 - offset**2) / (2 * sigma_um**2))
    return np.where(offset <= np.maximum(least, TRUNCATE_SIGMA * sigma_um), weight, 0.0)


def _inside(section: PlacedSection, points: Float64) -> Bool:
    """Return which stored pixels lie on the scan, where tissue is not missing."""
    x0, y0, x1, y1 = section.cells.rectangle_px
    x, y = points.T
    inside = np.asarray((x >= x0 - 0.5) & (x <= x1 - 0.5) & (y >= y0 - 0.5) & (y <= y1 - 0.5))
    if section.lacking is not None:
        at = _in_cells(section, points)
        inside &= ndimage.map_coordinates(section.lacking, at, order=1, mode="nearest") < MOST_LACKING
    return inside


def _in_cells(section: PlacedSection, points: Float64) -> tuple[Float64, Float64]:
    """Return the row and column of stored pixels, in cells: pixel centres to cell centres."""
    x, y = (points.T + 0.5) / section.cells.pitch_px - 0.5
    return y, x


def _sample(section: PlacedSection, points: Float64) -> Float64:
    """Return the four sums at stored pixels, bilinear between cells, in manifest pixels of a 200 um cell."""
    at, fields = _in_cells(section, points), section.cells.sums.arrays().values()
    sampled = [ndimage.map_coordinates(field, at, order=1, mode="grid-constant") for field in fields]
    return np.asarray(sampled) * section.cells.voxel_factor
