"""Cues: what a target and a source show alike, as two images of one contrast.

A cue gives, at a scale, the image of the target and, for the displacement as it is, the source as it would
look in the target. Their difference and slope pull the displacement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.matching.painting import Paintable, painted, regress
from pipeline.atlas_building.matching.sampling import halved, moved
from pipeline.core.model import Bool, Float32

_CLIP = 3.0  # of the noise
_FLOOR = 0.02  # of the mean square residual, added to the local one


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a cue says of the displacement, in units of its own noise.

    Attributes
    ----------
    residual : (P, I, R) float32
        Target less moved source, over the noise.
    slope : (P, I, R, 3) float32
        Slope of the moved source a voxel, over the noise: that of the target has its texture's in it.
    weight : (P, I, R) float32
        0 where nothing can be compared.
    """

    residual: Float32
    slope: Float32
    weight: Float32


class LevelCue(Protocol):
    """A cue at one scale."""

    def seen(self, field: Float32) -> tuple[Float32, Float32]:
        """Return both images on the target's grid for a displacement in voxels: target, moved source."""


class Cue(Protocol):
    """A cue at any scale."""

    def at(self, step: int, blur: float) -> LevelCue:
        """Return the cue at voxels `step` times as large, blurred by so many of them."""


@dataclass(frozen=True, eq=False)
class GreyCue:
    """Grey values of one contrast.

    Attributes
    ----------
    target, source : (P, I, R) float32
        Evened values; their shapes may differ.
    """

    target: Float32
    source: Float32

    def at(self, step: int, blur: float) -> LevelCue:
        """Return the cue at a scale; parameters as of `Cue`."""
        images = [ndimage.gaussian_filter(_reduced(v, step), blur) for v in (self.target, self.source)]
        return _LevelGrey(images[0], images[1])


@dataclass(frozen=True, eq=False)
class _LevelGrey:
    target: Float32
    source: Float32

    def seen(self, field: Float32) -> tuple[Float32, Float32]:
        return self.target, moved(self.source, field)


@dataclass(frozen=True, eq=False)
class PaintedCue:
    """An annotated source painted in the contrast of the target, whatever its own.

    Attributes
    ----------
    target : (P, I, R) float32
        Grey of the target.
    weight : (P, I, R) float32
        1 where it is looked at.
    source : Paintable
        The annotated brain.
    """

    target: Float32
    weight: Float32
    source: Paintable

    def at(self, step: int, blur: float) -> LevelCue:
        """Return the cue at a scale; parameters as of `Cue`."""
        sharp = _reduced(self.target, step)
        weight = np.ascontiguousarray(self.weight[::step, ::step, ::step])
        return _LevelPainted(sharp, ndimage.gaussian_filter(sharp, blur), weight, self.source, step, blur)


@dataclass(frozen=True, eq=False)
class _LevelPainted:
    sharp: Float32
    target: Float32
    weight: Float32
    source: Paintable
    step: int
    blur: float

    def seen(self, field: Float32) -> tuple[Float32, Float32]:
        coefficients = regress(self.source, self.sharp, self.weight, field, self.step)
        image = _reduced(painted(self.source, coefficients), self.step)
        return self.target, moved(ndimage.gaussian_filter(image, self.blur), field)


def inside(field: Float32, shape: tuple[int, ...], margin: float) -> Bool:
    """Tell which voxels a displacement takes into the source's box.

    Parameters
    ----------
    field : (P, I, R, 3) float32, voxels
        Displacement.
    shape : (3,) int
        Voxels of the source.
    margin : float, voxels
        How far from its faces at least.

    Returns
    -------
    (P, I, R) bool
        True inside.
    """
    found = np.ones(field.shape[:3], bool)
    for k, n in enumerate(shape):
        own = np.arange(field.shape[k], dtype=np.float32).reshape([-1 if a == k else 1 for a in range(3)])
        place = field[..., k] + own
        found &= (place >= margin) & (place <= n - 1 - margin)
    return found


def evidence(images: tuple[Float32, Float32], weight: Float32, window: float) -> Evidence:
    """Return what two images say of the displacement between them.

    Parameters
    ----------
    images : (target, moved source)
        (P, I, R) float32 each.
    weight : (P, I, R) float32
        1 where they are compared.
    window : float, voxels
        Standard deviation of the surroundings whose mean square residual is the noise.

    Returns
    -------
    Evidence
        Residuals beyond `_CLIP` times the noise count as that (Huber 1964).
    """
    target, source = images
    residual = target - source
    squares = weight * residual * residual
    floor = _FLOOR * float(squares.sum(dtype=np.float64) / max(float(weight.sum()), 1.0)) + 1e-12
    local = ndimage.gaussian_filter(squares, window) / np.maximum(
        ndimage.gaussian_filter(weight, window), 1e-3
    )
    over = 1.0 / np.sqrt(local + np.float32(floor))
    slope = np.stack([np.gradient(source, axis=k) for k in range(3)], axis=-1) * over[..., None]
    return Evidence(np.clip(residual * over, -_CLIP, _CLIP), slope.astype(np.float32), weight)


def _reduced(values: Float32, step: int) -> Float32:
    """Return a volume of voxels so many times as large, a power of two."""
    while step > 1:
        values, step = halved(values), step // 2
    return values
