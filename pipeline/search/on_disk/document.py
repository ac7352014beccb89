"""The document of a search index, with the labels and the ontology that it is about."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import DataError, MissingResultError
from pipeline.core.model import MIDLINE_UM, Structure, UInt32
from pipeline.core.ontology import Ontology
from pipeline.search.kernels.order import VoxelOrder
from pipeline.search.on_disk.experiments import TABLE, write_experiments
from pipeline.search.on_disk.names import LABELS, LOCK, ONTOLOGY, OURS, SEAL
from pipeline.search.on_disk.row_files import create_part, row_arrays
from pipeline.store.arrays import DOCUMENT, write_group
from pipeline.store.rows import RowArray, write_whole
from pipeline.system.files import read_content, read_json_value
from pipeline.system.whole_files import beside, remove, sync

VERSION = 2  # of the layout; an index of another version is refused
_ATTRIBUTE = "ish_index"
_MOST_BYTES = 1 << 28  # largest file of labels or ontology; those of the 200 um grid have less than 1 MB


@dataclass(frozen=True, eq=False)
class IndexSubject:
    """The subject of an index: the labels of its grid.

    Attributes
    ----------
    labels : (P, I, R) uint32
        Structure id of every voxel; 0 outside the brain.
    ontology : Ontology
        The structure tree of the labels.
    spacing_um : float
        Spacing of the grid, um.
    label_form : str
        Origin of the labels: "derived" (from the annotation), "served" (gridAnnotation), "" where not known.
    midline_um : float, um
        R at which the hemispheres part.
    """

    labels: UInt32
    ontology: Ontology
    spacing_um: float
    label_form: str = ""
    midline_um: float = MIDLINE_UM


def create_index(path: Path, subject: IndexSubject, order: VoxelOrder) -> None:
    """Create an index without experiments; its zarr.json, written last, makes it one.

    Parameters
    ----------
    path : Path
        Folder of the index.
    subject : IndexSubject
        Labels, ontology and spacing.
    order : VoxelOrder
        Storage order of the voxels of these labels.
    """
    claim_folder(path)
    labels = np.ascontiguousarray(subject.labels, "<u4")
    write_whole(path / LABELS, labels, LABELS)
    structures = [asdict(structure) for structure in subject.ontology.structures]
    ontology = json.dumps(structures).encode()
    (path / ONTOLOGY).write_bytes(ontology)
    described = {
        "version": VERSION,
        "spacing_um": subject.spacing_um,
        "shape": list(labels.shape),
        "row": [order.padded, order.padded_outside],
        "labels": zlib.crc32(labels.data),
        "ontology": zlib.crc32(ontology),
        "label_form": subject.label_form,
        "midline_um": subject.midline_um,
    }
    create_part(path, 0, row_arrays(order.padded, order.padded_outside))
    write_experiments(path, (), 0, 0)
    # All other files must outlive a loss of power before the document makes the folder an index.
    for file in (path / ONTOLOGY, path / LABELS / "c" / "0" / "0" / "0", path):
        sync(file)
    whole = beside(path / DOCUMENT)
    write_group(whole, {_ATTRIBUTE: described | {"crc32": _own_checksum(described)}})
    sync(whole / DOCUMENT)
    (whole / DOCUMENT).rename(path / DOCUMENT)
    remove(whole)
    sync(path)


def claim_folder(path: Path) -> None:
    """Create the folder of an index where there is none.

    Parameters
    ----------
    path : Path
        Folder of the index.

    Raises
    ------
    DataError
        Where the place is taken by something else, or the index lacks its document.
    """
    names = sorted(p.name for p in path.iterdir()) if path.is_dir() else []
    foreign = [name for name in names if not OURS.fullmatch(name)]
    ours = (path / DOCUMENT).is_file() or (path / LOCK).is_file()
    if (path.exists() and not path.is_dir()) or (names and (not ours or foreign)):
        if (path / DOCUMENT).is_file() and (path / TABLE).is_file():
            return  # an index with files of the user's own beside it
        raise DataError(f"{path}: expected an index or nothing, got something else; choose another --output")
    if not (path / DOCUMENT).is_file() and _has_rows(path):
        raise _broken(path, f"{path / DOCUMENT}: is missing")
    path.mkdir(parents=True, exist_ok=True)


def read_subject(path: Path) -> IndexSubject:
    """Read the labels, ontology and spacing of an index.

    Parameters
    ----------
    path : Path
        Folder of the index.

    Returns
    -------
    IndexSubject
        The subject, with its checksums verified.

    Raises
    ------
    MissingResultError
        Where there is no index.
    DataError
        Where the index is damaged or of another version.
    """
    described = _described(path)
    try:
        content = read_content(path / LABELS / "c" / "0" / "0" / "0", "the labels of an index", _MOST_BYTES)
        if zlib.crc32(content) != described["labels"]:
            raise DataError(f"{path / LABELS}: labels are damaged")
        labels = np.frombuffer(content, "<u4").reshape(described["shape"]).astype(np.uint32)
        text = read_content(path / ONTOLOGY, "the structures of an index", _MOST_BYTES)
        if zlib.crc32(text) != described["ontology"]:
            raise DataError(f"{path / ONTOLOGY}: is damaged")
    except DataError as error:
        raise _broken(path, str(error)) from None
    ontology = Ontology(tuple(Structure(**item) for item in json.loads(text)))
    form = str(described.get("label_form", ""))
    midline_um = float(described.get("midline_um", MIDLINE_UM))
    return IndexSubject(labels, ontology, float(described["spacing_um"]), form, midline_um)


def rows_of(path: Path) -> tuple[RowArray, ...]:
    """Return the arrays that a row of an existing index consists of.

    Parameters
    ----------
    path : Path
        Folder of the index.

    Returns
    -------
    tuple of RowArray
        Codes, fine and outside.
    """
    return row_arrays(*_described(path)["row"])


def _described(path: Path) -> dict[str, Any]:
    """Return the attributes of an index; the errors are those of `read_subject`."""
    if not (path / DOCUMENT).exists():
        if _has_rows(path):
            raise _broken(path, f"{path / DOCUMENT}: is missing")
        raise MissingResultError(f"{path}: no index here; make one with `ish index DIR --output {path}`")
    try:
        document = read_json_value(path / DOCUMENT, "the document of an index")
    except DataError as error:
        raise _broken(path, str(error)) from None
    try:
        described = dict(document["attributes"][_ATTRIBUTE])
        version = int(described["version"])
    except (KeyError, TypeError, ValueError, AttributeError):
        if _has_rows(path):
            raise _broken(path, f"{path / DOCUMENT}: is damaged") from None
        raise DataError(f"{path}: expected a search index, got another zarr group") from None
    whole = described.pop("crc32", None) == _own_checksum(described)
    if version < VERSION:
        raise _broken(path, f"{path}: the index is of version {version}, this program reads {VERSION}")
    if version > VERSION:
        raise DataError(
            f"{path}: the index is of version {version}, this program reads {VERSION}; update ish-pipeline"
        )
    if not whole:
        raise _broken(path, f"{path / DOCUMENT}: is damaged")
    return described


def _own_checksum(described: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(described, sort_keys=True).encode())


def _has_rows(path: Path) -> bool:
    return any(path.glob("rows-*/*/c/*/0")) or ((path / TABLE).exists() and (path / SEAL).exists())


def _broken(path: Path, what: str) -> DataError:
    return DataError(f"{what}; remove {path} and build the index again")
