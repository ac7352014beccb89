"""BrainGlobe atlases: folders of version 1 and 2, and what the documents of version 3 state.

A folder of version 1 or 2 holds annotation.tiff, reference.tiff, structures.json and metadata.json. One of
version 3 holds manifest.json, which names an annotation, a template and a terminology that lie elsewhere
in BrainGlobe's tree. Its volumes are read by `store/brainglobe.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from pipeline.core.errors import DataError
from pipeline.core.model import CORONAL_SPACE, Structure, UInt32
from pipeline.core.ontology import COLOUR, Ontology, structure_number
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.tables.tables import read_cells
from pipeline.formats.volumes.labels import is_cubic, structure_ids
from pipeline.system.files import check_plain, read_json_value, real_path, shown

ANNOTATION, TEMPLATE = "annotation.tiff", "reference.tiff"
STRUCTURES, METADATA = "structures.json", "metadata.json"
MANIFEST, TERMINOLOGY = "manifest.json", "terminology.csv"  # of version 3
ANNOTATION_3, TEMPLATE_3 = "annotations_compressed.ome.zarr", "template.ome.zarr"
# Pairs of letters that an orientation may use for one axis. The first names where index 0 of our axes
# lies: P starts at anterior, I at superior, R at left.
ORIGINS = ("ap", "si", "lr")
MOST_VOXELS = 4_000_000_000  # a mouse brain at 10 um has a third of that
MIDLINE_KEY = "ish_midline_um"  # of a manifest that this program wrote
FILL_COLOUR = "AAAAAA"  # grey hex triplet of structures without a colour


@dataclass(frozen=True)
class AtlasManifest:
    """What the manifest of an atlas of version 3 names.

    Attributes
    ----------
    spacing_um : float
        Voxel size, um.
    annotation, template : Path
        OME-Zarr folders, which hold further resolutions too.
    """

    spacing_um: float
    annotation: Path
    template: Path


def is_brainglobe(folder: Path) -> bool:
    """Check whether a folder is a BrainGlobe atlas of version 1 or 2.

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


def is_brainglobe_3(folder: Path) -> bool:
    """Check whether a folder is a BrainGlobe atlas of version 3.

    Parameters
    ----------
    folder : Path
        Any folder.

    Returns
    -------
    bool
        True where it holds manifest.json.
    """
    return (folder / MANIFEST).is_file()


def read_brainglobe(
    folder: Path, resolution_um: float | None = None, *, template: bool = True
) -> ReferenceSpace:
    """Read an atlas of version 1 or 2, of any species, its axes reordered to (P, I, R).

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
    metadata = _document(folder / METADATA)
    spacing_um = _spacing_um(folder / METADATA, metadata, resolution_um)
    orientation = str(metadata.get("orientation")).lower()
    if not _is_orientation(orientation):
        raise DataError(f"{folder / METADATA}: expected an orientation such as asr, got {orientation!r}")
    labels = to_pir(structure_ids(_volume(folder / ANNOTATION), folder / ANNOTATION), orientation)
    grey = to_pir(_volume(folder / TEMPLATE), orientation) if template else None
    return atlas_space(folder, spacing_um, labels, grey)


def read_manifest(folder: Path, resolution_um: float | None = None) -> AtlasManifest:
    """Read the manifest of an atlas of version 3.

    Parameters
    ----------
    folder : Path
        Atlas folder, atlases/NAME/VERSION of BrainGlobe's tree.
    resolution_um : float, um, optional
        Voxel size that the atlas must have; default any.

    Returns
    -------
    AtlasManifest
        Where its parts lie.

    Raises
    ------
    DataError
        Where the manifest is damaged or names places outside the tree, voxels are not cubes or not of the
        requested size.
    """
    manifest = _document(folder / MANIFEST)
    return AtlasManifest(
        _spacing_um(folder / MANIFEST, manifest, resolution_um),
        _place(folder, manifest, "annotation_set") / ANNOTATION_3,
        _place(folder, manifest, "annotation_set", "template") / TEMPLATE_3,
    )


def atlas_space(
    folder: Path, spacing_um: float, labels: UInt32, grey: npt.NDArray[Any] | None
) -> ReferenceSpace:
    """Return the reference space of the volumes of an atlas.

    Parameters
    ----------
    folder : Path
        Atlas folder.
    spacing_um : float, um
        Voxel size.
    labels : (P, I, R) uint32
        Structure ids.
    grey : (P, I, R) array or None
        The grey image.

    Returns
    -------
    ReferenceSpace
        With name, citation and structures of the atlas.

    Raises
    ------
    DataError
        Where the volumes differ in shape, or the structures are damaged.
    """
    if grey is not None and grey.shape != labels.shape:
        raise DataError(
            f"{folder}: expected annotation and reference of one shape, got {labels.shape}, {grey.shape}"
        )
    name, citation = atlas_origin(folder)
    return ReferenceSpace(
        id=CORONAL_SPACE,
        name=name,
        annotation=labels,
        annotation_um=spacing_um,
        ontology=read_structures(folder),
        template=None if grey is None else grey.astype(np.float32),
        template_um=0.0 if grey is None else spacing_um,
        citation=citation,
        stated_midline_um=_midline_um(folder),
    )


def _midline_um(folder: Path) -> float | None:
    """Return the midline that the manifest of an atlas of ours states, um."""
    stated = _document(folder / MANIFEST).get(MIDLINE_KEY) if is_brainglobe_3(folder) else None
    return float(stated) if isinstance(stated, int | float) and stated > 0 else None


def atlas_origin(folder: Path) -> tuple[str, str]:
    """Return the name of an atlas, and how to cite it.

    Parameters
    ----------
    folder : Path
        Atlas folder of any version.

    Returns
    -------
    name, citation : str
        As the atlas states them; the name of the folder where it states none.

    Raises
    ------
    DataError
        Where its document is damaged.
    """
    document = _document(folder / (MANIFEST if is_brainglobe_3(folder) else METADATA))
    return str(document.get("name", real_path(folder).name)), str(document.get("citation", ""))


def structures_file(folder: Path) -> Path:
    """Return the file that lists the structures of an atlas of any version.

    Parameters
    ----------
    folder : Path
        Atlas folder.

    Returns
    -------
    Path
        structures.json, or terminology.csv of version 3.

    Raises
    ------
    DataError
        Where the manifest is damaged.
    """
    if not is_brainglobe_3(folder):
        return folder / STRUCTURES
    return _place(folder, _document(folder / MANIFEST), "terminology") / TERMINOLOGY


def read_structures(folder: Path) -> Ontology:
    """Read the structures of an atlas of any version.

    Parameters
    ----------
    folder : Path
        Atlas folder.

    Returns
    -------
    Ontology
        Ordered by the path from the root, so that parents precede children.

    Raises
    ------
    DataError
        Where the file is missing, a field is missing or of another type, or the structures form no tree.
    """
    path = structures_file(folder)
    try:
        document = _terminology(path) if path.name == TERMINOLOGY else _json(path)
        rows = sorted(document, key=lambda row: [int(i) for i in row["structure_id_path"]])
        return Ontology(tuple(_structure(row, order) for order, row in enumerate(rows)))
    except DataError as error:
        raise DataError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{path}: expected BrainGlobe structures, got {error!r}") from error


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


def _terminology(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a terminology of version 3 as version 2 states them."""
    header, lines = read_cells(path)
    rows = [dict(zip(header, cells, strict=True)) for _, cells in lines]
    return [
        {
            "id": row["identifier"],
            "acronym": row["abbreviation"],
            "name": row["name"],
            "structure_id_path": row["root_identifier_path"].strip("[]").split(","),
            "rgb_triplet": bytes.fromhex(row["color_hex_triplet"].strip("#")),
        }
        for row in rows
    ]


