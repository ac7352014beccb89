"""`ish reference carry`: an annotation carried into the space of another brain, whatever its contrast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.displacement import (
    Displacement,
    determinants,
    invert,
    node_shape,
    sampled,
    warp,
)
from pipeline.atlas_building.making import Plan, make
from pipeline.atlas_building.matching.affine import fit_affine, overlap_after, rotation_deg
from pipeline.atlas_building.matching.checks import (
    check_common_tissue,
    check_handedness,
    check_kept_tissue,
    check_labels_fit,
    displacement_figures,
    overlap_of_tissue,
)
from pipeline.atlas_building.matching.contrast import match_any_contrast
from pipeline.atlas_building.matching.match import Pair, start_of
from pipeline.atlas_building.matching.offsets import label_offset_um
from pipeline.atlas_building.matching.working import structures_of, working_brain, working_um
from pipeline.atlas_building.memory import check_fits
from pipeline.atlas_building.meshes import FOLDER as MESHES
from pipeline.atlas_building.meshes import move_meshes
from pipeline.atlas_building.page import drawn, structure_colours
from pipeline.atlas_building.pictures import beside, jacobian_pictures
from pipeline.atlas_building.publish import PLAIN, Publication
from pipeline.atlas_building.result import BuiltReference, Frame, Picture
from pipeline.atlas_building.sources import (
    Annotation,
    check_same_box,
    input_files,
    open_annotation,
    open_grey,
    stated_midline_um,
    with_ontology,
)
from pipeline.core.errors import DataError
from pipeline.core.model import Float32, UInt32
from pipeline.formats.volumes.labels import is_cubic
from pipeline.formats.volumes.reference_folder import present_labels
from pipeline.formats.volumes.volume_files import Volume

ROOM = 3  # working voxels around the tissue in which the target is still looked at
OFF_VOXELS = 1.0  # working voxels that labels lie off their template, above which it is told
TURNED_DEG = 45.0  # between the brains, above which it is told


@dataclass(frozen=True, eq=False)
class Carried:
    """How one brain lies in another.

    Attributes
    ----------
    to_source, to_target : Displacement
        Target to source, and back.
    affine : Displacement
        The affine part of the first.
    quality : mapping
        What was measured.
    """

    to_source: Displacement
    to_target: Displacement
    affine: Displacement
    quality: dict[str, Any]


def carry(
    annotation: Path,
    output: Path,
    *,
    to: Path,
    source: Path | None = None,
    spacing_um: float | None = None,
    publication: Publication = PLAIN,
) -> Path:
    """Carry an annotation into the space of another brain.

    Parameters
    ----------
    annotation : Path
        Reference folder, or volume of labels.
    output : Path
        Folder of the result.
    to : Path
        Volume or reference that the annotation is carried to.
    source : Path, optional
        Template that the annotation lies on; default that of the reference.
    spacing_um : float, um, optional
        Voxel size of volumes that state none.
    publication : Publication
        How the folder is written.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        Where the output folder cannot be used.
    DataError
        Where an input cannot be used, or the brains have no tissue in common.
    """
    given = [annotation, to, source]
    return make(output, given, publication, lambda: _plan(annotation, to, source, spacing_um))


def _plan(annotation: Path, to: Path, source: Path | None, spacing_um: float | None) -> Plan:
    """Return what is carried."""
    target = open_grey(to, spacing_um)
    check_fits("carry", to, target.box_um, min(target.spacing_um))
    labels = with_ontology(open_annotation(annotation, spacing_um=spacing_um))
    grey = _grey_of(annotation, labels, source, spacing_um)
    midline_um = stated_midline_um(to)

    def compute() -> BuiltReference:
        found = find_displacement(target, grey, labels)
        return replace(
            carried_reference(target, labels, found),
            midline_um=midline_um,
            write_more=lambda fresh: _move_meshes(annotation, found, fresh),
        )

    files = [*input_files(to), *labels.files, *([] if source is None else input_files(source))]
    return Plan(compute, files, labels.labels)


def _move_meshes(annotation: Path, found: Carried, fresh: Path) -> None:
    if annotation.is_dir():
        move_meshes(annotation, found.to_target, fresh / MESHES)


def _grey_of(annotation: Path, labels: Annotation, source: Path | None, spacing_um: float | None) -> Volume:
    """Return the template that labels lie on."""
    if source is None and labels.template is None:
        raise DataError(
            f"{annotation}: expected a template that the labels lie on, got none; name it with --from"
        )
    grey = labels.template if source is None else open_grey(source, spacing_um)
    assert grey is not None
    check_same_box(annotation, labels, grey)
    return grey


def find_displacement(target: Volume, grey: Volume, labels: Annotation) -> Carried:
    """Find how an annotated brain lies in another one.

    Parameters
    ----------
    target : Volume
        The other brain.
    grey : Volume
        Template of the annotated brain.
    labels : Annotation
        Its labels.

    Returns
    -------
    Carried
        Displacements both ways, and what was measured.

    Raises
    ------
    DataError
        Where there is no tissue in common after the affine step or in the end, one is the mirror image of the
        other, or the displacement folds.
    """
    um = working_um([target, grey])
    own, other = working_brain(target, um), working_brain(grey, um)
    affine = fit_affine(own, other)
    shared = overlap_after(own.mask, other.mask, affine, um)
    check_common_tissue(target.path, grey.path, affine, shared)
    check_handedness((target.path, grey.path), own, other, affine)
    weight = ndimage.binary_dilation(own.mask, iterations=ROOM).astype(np.float32)
    pair = Pair(weight, other.values.shape, um)
    structures = structures_of(labels.labels, labels.spacing_um, um, other.values.shape)
    offset_um = label_offset_um(other, structures.index)
    check_labels_fit(grey.path, offset_um, um)
    state, cue, like = match_any_contrast((own, other), structures, pair, start_of(affine, pair))
    nodes = node_shape(target.box_um, um)
    to_source = state.displacement(um, nodes)
    kept = overlap_of_tissue(own.mask, other.mask, to_source)
    check_kept_tissue(target.path, grey.path, kept)
    back = invert(to_source, node_shape(grey.box_um, um), um)
    quality: dict[str, Any] = {
        "matched_by": cue,
        "likeness_of_greys": like,
        "labels_off_their_template_um_median": offset_um,
        "rotation_deg": rotation_deg(state.affine),
        "overlap_of_tissue_after_affine": shared,
        "overlap_of_tissue": kept,
    }
    quality |= displacement_figures(target.path, to_source, back, own)
    return Carried(to_source, back, start_of(state.affine, pair).displacement(um, nodes), quality)


def carried_reference(target: Volume, labels: Annotation, found: Carried) -> BuiltReference:
    """Return the reference that an annotation makes in another space.

    Parameters
    ----------
    target : Volume
        Brain that the labels are carried to.
    labels : Annotation
        Labels, with an ontology.
    found : Carried
        How they lie in each other.

    Returns
    -------
    BuiltReference
        On the grid of the target; without inputs.
    """
    template, um = _cubic(target)
    grid = (template.shape, [um] * 3)
    annotation = warp(labels.labels, labels.spacing_um, found.to_source, grid, order=0)
    lost = np.setdiff1d(present_labels(labels.labels), present_labels(annotation))
    quality = found.quality | {
        "labels": int(len(present_labels(annotation)) - 1),
        "labels_lost": labels.ontology.labels(lost) if labels.ontology else lost.tolist(),
    }
    jacobian = _jacobian(found.to_source, grid)
    return BuiltReference(
        verb="carry",
        frame=Frame("target", str(target.path)),
        spacing_um=um,
        inputs=(),
        template=template,
        annotation=annotation,
        ontology=labels.ontology,
        quality=quality,
        cannot_know=_cannot_know(quality, found.to_source.spacing_um),
        volumes={"jacobian": jacobian},
        displacements={"target_to_source": found.to_source, "source_to_target": found.to_target},
        pictures=[
            *_pictures(template, um, labels, found),
            *jacobian_pictures(jacobian, template, um),
        ],
    )


def _cannot_know(quality: Mapping[str, Any], working_um: float) -> list[str]:
    """Return what the two brains cannot tell."""
    sentences = [
        "Where neither stain shows a border, the displacement is the smoothest that fits what is around it.",
        "Whether the brain is a mirror image can be told only from what differs between its halves.",
    ]
    if quality["rotation_deg"] > TURNED_DEG:
        sentences.append(
            f"The brains lie {quality['rotation_deg']:.0f} degrees apart. If an axis of one is reversed"
            " instead, left and right are exchanged."
        )
    off_um = quality["labels_off_their_template_um_median"]
    if off_um > OFF_VOXELS * working_um:
        sentences.append(
            f"The labels fit their template best {off_um:.0f} um from where they lie (median): whether it is"
            " the brain that they were drawn on is not known."
        )
    return sentences


def _cubic(target: Volume) -> tuple[Float32, float]:
    """Return a target on cubic voxels of the size along its finest axis; as it is where it has them."""
    um = float(min(target.spacing_um))
    values = np.asarray(target.values, np.float32)
    if is_cubic(target.spacing_um):
        return values, um
    shape = [round(side / um) for side in target.box_um]
    still = Displacement(np.zeros((2, 2, 2, 3), np.float32), max(target.box_um))
    return np.asarray(warp(values, target.spacing_um, still, (shape, [um] * 3)), np.float32), um


def _jacobian(field: Displacement, grid: tuple[Sequence[int], Sequence[float]]) -> Float32:
    """Return the determinant of target to source on the target's grid."""
    still = Displacement(np.zeros((2, 2, 2, 3), np.float32), max(n * um for n, um in zip(*grid, strict=True)))
    return np.asarray(warp(determinants(field), [field.spacing_um] * 3, still, grid), np.float32)


