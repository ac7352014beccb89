"""Self-similarity: how a brain differs from itself a voxel away, which stains have in common.

Where a border lies, and along which direction nothing changes, shows in any stain that has a contrast there,
whatever its greys. The descriptor is that of Heinrich et al. 2012 (MIND) with the six neighbours.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.halfway import evened
from pipeline.atlas_building.matching.cues import GreyCue
from pipeline.atlas_building.matching.working import WorkingBrain
from pipeline.core.model import Float32

PATCH = 0.6  # voxels, standard deviation of the surroundings that are compared
LEAST_VARIANCE = 5.0  # percentile of the local variance in tissue: noise, below which nothing is told
# Weight of the bending energy. Of two brains in random greys 300 left 33 and 31 um, and 100 left 44 of one.
STIFFNESS = 300.0


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
    values = evened(brain.values, brain.mask, brain.spacing_um)
    squares = [
        ndimage.gaussian_filter((values - np.roll(values, shift, axis)) ** 2, PATCH)
        for axis in range(3)
        for shift in (1, -1)
    ]
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
        One for each direction.
    """
    pairs = zip(self_similarity(target), self_similarity(source), strict=True)
    return [GreyCue(own, other) for own, other in pairs]
