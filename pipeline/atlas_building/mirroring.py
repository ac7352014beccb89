"""Volumes made their own mirror images, exactly: from one half, or from what both halves agree on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.model import Float32, UInt32

NEAREST_VOXELS = 6  # how far structures are sought where the halves disagree


def mirrored_template(values: Float32, half: str) -> Float32:
    """Return a volume that is its own mirror image.

    Parameters
    ----------
    values : (P, I, R) float32
        Volume of even n_R whose midline is plane n_R / 2.
    half : str
        average, left or right: what is mirrored.

    Returns
    -------
    (P, I, R) float32
        Equal to its own flip along R from plane 1 on; plane 0 is 0.
    """
    middle = values.shape[2] // 2
    left, right = values[:, :, middle:0:-1], values[:, :, middle:]  # both from the midline outwards
    own = {"left": left, "right": right, "average": (left + right) / np.float32(2)}[half]
    return _unfolded(own)


def mirrored_labels(labels: UInt32, half: str) -> UInt32:
    """Return labels that are their own mirror image.

    Parameters
    ----------
    labels : (P, I, R) uint32
        Labels of even n_R whose midline is plane n_R / 2.
    half : str
        average, left or right: what is mirrored. Where the halves disagree, average takes the structure that
        is nearer in the other half.

    Returns
    -------
    (P, I, R) uint32
        Equal to its own flip along R from plane 1 on; plane 0 is 0.
    """
    middle = labels.shape[2] // 2
    left, right = labels[:, :, middle:0:-1], labels[:, :, middle:]
    if half == "average":
        return _unfolded(_agreed(np.ascontiguousarray(left), np.ascontiguousarray(right)))
    return _unfolded(left if half == "left" else right)


def _unfolded(half: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the whole of a half that begins at the midline; plane 0 has no partner."""
    p, i, count = half.shape
    whole = np.zeros((p, i, 2 * count), half.dtype)
    whole[:, :, count:] = half
    whole[:, :, 1:count] = half[:, :, :0:-1]
    return whole


def _agreed(left: UInt32, right: UInt32) -> UInt32:
    """Return one half for two: where they disagree, the structure that is nearer in the other half."""
    found = left.copy()
    places = np.argwhere(left != right)
    a, b = left[tuple(places.T)], right[tuple(places.T)]
    chosen = a.copy()
    open_, limits = np.arange(len(places)), np.array(left.shape) - 1
    for ring in _rings():
        if not len(open_):
            break
        near_a, near_b = np.zeros(len(open_), bool), np.zeros(len(open_), bool)
        for offset in ring:
            at = tuple(np.clip(places[open_] + offset, 0, limits).T)
            near_a |= right[at] == a[open_]
            near_b |= left[at] == b[open_]
        only_b = near_b & ~near_a
        chosen[open_[only_b]] = b[open_[only_b]]
        open_ = open_[~(near_a | near_b)]
    found[tuple(places.T)] = chosen
    return found


def _rings() -> list[npt.NDArray[np.intp]]:
    """Return the offsets of voxels around a voxel, those of one distance together, the nearest first."""
    side = np.arange(-NEAREST_VOXELS, NEAREST_VOXELS + 1)
    offsets = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)
    square = (offsets**2).sum(axis=1)
    reached = np.unique(square[(square > 0) & (square <= NEAREST_VOXELS**2)])
    return [offsets[square == one] for one in reached]
