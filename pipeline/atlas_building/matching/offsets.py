"""How far labels lie from the borders that their own template shows."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.matching.working import WorkingBrain
from pipeline.core.model import Bool, Float64, Int32, Int64

TILE_UM = 2000.0  # side of the tiles that are moved each by itself
REACH = 3  # working voxels that they are moved by at most, along each axis
LEAST_SHARE = 0.2  # of a tile, that is labelled and that is not of its commonest label, for it to count
ROOM = 2  # working voxels around the labels that are looked at too


def label_offset_um(brain: WorkingBrain, index: Int32) -> float:
    """Return how far labels lie from where they would fit their template best.

    Parameters
    ----------
    brain : WorkingBrain
        The template, of any contrast.
    index : (P, I, R) int32
        Labels on its grid, 0 outside.

    Returns
    -------
    float, um
        Median over tiles. In each the labels are moved along P, I and R to where their means explain most of
        the tile's grey (the correlation ratio, Roche et al. 1998); the vertex of a parabola tells parts of a
        voxel. NaN where no tile tells.
    """
    seen = ndimage.binary_dilation(index > 0, iterations=ROOM)
    tiles = _tiles(index.shape, brain.spacing_um)
    kept = _telling(index, seen, tiles)
    if not kept.any():
        return float("nan")
    here = _unexplained(brain, index, seen, tiles)[kept]
    squares = np.zeros(len(here))
    for axis in range(3):
        steps = range(-REACH, REACH + 1)
        left = [
            here if step == 0 else _unexplained(brain, np.roll(index, step, axis), seen, tiles)[kept]
            for step in steps
        ]
        squares += _lowest(np.array(left)) ** 2
    return float(np.median(np.sqrt(squares)) * brain.spacing_um)


def _tiles(shape: tuple[int, ...], um: float) -> Int64:
    """Return the number of each voxel's tile."""
    number = np.zeros(shape, np.int64)
    for axis, n in enumerate(shape):
        own = (np.arange(n) * um // TILE_UM).astype(np.int64)
        number = number * int(own[-1] + 1) + own.reshape([-1 if k == axis else 1 for k in range(3)])
    return number


def _telling(index: Int32, seen: Bool, tiles: Int64) -> Bool:
    """Tell which tiles have enough labelled voxels, and more than one label."""
    count = int(tiles.max()) + 1
    sizes = np.bincount(tiles.ravel(), minlength=count)
    labelled = np.bincount(tiles[index > 0], minlength=count)
    largest = np.zeros(count, np.int64)
    keys, n = np.unique(tiles[seen] * (int(index.max()) + 1) + index[seen], return_counts=True)
    np.maximum.at(largest, keys // (int(index.max()) + 1), n)
    others = np.bincount(tiles[seen], minlength=count) - largest
    return np.asarray((labelled >= LEAST_SHARE * sizes) & (others >= LEAST_SHARE * sizes) & (sizes > 0))


def _unexplained(brain: WorkingBrain, index: Int32, seen: Bool, tiles: Int64) -> Float64:
    """Return the sum of squares that the means of labels leave over, by tile."""
    grey, own = brain.values[seen].astype(np.float64), tiles[seen]
    most = int(index.max()) + 1
    keys = own * most + index[seen]
    count = (int(tiles.max()) + 1) * most
    n, total = np.bincount(keys, minlength=count), np.bincount(keys, grey, minlength=count)
    explained = (total**2 / np.maximum(n, 1)).reshape(-1, most).sum(axis=1)
    return np.asarray(np.bincount(own, grey**2, minlength=len(explained)) - explained)


def _lowest(left: Float64) -> Float64:
    """Return the step at which each column of (steps, tiles) is lowest, parts of a step included."""
    at = left.argmin(axis=0)
    columns = np.arange(left.shape[1])
    inner = np.clip(at, 1, len(left) - 2)
    before, middle, after = (left[inner + k, columns] for k in (-1, 0, 1))
    bend = before - 2 * middle + after
    part = np.where((at == inner) & (bend > 0), (before - after) / (2 * np.maximum(bend, 1e-300)), 0.0)
    return np.asarray(at + part - REACH)
