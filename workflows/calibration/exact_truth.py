"""The exact truth of a rendered series: its expression integrated over every structure of the whole brain.

Expected values, not those of one draw: density and energy at a place follow from the energy that the scene
asks for there and from the darkness of the tissue. They are integrated over the voxels of the scene's own
annotation, on sections and between them, so that they hold the error of everything a run does: pixels,
placement, section sampling, chance of cells. A gain of single sections has a mean of 1 and is no truth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import BOTH, LEFT, MIDLINE_UM, RIGHT, Float64
from pipeline.core.reference_space import ReferenceSpace, hemispheres
from pipeline.phantom import Scene
from pipeline.phantom.cells import ADDED_DARKNESS, DARK_FROM_ENERGY, DARK_GAIN
from pipeline.phantom.kernels import _grid_value
from pipeline.quantification.unionize import LabelIndex

SIDES = (LEFT, RIGHT, BOTH)
MEAN_WEIGHTS = np.array([1 / 6, 2 / 3, 1 / 6])  # of three voxels in the mean over the middle one: the
# renderer smooths energy by a quadratic B-spline, whose mean over a voxel is a cubic one at whole numbers

Columns = dict[str, npt.NDArray[Any]]


def exact_truth(scene: Scene) -> Columns:
    """Integrate the expression of a scene over its structures.

    Parameters
    ----------
    scene : Scene
        The series; the pixel size of its first section decides how discs turn into pixels.

    Returns
    -------
    dict of str to (rows,) array
        `structure_id`, `hemisphere_id` (1, 2, 3), `density`, `energy` (expected, children included), `voxels`
        (of the annotation) and `grid_voxels` (of the 200 um grid); rows in graph order without empty ones.
    """
    reference = scene.reference
    calibration = scene.calibrations[scene.geometry.resolution_um(scene.images[0])]
    sums = np.zeros((scene.ids.size, 2, 3))
    _integrate(scene.volume, calibration, MEAN_WEIGHTS, sums)
    index = LabelIndex.of(scene.ids.reshape(-1, 1, 1), reference.ontology)
    by_id = np.zeros((index.label_ids.size, 2, 3))
    np.add.at(by_id, np.searchsorted(index.label_ids, scene.ids), sums)  # a scene may split a structure
    totals = _both(index.propagate(by_id))
    counts = _both(grid_voxels(reference, index))
    row, side = np.nonzero(totals[..., 0])
    voxels, density, energy = totals[row, side].T
    return {
        "structure_id": np.array(index.structure_ids)[row],
        "hemisphere_id": np.array(SIDES)[side],
        "density": density / voxels,
        "energy": energy / voxels,
        "voxels": voxels,
        "grid_voxels": counts[row, side],
    }


def grid_voxels(reference: ReferenceSpace, index: LabelIndex) -> Float64:
    """Count the voxels of the 200 um grid, children included, (structures of the index, 2 sides)."""
    labels, side = reference.grid_labels(), hemispheres(reference.grid) - LEFT
    own = {int(label): at for at, label in enumerate(index.label_ids)}
    direct = np.zeros((index.label_ids.size, 2))
    for k in (0, 1):
        ids, count = np.unique(labels[:, :, side == k], return_counts=True)
        for label, n in zip(ids.tolist(), count.tolist(), strict=True):
            if label in own:
                direct[own[label], k] = n
    return index.propagate(direct)


def _both(left_right: Float64) -> Float64:
    """Append the sum of both sides along axis 1."""
    return np.concatenate([left_right, left_right.sum(axis=1, keepdims=True)], axis=1)


@kernel
def _integrate(volume, calibration, weights, sums):  # type: ignore[no-untyped-def]
    """Add voxels, density and energy of every voxel to `sums` (labels, 2, 3)."""
    labels, um = volume.labels, volume.spacing_um
    for p in range(1, labels.shape[0] - 1):
        for i in range(1, labels.shape[1] - 1):
            for r in range(1, labels.shape[2] - 1):
                label = labels[p, i, r]
                if label == 0:
                    continue
                cell = sums[label, 0 if r * um < MIDLINE_UM else 1]
                cell[0] += 1.0
                if not volume.solid[label]:
                    continue
                tissue, energy = _mean(volume, weights, p, i, r)
                if volume.grid.size > 0:
                    g = um / volume.grid_um
                    energy = _grid_value(volume.grid, p * g, i * g, r * g)
                if energy <= 0.0:
                    continue
                density, expected = _expected(energy, tissue, calibration)
                cell[1] += density
                cell[2] += expected


@kernel
def _mean(volume, weights, p, i, r):  # type: ignore[no-untyped-def]
    """Return tissue darkness and energy as the renderer smooths them, averaged over a voxel."""
    labels = volume.labels
    inner = labels[p, i, r]
    same = True
    for a in range(-1, 2):
        for b in range(-1, 2):
            row = labels[p + a, i + b]
            same &= row[r - 1] == inner and row[r] == inner and row[r + 1] == inner
    if same:
        return float(volume.darkness[inner]), float(volume.energy[inner])
    tissue = energy = 0.0
    for a in range(-1, 2):
        for b in range(-1, 2):
            for c in range(-1, 2):
                near, w = labels[p + a, i + b, r + c], weights[a + 1] * weights[b + 1] * weights[c + 1]
                tissue += w * volume.darkness[near]
                energy += w * volume.energy[near]
    return tissue, energy


@kernel
def _expected(energy, tissue, calibration):  # type: ignore[no-untyped-def]
    """Return the density and energy that a wanted energy leads to: less where discs cover all."""
    palest = ADDED_DARKNESS[0] + DARK_GAIN * min(energy / DARK_FROM_ENERGY, 1.0)
    added = 0.5 * (palest + ADDED_DARKNESS[1])
    low, high = 0, calibration.mu.size - 1
    most = calibration.density[high] * tissue + calibration.weight[high] * added
    if energy >= most:
        return calibration.density[high], most
    while high - low > 1:  # as `discs_over_point`, whose energy is then the one asked for
        k = (low + high) // 2
        if calibration.density[k] * tissue + calibration.weight[k] * added <= energy:
            low = k
        else:
            high = k
    below = calibration.density[low] * tissue + calibration.weight[low] * added
    above = calibration.density[high] * tissue + calibration.weight[high] * added
    part = (energy - below) / max(above - below, 1e-12)
    return calibration.density[low] + part * (calibration.density[high] - calibration.density[low]), energy
