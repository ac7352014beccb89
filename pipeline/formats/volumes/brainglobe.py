"""BrainGlobe atlas folders: annotation.tiff, reference.tiff, structures.json, metadata.json."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from pipeline.core.errors import DataError
from pipeline.core.model import CORONAL_SPACE, Structure
from pipeline.core.ontology import COLOUR, Ontology, structure_number
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.labels import is_cubic, structure_ids
from pipeline.system.files import check_plain, read_json_value

ANNOTATION, TEMPLATE = "annotation.tiff", "reference.tiff"
STRUCTURES, METADATA = "structures.json", "metadata.json"
# Pairs of letters that an orientation may use for one axis. The first names where index 0 of our axes
# lies: P starts at anterior, I at superior, R at left.
ORIGINS = ("ap", "si", "lr")
MOST_VOXELS = 4_000_000_000  # a mouse brain at 10 um has a third of that
FILL_COLOUR = "AAAAAA"  # grey hex triplet of structures without a colour


def is_brainglobe(folder: Path) -> bool:
    """Check whether a folder is a BrainGlobe atlas.

    Parameters
    ----------
    folder : Path
        Any folder.

    Returns
    -------
    bool
        True where it holds metadata.json and structures.json.
    """
    return (folder / METADATA).is_file() and (folder / STRUCTURES).is_file()


def read_brainglobe(
    folder: Path, resolution_um: float | None = None, *, template: bool = True
) -> ReferenceSpace:
    """Read an atlas of any species, its axes reordered to (P, I, R).

    Parameters
    ----------
    folder : Path
        Atlas folder. Its orientation names where index 0 of each axis lies: "asr" = anterior, superior,
        right.
    resolution_um : float, um, optional
        Voxel size that the atlas must have; default any.
    template : bool
        Read the grey image too.

    Returns
    -------
    ReferenceSpace
        The atlas; annotation and template have the same voxels.

    Raises
    ------
    DataError
        Where a file is missing or damaged, voxels are not cubes or not of the requested size, or the
        annotation and the template differ in shape.
    """
    metadata = _json(folder / METADATA)
    try:
        orientation = str(metadata["orientation"]).lower()
        spacing = [float(v) for v in metadata["resolution"]]
        name, citation = str(metadata.get("name", folder.name)), str(metadata.get("citation", ""))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / METADATA}: expected orientation and resolution, got {error!r}") from error
    if not is_cubic(spacing):
        raise DataError(f"{folder / METADATA}: expected one resolution along all axes, got {spacing}")
    if resolution_um not in (None, spacing[0]):
        raise DataError(
            f"{folder}: expected an annotation at {resolution_um:g} um, got {spacing[0]:g}; use that"
        )
    if not _is_orientation(orientation):
        raise DataError(f"{folder / METADATA}: expected an orientation such as asr, got {orientation!r}")
    labels = to_pir(structure_ids(_volume(folder / ANNOTATION), folder / ANNOTATION), orientation)
    grey = to_pir(_volume(folder / TEMPLATE), orientation) if template else None
    if grey is not None and grey.shape != labels.shape:
        raise DataError(
            f"{folder}: expected annotation and reference of one shape, got {labels.shape}, {grey.shape}"
        )
    return ReferenceSpace(
        id=CORONAL_SPACE,
        name=name,
        annotation=labels,
        annotation_um=spacing[0],
        ontology=parse_structures(_json(folder / STRUCTURES), str(folder / STRUCTURES)),
        template=None if grey is None else grey.astype(np.float32),
        template_um=0.0 if grey is None else spacing[0],
        citation=citation,
    )


def to_pir(volume: npt.NDArray[Any], orientation: str) -> npt.NDArray[Any]:
    """Reorder the axes of a volume to (P, I, R).

    Parameters
    ----------
    volume : array of three dimensions
        In the orientation of its atlas.
    orientation : str
        Three letters that name where index 0 of each axis lies, such as "asr".

    Returns
    -------
    (P, I, R) array
        A view of the volume.

    Examples
    --------
    >>> to_pir(np.arange(3).reshape(1, 1, 3), "asr").ravel()
    array([2, 1, 0])
    """
    order = [next(i for i, letter in enumerate(orientation) if letter in pair) for pair in ORIGINS]
    turned = volume.transpose(order)
    flips = [
        slice(None, None, 1 if orientation[i] == pair[0] else -1)
        for i, pair in zip(order, ORIGINS, strict=True)
    ]
    return turned[tuple(flips)]


def parse_structures(document: Any, where: str) -> Ontology:
    """Build the ontology from BrainGlobe's flat list of structures.

    Parameters
    ----------
    document : list of dict
        Structures with id, acronym, name, structure_id_path and rgb_triplet.
    where : str
        File name for messages.

    Returns
    -------
    Ontology
        Ordered by structure_id_path, so that parents precede children.

    Raises
    ------
    DataError
        Where a field is missing or of another type, or the structures form no tree.
    """
    try:
        rows = sorted(document, key=lambda row: [int(i) for i in row["structure_id_path"]])
        return Ontology(tuple(_structure(row, order) for order, row in enumerate(rows)))
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{where}: expected BrainGlobe structures, got {error!r}") from error


def _structure(row: Any, order: int) -> Structure:
    path = [int(i) for i in row["structure_id_path"]]
    colour = row.get("rgb_triplet")
    return Structure(
        id=structure_number(row, "id"),
        acronym=str(row["acronym"]),
        name=str(row["name"]),
        parent_id=path[-2] if len(path) > 1 else None,
        graph_order=order,
        color=FILL_COLOUR if colour is None else _hex(colour),
    )


def _hex(colour: Sequence[int]) -> str:
    text = "".join(f"{int(c):02X}" for c in colour)
    return text if COLOUR.fullmatch(text) else FILL_COLOUR


def _is_orientation(text: str) -> bool:
    return len(text) == 3 and all(sum(letter in pair for letter in text) == 1 for pair in ORIGINS)


def _json(path: Path) -> Any:
    return read_json_value(path, "a BrainGlobe atlas file")


def _volume(path: Path) -> npt.NDArray[Any]:
    check_plain(path, "a volume of a BrainGlobe atlas")
    try:
        with tifffile.TiffFile(path, _multifile=False) as file:
            shape = file.series[0].shape
            if math.prod(shape) > MOST_VOXELS:
                raise DataError(f"{path}: expected at most {MOST_VOXELS} voxels, got shape {shape}")
            volume = np.asarray(file.asarray())
    except DataError:
        raise
    except Exception as error:  # decoders raise errors of many types on damaged bytes
        raise DataError(f"{path}: expected a whole TIFF volume, got {error}; download it again") from error
    if volume.ndim != 3:
        raise DataError(f"{path}: expected a volume of three dimensions, got shape {volume.shape}")
    return volume
