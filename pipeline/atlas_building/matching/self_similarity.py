"""Self-similarity: how a brain differs from itself a voxel away, which stains have in common.

Where a border lies, and along which direction nothing changes, shows in any stain that has a contrast there,
whatever its greys. The descriptors are those of Heinrich et al.: a voxel's surroundings against those of its
six neighbours (MIND, 2012), and the surroundings of neighbours against each other (self-similarity context,
2013), which leave out the voxel itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.halfway import evened
from pipeline.atlas_building.matching.cues import GreyCue
from pipeline.atlas_building.matching.sampling import moved
from pipeline.atlas_building.matching.working import WorkingBrain
from pipeline.core.model import Bool, Float32

LEAST_VARIANCE = 5.0  # percentile of the local variance in tissue: noise, below which nothing is told
BLUR = 0.5  # voxels, of descriptors between which a regression is made
RIDGE = 0.02  # of the mean variance, of regression and of what it leaves over
Place = tuple[int, ...]  # against a voxel, in voxels


class Descriptor(NamedTuple):
    """Which surroundings of a voxel are compared.

    Attributes
    ----------
    pairs : tuple of (Place, Place)
        Places whose surroundings are compared.
    patch : float, voxels
        Standard deviation of the surroundings.
    """

    pairs: tuple[tuple[Place, Place], ...]
    patch: float


_HERE: Place = (0, 0, 0)
_AROUND: tuple[Place, ...] = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
MIND = Descriptor(tuple((_HERE, place) for place in _AROUND), 0.6)
CONTEXT = Descriptor(
    tuple(pair for pair in itertools.combinations(_AROUND, 2) if not np.dot(*pair)), 0.4
)  # the twelve pairs of neighbours on different axes


def described(brain: WorkingBrain, descriptor: Descriptor) -> list[Float32]:
    """Return how alike the surroundings of the places around each voxel are.

    Parameters
    ----------
    brain : WorkingBrain
        Of any contrast.
    descriptor : Descriptor
        `MIND` or `CONTEXT`.

    Returns
    -------
    list of (P, I, R) float32
        For each pair of the descriptor; 1 for the most alike of them, towards 0 for others.
    """
    values = evened(brain.values, brain.mask, brain.spacing_um)

    def at(place: Place) -> Float32:
        return np.roll(values, [-k for k in place], (0, 1, 2))

    squares = [
        ndimage.gaussian_filter((at(one) - at(other)) ** 2, descriptor.patch)
        for one, other in descriptor.pairs
    ]
    variance = np.mean(squares, axis=0)
    noise = float(np.percentile(variance[brain.mask], LEAST_VARIANCE)) if brain.mask.any() else 1.0
    scale = np.maximum(variance, max(noise, 1e-12))
    alike = [np.exp(-one / scale) for one in squares]
    most = np.max(alike, axis=0)
    return [np.asarray(one / most, np.float32) for one in alike]


def regressed(target: list[Float32], source: list[Float32], mask: Bool, field: Float32) -> list[GreyCue]:
    """Return channels of one brain, and what those of another tell of them.

    Two stains show only some borders in common. As they are, channels that differ pull the source to where it
    shows little, and all count alike. The regression takes the first away, the whitening the second.

    Parameters
    ----------
    target, source : list of (P, I, R) float32
        As many channels; the shapes of the two may differ.
    mask : (P, I, R) bool
        Tissue of the target.
    field : (P, I, R, 3) float32, voxels
        Displacement from target to source as it is.

    Returns
    -------
    list of GreyCue
        Combinations of the channels in which what a linear regression of target on source leaves over is
        uncorrelated, of variance 1 (ridge regression, Hoerl and Kennard 1970).
    """
    seen = [ndimage.gaussian_filter(channel, BLUR)[mask] for channel in target]
    told = [moved(ndimage.gaussian_filter(channel, BLUR), field)[mask] for channel in source]
    y, x = (np.stack(channels, axis=1).astype(np.float64) for channels in (seen, told))
    means = y.mean(axis=0), x.mean(axis=0)
    y, x = y - means[0], x - means[1]
    slopes = np.linalg.solve(_ridged(x.T @ x / len(x)), x.T @ y / len(x))
    left = y - x @ slopes
    sizes, axes = np.linalg.eigh(_ridged(left.T @ left / len(x)))
    white = axes / np.sqrt(sizes)
    own, other = _combined(target, means[0], white), _combined(source, means[1], slopes @ white)
    return [GreyCue(a, b) for a, b in zip(own, other, strict=True)]


def _ridged(squares: np.ndarray) -> np.ndarray:
    level = max(float(np.trace(squares)) / len(squares), 1e-12)
    return np.asarray(squares + RIDGE * level * np.eye(len(squares)))


def _combined(channels: list[Float32], means: np.ndarray, factors: np.ndarray) -> Iterator[Float32]:
    stacked = np.stack(channels, axis=-1)
    for column in factors.T:
        yield np.asarray(stacked @ column.astype(np.float32) - np.float32(means @ column))