def _structure(row: Any, order: int) -> Structure:
    path = [int(i) for i in row["structure_id_path"]]
    colour = row.get("rgb_triplet")
    return Structure(
        id=structure_number(row, "id"),
        acronym=str(row["acronym"]),
        name=str(row["name"]),
        parent_id=path[-2] if len(path) > 1 else None,
        graph_order=order,
        color=_hex(colour) if colour else FILL_COLOUR,
    )


def _hex(colour: Sequence[int]) -> str:
    text = "".join(f"{int(c):02X}" for c in colour)
    return text if COLOUR.fullmatch(text) else FILL_COLOUR


def _is_orientation(text: str) -> bool:
    return len(text) == 3 and all(sum(letter in pair for letter in text) == 1 for pair in ORIGINS)


def _spacing_um(where: Path, document: Mapping[str, Any], resolution_um: float | None) -> float:
    """Return the voxel size that an atlas states; DataError where it is not the requested one."""
    try:
        spacing = [float(v) for v in document["resolution"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: expected orientation and resolution, got {error!r}") from error
    if not is_cubic(spacing):
        raise DataError(f"{where}: expected one resolution along all axes, got {spacing}")
    if resolution_um not in (None, spacing[0]):
        raise DataError(
            f"{where.parent}: expected an annotation at {resolution_um:g} um, got {spacing[0]:g}; use that"
        )
    return spacing[0]


def _place(folder: Path, manifest: Mapping[str, Any], *keys: str) -> Path:
    """Return the folder of a part that a manifest names, by its place in the tree of BrainGlobe."""
    node: Any = manifest
    try:
        for key in keys:
            node = node[key]
        place = Path(str(node["location"]).lstrip("/"))
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{folder / MANIFEST}: expected the location of {' '.join(keys)}, got {error!r}"
        ) from error
    if ".." in place.parts:
        raise DataError(f"{folder / MANIFEST}: expected a location in its tree, got {shown(str(place))}")
    root = real_path(real_path(folder) / "../../..")  # atlases/NAME/VERSION
    if not (root / place).is_dir():
        raise DataError(
            f"{folder}: expected {place} in {root}, got no such folder; an atlas of version 3 stays in"
            " BrainGlobe's folder"
        )
    return root / place


def _document(path: Path) -> dict[str, Any]:
    document = _json(path)
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected keys and values, got {shown(document)}")
    return document


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
