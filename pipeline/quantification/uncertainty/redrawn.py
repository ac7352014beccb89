"""Values of structures under redrawn placements: on the 200 um grid, and by the section cells themselves.

A redrawn placement differs by displacements that are smooth over more than a millimetre. The grid is smooth
over some 200 um. So a grid made anew hardly differs from the grid at displaced voxels, which costs a
thousandth of it. Cells are looked up in the annotation at displaced places, one point a cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.core.kernels import kernel
from pipeline.core.model import (
    Alignment3d,
    Bool,
    ExpressionSums,
    Float64,
    Grid,
    Int64,
    ratio,
)
from pipeline.geometry import affine
from pipeline.geometry.deformation import section_to_volume
from pipeline.quantification.label_volume import LabelVolume, number_at
from pipeline.quantification.section_sums import PlacedCells
from pipeline.quantification.uncertainty.detector_share import BINS, bin_of
from pipeline.quantification.uncertainty.displacements import Displacements, scale_um

LATTICE_UM = 400.0  # spacing of the lattice that displacements are interpolated on
ALONG_UM = 100.0  # its spacing along the cutting axis
QUANTITIES = 3  # pixels, expressing pixels, their intensity
MARGIN_CELLS = 4  # cells around tissue that a displacement may bring into it


def redraw_grid(
    sums: ExpressionSums,
    codes: npt.NDArray[np.integer],
    count: int,
    grid: Grid,
    alignment3d: Alignment3d,
    moves: Displacements,
    z_smoothing_um: float,
) -> Float64:
    """Sum a grid by code under redrawn placements.

    Parameters
    ----------
    sums : ExpressionSums of (P, I, R)
        Sums of every voxel; 0 where there is no data.
    codes : (P, I, R) int
        Code of every voxel, below `count`; -1 counts for nothing, as do voxels without data.
    count : int
        Number of codes.
    grid : Grid
        The lattice of the grid.
    alignment3d : Alignment3d
        Volume to reference space.
    moves : Displacements
        Draws.
    z_smoothing_um : float, um
        Smoothing along the cutting axis, over which the fields of sections are averaged.

    Returns
    -------
    (draws, codes, 3) float64
        Pixels, expressing pixels and their intensity.
    """
    at = np.flatnonzero(codes.ravel() >= 0)
    out = np.zeros((moves.draws, count, QUANTITIES))
    if not len(at):
        return out  # no section lies in the brain
    own = codes.ravel()[at]
    places = np.stack(np.unravel_index(at, grid.shape), axis=1)
    volume = affine.apply(
        alignment3d.reference_to_volume, places * grid.spacing_um + np.array(grid.origin_um)
    )
    lattice, axes = _lattice_field(volume, moves, z_smoothing_um)
    where = np.stack([(volume[:, k] - axis[0]) / (axis[1] - axis[0]) for k, axis in enumerate(axes)])
    to_voxels = alignment3d.volume_to_reference[:, :3] / grid.spacing_um
    fields = _fields(sums)
    for draw in range(moves.draws):
        shift = np.stack(
            [ndimage.map_coordinates(part, where, order=1, mode="nearest") for part in lattice[draw]]
        )
        moved = places.T + to_voxels @ shift
        for q, values in enumerate(fields):
            out[draw, :, q] = np.bincount(
                own, ndimage.map_coordinates(values, moved, order=1, mode="grid-constant"), count
            )
    return out


def _fields(sums: ExpressionSums) -> tuple[Float64, Float64, Float64]:
    """Return pixels, expressing pixels and their intensity."""
    return (
        np.asarray(sums.sum_pixels, np.float64),
        np.asarray(sums.sum_expressing_pixels, np.float64),
        np.asarray(sums.sum_expressing_pixel_intensity, np.float64),
    )


def _lattice_field(
    volume: Float64, moves: Displacements, z_smoothing_um: float
) -> tuple[npt.NDArray[np.float32], list[Float64]]:
    """Return the displacement on a lattice over volume points, (draws, 3, nx, ny, nz) um, and its axes."""
    low, high = volume.min(axis=0), volume.max(axis=0)
    steps = (LATTICE_UM, LATTICE_UM, ALONG_UM)
    axes = [a + s * np.arange(int((b - a) / s) + 2) for a, b, s in zip(low, high, steps, strict=True)]
    offset = axes[2][:, None] - moves.z_um
    nearest = np.abs(offset).min(axis=1, keepdims=True)
    weight = np.exp((nearest**2 - offset**2) / (2 * max(z_smoothing_um, ALONG_UM / 2) ** 2))
    weight /= weight.sum(axis=1, keepdims=True)
    errors = scale_um(moves.error_um)
    along = (weight @ errors.T).T  # (3, nz)
    field = moves.common(axes) * along[None, :, None, None, :]
    own = np.stack([moves.own(k, axes[:2]) for k in range(len(moves.z_um))], axis=-1)
    own *= errors[None, :, None, None, :]
    return (field + own @ weight.T).astype(np.float32), axes


def redraw_sections(
    sections: Sequence[PlacedCells],
    slabs_um: Float64,
    labels: LabelVolume,
    alignment3d: Alignment3d,
    moves: Displacements,
) -> tuple[Float64, Float64, Float64]:
    """Sum section cells by the code under them, as they are placed and under redrawn placements.

    Parameters
    ----------
    sections : sequence of PlacedCells
        Sections, in the order of `moves.z_um`.
    slabs_um : (sections,) float64, um
        Thickness of brain that each section stands for.
    labels : LabelVolume
        Labels of the reference.
    alignment3d : Alignment3d
        Volume to reference space.
    moves : Displacements
        Draws.

    Returns
    -------
    placed : (sections, codes, 3) float64
        Pixels, expressing pixels and their intensity of every section, weighted; codes are the position among
        the label ids x 2 + side.
    moved : (draws, codes, 3) float64
        Sums over all sections under every draw.
    by_density : (codes, bins) float64
        Intensity of expressing pixels over all sections, by density of the cells.
    """
    count = 2 * (len(labels.index.label_ids) + 1)  # 0 is outside
    by_density = np.zeros((count, BINS))
    placed = np.zeros((len(sections), count, QUANTITIES))
    moved = np.zeros((moves.draws, count, QUANTITIES))
    matrix = np.ascontiguousarray(alignment3d.volume_to_reference, np.float64)
    for k, section in enumerate(sections):
        chosen = _near_tissue(section, labels, matrix)
        points = _centres(section, chosen)
        if not len(points):
            continue
        axes = [
            low + LATTICE_UM * np.arange(int((high - low) / LATTICE_UM) + 2)
            for low, high in zip(points[:, :2].min(axis=0), points[:, :2].max(axis=0), strict=True)
        ]
        common = moves.common([*axes, np.array([section.z_um])])[..., 0]
        nodes = (common + moves.own(k, axes)) * scale_um(moves.error_um[k])[None, :, None, None]
        nodes = np.ascontiguousarray(nodes.transpose(2, 3, 0, 1), np.float32)
        values = _values(section, chosen) * slabs_um[k]
        low_xy = np.array([axes[0][0], axes[1][0]])
        bins = bin_of(ratio(values[:, 1], values[:, 0]))
        under = labels.numbers, (labels.spacing_um, labels.midline_um), matrix
        _gather(*under, points, values, bins, nodes, low_xy, (placed[k], moved, by_density))
    return placed[:, 2:], moved[:, 2:], by_density[2:]


def _centres(section: PlacedCells, chosen: Int64) -> Float64:
    """Return the volume places of the centres of cells, (n, 3) um."""
    cells = section.cells
    rows, columns = np.divmod(chosen, cells.sums.sum_pixels.shape[1])
    at = (np.stack([columns, rows], axis=1) + 0.5) * cells.pitch_px - 0.5
    return section_to_volume(section.alignment, at * cells.factor, section.z_um)


def _values(section: PlacedCells, chosen: Int64) -> Float64:
    """Return area, expressing area and its intensity of cells, in um2 of the volume, (n, 3)."""
    fields = _fields(section.cells.sums)
    return np.stack([field.ravel()[chosen] for field in fields], axis=1) * section.pixel_um2


def _near_tissue(section: PlacedCells, labels: LabelVolume, matrix: Float64) -> Int64:
    """Return the cells with data whose place lies in the brain or near it."""
    pixels = section.cells.sums.sum_pixels
    every = np.arange(pixels.size)
    places = affine.apply(matrix, _centres(section, every))
    index = np.rint(places / labels.spacing_um).astype(np.int64)
    inside = ((index >= 0) & (index < labels.numbers.shape)).all(axis=1)
    brain = np.zeros(pixels.size, np.bool_)
    brain[inside] = labels.numbers[tuple(index[inside].T)] > 0
    near: Bool = ndimage.binary_dilation(brain.reshape(pixels.shape), iterations=MARGIN_CELLS)
    return np.flatnonzero(near & (pixels > 0))


@kernel
def _gather(codes, grid_um, matrix, points, values, bins, nodes, low, sums):  # type: ignore[no-untyped-def]
    """Add the values of points (n, 3) to the code under each, as placed and displaced by every draw.

    `nodes` (nx, ny, draws, 3) hold displacements in um on a lattice that begins at `low`; the sums go to
    `placed` (codes, 3), `moved` (draws, codes, 3) and, by the bins of the points, `by_density` (codes, bins).
    """
    placed, moved, by_density = sums
    draws = nodes.shape[2]
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        at = _code(codes, grid_um, matrix, x, y, z)
        for q in range(3):
            placed[at, q] += values[n, q]
        by_density[at, bins[n]] += values[n, 2]
        fx, fy = (x - low[0]) / LATTICE_UM, (y - low[1]) / LATTICE_UM
        i, j = min(int(fx), nodes.shape[0] - 2), min(int(fy), nodes.shape[1] - 2)
        fx, fy = fx - i, fy - j
        a, b, c, d = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
        for k in range(draws):
            p, q, r, s = nodes[i, j, k], nodes[i + 1, j, k], nodes[i, j + 1, k], nodes[i + 1, j + 1, k]
            dx = a * p[0] + b * q[0] + c * r[0] + d * s[0]
            dy = a * p[1] + b * q[1] + c * r[1] + d * s[1]
            dz = a * p[2] + b * q[2] + c * r[2] + d * s[2]
            to = moved[k, _code(codes, grid_um, matrix, x + dx, y + dy, z + dz)]
            to[0] += values[n, 0]
            to[1] += values[n, 1]
            to[2] += values[n, 2]


@kernel(inline=True)
def _code(codes, grid_um, matrix, x, y, z):  # type: ignore[no-untyped-def]
    """Return number x 2 + side at a place of the volume; `grid_um`: voxel size, and R of the midline."""
    p = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
    i = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
    r = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
    return number_at(codes, grid_um[0], p, i, r) * 2 + (0 if r < grid_um[1] else 1)
