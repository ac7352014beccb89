"""An annotated brain painted in the stain of another one.

Each structure's grey in the target is regressed, where the labels lie at the moment, on what the source shows
there: a mean, slow trends, the source's own grey. Painted so, the source has the contrast of the target,
whatever its own. The slope on the own grey is drawn towards the slope of all structures: it is 1 between two
brains of one stain, and about 0 between stains that have nothing to do with each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.atlas_building.matching.working import Structures
from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, Float64

FEATURES = 5  # mean, trends along P, I and R, grey of the source
OWN = 4  # which of them is the grey of the source
_RIDGE = (300.0, 300.0, 300.0, 50.0)  # voxels of evidence against a trend, and against a slope of its own


@dataclass(frozen=True, eq=False)
class Paintable:
    """An annotated brain on a working grid.

    Attributes
    ----------
    grey : (P, I, R) float32
        Its grey less the mean of the structure, of deviation 1.
    structures : Structures
        Number of the structure of each voxel, 0 outside, and shares.
    middles : (n, 3) float64, voxels
        Middle of each structure.
    sizes : (n,) float64, voxels
        Side of a cube as large as each structure.
    """

    grey: Float32
    structures: Structures
    middles: Float64
    sizes: Float64

    @classmethod
    def of(cls, grey: Float32, structures: Structures) -> Paintable:
        """Return a brain with its grey evened by structure.

        Parameters
        ----------
        grey : (P, I, R) float32
            As it is.
        structures : Structures
            Of each voxel.

        Returns
        -------
        Paintable
            With places and sizes of the structures.
        """
        index = structures.index
        count, flat = structures.shares.shape[1], index.ravel()
        voxels = np.maximum(np.bincount(flat, minlength=count), 1)
        means = np.bincount(flat, grey.ravel(), count) / voxels
        own = (grey - means[index]).astype(np.float32)
        deviation = float(np.sqrt(np.mean(own[index > 0] ** 2, dtype=np.float64)))
        middles = np.empty((count, 3))
        for k, n in enumerate(index.shape):
            places = np.arange(n, dtype=np.float64).reshape([-1 if a == k else 1 for a in range(3)])
            middles[:, k] = np.bincount(flat, np.broadcast_to(places, index.shape).ravel(), count) / voxels
        return cls(own / np.float32(max(deviation, 1e-12)), structures, middles, np.cbrt(voxels))


def regress(source: Paintable, target: Float32, weight: Float32, field: Float32, step: int) -> Float64:
    """Return how each structure looks in the target.

    Parameters
    ----------
    source : Paintable
        The annotated brain, n structures.
    target : (P, I, R) float32
        Grey of the target, by voxels `step` times as large as the source's.
    weight : (P, I, R) float32
        Weight of each of its voxels.
    field : (P, I, R, 3) float32, voxels of the target
        Displacement from target to source as it is.
    step : int
        Voxels of the source a voxel of the target.

    Returns
    -------
    (n, FEATURES) float64
        Coefficients: ridge regression about the mean of each structure.
    """
    count = len(source.sizes)
    squares, sums = np.zeros((count, FEATURES, FEATURES)), np.zeros((count, FEATURES))
    own = (source.grey, source.structures.index, source.middles, source.sizes)
    _accumulate(*own, target, weight, field, step, squares, sums)
    weights = np.maximum(squares[:, 0, 0], 1e-9)
    means, centres = sums[:, 0] / weights, squares[:, 0, 1:] / weights[:, None]
    inner = squares[:, 1:, 1:] - weights[:, None, None] * centres[:, :, None] * centres[:, None, :]
    outer = sums[:, 1:] - weights[:, None] * means[:, None] * centres
    common = np.zeros(FEATURES - 1)
    common[OWN - 1] = outer[1:, OWN - 1].sum() / max(float(inner[1:, OWN - 1, OWN - 1].sum()), 1e-9)
    apart = np.linalg.solve(inner + np.diag(_RIDGE), (outer - inner @ common)[..., None])[..., 0]
    slopes = common + apart
    overall = float(sums[1:, 0].sum() / max(float(squares[1:, 0, 0].sum()), 1e-9))
    found = np.where(squares[:, 0, 0] > 0, means - (centres * slopes).sum(axis=1), overall)
    return np.column_stack([found, slopes])


def painted(source: Paintable, coefficients: Float64) -> Float32:
    """Return a source in the stain of the target.

    Parameters
    ----------
    source : Paintable
        The annotated brain, n structures.
    coefficients : (n, FEATURES) float64
        As `regress` found them.

    Returns
    -------
    (P, I, R) float32
        On the grid of the source.
    """
    means = source.structures.shares @ coefficients[:, 0].astype(np.float32)
    out = np.ascontiguousarray(means.reshape(source.grey.shape), np.float32)
    _shade(source.grey, source.structures.index, source.middles, source.sizes, coefficients, out)
    return out


@kernel
def _accumulate(grey, index, middles, sizes, target, weight, field, step, squares, sums):  # type: ignore[no-untyped-def]
    """Add the products of the features of each voxel's structure, and of them and the target."""
    feature = np.empty(5)
    feature[0] = 1.0
    n_p, n_i, n_r = index.shape
    for p in range(target.shape[0]):
        for i in range(target.shape[1]):
            for r in range(target.shape[2]):
                w = weight[p, i, r]
                if w == 0:
                    continue
                y = step * (p + field[p, i, r, 0])
                x = step * (i + field[p, i, r, 1])
                z = step * (r + field[p, i, r, 2])
                a, b, c = int(np.floor(y + 0.5)), int(np.floor(x + 0.5)), int(np.floor(z + 0.5))
                if a < 0 or b < 0 or c < 0 or a >= n_p or b >= n_i or c >= n_r:
                    continue
                s = index[a, b, c]
                feature[1] = (y - middles[s, 0]) / sizes[s]
                feature[2] = (x - middles[s, 1]) / sizes[s]
                feature[3] = (z - middles[s, 2]) / sizes[s]
                feature[4] = grey[a, b, c]
                for k in range(5):
                    sums[s, k] += w * feature[k] * target[p, i, r]
                    for m in range(5):
                        squares[s, k, m] += w * feature[k] * feature[m]


@kernel
def _shade(grey, index, middles, sizes, coefficients, out):  # type: ignore[no-untyped-def]
    """Add to `out`, the means of the structures, what the slopes give each voxel."""
    for p in range(out.shape[0]):
        for i in range(out.shape[1]):
            for r in range(out.shape[2]):
                s = index[p, i, r]
                value = coefficients[s, 4] * grey[p, i, r]
                value += coefficients[s, 1] * (p - middles[s, 0]) / sizes[s]
                value += coefficients[s, 2] * (i - middles[s, 1]) / sizes[s]
                out[p, i, r] += value + coefficients[s, 3] * (r - middles[s, 2]) / sizes[s]
