"""What two matched brains must have in common, and what their displacement measures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.atlas_building.displacement import Displacement, determinants
from pipeline.atlas_building.matching.affine import fit_affine, overlap_after
from pipeline.atlas_building.matching.contrast import grey_cue, likeness
from pipeline.atlas_building.matching.match import STAGES, Pair, Stage, match, start_of
from pipeline.atlas_building.matching.sampling import moved
from pipeline.atlas_building.matching.working import WorkingBrain
from pipeline.core.errors import DataError
from pipeline.core.model import Bool, Float64

LEAST_SHARED = 0.5  # overlap of the tissues after the affine step
MOST_SCALE = 3.0  # of the affine map along any axis; a rat's brain has 1.6 times the length of a mouse's
# By how much better a mirror image fits to be told as one: overlap of outlines after the affine step, and
# correlation of greys after two elastic stages. Random bends of 213 um of a symmetric brain made .09 of the
# latter after the affine step.
MIRROR_OUTLINE, MIRROR_GREY = 0.04, 0.06
SUSPICIOUS = 0.03  # correlation of greys after the affine step, above which the elastic stages are run
INVERSE = -0.1  # correlation of greys after the affine step, below which they are of another contrast
# Working voxels that labels lie off their template, at most. Measured at 100 um: the CCFv3's lie 17 um off
# their own, 13 to 34 off other stains of it, 185 to 302 off brains bent by 200 um, 393 off another brain.
MOST_OFF = 2.5
MOST_POINTS = 20_000  # of tissue, at which there and back is measured


def check_common_tissue(target: Path, source: Path, affine: Float64, shared: float) -> None:
    """Refuse brains without common tissue after the affine step.

    Parameters
    ----------
    target, source : Path
        The brains, for the message.
    affine : (3, 4) float64, um to um
        Target to source.
    shared : float
        Dice overlap of the tissues after it.

    Raises
    ------
    DataError
        Where they overlap by less than half, or one must be stretched or shrunk beyond all brains.
    """
    scales = np.linalg.svd(affine[:, :3])[1]
    if shared < LEAST_SHARED or scales.max() > MOST_SCALE or scales.min() < 1 / MOST_SCALE:
        raise DataError(
            f"{target}: expected tissue in common with {source} after the affine step, got an overlap of"
            f" {shared:.2f} at scales of {scales.min():.2f} to {scales.max():.2f}; are both whole brains?"
        )


def check_handedness(
    paths: tuple[Path, Path], target: WorkingBrain, source: WorkingBrain, affine: Float64
) -> None:
    """Refuse brains of which one is the mirror image of the other.

    Parameters
    ----------
    paths : (target, source)
        For the message.
    target, source : WorkingBrain
        The brains on working grids.
    affine : (3, 4) float64, um to um
        Target to source, as they are.

    Raises
    ------
    DataError
        Where the mirror image of the source fits clearly better, by outline or by grey. Of brains that are
        symmetric it cannot be told.
    """
    um = target.spacing_um
    mirrored = WorkingBrain(
        np.ascontiguousarray(source.values[:, :, ::-1]), np.ascontiguousarray(source.mask[:, :, ::-1]), um
    )
    pairs = ((source, affine), (mirrored, fit_affine(target, mirrored)))
    outlines = [overlap_after(target.mask, brain.mask, matrix, um) for brain, matrix in pairs]
    greys = [abs(_likeness(target, brain, matrix, ())) for brain, matrix in pairs]
    if greys[1] > greys[0] + SUSPICIOUS:  # a difference in shape may do that too: bend them first
        greys = [abs(_likeness(target, brain, matrix, STAGES[:2])) for brain, matrix in pairs]
    else:
        greys = [1.0, 1.0]
    if outlines[1] > outlines[0] + MIRROR_OUTLINE or greys[1] > greys[0] + MIRROR_GREY:
        raise DataError(
            f"{paths[0]}: expected a brain of the handedness of {paths[1]}, got a mirrored one (its mirror"
            f" image overlaps by {outlines[1]:.2f} against {outlines[0]:.2f}, its greys correlate by"
            f" {greys[1]:.2f} against {greys[0]:.2f}); reverse one axis of one of them"
        )


def check_labels_fit(path: Path, offset_um: float, working_um: float) -> None:
    """Refuse a template that labels do not lie on: one of another brain, or with its axes in another order.

    Parameters
    ----------
    path : Path
        The template, for the message.
    offset_um : float, um
        As `label_offset_um` returns it; NaN where it cannot be told.
    working_um : float, um
        Voxel size that it was found at.

    Raises
    ------
    DataError
        Where it is more than two and a half voxels.
    """
    if offset_um > MOST_OFF * working_um:
        raise DataError(
            f"{path}: expected the template that the labels lie on, got one that they fit best"
            f" {offset_um:.0f} um from where they lie (median); name theirs with --from"
        )


def check_kept_tissue(target: Path, source: Path, shared: float) -> None:
    """Refuse brains whose tissues a displacement has torn apart: the match went astray.

    Parameters
    ----------
    target, source : Path
        The brains, for the message.
    shared : float
        Dice overlap of their tissues after the displacement.

    Raises
    ------
    DataError
        Where they overlap by less than half.
    """
    if shared < LEAST_SHARED:
        raise DataError(
            f"{target}: expected tissue that matches that of {source}, got an overlap of {shared:.2f} in the"
            " end; are the axes of both in the order P, I, R, and none reversed?"
        )


def check_contrast(
    paths: tuple[Path, Path], target: WorkingBrain, source: WorkingBrain, affine: Float64
) -> None:
    """Refuse brains of which one is bright where the other is dark.

    Parameters
    ----------
    paths : (target, source)
        For the message.
    target, source : WorkingBrain
        The brains on working grids.
    affine : (3, 4) float64, um to um
        Target to source.

    Raises
    ------
    DataError
        Where their evened greys correlate negatively after the affine step.
    """
    like = _likeness(target, source, affine, ())
    if like < INVERSE:
        raise DataError(
            f"{paths[1]}: expected the contrast of {paths[0]}, got greys that fall where those rise (their"
            f" correlation is {like:.2f}); invert its values, or leave it out"
        )


def _likeness(target: WorkingBrain, source: WorkingBrain, affine: Float64, stages: Sequence[Stage]) -> float:
    """Return the correlation of evened greys after an affine map and further stages."""
    um, cue = target.spacing_um, grey_cue(target, source)
    pair = Pair(target.mask.astype(np.float32), source.values.shape, um)
    state = match([cue], pair, start_of(affine, pair), stages)
    return likeness(cue, state.displacement(um).vectors / np.float32(um), target.mask)


def overlap_of_tissue(target: Bool, source: Bool, field: Displacement) -> float:
    """Return the Dice overlap of two tissues after a displacement.

    Parameters
    ----------
    target, source : (P, I, R) bool
        Tissue on working grids of the spacing of the displacement.
    field : Displacement
        Target to source.

    Returns
    -------
    float
        0 to 1.
    """
    p, i, r = target.shape
    vectors = field.vectors[:p, :i, :r] / np.float32(field.spacing_um)
    seen = moved(source.astype(np.float32), vectors) > 0.5
    return 2.0 * float((seen & target).sum()) / float(seen.sum() + target.sum())


def displacement_figures(
    path: Path, to_source: Displacement, back: Displacement, tissue: WorkingBrain
) -> dict[str, Any]:
    """Return what the displacements of a target and its source measure.

    Parameters
    ----------
    path : Path
        The target, for the message.
    to_source, back : Displacement
        Target to source, and source to target.
    tissue : WorkingBrain
        The target.

    Returns
    -------
    dict
        Folds (0), percentiles of the Jacobian's determinant in tissue, distances there and back.

    Raises
    ------
    DataError
        Where one of them folds.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # an inverse that ran away has no determinant
        there, return_ = determinants(to_source), determinants(back)
    folds = sum(int((~(one > 0)).sum()) for one in (there, return_))
    if folds:
        raise DataError(
            f"{path}: expected brains that match without folds, got {folds} folds; is tissue missing"
            " or torn, or an axis reversed?"
        )
    p, i, r = tissue.mask.shape
    own = there[:p, :i, :r][tissue.mask]
    voxels = np.argwhere(tissue.mask)
    points = voxels[:: max(1, len(voxels) // MOST_POINTS)] * tissue.spacing_um
    moved = to_source.apply(points)
    apart = np.linalg.norm(back.apply(moved) - points, axis=1)[back.holds(moved)]
    low, high = np.percentile(own, [1, 99])
    return {
        "folds": 0,
        "jacobian_1st_percentile": float(low),
        "jacobian_99th_percentile": float(high),
        "least_determinant": float(min(there.min(), return_.min())),
        "there_and_back_um_median": float(np.median(apart)),
        "there_and_back_um_95th_percentile": float(np.percentile(apart, 95)),
    }
