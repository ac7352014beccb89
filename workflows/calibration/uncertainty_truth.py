"""True energy and density of a rendered scene: exact by structure, and as a perfect pipeline would grid them.

The exact value of a structure is the mean over its voxels of 25 um. The perfect grid is the same field under
the kernel of gridding, as if sections lay everywhere: no error of placement, detector, stain or cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from pipeline.core.kernels import kernel
from pipeline.core.model import MIDLINE_UM, Float32, Float64
from pipeline.phantom import Scene
from pipeline.phantom.cells import discs_over_point
from pipeline.phantom.expression import CELL_UM, SMOOTHING_UM, Z_SMOOTHING_UM
from pipeline.phantom.kernels import _grid_value

ENERGIES = np.concatenate([[0.0], np.geomspace(1e-3, 250.0, 120)])  # grey levels, of the table of densities
LEAST_WEIGHT = 1e-12  # of a plane in a voxel: products of smaller ones are denormal, and slow
TISSUES = np.linspace(20.0, 100.0, 9)  # darkness of tissue, grey levels


@dataclass(frozen=True, eq=False)
class Truth:
    """True values of a scene.

    Attributes
    ----------
    structure_ids : (structures,) int64
        In graph order.
    exact : (2, structures, 3) float64
        Energy and density of every structure, children included; left, right, both; NaN without a voxel.
    grid : (2, P, I, R) float32
        Energy and density of a perfect pipeline on the 200 um grid.
    """

    structure_ids: np.ndarray
    exact: Float64
    grid: Float32


def truth_of(scene: Scene) -> Truth:
    """Compute the true values of a scene.

    Parameters
    ----------
    scene : Scene
        The series.

    Returns
    -------
    Truth
        Exact values by structure, and the perfect grid.
    """
    volume, grid = scene.volume, scene.reference.grid
    count, um = len(scene.ids), volume.spacing_um
    along = [_kernel(scene, axis).astype(np.float32) for axis in range(3)]
    table = _densities(scene)
    sums = np.zeros((2, count, 3))  # left and right; energy, density, voxels
    planes = np.zeros((2, len(volume.labels), *grid.shape[1:]), np.float32)
    for p, labels in enumerate(volume.labels):
        if not labels.any():
            continue
        fields = np.zeros((2, *labels.shape), np.float32)
        _fields(volume, table, p, MIDLINE_UM / um, sums, fields)
        for k, plane in enumerate(fields):
            planes[k, p] = along[1] @ plane @ along[2].T
    perfect = np.stack([np.tensordot(along[0], one, 1) for one in planes]).astype(np.float32)
    return Truth(*_structures(scene, sums), perfect)


def _structures(scene: Scene, sums: Float64) -> tuple[np.ndarray, Float64]:
    """Return the structures, and their energy and density by hemisphere, (2, structures, 3)."""
    ontology = scene.reference.ontology
    ids = np.array([s.id for s in sorted(ontology.structures, key=lambda s: s.graph_order)], np.int64)
    inside = np.array([np.isin(scene.ids, list(ontology.descendants(int(i)))) for i in ids])
    totals = np.einsum("sl,hlk->shk", inside.astype(np.float64), sums)
    totals = np.concatenate([totals, totals.sum(axis=1, keepdims=True)], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ids, np.moveaxis(totals[..., :2] / totals[..., 2:], -1, 0)


@kernel
def _fields(volume, table, p, midline, sums, fields):  # type: ignore[no-untyped-def]
    """Fill energy and density of a plane, (2, I, R), and add them to `sums` (sides, labels, 3)."""
    labels, scale = volume.labels[p], volume.spacing_um / max(volume.grid_um, 1.0)
    for i in range(labels.shape[0]):
        for r in range(labels.shape[1]):
            own = labels[i, r]
            if own == 0:
                continue
            energy = 0.0
            if volume.solid[own] and volume.grid.size == 0:
                energy = float(volume.energy[own])
            elif volume.solid[own]:
                energy = _grid_value(volume.grid, p * scale, i * scale, r * scale)
            density = _density(table, energy, volume.darkness[own])
            fields[0, i, r], fields[1, i, r] = energy, density
            at = sums[0 if r < midline else 1, own]
            at[0] += energy
            at[1] += density
            at[2] += 1.0


@kernel
def _density(table, energy, tissue):  # type: ignore[no-untyped-def]
    """Return the share of expressing pixels, bilinear in a table (TISSUES, ENERGIES)."""
    step = TISSUES[1] - TISSUES[0]
    y = (min(max(tissue, TISSUES[0]), TISSUES[-1]) - TISSUES[0]) / step
    row = min(int(y), len(TISSUES) - 2)
    k = min(max(np.searchsorted(ENERGIES, energy, "right") - 1, 0), len(ENERGIES) - 2)
    x = min(max((energy - ENERGIES[k]) / (ENERGIES[k + 1] - ENERGIES[k]), 0.0), 1.0)
    low = (1 - x) * table[row, k] + x * table[row, k + 1]
    high = (1 - x) * table[row + 1, k] + x * table[row + 1, k + 1]
    return (1 - y + row) * low + (y - row) * high


def _densities(scene: Scene) -> Float64:
    """Return the share of expressing pixels by darkness of tissue and energy, (TISSUES, ENERGIES)."""
    calibration = next(iter(scene.calibrations.values()))
    discs = [[discs_over_point(e, t, calibration) for e in ENERGIES] for t in TISSUES]
    return np.asarray(np.interp(discs, calibration.mu, calibration.density), np.float64)


def _kernel(scene: Scene, axis: int) -> Float64:
    """Return the weight of each plane of 25 um in each voxel of the 200 um grid along an axis."""
    to_reference = scene.geometry.alignment.alignment3d.volume_to_reference[:, :3]
    of_volume = int(np.abs(to_reference[axis]).argmax())
    scale = float(np.linalg.norm(to_reference[:, of_volume]))  # the kernel is in um of the volume
    grid, um = scene.reference.grid, scene.volume.spacing_um
    across = of_volume == 2
    half = um / 2 if across else CELL_UM * scale / 2
    sigma = (Z_SMOOTHING_UM if across else SMOOTHING_UM) * scale
    place = grid.origin_um[axis] + grid.spacing_um * np.arange(grid.shape[axis])[:, None]
    offset = um * np.arange(scene.volume.labels.shape[axis]) - place
    weight = ndtr((offset + half) / sigma) - ndtr((offset - half) / sigma)
    weight[weight < LEAST_WEIGHT] = 0.0
    return np.asarray(weight * um / (2 * half))
