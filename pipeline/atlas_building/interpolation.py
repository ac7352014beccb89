"""`ish reference interpolate`: annotated plates into an annotation in three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.atlas_building.making import Plan, make
from pipeline.atlas_building.memory import check_fits
from pipeline.atlas_building.page import drawn
from pipeline.atlas_building.pictures import beside
from pipeline.atlas_building.plates.between import LabelStack
from pipeline.atlas_building.plates.plate_checks import (
    StructureCheck,
    check_order,
    check_plates,
    inside_volume,
    seen_on_plate,
)
from pipeline.atlas_building.plates.plate_series import Plate, PlateStack, read_plates, stack_plates
from pipeline.atlas_building.plates.plate_table import NAME
from pipeline.atlas_building.plates.plate_volume import fill_volume, restore_lost, share_beyond
from pipeline.atlas_building.publish import PLAIN, Publication
from pipeline.atlas_building.result import BuiltReference, Frame, GivenOntology, Picture
from pipeline.atlas_building.sources import (
    has_annotation,
    input_files,
    open_annotation,
    open_grey,
    open_ontology,
    open_volume,
)
from pipeline.core.errors import DataError
from pipeline.core.model import Float32, UInt32
from pipeline.formats.volumes.labels import is_cubic
from pipeline.formats.volumes.reference_folder import present_labels
from pipeline.system.files import shown

SPACING_UM = 25.0
MOST_BEYOND = 0.5  # of the labelled pixels: above it, the template is of another brain or scale
SHOWN = 3  # plates on the page
CHECK = "plates_check.csv"
CANNOT_KNOW = (
    "What lies between two plates is inferred from them: structures that begin or end there do so half way.",
    "A structure that lies wholly between two plates is missing.",
)


@dataclass(frozen=True)
class Grid:
    """The grid of the result.

    Attributes
    ----------
    shape : (3,) int
        Voxels along P, I and R.
    spacing_um : float, um
        Voxel size.
    midline_um : float, um, or None
        R of the midline, where `--like` states it.
    files : tuple of Path
        Of `--like`.
    """

    shape: tuple[int, int, int]
    spacing_um: float
    midline_um: float | None = None
    files: tuple[Path, ...] = ()


def interpolate(
    plates: Path,
    output: Path,
    *,
    ontology: Path,
    spacing_um: float | None = None,
    like: Path | None = None,
    template: Path | None = None,
    trust_positions: bool = False,
    publication: Publication = PLAIN,
) -> Path:
    """Interpolate annotated plates to an annotation in three dimensions.

    Parameters
    ----------
    plates : Path
        Folder with plates.csv and its label images or drawings.
    output : Path
        Folder of the result; appears whole or not at all.
    ontology : Path
        structure_graph_1.json.
    spacing_um : float, um, optional
        Voxel size; default that of `like`, else 25.
    like : Path, optional
        Volume or reference whose grid is taken; default from 0 to the last pixel and plate.
    template : Path, optional
        Grey volume or reference that the plates lie on; it is copied, or resampled to the grid.
    trust_positions : bool
        Take plates whose order their overlap contradicts.
    publication : Publication
        How the folder is written.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        Where an input cannot be used.
    ConfigError
        Where the output folder cannot be used.
    """
    return make(
        output,
        [plates, ontology, like, template],
        publication,
        lambda: _plan(plates, ontology, spacing_um, (like, template), trust_positions),
    )


def _plan(
    plates: Path,
    ontology: Path,
    spacing_um: float | None,
    volumes: tuple[Path | None, Path | None],
    trust_positions: bool,
) -> Plan:
    """Return what is interpolated; `volumes` are those of --like and --template."""
    like, template = volumes
    given = open_ontology(ontology)
    like_grid = None if like is None else _grid_like(like, spacing_um)
    um = like_grid.spacing_um if like_grid is not None else spacing_um or SPACING_UM
    found, files = read_plates(plates, given.ontology, um)
    grid = like_grid or Grid(_own_shape(plates, found, um), um)
    check_fits("interpolate", like or plates / NAME, [n * um for n in grid.shape], um)
    stack = stack_plates(plates, found, um)
    if not trust_positions:
        check_order(stack.plates, stack.labels)
    grey, notes = (None, ()) if template is None else _template(template, grid, stack)
    inputs = [*files, ontology, *grid.files, *([] if template is None else input_files(template))]
    return Plan(
        lambda: replace(
            interpolated_reference(stack, given, grid, plates),
            template=grey,
            cannot_know=(*CANNOT_KNOW, *notes),
        ),
        inputs,
        stack.labels,
    )


def interpolate_stack(
    stack: PlateStack, given: GivenOntology, shape: tuple[int, int, int]
) -> tuple[UInt32, list[int]]:
    """Interpolate plates on one raster.

    Parameters
    ----------
    stack : PlateStack
        The plates.
    given : GivenOntology
        Structures of their labels.
    shape : tuple = (P, I, R)
        Voxels of the grid, at the spacing of the raster.

    Returns
    -------
    annotation : (P, I, R) uint32
        Structure ids, 0 outside.
    lost : list of int
        Structures between the voxels of the grid, which were drawn afterwards.
    """
    ids, inverse = np.unique(stack.labels, return_inverse=True)
    if ids[0] != 0:
        ids, inverse = np.append(np.uint32(0), ids), inverse + 1
    labels = inverse.reshape(stack.labels.shape).astype(np.uint16)
    pairs = LabelStack(labels, [given.ontology.path(one) if one else (0,) for one in ids.tolist()])
    index = fill_volume(stack, labels, pairs.between, shape)
    annotation = ids.astype(np.uint32)[index]
    return annotation, restore_lost(annotation, stack.plates, stack.spacing_um)


def _grid_like(path: Path, spacing_um: float | None) -> Grid:
    midline_um, files = None, tuple(input_files(path))
    if has_annotation(path):
        labels = open_annotation(path, template=False)
        shape, spacing, midline_um = labels.labels.shape, labels.spacing_um, labels.midline_um
    else:
        volume = open_volume(path, spacing_um)
        shape, spacing = volume.values.shape, volume.spacing_um
    if not is_cubic(spacing):
        raise DataError(f"{path}: expected one spacing along all axes for --like, got {spacing}; resample it")
    if spacing_um is not None and abs(spacing_um - spacing[0]) > 1e-6 * spacing_um:
        raise DataError(
            f"--spacing-um {spacing_um:g}: expected {spacing[0]:g} as --like {path} has; leave it out"
        )
    p, i, r = shape
    return Grid((p, i, r), float(spacing[0]), midline_um, files)


def _own_shape(folder: Path, plates: Sequence[Plate], spacing_um: float) -> tuple[int, int, int]:
    """Return the voxels from 0 to the last pixel and plate."""
    last = np.max([plate.places().max(axis=0) for plate in plates], axis=0)
    p, i, r = (int(np.floor(max(x, 0.0) / spacing_um + 0.5 + 1e-6)) + 1 for x in last)
    if min(p, i, r) < 2:
        raise DataError(
            f"{folder / NAME}: expected two voxels or more along each axis from 0 to the last pixel and"
            f" plate, got {p} x {i} x {r} of {spacing_um:g} um; are the positions in um?"
        )
    return p, i, r


def _template(path: Path, grid: Grid, stack: PlateStack) -> tuple[Float32, tuple[str, ...]]:
    """Return a grey volume on the grid, and what is to be told of it.

    It is copied where it lies on the grid, else linear between its voxels, and 0 beyond them.
    """
    volume = open_grey(path, grid.spacing_um)
    beyond = share_beyond(stack.plates, volume.box_um, volume.spacing_um)
    if beyond > MOST_BEYOND:
        p, i, r = (side / 1000 for side in volume.box_um)
        raise DataError(
            f"--template {path}: expected a volume that the plates lie on, got {p:g} x {i:g} x {r:g} mm,"
            f" beyond which {beyond:.0%} of the labelled pixels lie; check its spacing, or name another"
        )
    notes = (
        f"The template is smaller than the plates: {max(beyond, 0.001):.1%} of their labelled pixels"
        " lie beyond it, where its values are 0."
    )
    told = (notes,) if beyond else ()
    values = np.asarray(volume.values, np.float32)
    if values.shape == grid.shape and np.allclose(volume.spacing_um, grid.spacing_um):
        return values, told
    scale = [grid.spacing_um / um for um in volume.spacing_um]
    return np.asarray(
        ndimage.affine_transform(values, scale, output_shape=grid.shape, order=1, mode="grid-constant")
    ), told


def interpolated_reference(
    stack: PlateStack, given: GivenOntology, grid: Grid, folder: Path
) -> BuiltReference:
    """Return the reference that plates make.

    Parameters
    ----------
    stack : PlateStack
        The plates.
    given : GivenOntology
        Structures of their labels.
    grid : Grid
        Of the result.
    folder : Path
        Where the plates lie, for messages.

    Returns
    -------
    BuiltReference
        Annotation and what was measured; without template and inputs.

    Raises
    ------
    DataError
        Where structures lie outside of the grid.
    """
    annotation, lost = interpolate_stack(stack, given, grid.shape)
    rows = list(check_plates(annotation, stack.plates, stack.spacing_um))
    _check_kept(folder, annotation, stack, given)
    return BuiltReference(
        "interpolate",
        Frame("plates", f"positions of {folder / NAME}"),
        grid.spacing_um,
        [],
        annotation=annotation,
        ontology=given,
        midline_um=grid.midline_um,
        quality=_quality(stack, rows, lost, given),
        cannot_know=CANNOT_KNOW,
        tables={CHECK: _table(rows)},
        pictures=list(_pictures(stack, annotation, given)),
    )


def _check_kept(folder: Path, annotation: UInt32, stack: PlateStack, given: GivenOntology) -> None:
    """Refuse plates whose structures lie outside of the grid, and voxels too large for all of them."""
    there = present_labels(annotation)
    within, missing = set[int](), set[int]()
    for plate in stack.plates:
        missing.update(np.setdiff1d(plate.labels, [0, *there]).tolist())
        within.update(np.unique(plate.labels[inside_volume(annotation, plate, stack.spacing_um)]).tolist())
    if not missing:
        return
    outside = sorted(missing - within)
    names = shown(", ".join(given.ontology.label(one) for one in outside or sorted(missing)))
    p, i, r = annotation.shape
    if outside:
        raise DataError(
            f"{folder / NAME}: expected plates within the grid of {p} x {i} x {r} voxels, got structures that"
            f" lie outside of it: {names}; correct the positions, or name another --like"
        )
    raise DataError(
        f"{folder / NAME}: expected voxels that have room for every structure of the plates, got"
        f" {stack.spacing_um:g} um, a grid of {p} x {i} x {r}, too coarse for {len(missing)}: {names};"
        " take a smaller --spacing-um, or a finer --like"
    )


def _table(rows: Sequence[StructureCheck]) -> str:
    lines = [f"{_quoted(r.file)},{r.id},{r.pixels},{r.voxels},{r.dice:.4f}" for r in rows]
    return "\n".join(["file,id,pixels,voxels,dice", *lines]) + "\n"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(c in name for c in ',"\n') else name


def _quality(
    stack: PlateStack,
    rows: Sequence[StructureCheck],
    lost: Sequence[int],
    given: GivenOntology,
) -> dict[str, Any]:
    dice = np.array([row.dice for row in rows])
    drawn_ids = {row.id for row in rows}
    outside = [
        plate.name for plate in stack.plates if not any(r.voxels for r in rows if r.file == plate.name)
    ]
    gaps = stack.gaps_um()
    return {
        "plates": len(stack.plates),
        "distance_between_plates_um": [float(gaps.min()), float(gaps.max())],
        "structures_of_the_plates": len(drawn_ids),
        "plates_outside_of_the_volume": outside,
        "structures_drawn_between_voxels": [given.ontology.label(one) for one in lost],
        "dice_on_the_plates_median": float(np.median(dice)),
        "dice_on_the_plates_10th_percentile": float(np.percentile(dice, 10)),
    }


def _pictures(stack: PlateStack, annotation: UInt32, given: GivenOntology) -> list[Picture]:
    """Draw some plates, each beside what the volume shows at its place."""
    colours = {s.id: _rgb(s.color) for s in given.ontology.structures}
    at = np.unique(np.linspace(0, len(stack.plates) - 1, SHOWN + 2).round().astype(int)[1:-1])
    pictures = []
    for k in at:
        plate = stack.plates[k]
        seen = seen_on_plate(annotation, plate, stack.spacing_um)
        pixels = beside(*(drawn(_grey(labels), labels, colours, None) for labels in (plate.labels, seen)))
        pictures.append(
            Picture(f"Plate {plate.name}", "Left the plate, right the volume at its place.", pixels)
        )
    return pictures


def _grey(labels: UInt32) -> npt.NDArray[np.float32]:
    return np.where(labels > 0, 0.25, 0.0).astype(np.float32)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour)
    return red, green, blue
