"""From an affine alignment to a deformed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.core.model import Deformation, Float64, SectionAlignment, SeriesAlignment, Status
from pipeline.geometry import affine
from pipeline.geometry.deformation import least_jacobian
from pipeline.registration.deformable.displacement import (
    DisplacementFields,
    Stiffness,
    displacement_nodes,
    zero_fields,
)
from pipeline.registration.deformable.fit import (
    DeformableFit,
    Level,
    LevelData,
    section_displacements,
    section_labels,
    step,
)
from pipeline.registration.deformable.renewed import judged_anew, renewed_measures
from pipeline.registration.fit.joint import FitProblem, level_images
from pipeline.registration.model.stain_table import StainModel, fit_stain_on
from pipeline.registration.model.state import TransformState
from pipeline.sections.thumbnail import SectionThumbnail

DEFORMABLE = ("none", "in_plane", "volume")  # values of the option `deformable`
NODE_UM = 100.0  # um; spacing of the nodes of a written Deformation
_MARGIN_UM = 500.0  # um; of the control points around all tissue
_BOX_STEP_PX = 4  # px; every fourth pixel is enough for the box of the tissue
_MOST_STEPS = 3  # of a level
_CONVERGED_UM = 3.0  # um; a level ends once a step is smaller
# um; the pixel of a level is half its blur, between these
_FINEST_PIXEL_UM, _COARSEST_PIXEL_UM = 50.0, 200.0
# um; blur, flattening and correlation length of the levels; the last compares local contrast
_LEVELS = ((150.0, np.inf, 300.0), (100.0, np.inf, 300.0), (40.0, 120.0, 100.0))
_LEAST_JACOBIAN = 0.1  # determinant of a section's map against its affine part; folds lie at 0
_SCALE_BACK = 0.8  # factor on a displacement that comes too close to a fold


def refine(
    problem: FitProblem,
    thumbnails: Sequence[SectionThumbnail],
    usable: Sequence[int],
    alignment: SeriesAlignment,
) -> SeriesAlignment:
    """Fit displacement fields to an aligned series.

    Parameters
    ----------
    problem : FitProblem
        The sections that were fitted.
    thumbnails : sequence of SectionThumbnail
        All sections of `alignment`, in its order.
    usable : sequence of int
        Indices of the fitted sections among them.
    alignment : SeriesAlignment
        The affine alignment.

    Returns
    -------
    SeriesAlignment
        The alignment, every section with a Deformation that does not fold. Its matrices stay. A section that
        failed or was not fitted takes the whole brain's displacement only.
    """
    options = problem.options
    fit, model = fit_fields(problem, _state(thumbnails, usable, alignment))
    renewed = renewed_measures(fit, model)
    own = {number: k for k, number in enumerate(usable)}
    sections, scaled_back = [], []
    for number, (thumbnail, section) in enumerate(zip(thumbnails, alignment.sections, strict=True)):
        k = own.get(number)
        fields = fit.fields if k is not None and section.status is not Status.FAIL else None
        deformed, least = _deformed(section, thumbnail, fit, fields, k)
        if fields is not None and k is not None and least == 1.0:  # else it is less deformed than fitted
            deformed = judged_anew(deformed, renewed[k], options.minimum_dice)
        sections.append(deformed)
        if least < 1.0:
            scaled_back.append(thumbnail.section_number)  # noted: the fit asked for more than was given
    notes = alignment.notes
    if scaled_back:
        notes = (*notes, f"deformation scaled back to avoid folding in sections {scaled_back}")
    return replace(alignment, sections=tuple(sections), notes=notes, deformable=options.deformable)


def _state(
    thumbnails: Sequence[SectionThumbnail], usable: Sequence[int], alignment: SeriesAlignment
) -> TransformState:
    """Return the affine alignment as the state of the fit, for the usable sections."""
    matrices = [
        affine.compose(
            alignment.sections[k].alignment2d.section_to_volume, thumbnails[k].thumbnail_to_section
        )
        for k in usable
    ]
    z_um = np.array([thumbnails[k].z_um for k in usable])
    return TransformState(np.array(matrices), z_um, alignment.alignment3d.volume_to_reference)


def fit_fields(problem: FitProblem, state: TransformState) -> tuple[DeformableFit, StainModel]:
    """Fit the displacement fields, coarse to fine; the stain table is re-estimated before every step.

    Parameters
    ----------
    problem : FitProblem
        Sections, atlas and options.
    state : TransformState
        Affine placement.

    Returns
    -------
    fit : DeformableFit
        Displacement fields of the finest level.
    model : StainModel
        Stain model of the last step.
    """
    options = problem.options
    in_plane = Stiffness(options.node_um, options.warp_um, options.bending)
    whole = Stiffness(options.shape_node_um, options.shape_um, options.bending)
    fields = zero_fields(state.z_um, _box(problem, state), in_plane, whole)
    fit = DeformableFit(problem, state, fields, in_plane, whole, options.deformable == "volume")
    model: StainModel | None = None
    stains = [tissue.stain for tissue in problem.tissues]
    for sigma, flatten, correlation in _LEVELS:
        pixel = float(np.clip(0.5 * sigma, _FINEST_PIXEL_UM, _COARSEST_PIXEL_UM))
        # unblurred for the stain table: a blur would mix structures
        sharp, images = level_images(problem, stains, pixel, 0.0), level_images(problem, stains, pixel, sigma)
        noise = 0.0  # 0: the first step of a level takes the noise of the stain model
        for _ in range(_MOST_STEPS):
            displacements = section_displacements(fit, sharp)
            model = fit_stain_on(
                problem.atlas, sharp, section_labels(fit, sharp, displacements), model, options.threads
            )
            level = Level(sigma, flatten, noise or model.noise, correlation)
            fit, noise, moved = step(fit, LevelData(images, displacements, model, level))
            fit = replace(fit, fields=fit.fields.unfolded())
            if moved < _CONVERGED_UM:
                break
    assert model is not None  # `_LEVELS` is not empty
    return fit, model


def _box(problem: FitProblem, state: TransformState) -> tuple[Float64, Float64]:
    """Return the box of all tissue in (x, y) of the volume with a margin, lower and upper corner, um."""
    points = []
    for tissue, matrix in zip(problem.tissues, state.sections, strict=True):
        rows, columns = np.nonzero(tissue.mask[::_BOX_STEP_PX, ::_BOX_STEP_PX])
        points.append(affine.apply(matrix, _BOX_STEP_PX * np.stack([columns, rows], axis=1)))
    places = np.concatenate(points)
    return places.min(axis=0) - _MARGIN_UM, places.max(axis=0) + _MARGIN_UM


def _deformed(
    section: SectionAlignment,
    thumbnail: SectionThumbnail,
    fit: DeformableFit,
    fields: DisplacementFields | None,
    k: int | None,
) -> tuple[SectionAlignment, float]:
    """Return a section with its Deformation, and the factor that keeps it from folding (1 = as fitted)."""
    to_section = thumbnail.thumbnail_to_section
    spacing = NODE_UM / thumbnail.resolution_um
    h, w = thumbnail.pixels.shape[:2]
    size = affine.apply(to_section, [[w - 0.5, h - 0.5]])[0]  # lower right corner of the image, manifest px
    columns, rows = (int(np.ceil(n / spacing)) + 1 for n in size)
    to_volume = section.alignment2d.section_to_volume
    if fields is None or k is None:
        # the whole brain's field on the plane of this section
        fields = replace(
            fit.fields, z_um=np.array([thumbnail.z_um]), own=np.zeros((1, fit.fields.plane.size, 2))
        )
        nodes = displacement_nodes(fields, 0, to_volume, (rows, columns), spacing)
    else:
        nodes = displacement_nodes(fields, k, to_volume, (rows, columns), spacing)
    factor = 1.0
    while True:
        deformation = Deformation(np.float32(factor) * nodes, spacing)
        least = least_jacobian(section.alignment2d, deformation)
        if least >= _LEAST_JACOBIAN:
            break
        factor *= _SCALE_BACK
    sizes = np.linalg.norm(nodes, axis=0)
    measures = {
        **section.measures,
        "deformation_um": round(factor * float(np.sqrt((sizes**2).mean())), 2),
        "least_jacobian": round(least, 4),
    }
    return replace(section, deformation=deformation, measures=measures), factor
