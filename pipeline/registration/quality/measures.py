"""How well each section sits: measures in plain units, and a cautious verdict from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.core.model import Bool, Float64, Status
from pipeline.geometry import affine
from pipeline.registration.fit.joint import Task, left_over
from pipeline.registration.fit.neighbour_prior import rigid_parts, smooth_parts
from pipeline.registration.model.painted_atlas import NORMAL_AXIS, Atlas, label_plane
from pipeline.registration.model.stain_table import StainModel
from pipeline.registration.model.state import State
from pipeline.registration.quality.error_model import estimated_error_um, status_of
from pipeline.sections.thumbnail_tissue import TissueImage
from pipeline.system.threads import each

_IDENTITY = np.eye(2, 3)


@dataclass(frozen=True)
class Overlap:
    """Tissue of a section against the annotation on its plane.

    Parameters
    ----------
    dice : 2 x common / (tissue + annotation), inside the image
    boundary_um : mean distance between the two outlines, both ways
    covered : share of the tissue that lies on annotation
    """

    dice: float
    boundary_um: float
    covered: float


def overlap(tissue: TissueImage, annotated: Bool, known: Bool) -> Overlap:
    """Compare a tissue mask with the annotated area of the same pixels, where anything is known."""
    annotated = annotated & tissue.valid & known
    seen = tissue.mask & known
    common = float((seen & annotated).sum())
    if common == 0.0:
        return Overlap(0.0, np.inf, 0.0)
    dice = 2.0 * common / float(seen.sum() + annotated.sum())
    boundary = 0.5 * (_distance(seen, annotated) + _distance(annotated, seen))
    return Overlap(dice, boundary * tissue.pixel_um, common / float(tissue.mask.sum()))


def _distance(of: Bool, to: Bool) -> float:
    """Mean distance (px) from the outline of one mask to the outline of the other."""
    edge_of, edge_to = _edge(of), _edge(to)
    return float(ndimage.distance_transform_edt(~edge_to)[edge_of].mean())


def _edge(mask: Bool) -> Bool:
    return np.asarray(mask & ~ndimage.binary_erosion(mask, border_value=0))


def overlaps(atlas: Atlas, state: State, tissues: Sequence[TissueImage], threads: int) -> list[Overlap]:
    """Return the overlap of every section with the annotation of its plane, as far as that is known."""

    def one(k: int) -> Overlap:
        h, w = tissues[k].mask.shape
        matrix = state.plane(k, _IDENTITY)
        annotated = label_plane(atlas.index, 1.0 / atlas.voxel_um, matrix, (h, w)) > 0
        return overlap(tissues[k], annotated, known_plane(atlas, matrix, (h, w)))

    return each(one, range(len(tissues)), threads)


def known_plane(atlas: Atlas, matrix: Float64, shape: tuple[int, int]) -> Bool:
    """Return which pixels of a plane lie between the ends of the reference, (h, w) bool."""
    row = matrix[NORMAL_AXIS[atlas.plane]]
    y, x = np.ogrid[: shape[0], : shape[1]]
    along = row[0] * x + row[1] * y + row[2]
    return np.asarray((along >= atlas.limits_um[0]) & (along <= atlas.limits_um[1]))


def centres_um(state: State, tissues: Sequence[TissueImage]) -> Float64:
    """Return where the middle of every section's tissue lies in the volume, (n, 2) um."""
    middles = [np.argwhere(t.mask).mean(axis=0)[::-1] for t in tissues]
    return np.array([affine.apply(m, c) for m, c in zip(state.sections, middles, strict=True)])


def stain_residual(atlas: Atlas, state: State, k: int, tissue: TissueImage, model: StainModel) -> float:
    """Return the median absolute residual of a section's stain over the series' own, nan where none."""
    matrix = state.plane(k, _IDENTITY)
    labels = label_plane(atlas.index, 1.0 / atlas.voxel_um, matrix, tissue.mask.shape)
    inside = (labels > 0) & tissue.mask
    if inside.sum() < 10:
        return float("nan")
    residual = tissue.stain[inside] / model.gains[k] - model.table(k)[labels[inside]]
    return float(1.4826 * np.median(np.abs(residual)) / model.noises[model.series[k]])


@dataclass(frozen=True, eq=False)
class Verdict:
    """Measures and status of one section."""

    measures: dict[str, float]
    status: Status


def verdicts(task: Task, state: State, model: StainModel | None) -> list[Verdict]:
    """Judge every section by the error that its measures let expect; see `calibration`."""
    atlas, tissues, options = task.atlas, task.tissues, task.options
    found = overlaps(atlas, state, tissues, options.threads)
    good = np.array([o.dice >= options.minimum_dice for o in found])
    parts = np.column_stack([centres_um(state, tissues), rigid_parts(state, task.nominal)[:, 2]])
    away = np.linalg.norm(parts - smooth_parts(state.z_um, parts, good), axis=1)
    usual = float(np.median(away[good])) if good.any() else 0.0
    judged = []
    for k, left in enumerate(left_over(task, state, model)):
        one = found[k]
        measures = {
            "dice": one.dice,
            "boundary_um": one.boundary_um,
            "covered": one.covered,
            "pose_deviation_um": float(away[k]),
            "pose_deviation_usual_um": usual,
            "local_shift_um": left.local_um,
            "uncertainty_um": left.unsure_um,
            "plane_shift_um": left.plane_um,
        }
        if model is not None:
            measures["stain_residual"] = stain_residual(atlas, state, k, tissues[k], model)
        measures = {name: round(value, 4) for name, value in measures.items() if np.isfinite(value)}
        measures["estimated_error_um"] = round(estimated_error_um(measures), 1)
        judged.append(Verdict(measures, status_of(measures, options.minimum_dice)))
    return judged
