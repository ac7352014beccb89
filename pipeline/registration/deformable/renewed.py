"""Measures of a deformed section: outline and residual displacement along its displacement field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pipeline.core.model import Float32, SectionAlignment, Status
from pipeline.registration.deformable.blocks import labels_displaced, paint_displaced
from pipeline.registration.deformable.fit import DeformableFit
from pipeline.registration.fit.gauss_newton import AFFINE, Painting
from pipeline.registration.model.painted_atlas import blur, samples_a_pixel
from pipeline.registration.model.stain_table import StainModel
from pipeline.registration.model.state import LevelImage
from pipeline.registration.quality.error_model import estimated_error_um, status_of
from pipeline.registration.quality.measures import known_plane, overlap
from pipeline.registration.quality.residual_shift import block_displacement, stain_level
from pipeline.sections.thumbnail_tissue import TissueImage
from pipeline.system.threads import each


def renewed_measures(fit: DeformableFit, model: StainModel) -> list[dict[str, float]]:
    """Measure every deformed section as `measures.verdicts` measures it before.

    Parameters
    ----------
    fit : DeformableFit
        Displacement fields and placement.
    model : StainModel
        Stain model of the fit.

    Returns
    -------
    list of dict of str to float
        `dice`, `boundary_um`, `covered`, `local_shift_um` and `uncertainty_um` of each section.
    """
    problem = fit.problem
    painting, images, stage = stain_level(problem, model, AFFINE)

    def one(k: int) -> dict[str, float]:
        painted = _painted(fit, painting, k, images[k], stage.sigma_um)
        local, uncertainty = block_displacement(painting, k, images[k], painted, stage)
        return {**_outline(fit, k), "local_shift_um": local, "uncertainty_um": uncertainty}

    return each(one, range(len(images)), problem.options.threads)


def _painted(fit: DeformableFit, painting: Painting, k: int, image: LevelImage, sigma_um: float) -> Float32:
    """Render the atlas on a deformed section, blurred."""
    atlas = fit.problem.atlas
    samples = samples_a_pixel(image.pixel_um, atlas.voxel_um, sigma_um)
    field, shape = fit.displacement(k, image), image.values.shape
    matrix = fit.plane(k, image)
    raw = paint_displaced(atlas.index, 1.0 / atlas.voxel_um, painting.table(k), matrix, field, shape, samples)
    return blur(raw, sigma_um / image.pixel_um)


def _outline(fit: DeformableFit, k: int) -> dict[str, float]:
    """Return how the outline of a deformed section fits."""
    atlas, tissue = fit.problem.atlas, fit.problem.tissues[k]
    image = _thumbnail(tissue)
    matrix = fit.plane(k, image)
    shape = tissue.mask.shape
    labels = labels_displaced(atlas.index, 1.0 / atlas.voxel_um, matrix, fit.displacement(k, image), shape)
    found = overlap(tissue, np.asarray(labels > 0), known_plane(atlas, matrix, shape))
    return {"dice": found.dice, "boundary_um": found.boundary_um, "covered": found.covered}


def _thumbnail(tissue: TissueImage) -> LevelImage:
    """Return a section's own pixels as a level."""
    ones = np.ones(tissue.mask.shape, np.float32)
    return LevelImage(tissue.stain, ones, np.eye(2, 3), tissue.pixel_um, tissue.series)


def judged_anew(
    section: SectionAlignment, renewed: Mapping[str, float], minimum_dice: float
) -> SectionAlignment:
    """Return a deformed section with its measures, expected error and verdict renewed.

    Parameters
    ----------
    section : SectionAlignment
        The section, with the measures of its matrix.
    renewed : mapping of str to float
        Its entry of `renewed_measures`.
    minimum_dice : float
        Dice coefficient below which a section fails.

    Returns
    -------
    SectionAlignment
        A section that failed, or was put under check for something else, stays so.
    """
    finite = {name: round(value, 4) for name, value in renewed.items() if np.isfinite(value)}
    measures = {**section.measures, **finite}
    before = status_of(section.measures, minimum_dice)
    # where the sections around it held its estimate up, they do so still
    held = max(1.0, section.measures["estimated_error_um"] / estimated_error_um(section.measures))
    measures["estimated_error_um"] = round(held * estimated_error_um(measures), 1)
    status = section.status
    if status is before and status is not Status.FAIL:
        status = status_of(measures, minimum_dice)
    reason = "" if status is Status.PASS else section.reason
    return replace(section, status=status, measures=measures, reason=reason)
