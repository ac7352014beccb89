"""An annotated brain matched with one of any contrast: by greys where they are alike, else painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.halfway import evened
from pipeline.atlas_building.matching.cues import Cue, GreyCue, PaintedCue
from pipeline.atlas_building.matching.match import STAGES, Pair, Stage, State, match
from pipeline.atlas_building.matching.painting import Paintable
from pipeline.atlas_building.matching.sampling import moved
from pipeline.atlas_building.matching.working import Structures, WorkingBrain
from pipeline.core.model import Bool, Float32

# Correlation of evened values, of either sign, above which the greys themselves are matched. After the affine
# step it was .85 between brains of one contrast and .14 to .20 where every structure had a grey by lot. Nissl
# and autofluorescence reach .6, and are matched better by structures: the granule layer of the dentate gyrus
# was then 1.72 times as dark as the layers around it, and 1.43 times by greys.
ALIKE = 0.7
GREYS, PAINTED = "greys", "painted structures"
_BLUR = 1.0  # working voxels, of the images that are correlated
_COARSE = 2  # stages after which the choice is made again


def grey_cue(target: WorkingBrain, source: WorkingBrain) -> GreyCue:
    """Return the evened greys of two brains as a cue."""
    return GreyCue(*(evened(b.values, b.mask, b.spacing_um) for b in (target, source)))


def likeness(cue: GreyCue, field: Float32, mask: Bool) -> float:
    """Return how alike two evened images are.

    Parameters
    ----------
    cue : GreyCue
        Target and source.
    field : (P, I, R, 3) float32, voxels
        Displacement from target to source.
    mask : (P, I, R) bool
        Tissue of the target.

    Returns
    -------
    float
        Pearson's correlation of the blurred images within the mask.
    """
    seen = moved(ndimage.gaussian_filter(cue.source, _BLUR), field)[mask]
    own = ndimage.gaussian_filter(cue.target, _BLUR)[mask]
    if not len(own) or not seen.std() > 0 or not own.std() > 0:
        return 0.0
    return float(np.corrcoef(own, seen)[0, 1])


def match_any_contrast(
    brains: tuple[WorkingBrain, WorkingBrain],
    structures: Structures,
    pair: Pair,
    state: State,
    stages: Sequence[Stage] = STAGES,
) -> tuple[State, str, float]:
    """Match an annotated brain with another one.

    Parameters
    ----------
    brains : (target, source)
        On working grids.
    structures : Structures
        Of the source.
    pair : Pair
        Their grids.
    state : State
        The affine map between them.
    stages : sequence of Stage
        From coarse to fine.

    Returns
    -------
    state : State
        Target to source.
    cue : str
        What they were matched by.
    likeness : float
        Correlation of their evened greys in the end.
    """
    target, source = brains
    greys = grey_cue(target, source)

    def like(found: State) -> float:
        return likeness(
            greys, found.displacement(pair.spacing_um).vectors / np.float32(pair.spacing_um), target.mask
        )

    value = like(state)
    painted = PaintedCue(target.values, pair.weight, Paintable.of(source.values, structures))
    if abs(value) < ALIKE:
        coarse = match([painted], pair, state, stages[:_COARSE])
        value = like(coarse)
        if abs(value) < ALIKE:
            state = match([painted], pair, coarse, stages[_COARSE:])
            return state, PAINTED, like(state)
    cue: Cue = greys if value > 0 else replace(greys, source=-greys.source)
    state = match([cue], pair, state, stages)
    return state, GREYS, like(state)
