"""`ish reference symmetrise`: a volume straightened about its midline, its halves made mirror images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.atlas_building.displacement import Displacement, determinants, invert, node_shape, warp
from pipeline.atlas_building.making import Plan, make
from pipeline.atlas_building.memory import check_fits
from pipeline.atlas_building.mirroring import mirrored_labels, mirrored_template
from pipeline.atlas_building.pictures import midline_pictures
from pipeline.atlas_building.publish import PLAIN, Publication
from pipeline.atlas_building.result import BuiltReference, Frame
from pipeline.atlas_building.sources import (
    Annotation,
    check_same_box,
    check_spacing,
    has_annotation,
    input_files,
    open_annotation,
    open_grey,
    with_ontology,
)
from pipeline.atlas_building.straightening import Midline, find_midline
from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import Float64, UInt32
from pipeline.formats.volumes.reference_folder import present_labels
from pipeline.formats.volumes.volume_files import Volume

HALVES = ("average", "left", "right")
SURFACE_UM = 200.0  # steps of the surface in midline.json, at most


def symmetrise(
    volume: Path,
    output: Path,
    *,
    annotation: Path | None = None,
    half: str = "average",
    spacing_um: float | None = None,
    publication: Publication = PLAIN,
) -> Path:
    """Straighten a volume about its midline and make its halves mirror images.

    Parameters
    ----------
    volume : Path
        Volume file, or reference folder.
    output : Path
        Folder of the result.
    annotation : Path, optional
        Labels on the volume, or a reference folder; default those of `volume` where it is a folder.
    half : {"average", "left", "right"}
        What is mirrored: the mean of the halves, or one of them.
    spacing_um : float, um, optional
        Voxel size of the result, and of a volume that states none; default the finest of volume and labels.
    publication : Publication
        How the folder is written.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        Where an option or the output folder cannot be used.
    DataError
        Where the volume has no voxel size or no tissue, or shows one hemisphere.
    """
    if half not in HALVES:
        raise ConfigError(f"--half {half}: expected one of {', '.join(HALVES)}")
    given = [volume, annotation]
    return make(output, given, publication, lambda: _plan(volume, annotation, half, spacing_um))


def _plan(volume: Path, annotation: Path | None, half: str, spacing_um: float | None) -> Plan:
    """Return what is made symmetric."""
    grey = open_grey(volume, spacing_um)
    check_fits("symmetrise", volume, grey.box_um, spacing_um or min(grey.spacing_um))
    labels = _labels(volume, annotation, grey, spacing_um)
    finest = min(grey.spacing_um) if labels is None else min(*grey.spacing_um, *labels.spacing_um)
    um = spacing_um or finest
    check_spacing(volume, grey.box_um, um)
    return Plan(
        lambda: symmetric_reference(grey, labels, find_midline(grey, um), half, um),
        [file for path in (volume, annotation) if path is not None for file in input_files(path)],
        None if labels is None else labels.labels,
    )


def symmetric_reference(
    grey: Volume, labels: Annotation | None, midline: Midline, half: str, spacing_um: float
) -> BuiltReference:
    """Return the symmetric reference of a volume.

    Parameters
    ----------
    grey : Volume
        The input.
    labels : Annotation or None
        Its annotation.
    midline : Midline
        As `find_midline` found it.
    half : str
        average, left or right.
    spacing_um : float, um
        Voxel size of the result.

    Returns
    -------
    BuiltReference
        Exactly symmetric volumes, displacements, midline.json and what was measured; without inputs.

    Raises
    ------
    DataError
        Where the displacement folds.
    """
    box = midline.frame.box_um
    shape = tuple(round(side / spacing_um) for side in box)
    grid = (shape, [spacing_um] * 3)
    to_source = midline.to_source
    back = invert(to_source, node_shape(grey.box_um, to_source.spacing_um), to_source.spacing_um)
    quality: dict[str, Any] = {"correlation with the own mirror image": dict(midline.alike)}
    quality |= _folds(grey.path, to_source, back, midline.tissue_um)
    template = mirrored_template(warp(grey.values, grey.spacing_um, to_source, grid), half)
    annotation = None
    if labels is not None:
        carried = warp(labels.labels, labels.spacing_um, to_source, grid, order=0)
        annotation = mirrored_labels(carried, half)
        quality |= _label_figures(labels, carried, annotation)
    document = midline_document(midline, grey)
    return BuiltReference(
        verb="symmetrise",
        frame=Frame("symmetric", f"{grey.path}, straightened; half: {half}"),
        spacing_um=spacing_um,
        inputs=(),
        template=template,
        annotation=annotation,
        ontology=None if labels is None else labels.ontology,
        midline_um=box[2] / 2,
        quality=quality,
        cannot_know=(
            "Which half has the animal's own shape where they differ is not known: each goes half the way.",
        ),
        displacements={"target_to_source": to_source, "source_to_target": back},
        documents={"midline.json": document},
        pictures=list(midline_pictures(grey, midline, document["surface"])),
    )


def midline_document(midline: Midline, grey: Volume) -> dict[str, Any]:
    """Return midline.json: plane and surface in the frame of the input.

    Parameters
    ----------
    midline : Midline
        As found.
    grey : Volume
        The input.

    Returns
    -------
    dict
        `plane` with point and normal; `surface` with even steps over the whole box.
    """
    plane = midline.frame.plane
    p_um, i_um = (_steps(side) for side in grey.box_um[:2])
    columns = np.stack(np.meshgrid(p_um, i_um, indexing="ij"), axis=-1).reshape(-1, 2)
    r_um = _surface_r(midline, columns)
    return {
        "plane": {"point_um": plane.point_um.tolist(), "normal": plane.normal.tolist()},
        "surface": {
            "p_um": p_um.tolist(),
            "i_um": i_um.tolist(),
            "r_um": np.round(r_um.reshape(len(p_um), len(i_um)), 3).tolist(),
        },
    }


def _steps(side_um: float) -> Float64:
    """Return even steps over a side of a box, both ends included."""
    count = max(1, int(np.ceil(side_um / SURFACE_UM)))
    return np.asarray(np.linspace(0.0, side_um, count + 1))


def _surface_r(midline: Midline, columns: Float64) -> Float64:
    """Return R of the input at which the midline of the result lies, for (P, I) of the input.

    The field continues as it ends beyond its box, and the plane of the result is a graph over (P, I) there:
    few rounds find the point of it that has the wanted P and I.
    """
    frame, normal = midline.frame, midline.frame.plane.normal
    r = frame.plane.point_um[2] - (columns - frame.plane.point_um[:2]) @ normal[:2] / normal[2]
    start = (np.column_stack([columns, r]) - frame.plane.point_um) @ frame.plane.frame().T
    own = np.column_stack([start[:, :2] - frame.low_um, np.full(len(columns), frame.middle_um)])
    turn = frame.plane.frame()[:2, :2]
    for _ in range(20):
        there = _there(midline, own)
        own[:, :2] += (columns - there[:, :2]) @ np.linalg.inv(turn)
    return np.asarray(_there(midline, own)[:, 2])


def _there(midline: Midline, own: Float64) -> Float64:
    """Return where points of the result lie in the input; beyond its box along the surface's continuation."""
    last = (np.array(midline.to_source.shape) - 1) * midline.to_source.spacing_um
    inside = np.clip(own, 0.0, last)
    moved = midline.to_source.apply(inside)
    beyond = midline.frame.to_input(own) - midline.frame.to_input(inside)
    return np.asarray(moved + beyond)


