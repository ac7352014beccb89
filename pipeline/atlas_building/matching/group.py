"""Several brains matched with their mean: the template and the frame are what all of them make together.

Each brain is matched with the mean of all as they lie, then every place of the frame goes to the mean of its
places in all brains (Joshi et al. 2004; Avants and Gee 2004), and again at a finer scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.displacement import Displacement, compose, from_affine, invert, node_shape
from pipeline.atlas_building.halfway import evened
from pipeline.atlas_building.matching.cues import GreyCue
from pipeline.atlas_building.matching.match import STAGES, Pair, Stage, State, match
from pipeline.atlas_building.matching.sampling import moved
from pipeline.atlas_building.matching.working import WorkingBrain
from pipeline.core.model import Bool, Float32, Float64

ROOM = 3  # working voxels around the mean tissue that are still looked at
LEAST_SHARE = 0.1  # of the brains that have tissue where the mean has some


@dataclass(frozen=True, eq=False)
class Group:
    """Brains in the frame of their mean.

    Attributes
    ----------
    to_brains : sequence of Displacement
        From the mean to each brain; their mean is 0 at every node.
    tissue : (P, I, R) bool
        Where half of the brains or more have tissue, on the working grid of the mean.
    spacing_um : float, um
        Working voxel, and distance of the nodes.
    """

    to_brains: Sequence[Displacement]
    tissue: Bool
    spacing_um: float


def mean_frame(
    brains: Sequence[WorkingBrain], affines: Sequence[Float64], stages: Sequence[Stage] = STAGES
) -> Group:
    """Find the mean shape of brains.

    Parameters
    ----------
    brains : sequence of WorkingBrain
        Of one contrast, on grids of one voxel size.
    affines : sequence of (3, 4) float64, um to um
        From the first to each of them.
    stages : sequence of Stage
        From coarse to fine; after each of them template and frame are made again.

    Returns
    -------
    Group
        The mean frame, whose box is as large as that of the largest brain along each axis.
    """
    um = brains[0].spacing_um
    shape = tuple(int(n) for n in np.max([brain.values.shape for brain in brains], axis=0))
    greys = [evened(brain.values, brain.mask, um) for brain in brains]
    rest = np.zeros((*shape, 3), np.float32)
    states = [State(affine, rest) for affine in centred_affines(affines)]
    for stage in stages:
        fields = [state.displacement(um).vectors / np.float32(um) for state in states]
        share = mean_of([moved(b.mask.astype(np.float32), f) for b, f in zip(brains, fields, strict=True)])
        template = mean_of([moved(grey, field) for grey, field in zip(greys, fields, strict=True)])
        weight = ndimage.binary_dilation(share > LEAST_SHARE, iterations=ROOM).astype(np.float32)
        states = [
            match([GreyCue(template, grey)], Pair(weight, grey.shape, um), state, [stage])
            for grey, state in zip(greys, states, strict=True)
        ]
        states = recentred(states, um)
    nodes = node_shape([n * um for n in shape], um)
    found = [state.displacement(um, nodes) for state in states]
    middle = mean_of([field.vectors for field in found])
    exact = [Displacement(field.vectors - middle, um) for field in found]
    fields = [field.vectors[: shape[0], : shape[1], : shape[2]] / np.float32(um) for field in exact]
    share = mean_of([moved(b.mask.astype(np.float32), f) for b, f in zip(brains, fields, strict=True)])
    return Group(exact, share >= 0.5, um)


def centred_affines(affines: Sequence[Float64]) -> list[Float64]:
    """Return affine maps from the frame in which their mean is the identity.

    Parameters
    ----------
    affines : sequence of (3, 4) float64
        From one frame to several.

    Returns
    -------
    list of (3, 4) float64
        From the mean of its places in all to each.
    """
    whole = [np.vstack([affine, [0.0, 0.0, 0.0, 1.0]]) for affine in affines]
    back = np.linalg.inv(np.mean(whole, axis=0))
    return [(matrix @ back)[:3] for matrix in whole]


def recentred(states: Sequence[State], um: float) -> list[State]:
    """Return displacements from the frame in which their mean is 0.

    Parameters
    ----------
    states : sequence of State
        From one frame to several brains.
    um : float, um
        Working voxel.

    Returns
    -------
    list of State
        From the mean of its places in all brains to each of them.
    """
    fields = [state.displacement(um) for state in states]
    mean = Displacement(mean_of([field.vectors for field in fields]), um)
    back = invert(mean, mean.shape, um)
    centred = []
    for affine, field in zip(centred_affines([state.affine for state in states]), fields, strict=True):
        whole = compose(back, field)
        centred.append(State(affine, whole.vectors - from_affine(affine, whole.shape, um).vectors))
    return centred


def mean_of(volumes: Sequence[Float32]) -> Float32:
    """Return the mean of arrays of one shape, float32."""
    total = np.zeros(volumes[0].shape, np.float64)
    for volume in volumes:
        total += volume
    return np.asarray(total / len(volumes), np.float32)
