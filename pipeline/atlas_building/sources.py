"""What the verbs of `ish reference` read: volumes, references and annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.atlas_building.result import GivenOntology
from pipeline.core.errors import DataError
from pipeline.core.model import Bool, Structure, UInt32
from pipeline.core.ontology import Ontology
from pipeline.formats.volumes import reference_folder
from pipeline.formats.volumes.brainglobe import is_brainglobe, is_brainglobe_3
from pipeline.formats.volumes.labels import structure_ids
from pipeline.formats.volumes.reference_folder import ONTOLOGY, present_labels
from pipeline.formats.volumes.volume_files import OPTION, Volume, read_volume
from pipeline.inputs.references import read_reference, reference_files

NOISE_FACTOR = 4.0  # standard deviations of the surroundings by which tissue differs from them
LEAST_CONTRAST = 0.1  # of the strongest difference from the surroundings, that tissue has at least
LEAST_TISSUE = 0.002  # share of the box that tissue fills at least
MOST_GREY = 2**24  # up to which float32 holds whole numbers
ROOT_ID = 997  # of Allen's root
MAD_SIGMA = 1.4826  # standard deviations a median absolute deviation


@dataclass(frozen=True, eq=False)
class Annotation:
    """An annotation with its ontology and, where it has one, its template.

    Attributes
    ----------
    labels : (P, I, R) uint32
        Structure ids, 0 outside.
    spacing_um : (3,) float, um
        Voxel size of the labels.
    ontology : GivenOntology or None
        None for a label volume without one.
    template : Volume or None
        The grey image that the labels lie on; its grid may be another one of the same box.
    midline_um : float, um, or None
        R of the midline where the reference states it.
    files : tuple of Path
        What was read.
    """

    labels: UInt32
    spacing_um: tuple[float, float, float]
    ontology: GivenOntology | None
    template: Volume | None
    midline_um: float | None = None
    files: tuple[Path, ...] = field(default=())


def open_volume(path: Path, spacing_um: float | None = None, *, remedy: str = OPTION) -> Volume:
    """Read a VOLUME: a file, or the finest template of a reference folder.

    Parameters
    ----------
    path : Path
        Volume file or reference folder.
    spacing_um : float, um, optional
        Voxel size of a file that states none.
    remedy : str
        What to do where neither is known, for the message.

    Returns
    -------
    Volume
        Its values and voxel size; `path` names the file or folder.

    Raises
    ------
    DataError
        Where there is no such volume, or it holds no number that is finite.
    """
    if not path.is_dir():
        _check_there(path)
        return _finite(read_volume(path, spacing_um, remedy=remedy))
    if is_brainglobe(path) or is_brainglobe_3(path):
        space = read_reference(path)
        found = None if space.template is None else (space.template, space.template_um)
    else:
        found = reference_folder.read_finest_template(path)
    if found is None:
        raise DataError(f"{path}: expected a template in the reference folder, got none; name a volume file")
    return _finite(Volume(found[0], (found[1],) * 3, path))


def open_grey(path: Path, spacing_um: float | None = None) -> Volume:
    """Read a VOLUME whose values rise or fall with what it shows.

    Parameters
    ----------
    path : Path
        Volume file or reference folder.
    spacing_um : float, um, optional
        Voxel size of a file that states none.

    Returns
    -------
    Volume
        As `open_volume` returns it.

    Raises
    ------
    DataError
        Where there is no such volume, or it holds structure ids.
    """
    volume = open_volume(path, spacing_um)
    if volume.values.dtype.kind in "iu" and volume.values.dtype.itemsize > 2:
        most = int(volume.values.max())
        if most > MOST_GREY:
            raise DataError(
                f"{path}: expected grey values, got whole numbers up to {most}; are they structure ids? name"
                " the template"
            )
    return volume


def open_annotation(
    path: Path, ontology: Path | None = None, *, template: bool = True, spacing_um: float | None = None
) -> Annotation:
    """Read an ANNOTATION: a reference folder, or a volume of labels.

    Parameters
    ----------
    path : Path
        Reference folder, or volume file.
    ontology : Path, optional
        Structure graph of a volume of labels; default that in its folder, where there is one.
    template : bool
        Read the template of a reference folder too.
    spacing_um : float, um, optional
        Voxel size of a file that states none.

    Returns
    -------
    Annotation
        Labels, ontology and template.

    Raises
    ------
    DataError
        Where a file is missing or damaged, or the labels are no structure ids, or all 0.
    """
    found = _read_annotation(path, ontology, template, spacing_um)
    if not found.labels.any():
        raise DataError(f"{path}: expected labels, got an annotation that is 0 everywhere; give another one")
    return found


def _read_annotation(
    path: Path, ontology: Path | None, template: bool, spacing_um: float | None
) -> Annotation:
    if not path.is_dir():
        _check_there(path)
        volume = read_volume(path, spacing_um)
        beside = ontology or (path.parent / ONTOLOGY if (path.parent / ONTOLOGY).is_file() else None)
        given = None if beside is None else open_ontology(beside)
        files = (path,) if beside is None else (path, beside)
        return Annotation(structure_ids(volume.values, path), volume.spacing_um, given, None, None, files)
    space = read_reference(path, template=False)
    graph = path / ONTOLOGY
    given = open_ontology(graph) if graph.is_file() else GivenOntology.of(space.ontology)
    grey = open_volume(path) if template and _has_template(path) else None
    um = (space.annotation_um,) * 3
    return Annotation(
        space.annotation, um, given, grey, space.stated_midline_um, tuple(reference_files(path))
    )


def open_ontology(path: Path) -> GivenOntology:
    """Read a structure graph and keep its bytes.

    Parameters
    ----------
    path : Path
        structure_graph_1.json, under any name.

    Returns
    -------
    GivenOntology
        The structures and the bytes.

    Raises
    ------
    DataError
        Where the file is missing or damaged.
    """
    return GivenOntology(reference_folder.read_ontology(path), path.read_bytes())


def with_ontology(labels: Annotation) -> Annotation:
    """Return an annotation that has an ontology.

    Parameters
    ----------
    labels : Annotation
        With or without one.

    Returns
    -------
    Annotation
        Without one, every label becomes a structure of its own below a root.
    """
    if labels.ontology is not None:
        return labels
    ids = [int(one) for one in present_labels(labels.labels) if one]
    root = max(ids, default=0) + 1 if ROOT_ID in ids else ROOT_ID
    structures = [Structure(root, "root", "root", None, 0, "FFFFFF")]
    for order, one in enumerate(ids):
        colour = f"{(one * 2654435761) & 0xFFFFFF:06X}"  # spread over the colours (Knuth's hash)
        structures.append(Structure(one, str(one), f"label {one}", root, order + 1, colour))
    return replace(labels, ontology=GivenOntology.of(Ontology(tuple(structures))))


def check_same_box(path: Path, labels: Annotation, grey: Volume) -> None:
    """Refuse labels that lie on another box than a volume.

    Parameters
    ----------
    path : Path
        Of the labels, for the message.
    labels : Annotation
        The labels.
    grey : Volume
        The volume.

    Raises
    ------
    DataError
        Where a side differs by more than one and a half voxels.
    """
    box = [n * um for n, um in zip(labels.labels.shape, labels.spacing_um, strict=True)]
    most = [max(a, b) for a, b in zip(labels.spacing_um, grey.spacing_um, strict=True)]
    if any(abs(a - b) > 1.5 * um for a, b, um in zip(box, grey.box_um, most, strict=True)):
        raise DataError(
            f"{path}: expected labels on the box of {grey.path}, {_mm(grey.box_um)} mm, got {_mm(box)} mm;"
            " give the labels of this volume"
        )


def _mm(box_um: Sequence[float]) -> str:
    return " x ".join(f"{side / 1000:g}" for side in box_um)


def stated_midline_um(path: Path) -> float | None:
    """Return the midline that an input states.

    Parameters
    ----------
    path : Path
        Volume file or reference folder.

    Returns
    -------
    float or None, um
        R of the midline of a reference that states it.
    """
    if not path.is_dir():
        return None
    if is_brainglobe(path) or is_brainglobe_3(path):
        return read_reference(path, template=False).stated_midline_um
    return reference_folder.read_midline_um(path)


def has_annotation(path: Path) -> bool:
    """Tell whether a path is a reference folder.

    Parameters
    ----------
    path : Path
        Volume file or reference folder.

    Returns
    -------
    bool
        True for a folder with an annotation, or a BrainGlobe atlas.
    """
    if not path.is_dir():
        return False
    if is_brainglobe(path) or is_brainglobe_3(path):
        return True
    return any(name.startswith("annotation") for name, _ in reference_folder.available(path))


def input_files(path: Path) -> list[Path]:
    """Return the files of an input whose checksums reference.json states.

    Parameters
    ----------
    path : Path
        Volume file or reference folder.

    Returns
    -------
    list of Path
        The file and, of a `.mhd`, its data; of a folder, what it is read from.
    """
    if path.is_dir():
        return reference_files(path)
    raw = path.with_suffix(".raw")
    return [path, raw] if path.suffix == ".mhd" and raw.is_file() else [path]


def tissue_mask(volume: Volume) -> Bool:
    """Tell tissue from its surroundings, whatever the contrast.

    Parameters
    ----------
    volume : Volume
        A grey volume, whose tissue may be brighter or darker than its surroundings.

    Returns
    -------
    (P, I, R) bool
        True in tissue.

    Raises
    ------
    DataError
        Where there is none.

    Notes
    -----
    The surroundings have the median value of the faces of the box. Tissue differs from it by more than their
    noise and a tenth of the strongest difference; specks are dropped and holes are filled.
    """
    values = np.asarray(volume.values, np.float32)
    faces = _faces(values)
    around = float(np.median(faces))
    noise = MAD_SIGMA * float(np.median(np.abs(faces - around)))
    apart = np.abs(values - around)
    least = max(NOISE_FACTOR * noise, LEAST_CONTRAST * float(np.percentile(apart, 99.5)))
    mask = ndimage.binary_opening(apart > least) if least > 0 else np.zeros(values.shape, bool)
    if mask.mean() < LEAST_TISSUE:
        raise DataError(f"{volume.path}: expected tissue that differs from its surroundings, got none")
    return np.asarray(ndimage.binary_fill_holes(_largest(mask)))


def _faces(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the values on the six faces of a box."""
    return np.concatenate([np.take(values, at, axis).ravel() for axis in range(3) for at in (0, -1)])