def _pictures(template: Float32, um: float, labels: Annotation, found: Carried) -> Iterator[Picture]:
    """Draw a coronal and a horizontal plane with the labels after the affine step and in the end."""
    assert labels.ontology is not None
    colours = structure_colours(labels.ontology.ontology)
    for name, axis in (("coronal", 0), ("horizontal", 1)):
        at = template.shape[axis] // 2
        grey = np.take(template, at, axis)
        low, high = np.percentile(grey, [0.5, 99.7])
        shown = []
        for field in (found.affine, found.to_source):
            plane = _plane_labels(labels, field, axis, at * um, template.shape, um)
            shown.append(drawn((grey - low) / max(float(high - low), 1e-9), plane, colours, None))
        yield Picture(
            f"Labels, {name} plane at {'PIR'[axis]} {at * um:g} µm",
            "Left after the affine step, right after the displacement.",
            beside(*shown),
        )


def _plane_labels(
    labels: Annotation, field: Displacement, axis: int, at_um: float, shape: Sequence[int], um: float
) -> UInt32:
    """Return the labels that a displacement brings to a plane of the target."""
    axes = [np.arange(n) * um for n in shape]
    axes[axis] = np.array([at_um])
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    found = sampled(labels.labels, field.apply(points) / np.asarray(labels.spacing_um), 0)
    return np.asarray(found.reshape([n for k, n in enumerate(shape) if k != axis]))
