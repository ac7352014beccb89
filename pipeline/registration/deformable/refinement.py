"""From an affine alignment to a deformed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.core.model import Deformation, Float64, SectionAlignment, SeriesAlignment, Status
from pipeline.geometry import affine
from pipeline.geometry.deformation import least_jacobian
from pipeline.registration.deformable.displacement import Bend, Stiffness, nodes_of, straight
from pipeline.registration.deformable.fit import Fit, Level, View, bends, labels, step
from pipeline.registration.fit.joint import Task, level_images
from pipeline.registration.model.stain_table import StainModel, fit_stain_on
from pipeline.registration.model.state import State
from pipeline.sections.thumbnail import SectionThumbnail

DEFORMABLE = ("none", "in_plane", "volume")  # values of the option `deformable`
NODE_UM = 100.0  # spacing of the nodes of a written Deformation, um
_MARGIN_UM = 500.0  # of the control points around all tissue, um
_STEPS = 3  # most steps of a level
_SETTLED_UM = 3.0  # a level ends once the 90th percentile of a step is smaller, um
PIXEL = 50.0  # finest pixel of the fit, um
# blur, flattening and correlation length of the levels, um; the last compares local contrast
LEVELS = ((150.0, np.inf, 300.0), (100.0, np.inf, 300.0), (40.0, 120.0, 100.0))
_LEAST_JACOBIAN = 0.1  # determinant of a section's map against its affine part; folds lie at 0
_SHRINK = 0.8  # factor on a displacement that comes too close to a fold


def refine(
    task: Task, thumbnails: Sequence[SectionThumbnail], usable: Sequence[int], alignment: SeriesAlignment
) -> SeriesAlignment:
    """Fit displacement fields to an aligned series.

    Parameters
    ----------
    task : Task
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
    options = task.options
    fit = fitted(task, _state(thumbnails, usable, alignment))
    own = {number: k for k, number in enumerate(usable)}
    sections, weakened = [], []
    for number, (thumbnail, section) in enumerate(zip(thumbnails, alignment.sections, strict=True)):
        k = own.get(number)
        bend = fit.bend if k is not None and section.status is not Status.FAIL else None
        deformed, least = _deformed(section, thumbnail, fit, bend, k)
        sections.append(deformed)
        if least < 1.0:
            weakened.append(thumbnail.section_number)  # noted: the fit asked for more than was given
    notes = alignment.notes
    if weakened:
        notes = (*notes, f"deformations weakened so that nothing folds: sections {weakened}")
    return replace(alignment, sections=tuple(sections), notes=notes, deformable=options.deformable)


def _state(
    thumbnails: Sequence[SectionThumbnail], usable: Sequence[int], alignment: SeriesAlignment
) -> State:
    """Return the affine alignment as the state of the fit, for the usable sections."""
    matrices = [
        affine.compose(
            alignment.sections[k].alignment2d.section_to_volume, thumbnails[k].thumbnail_to_section
        )
        for k in usable
    ]
    z_um = np.array([thumbnails[k].z_um for k in usable])
    return State(np.array(matrices), z_um, alignment.alignment3d.volume_to_reference)


def fitted(task: Task, state: State) -> Fit:
    """Fit the displacement fields, coarse to fine; the stain table is re-estimated before every step.

    Parameters
    ----------
    task : Task
        Sections, atlas and options.
    state : State
        Affine placement.

    Returns
    -------
    Fit
        Displacement fields of the finest level.
    """
    options = task.options
    in_plane = Stiffness(options.node_um, options.warp_um, options.bending)
    whole = Stiffness(options.shape_node_um, options.shape_um, options.bending)
    bend = straight(state.z_um, _box(task, state), in_plane, whole)
    fit = Fit(task, state, bend, in_plane, whole, options.deformable == "volume")
    model: StainModel | None = None
    stains = [tissue.stain for tissue in task.tissues]
    for sigma, flatten, correlation in LEVELS:
        pixel = float(np.clip(0.5 * sigma, PIXEL, 200.0))  # half the blur, 50-200 um
        # unblurred for the stain table: a blur would mix structures
        sharp, images = level_images(task, stains, pixel, 0.0), level_images(task, stains, pixel, sigma)
        noise = 0.0  # 0: the first step of a level takes the noise of the stain model
        for _ in range(_STEPS):
            bent = bends(fit, sharp)
            model = fit_stain_on(task.atlas, sharp, labels(fit, sharp, bent), model, options.threads)
            level = Level(sigma, flatten, noise or model.noise, correlation)
            fit, noise, moved = step(fit, View(images, bent, model, level))
            fit = replace(fit, bend=fit.bend.unfolded())
            if moved < _SETTLED_UM:
                break
    return fit


def _box(task: Task, state: State) -> tuple[Float64, Float64]:
    """Return the box of all tissue in (x, y) of the volume with a margin, lower and upper corner, um."""
    points = []
    for tissue, matrix in zip(task.tissues, state.sections, strict=True):
        rows, columns = np.nonzero(tissue.mask[::4, ::4])  # every fourth pixel is enough for a box
        points.append(affine.apply(matrix, 4 * np.stack([columns, rows], axis=1)))
    places = np.concatenate(points)
    return places.min(axis=0) - _MARGIN_UM, places.max(axis=0) + _MARGIN_UM


def _deformed(
    section: SectionAlignment, thumbnail: SectionThumbnail, fit: Fit, bend: Bend | None, k: int | None
) -> tuple[SectionAlignment, float]:
    """Return a section with its Deformation, and the factor that keeps it from folding (1 = as fitted)."""
    to_section = thumbnail.thumbnail_to_section
    spacing = NODE_UM / thumbnail.resolution_um
    h, w = thumbnail.pixels.shape[:2]
    size = affine.apply(to_section, [[w - 0.5, h - 0.5]])[0]  # lower right corner of the image, manifest px
    columns, rows = (int(np.ceil(n / spacing)) + 1 for n in size)
    to_volume = section.alignment2d.section_to_volume
    if bend is None or k is None:
        # the whole brain's field on the plane of this section
        bent = replace(fit.bend, z_um=np.array([thumbnail.z_um]), own=np.zeros((1, fit.bend.plane.size, 2)))
        nodes = nodes_of(bent, 0, to_volume, (rows, columns), spacing)
    else:
        nodes = nodes_of(bend, k, to_volume, (rows, columns), spacing)
    factor = 1.0
    while True:
        deformation = Deformation(np.float32(factor) * nodes, spacing)
        least = least_jacobian(section.alignment2d, deformation)
        if least >= _LEAST_JACOBIAN:
            break
        factor *= _SHRINK
    sizes = np.linalg.norm(nodes, axis=0)
    measures = {
        **section.measures,
        "deformation_um": round(factor * float(np.sqrt((sizes**2).mean())), 2),
        "least_jacobian": round(least, 4),
    }
    return replace(section, deformation=deformation, measures=measures), factor
