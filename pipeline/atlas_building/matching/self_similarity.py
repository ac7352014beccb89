"""Self-similarity: how a brain differs from itself a voxel away, which stains have in common.

Where a border lies, and along which direction nothing changes, shows in any stain that has a contrast there,
whatever its greys. The descriptors are those of Heinrich et al.: a voxel's surroundings against those of its
six neighbours (MIND, 2012), and the surroundings of neighbours against each other (self-similarity context,
2013), which leave out the voxel itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.halfway import evened
from pipeline.atlas_building.matching.cues import GreyCue
from pipeline.atlas_building.matching.sampling import moved
from pipeline.atlas_building.matching.working import WorkingBrain
from pipeline.core.model import Bool, Float32

PATCH, CONTEXT_PATCH = 0.6, 0.4  # voxels, standard deviation of the surroundings that are compared
LEAST_VARIANCE = 5.0  # percentile of the local variance in tissue: noise, below which nothing is told
BLUR = 0.5  # voxels, of descriptors between which a regression is made
RIDGE = 0.02  # of the mean variance, of regression and of what it leaves over
Pair = tuple[tuple[int, ...], tuple[int, ...]]  # two places against a voxel


def neighbours() -> Iterator[Pair]:
    """Yield a voxel and each of its six neighbours: before and after along P, I and R."""
    for axis, shift in itertools.product(range(3), (1, -1)):
        yield (0, 0, 0), tuple(-shift * (k == axis) for k in range(3))


def context() -> Iterator[Pair]:
    """Yield the twelve pairs of its neighbours that lie on different axes."""
    around = [place for _, place in neighbours()]
    for one, other in itertools.combinations(around, 2):
        if not np.dot(one, other):
            yield one, other


def self_similarity(brain: WorkingBrain) -> list[Float32]:
    """Return how alike each voxel's surroundings are to those of its six neighbours.

    Parameters
    ----------
    brain : WorkingBrain
        Of any contrast.

    Returns
    -------
    list of (P, I, R) float32
        Before and after along P, I and R; 1 for the most alike of the six, towards 0 for others.
    """
    return _alike(brain, neighbours(), PATCH)


def self_context(brain: WorkingBrain) -> list[Float32]:
    """Return how alike the surroundings of each voxel's neighbours are to each other.

    Parameters
    ----------
    brain : WorkingBrain
        Of any contrast.

    Returns
    -------
    list of (P, I, R) float32
        For each pair of `context`; 1 for the most alike of the twelve, towards 0 for others.
    """
    return _alike(brain, context(), CONTEXT_PATCH)


def _alike(brain: WorkingBrain, pairs: Iterator[Pair], patch: float) -> list[Float32]:
    values = evened(brain.values, brain.mask, brain.spacing_um)

    def at(place: tuple[int, ...]) -> Float32:
        return np.roll(values, [-k for k in place], (0, 1, 2))

    squares = [ndimage.gaussian_filter((at(one) - at(other)) ** 2, patch) for one, other in pairs]
    variance = np.mean(squares, axis=0)
    noise = float(np.percentile(variance[brain.mask], LEAST_VARIANCE)) if brain.mask.any() else 1.0
    scale = np.maximum(variance, max(noise, 1e-12))
    alike = [np.exp(-one / scale) for one in squares]
    most = np.max(alike, axis=0)
    return [np.asarray(one / most, np.float32) for one in alike]


def similarity_cues(target: WorkingBrain, source: WorkingBrain) -> list[GreyCue]:
    """Return what two brains of any contrast show alike.

    Parameters
    ----------
    target, source : WorkingBrain
        On grids of one voxel size.

    Returns
    -------
    list of GreyCue
        One for each pair of `context`.
    """
    pairs = zip(self_context(target), self_context(source), strict=True)
    return [GreyCue(own, other) for own, other in pairs]


def regressed_cues(target: WorkingBrain, source: WorkingBrain, field: Float32) -> list[GreyCue]:
    """Return what two brains show alike, as far as they were seen to.

    Parameters
    ----------
    target, source : WorkingBrain
        On grids of one voxel size.
    field : (P, I, R, 3) float32, voxels
        Displacement from target to source as it is.

    Returns
    -------
    list of GreyCue
        Both kinds of descriptors, as `regressed` returns them.
    """
    own, other = ([*self_context(b), *self_similarity(b)] for b in (target, source))
    return regressed(own, other, target.mask, field)


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
