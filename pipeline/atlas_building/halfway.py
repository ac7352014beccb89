"""The half-way warp between a volume and its mirror image.

A displacement field e is sought so that the volume at x + e(x) is its own mirror image. Of all such fields
the one is taken whose mirror image is its negative: it moves nothing that both halves would move alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.matching.sampling import moved
from pipeline.core.model import Bool, Float32


@dataclass(frozen=True)
class Stage:
    """Rounds at one scale.

    Attributes
    ----------
    step : int
        Voxels a voxel of this scale.
    blur : float, voxels
        Of the image at this scale.
    smooth : float, voxels
        Standard deviation by which the field is smoothed after each round.
    rounds : int
        How many.
    """

    step: int
    blur: float
    smooth: float
    rounds: int


STAGES = (Stage(4, 0.5, 1.5, 60), Stage(2, 0.7, 1.5, 40), Stage(1, 0.7, 1.8, 10))
EVEN_UM = 400.0  # standard deviation of the window in which values are evened
LONGEST = 0.8  # voxels that one round moves at most


def evened(values: Float32, mask: Bool, spacing_um: float) -> Float32:
    """Return values less their local mean, over their local deviation.

    Parameters
    ----------
    values : (P, I, R) float32
        The volume.
    mask : (P, I, R) bool
        Its tissue; outside, values count as the median there.
    spacing_um : float, um
        Voxel size.

    Returns
    -------
    (P, I, R) float32
        About 0, of deviation about 1 in tissue.
    """
    around = np.float32(np.median(values[~mask])) if (~mask).any() else np.float32(0)
    shown = np.where(mask, values, around).astype(np.float32)
    sigma = EVEN_UM / spacing_um
    mean = ndimage.gaussian_filter(shown, sigma)
    square = ndimage.gaussian_filter((shown - mean) ** 2, sigma)
    floor = 0.1 * float(np.percentile(square[mask], 95)) if mask.any() else 1.0
    return np.asarray((shown - mean) / np.sqrt(square + max(floor, 1e-20)), np.float32)


def halfway_warp(values: Float32, stages: Sequence[Stage] = STAGES) -> Float32:
    """Return the half-way warp.

    Parameters
    ----------
    values : (P, I, R) float32
        Volume of odd n_R, evened, about its middle plane.
    stages : sequence of Stage
        From coarse to fine.

    Returns
    -------
    (P, I, R, 3) float32, voxels
        e, by demons with symmetric forces (Thirion 1998; Vercauteren et al. 2009) between the warped volume
        and its mirror image.
    """
    field = np.zeros((*values.shape, 3), np.float32)
    for stage in stages:
        coarse = ndimage.gaussian_filter(values, stage.blur * stage.step if stage.step > 1 else stage.blur)
        grid = _grid(values.shape, stage.step)
        image = _sampled(coarse, grid)
        own = np.stack([_sampled(field[..., k], grid) for k in range(3)], axis=-1) / np.float32(stage.step)
        for _ in range(stage.rounds):
            own = _round(image, own, stage.smooth)
        field = _expanded(own, values.shape, stage.step) * np.float32(stage.step)
    return field


def antisymmetric(field: Float32) -> Float32:
    """Return the part of a field whose mirror image is its negative.

    Parameters
    ----------
    field : (P, I, R, 3) float32
        Displacements about the middle plane of R.

    Returns
    -------
    (P, I, R, 3) float32
        Of the same unit.
    """
    mirrored = field[:, :, ::-1] * np.array([1.0, 1.0, -1.0], np.float32)
    return np.asarray((field - mirrored) / 2)


def _round(image: Float32, field: Float32, smooth: float) -> Float32:
    """Return the field after one round of demons between the warped image and its mirror image."""
    warped = moved(image, field)
    other = warped[:, :, ::-1]
    apart = other - warped
    mean = (warped + other) / 2
    slope = np.stack([np.gradient(mean, axis=k) for k in range(3)], axis=-1)
    length = (slope * slope).sum(axis=-1)
    push = slope * (apart / (length + apart * apart + 1e-3))[..., None] / 2
    push *= np.minimum(1.0, LONGEST / np.maximum(np.sqrt((push * push).sum(axis=-1)), 1e-9))[..., None]
    both = moved(field, push) + push
    for k in range(3):
        both[..., k] = ndimage.gaussian_filter(both[..., k], smooth, mode="nearest", truncate=3.0)
    return antisymmetric(both)


def _grid(shape: Sequence[int], step: int) -> list[Float32]:
    """Return places of the nodes of a coarser grid, which lie about the same middle plane of R."""
    p, i, half = (n // step + 1 for n in (shape[0] - 1, shape[1] - 1, (shape[2] - 1) // 2))
    middle = (shape[2] - 1) // 2
    axes = [np.arange(p) * step, np.arange(i) * step, middle + step * np.arange(-half, half + 1)]
    return [np.asarray(a, np.float32) for a in axes]


def _sampled(values: Float32, axes: list[Float32]) -> Float32:
    places = np.meshgrid(*axes, indexing="ij")
    return np.asarray(ndimage.map_coordinates(values, places, np.float32, 1, mode="nearest"))


def _expanded(field: Float32, shape: Sequence[int], step: int) -> Float32:
    """Return a field of a coarser grid on the full one, in its own unit."""
    if step == 1 and field.shape[:3] == tuple(shape):
        return field
    middle, own = (shape[2] - 1) // 2, (field.shape[2] - 1) // 2
    axes = [
        np.arange(shape[0]) / step,
        np.arange(shape[1]) / step,
        own + (np.arange(shape[2]) - middle) / step,
    ]
    places = np.meshgrid(*(np.asarray(a, np.float32) for a in axes), indexing="ij")
    parts = [ndimage.map_coordinates(field[..., k], places, np.float32, 1, mode="nearest") for k in range(3)]
    return np.stack(parts, axis=-1)