def _largest(mask: Bool) -> Bool:
    """Return the parts of a mask that have a tenth of its largest part or more."""
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return np.asarray((sizes >= sizes.max() / 10)[labels])


def _has_template(path: Path) -> bool:
    if is_brainglobe(path) or is_brainglobe_3(path):
        return True
    return any(not name.startswith("annotation") for name, _ in reference_folder.available(path))


def check_spacing(path: Path, box_um: Sequence[float], spacing_um: float) -> None:
    """Refuse voxels that a box has no room for.

    Parameters
    ----------
    path : Path
        What the box is of, for the message.
    box_um : (3,) float, um
        The box.
    spacing_um : float, um
        Voxel size of a result.

    Raises
    ------
    DataError
        Where fewer than two voxels lie along an axis.
    """
    most = min(box_um) / 2
    if not spacing_um <= most:
        raise DataError(
            f"--spacing-um {spacing_um:g}: expected at most {most:g} um, two voxels along each axis of"
            f" {path}, {_mm(box_um)} mm; take smaller voxels"
        )


def _check_there(path: Path) -> None:
    if not path.exists():
        raise DataError(
            f"{path}: expected a volume or a reference folder, got no such file; correct the path"
        )


def _finite(volume: Volume) -> Volume:
    """Return a volume whose numbers are all finite: what is not counts as its surroundings.

    They have the median of what is finite on the faces of the box; 0 where nothing is.
    """
    if volume.values.dtype.kind != "f":
        return volume
    finite = np.isfinite(volume.values)
    if finite.all():
        return volume
    if not finite.any():
        raise DataError(f"{volume.path}: expected numbers, got none that is finite")
    faces = _faces(volume.values)
    around = float(np.median(faces[np.isfinite(faces)])) if np.isfinite(faces).any() else 0.0
    values = np.where(finite, volume.values, volume.values.dtype.type(around))
    return Volume(values, volume.spacing_um, volume.path)
