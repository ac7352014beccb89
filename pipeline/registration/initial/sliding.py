"""The position of a short series along the cutting axis, by its stain.

The outlines of a few neighbouring sections fit at many places, and damage misleads their areas. At the right
place the labels explain more of the stain, and far more of it once it is fitted. So the series is slid along
the whole axis, with the poses that its outlines gave it, and fitted to its stain where it seems best.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.core.model import Float64
from pipeline.geometry import affine
from pipeline.registration.fit.joint import RESIDUAL_LEVEL, FitProblem, fit_stains, level_images
from pipeline.registration.model.painted_atlas import IN_PLANE_AXES, NORMAL_AXIS, Atlas, UInt16, area_profile
from pipeline.registration.model.stain_table import explained, plane_labels
from pipeline.registration.model.state import LevelImage, TransformState

_STEP_UM = 250.0  # um in a mouse; from one position to the next
_SHORT_SHARE = 0.45  # of the length of the brain; a longer series is placed by its areas
_TISSUE = 0.5  # share of a pixel from which it is tissue
_THIN = 4  # every so many voxels are enough for the centroid of a plane


def is_short(atlas: Atlas, z_um: Float64) -> bool:
    """Return whether a series is so short that its outlines do not tell where it lies.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference.
    z_um : (n,) float64, um
        Positions of the sections.

    Returns
    -------
    bool
        True where it spans less than 45 % of the brain.
    """
    along, areas = area_profile(atlas)
    return bool(np.ptp(z_um) < _SHORT_SHARE * np.ptp(along[areas > 0]))


def slid(problem: FitProblem, state: TransformState) -> TransformState:
    """Return the series at the best position along the cutting axis, fitted there to its stain, coarsely.

    The position is the one with the greatest sum of Dice coefficient and share of the stain explained.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    state : TransformState
        Transforms after a coarse outline fit.

    Returns
    -------
    TransformState
        The fitted transforms.
    """
    atlas, options = problem.atlas, problem.options
    normal, axes = NORMAL_AXIS[atlas.plane], list(IN_PLANE_AXES[atlas.plane])
    pixel = RESIDUAL_LEVEL * options.stain_pixel_um
    stains = level_images(problem, [tissue.stain for tissue in problem.tissues], pixel, pixel)
    masks = level_images(problem, [t.mask.astype(np.float32) for t in problem.tissues], pixel, pixel)
    along, centres = _centres(atlas)
    # where the first, the middle and the last section lie now
    x, y, _ = affine.apply(affine.invert(state.volume), 0.5 * atlas.extent_um)
    ends = [float(state.volume[normal] @ [x, y, z, 1.0]) for z in (state.z_um.min(), state.z_um.max())]
    middle, half = 0.5 * (ends[0] + ends[1]), 0.5 * abs(ends[1] - ends[0])
    best, best_score = state, -np.inf
    for target in np.arange(along[0] + half, along[-1] - half, _STEP_UM * atlas.size):
        volume = state.volume.copy()
        volume[normal, 3] += target - middle
        # the brain does not lie straight in its box: its middle goes along
        for axis, column in zip(axes, centres.T, strict=True):
            volume[axis, 3] += float(np.interp(target, along, column) - np.interp(middle, along, column))
        moved = state.replaced(volume=volume)
        labels = plane_labels(atlas, moved, masks, options.threads)
        dice = float(np.mean([_dice(*pair) for pair in zip(labels, masks, strict=True)]))
        score = dice + explained(atlas, moved, stains, options.threads)
        if score > best_score:
            best, best_score = moved, score
    coarse = replace(options, stain_sigma_um=options.stain_sigma_um[:1])
    return fit_stains(replace(problem, options=coarse), best).state


def _dice(labels: UInt16, mask: LevelImage) -> float:
    """Return the Dice coefficient of annotation and tissue where the section is known."""
    annotated, tissue = (labels > 0) & (mask.weights > 0), (mask.values > _TISSUE) & (mask.weights > 0)
    return 2.0 * float((annotated & tissue).sum()) / max(float(annotated.sum() + tissue.sum()), 1.0)


def _centres(atlas: Atlas) -> tuple[Float64, Float64]:
    """Return the positions of the planes with tissue, (p,) um, and their centroids in them, (p, 2) um."""
    normal = NORMAL_AXIS[atlas.plane]
    inside = np.moveaxis(atlas.index[::_THIN, ::_THIN, ::_THIN] > 0, normal, 0)
    # the axes of the plane in the order of IN_PLANE_AXES; the moved array keeps P, I, R among the others
    others = [axis for axis in range(3) if axis != normal]
    counts = inside.sum(axis=(1, 2)).astype(np.float64)
    there = np.flatnonzero(counts)
    um = _THIN * atlas.voxel_um
    found = []
    for axis in IN_PLANE_AXES[atlas.plane]:
        keep = 1 + others.index(axis)
        sums = inside.sum(axis=3 - keep).astype(np.float64)
        found.append((sums @ np.arange(sums.shape[1]))[there] / counts[there] * um)
    return there * um, np.column_stack(found)
