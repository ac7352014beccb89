"""What sections are aligned to: a reference, or labels made from a volume's own grey values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.result import GivenOntology
from pipeline.atlas_building.sources import (
    has_annotation,
    input_files,
    open_annotation,
    open_volume,
    tissue_mask,
)
from pipeline.core.errors import DataError
from pipeline.core.model import CORONAL_SPACE, Structure, UInt32
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.volume_files import Volume
from pipeline.inputs.references import OUTLINE_UM, RunReference

GREYS = 24  # classes of grey that stand for structures
TILE_UM = 2000.0  # labels of one class differ by tiles of this side, so that stain may vary between them
LEAST_BOX, MOST_BOX = 0.5, 2.0  # of the series' box
LABEL_BYTES = 4  # a voxel, of labels; few templates take so many
# Share of voxels that are as their neighbour along R: labels of CCFv3 at 100 um have .70, its template .46.
LABELS_ALIKE = 0.5
COARSE_UM = 100.0  # voxel that made labels have at least


@dataclass(frozen=True, eq=False)
class Anchor:
    """An anchor.

    Attributes
    ----------
    path : Path
        As given.
    space : ReferenceSpace
        Labels that sections are aligned to.
    box_um : (3,) float, um
        Its box.
    annotation : (P, I, R) uint32 or None
        Its own labels, at their finest.
    annotation_um : float, um
        Their voxel size.
    ontology : GivenOntology or None
        Of its own labels.
    midline_um : float, um, or None
        R of the midline where it is stated.
    files : tuple of Path
        What was read.
    grey : Volume or None
        Its values, where it has no labels of its own.
    """

    path: Path
    space: ReferenceSpace
    box_um: tuple[float, float, float]
    annotation: UInt32 | None
    annotation_um: float
    ontology: GivenOntology | None
    midline_um: float | None
    files: tuple[Path, ...]
    grey: Volume | None = None


def open_anchor(path: Path) -> Anchor:
    """Read an anchor.

    Parameters
    ----------
    path : Path
        Volume file, or reference folder.

    Returns
    -------
    Anchor
        With its own annotation, where it is a reference.

    Raises
    ------
    DataError
        Where it cannot be read, states no voxel size or shows no tissue.
    """
    files = tuple(input_files(path))
    if has_annotation(path):
        space = RunReference(path).at(OUTLINE_UM)
        own = open_annotation(path, template=False)
        um = own.spacing_um[0]
        p, i, r = (n * um for n in own.labels.shape)
        return Anchor(path, space, (p, i, r), own.labels, um, own.ontology, own.midline_um, files)
    volume = open_volume(path, remedy="write it there, or convert the volume to NRRD")
    _check_grey(volume)
    return Anchor(path, made_labels(volume), volume.box_um, None, 0.0, None, None, files, volume)


def _check_grey(volume: Volume) -> None:
    """Refuse labels given as if they were grey values."""
    values = volume.values
    if values.dtype.kind not in "iu" or values.dtype.itemsize < LABEL_BYTES:
        return
    tissue = values[..., 1:] != 0
    alike = float((values[..., 1:] == values[..., :-1])[tissue].mean()) if tissue.any() else 0.0
    if alike > LABELS_ALIKE:
        raise DataError(
            f"{volume.path}: expected grey values, got labels; name the template that they lie on, or a"
            " folder of annotation, template and structure_graph_1.json"
        )


def made_labels(volume: Volume) -> ReferenceSpace:
    """Return a reference whose labels are classes of a volume's grey values, in tiles.

    Parameters
    ----------
    volume : Volume
        A grey volume of any contrast.

    Returns
    -------
    ReferenceSpace
        Labels of cubic voxels; a series paints them with what it shows there.

    Notes
    -----
    Any smooth relation of two contrasts gives classes of the one a common value in the other; it may differ
    from place to place, so tiles of one class are labels of their own.
    """
    um = max(COARSE_UM if min(volume.spacing_um) >= COARSE_UM / 2 else OUTLINE_UM, min(volume.spacing_um))
    mask = tissue_mask(volume)
    shape = [max(2, round(side / um)) for side in volume.box_um]
    at = np.meshgrid(
        *(np.arange(n) * um / own for n, own in zip(shape, volume.spacing_um, strict=True)), indexing="ij"
    )
    values = ndimage.map_coordinates(np.asarray(volume.values, np.float32), at, order=1, mode="nearest")
    inside = ndimage.map_coordinates(mask.astype(np.float32), at, order=1, mode="nearest") > 0.5
    edges = np.unique(np.quantile(values[inside], np.linspace(0, 1, GREYS + 1)[1:-1]))
    grey = np.digitize(values, edges)
    tile = np.zeros(shape, np.int64)
    for axis, n in enumerate(shape):
        numbers = (np.arange(n) * um // TILE_UM).astype(np.int64)
        view = [1, 1, 1]
        view[axis] = n
        tile = tile * int(numbers.max() + 1) + numbers.reshape(view)
    labels = np.where(inside, 1 + grey + GREYS * tile, 0)
    ids, index = np.unique(labels, return_inverse=True)
    compact = (index.reshape(shape) + (0 if ids[0] == 0 else 1)).astype(np.uint32)
    return ReferenceSpace(CORONAL_SPACE, volume.path.name, compact, um, _ontology(int(compact.max())))


def _ontology(count: int) -> Ontology:
    root = 1_000_000
    structures = [Structure(root, "root", "root", None, 0, "FFFFFF")]
    structures += [
        Structure(k, f"class{k}", f"grey class {k}", root, k, "AAAAAA") for k in range(1, count + 1)
    ]
    return Ontology(tuple(structures))


def check_box(anchor: Anchor, series_um: Sequence[float], length_um: float, plane: str) -> None:
    """Refuse an anchor whose box cannot hold the series, or dwarfs it.

    Parameters
    ----------
    anchor : Anchor
        The anchor.
    series_um : (2,) float, um
        Largest height and width of the tissue on a section.
    length_um : float, um
        From the first section to the last.
    plane : {"coronal", "sagittal"}
        Plane of section.

    Raises
    ------
    DataError
        Where the tissue in its planes is under half or over twice that of the series, or its box is under
        half the length of the series.
    """
    inside = anchor.space.annotation > 0
    normal = {"coronal": 0, "sagittal": 2}[plane]
    extents = []
    for axis in range(3):
        others = tuple(k for k in range(3) if k != axis)
        there = np.flatnonzero(inside.any(axis=others))
        extents.append(float(there[-1] - there[0] + 1) * anchor.space.annotation_um if there.size else 0.0)
    across = [extent for axis, extent in enumerate(extents) if axis != normal]
    ratio = float(np.sqrt(np.prod(across) / max(float(np.prod(series_um)), 1e-9)))
    along = anchor.box_um[normal] / max(length_um, 1e-9)
    if LEAST_BOX <= ratio <= MOST_BOX and along >= LEAST_BOX:
        return
    shown = " x ".join(f"{side / 1000:.1f}" for side in anchor.box_um)
    tissue = f"{series_um[0] / 1000:.1f} x {series_um[1] / 1000:.1f}"
    raise DataError(
        f"{anchor.path}: expected an anchor of the size of the series, whose tissue is {tissue} mm on"
        f" sections over {length_um / 1000:.1f} mm,"
        f" got a box of {shown} mm with tissue {ratio:.2g} times as large; correct the voxel size of the"
        " anchor, or resolution_um and section_thickness_um of the series"
    )


def anchor_labels(anchor: Anchor, spacing_um: float, shape: tuple[int, int, int]) -> UInt32 | None:
    """Return the anchor's own labels on the grid of the result.

    Parameters
    ----------
    anchor : Anchor
        The anchor.
    spacing_um : float, um
        Voxel size of the result.
    shape : (int, int, int)
        Its voxels.

    Returns
    -------
    (P, I, R) uint32 or None
        Of the nearest voxel; None for an anchor without labels.
    """
    if anchor.annotation is None:
        return None
    share = spacing_um / anchor.annotation_um
    index = [
        np.minimum(np.rint(np.arange(n) * share).astype(np.int64), most - 1)
        for n, most in zip(shape, anchor.annotation.shape, strict=True)
    ]
    return np.asarray(anchor.annotation[np.ix_(*index)])
