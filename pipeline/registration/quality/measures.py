"""How well each section fits: measures in plain units, and a cautious verdict from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.core.model import Bool, Float64, Status
from pipeline.geometry import affine
from pipeline.registration.fit.joint import FitProblem
from pipeline.registration.fit.neighbour_prior import rigid_parts, smooth_parts
from pipeline.registration.model.painted_atlas import NORMAL_AXIS, Atlas, label_plane
from pipeline.registration.model.stain_table import StainModel
from pipeline.registration.model.state import TransformState
from pipeline.registration.quality.error_model import estimated_error_um, seen_error_um, status_of
from pipeline.registration.quality.residual_shift import residual_displacements
from pipeline.registration.quality.undecided import Undecided, overconfidence, reason_of, undecided
from pipeline.sections.medians import MAD_TO_SIGMA
from pipeline.sections.thumbnail_tissue import TissueImage
from pipeline.system.threads import each

_IDENTITY = np.eye(2, 3)  # thumbnail px to thumbnail px
_LEAST_PIXELS = 10  # on annotation: fewer give no residual
# Sections lie wrong together: none is expected to be off by less than this share of what is usual for so many
# sections on either side. In windows of a real brain it kept back the only wrong one that passed.
_AROUND_SHARE, _AROUND = 0.75, 3
_AROUND_REASON = "the sections around it are not well placed"


@dataclass(frozen=True)
class Overlap:
    """Tissue of a section against the annotation on its plane.

    Attributes
    ----------
    dice : float
        2 x common / (tissue + annotation), inside the image (Dice 1945).
    boundary_um : float, um
        Mean distance between the two outlines, averaged over both directions.
    covered : float
        Share of the tissue that lies on annotation.
    """

    dice: float
    boundary_um: float
    covered: float


def overlap(tissue: TissueImage, annotated: Bool, known: Bool) -> Overlap:
    """Compare a tissue mask with the annotated area of the same pixels, where the reference is known.

    Parameters
    ----------
    tissue : TissueImage
        Tissue mask and valid pixels of the section.
    annotated : (h, w) bool
        Where the plane lies in the annotation.
    known : (h, w) bool
        Where the plane lies between the ends of the reference.

    Returns
    -------
    Overlap
        Dice 0, infinite boundary and covered 0 where nothing overlaps.
    """
    annotated = annotated & tissue.valid & known  # what lies beyond the image cannot be seen
    seen = tissue.mask & known
    common = float((seen & annotated).sum())
    if common == 0.0:
        return Overlap(0.0, np.inf, 0.0)
    dice = 2.0 * common / float(seen.sum() + annotated.sum())
    boundary = 0.5 * (_distance(seen, annotated) + _distance(annotated, seen))
    return Overlap(dice, boundary * tissue.pixel_um, common / float(tissue.mask.sum()))


def _distance(of: Bool, to: Bool) -> float:
    """Return the mean distance, px, from the outline of one mask to the outline of the other."""
    edge_of, edge_to = _edge(of), _edge(to)  # border pixels inside each mask
    return float(ndimage.distance_transform_edt(~edge_to)[edge_of].mean())


def _edge(mask: Bool) -> Bool:
    return np.asarray(mask & ~ndimage.binary_erosion(mask, border_value=0))


def overlaps(
    atlas: Atlas, state: TransformState, tissues: Sequence[TissueImage], threads: int
) -> list[Overlap]:
    """Compare every section with the annotation of its plane.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference.
    state : TransformState
        Placement of the n sections.
    tissues : sequence of TissueImage
        Tissue of each section.
    threads : int
        Threads that share the sections.

    Returns
    -------
    list of Overlap
        One for each section.
    """

    def one(k: int) -> Overlap:
        h, w = tissues[k].mask.shape
        matrix = state.plane(k, _IDENTITY)  # (x, y, 1) px to reference um
        annotated = label_plane(atlas.index, 1.0 / atlas.voxel_um, matrix, (h, w)) > 0
        return overlap(tissues[k], annotated, known_plane(atlas, matrix, (h, w)))

    return each(one, range(len(tissues)), threads)


def known_plane(atlas: Atlas, matrix: Float64, shape: tuple[int, int]) -> Bool:
    """Return which pixels of a plane lie between the ends of the reference.

    Parameters
    ----------
    atlas : Atlas
        Gives the ends along the cutting axis.
    matrix : (3, 3) float64, px -> um
        (x, y, 1) of the pixels to (P, I, R).
    shape : (int, int)
        Rows and columns.

    Returns
    -------
    (h, w) bool
        True where the reference knows the tissue or its absence.
    """
    row = matrix[NORMAL_AXIS[atlas.plane]]
    y, x = np.ogrid[: shape[0], : shape[1]]
    along = row[0] * x + row[1] * y + row[2]  # position on the cutting axis, um
    return np.asarray((along >= atlas.limits_um[0]) & (along <= atlas.limits_um[1]))


def centres_um(state: TransformState, tissues: Sequence[TissueImage]) -> Float64:
    """Return where the centroid of every section's tissue lies in the volume.

    Parameters
    ----------
    state : TransformState
        Placement of the n sections.
    tissues : sequence of TissueImage
        Tissue of each section; none is blank.

    Returns
    -------
    (n, 2) float64, um
        (x, y) of the volume.
    """
    middles = [np.argwhere(t.mask).mean(axis=0)[::-1] for t in tissues]
    return np.array([affine.apply(m, c) for m, c in zip(state.sections, middles, strict=True)])


def stain_residual(
    atlas: Atlas, state: TransformState, k: int, tissue: TissueImage, model: StainModel
) -> float:
    """Return how far a section's stain lies off the stain table, against the noise of its series.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference.
    state : TransformState
        Placement of the sections.
    k : int
        Index of the section.
    tissue : TissueImage
        Its stain and mask.
    model : StainModel
        Stain table, gains and noise.

    Returns
    -------
    float
        Robust standard deviation of the residuals (1.4826 x median absolute) over the noise of the series;
        about 1 is usual. NaN where fewer than 10 pixels lie on annotation.
    """
    matrix = state.plane(k, _IDENTITY)
    labels = label_plane(atlas.index, 1.0 / atlas.voxel_um, matrix, tissue.mask.shape)
    inside = (labels > 0) & tissue.mask
    if inside.sum() < _LEAST_PIXELS:
        return float("nan")
    # at gain 1, as the table and the noise
    residual = tissue.stain[inside] / model.gains[k] - model.table(k)[labels[inside]]
    return float(MAD_TO_SIGMA * np.median(np.abs(residual)) / model.noises[model.series[k]])


@dataclass(frozen=True, eq=False)
class Verdict:
    """Measures and status of one section.

    Attributes
    ----------
    measures : dict of str to float
        Figures by name; lengths end in `_um`. Values that are not finite are left out.
    status : Status
        PASS, CHECK or FAIL.
    reason : str
        What about its place the images leave undecided; empty where that is little.
    """

    measures: dict[str, float]
    status: Status
    reason: str = ""


def verdicts(problem: FitProblem, state: TransformState, model: StainModel | None) -> list[Verdict]:
    """Judge every section by the error that its measures predict; see `error_model`.

    Parameters
    ----------
    problem : FitProblem
        What was fitted.
    state : TransformState
        Final placement of its n sections.
    model : StainModel or None
        Stain model of the fit; None judges by outlines alone.

    Returns
    -------
    list of Verdict
        One for each section.
    """
    atlas, tissues, options = problem.atlas, problem.tissues, problem.options
    found = overlaps(atlas, state, tissues, options.threads)
    good = np.array([o.dice >= options.minimum_dice for o in found])
    # (n, 3) um: x, y, turn as arc at 3 mm
    parts = np.column_stack([centres_um(state, tissues), rigid_parts(state, problem.nominal)[:, 2]])
    # um off the line through its neighbours
    away = np.linalg.norm(parts - smooth_parts(state.z_um, parts, good), axis=1)
    usual = float(np.median(away[good])) if good.any() else 0.0  # um; how regular the series is
    measured = []
    for k, left in enumerate(residual_displacements(problem, state, model)):
        one = found[k]
        measures = {
            "dice": one.dice,
            "boundary_um": one.boundary_um,
            "covered": one.covered,
            "pose_deviation_um": float(away[k]),
            "pose_deviation_usual_um": usual,
            "local_shift_um": left.local_um,
            "uncertainty_um": left.uncertainty_um,
            "plane_shift_um": left.plane_um,
        }
        if model is not None:
            measures["stain_residual"] = stain_residual(atlas, state, k, tissues[k], model)
        measured.append({name: value for name, value in measures.items() if np.isfinite(value)})
    if model is None:
        return [_judged(measures, None, options.minimum_dice) for measures in measured]
    misfit = float(np.median([seen_error_um(measures) for measures in measured]))
    questions = undecided(problem, state, model, overconfidence(misfit))
    judged = [_judged(m, q, options.minimum_dice) for m, q in zip(measured, questions, strict=True)]
    return _held_by_neighbours(judged, options.minimum_dice)


def _held_by_neighbours(judged: Sequence[Verdict], minimum_dice: float) -> list[Verdict]:
    """Return verdicts in which no section is much surer of its place than the sections around it."""
    errors = np.array([one.measures["estimated_error_um"] for one in judged])
    held = []
    for k, one in enumerate(judged):
        around = float(np.median(errors[max(0, k - _AROUND) : k + _AROUND + 1]))
        measures = one.measures | {"estimated_error_um": round(max(errors[k], _AROUND_SHARE * around), 1)}
        status = status_of(measures, minimum_dice)
        reason = _AROUND_REASON if one.status is Status.PASS and status is not Status.PASS else one.reason
        held.append(Verdict(measures, status, reason))
    return held


def _judged(measures: dict[str, float], question: Undecided | None, minimum_dice: float) -> Verdict:
    """Return the verdict on a section from its measures and what is undecided about it."""
    if question is not None:
        measures = measures | {
            "normal_common_um": question.common_um,
            "normal_own_um": question.own_um,
            "mirrored_um": question.mirrored_um,
        }
    measures = {name: round(value, 4) for name, value in measures.items()}
    measures["estimated_error_um"] = round(estimated_error_um(measures), 1)
    status = status_of(measures, minimum_dice)
    return Verdict(measures, status, "" if question is None or status is Status.PASS else reason_of(question))