def _labels(
    volume: Path, annotation: Path | None, grey: Volume, spacing_um: float | None
) -> Annotation | None:
    """Return the annotation that lies on a volume; DataError where it is of another box."""
    path = annotation if annotation is not None else (volume if has_annotation(volume) else None)
    if path is None:
        return None
    found = open_annotation(path, template=False, spacing_um=spacing_um)
    check_same_box(path, found, grey)
    return with_ontology(found)


def _folds(path: Path, to_source: Displacement, back: Displacement, tissue_um: Float64) -> dict[str, Any]:
    """Return what the displacements measure; DataError where they fold."""
    least = {"target to source": determinants(to_source), "source to target": determinants(back)}
    folds = sum(int((found <= 0).sum()) for found in least.values())
    if folds:
        raise DataError(
            f"{path}: expected halves that match without folds, got {folds} folds; is the tissue torn?"
        )
    apart = np.linalg.norm(to_source.apply(back.apply(tissue_um)) - tissue_um, axis=1)
    return {
        "folds": 0,
        "least determinant": {name: float(found.min()) for name, found in least.items()},
        "there and back, um": {
            "median": float(np.median(apart)),
            "95th percentile": float(np.percentile(apart, 95)),
        },
    }


def _label_figures(before: Annotation, carried: UInt32, after: UInt32) -> dict[str, Any]:
    middle = carried.shape[2] // 2
    left, right = carried[:, :, middle:0:-1], carried[:, :, middle:]
    there = (left > 0) | (right > 0)
    present = present_labels(after)
    lost = np.setdiff1d(present_labels(before.labels), present)
    return {
        "labelled voxels on which the halves agree": float((left == right)[there].mean()),
        "labels": int(len(present) - 1),
        "labels lost": before.ontology.labels(lost) if before.ontology else lost.tolist(),
    }
