"""The folder of a search index: a zarr group with labels, rows of codes, sums and a table of experiments.

    INDEX/zarr.json, labels/      the subject: version, spacing, the structure of every voxel
    INDEX/ontology.json
    INDEX/experiments.parquet     the committed experiments; journal.jsonl those since the last table
    INDEX/rows-0/                 codes, fine, outside: one row per experiment, sharded, uncompressed
    INDEX/sums-17/                voxel sets and structure sums of the 17th commit, uncompressed
    INDEX/seal.json               size and time of the files of rows when their checksums were last verified

One process writes, any number read. A reader sees the experiments that were committed when it opened the
index. Rows are never changed in place, so that what a reader maps stays as it was. Checksums of labels,
ontology and table are verified at every open, those of sums on use, and those of rows when an answer depends
on them. A file of rows is read as a whole only where its size or time differs from the seal.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError, MissingResultError, PipelineError
from pipeline.core.model import MIDLINE_UM, Int64, Structure, UInt32
from pipeline.core.ontology import Ontology
from pipeline.search.kernels.codes import FINE_BYTES, MISSING, MISSING_OUTSIDE, Row
from pipeline.search.kernels.order import BLOCK, VoxelOrder
from pipeline.search.kernels.sums import Block, Scales, SetSums
from pipeline.search.on_disk.experiments import (
    TABLE,
    Damage,
    Entry,
    ExperimentTable,
    read_committed,
    write_experiments,
)
from pipeline.store.arrays import DOCUMENT, is_zarr_part, write_group
from pipeline.store.rows import (
    ROWS,
    RowArray,
    map_rows,
    map_whole,
    shard_file,
    write_rows_document,
    write_whole,
)
from pipeline.system.files import read_content, read_json_value
from pipeline.system.whole_files import UNFINISHED, beside, remove, remove_ours, replacing, sync

VERSION = 2  # of the layout; an index of another version is refused
PARTS = ("codes", "fine", "outside")  # arrays that a row consists of (see `codes.Row`)
LOCK = ".writing"  # locked by the process that writes
SEAL = "seal.json"
ONTOLOGY = "ontology.json"
SUMS = ("slots", "member", "total", "squares", "count")  # arrays of a voxel set (see `SetSums`)
_ATTRIBUTE = "ish_index"
_LABELS = "labels"
_MOST_BYTES = 1 << 28  # largest file of labels or ontology; those of the 200 um grid have less than 1 MB
_RETRIES = 3  # attempts to open while a writer moves all rows
# Every name that a writer of an index makes; nothing else in the folder is ever removed.
_OURS = re.compile(
    rf"\.writing|zarr\.json|labels|ontology\.json|rows-\d+|sums-\d+|experiments\.parquet|journal\.jsonl|seal\.json"
    rf"|{re.escape(UNFINISHED)}[0-9a-f]{{8}}-.+"
)


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


@dataclass(frozen=True, eq=False)
class StoredSums:
    """Stored sums of a voxel set, memory-mapped.

    Attributes
    ----------
    sums : SetSums
        The sums.
    check : callable
        check(positions) raises a DataError where the sums of these structures (None: of all) are damaged.
    """

    sums: SetSums
    check: Callable[[Sequence[int] | None], None]


@dataclass(frozen=True, eq=False)
class IndexSnapshot:
    """An index as it was when opened.

    Attributes
    ----------
    path : Path
        Folder of the index.
    subject : IndexSubject
        Labels, ontology and spacing.
    table : ExperimentTable
        The committed experiments, by ascending slot.
    blocks : tuple of Block
        All rows, memory-mapped.
    """

    path: Path
    subject: IndexSubject
    table: ExperimentTable
    blocks: tuple[Block, ...]

    @property
    def slots(self) -> Int64:
        """Slots of the experiments, ascending, (experiments,) int64."""
        return np.asarray(self.table.columns["slot"])

    @property
    def scales(self) -> Scales:
        """Factors that turn each experiment's codes into energies."""
        names = ("exponent", "outside_scale", "outside_error")
        exponent, scale, error = (np.asarray(self.table.columns[name]) for name in names)
        return Scales(exponent, scale, error)

    def row(self, at: int) -> Row:
        """Return the row of an experiment.

        Parameters
        ----------
        at : int
            Place of the experiment in the table.

        Returns
        -------
        Row
            Views on the mapped files.
        """
        return entry_row(self.blocks, self.table.entry(at))

    def stored_sums(self, name: str) -> StoredSums | None:
        """Return the stored sums of a voxel set, if they belong to this commit.

        Parameters
        ----------
        name : str
            Name of the voxel set.

        Returns
        -------
        StoredSums or None
            The sums; None where they are missing, damaged or of another commit.
        """
        folder = sums_folder(self.path, self.table.sequence) / name
        try:
            found = {part: map_whole(folder / part, _salt(folder)) for part in SUMS}
            for part in ("slots", "member"):
                found[part].check()
        except PipelineError:
            return None
        total, squares, count = (found[part] for part in SUMS[2:])
        member, kept = found["member"].array.astype(bool), len(squares.array) > 0

        def check(rows: Sequence[int] | None) -> None:
            for part in (total, squares, count) if kept else (total, count):
                part.check(rows)

        arrays = (total.array, squares.array if kept else None, count.array)
        return StoredSums(SetSums(np.asarray(found["slots"].array), member, *arrays), check)

    def check_row(self, at: int) -> None:
        """Verify the checksum of an experiment's row.

        Parameters
        ----------
        at : int
            Place of the experiment in the table.

        Raises
        ------
        DataError
            Where the row is not what was written.
        """
        entry = self.table.entry(at)
        if not is_intact(self.blocks, entry):
            raise _lost_row(self.path, self.table.epoch, [entry])


def open_snapshot(path: Path) -> IndexSnapshot:
    """Open an index for reading.

    Parameters
    ----------
    path : Path
        Folder of the index.

    Returns
    -------
    IndexSnapshot
        The experiments that are committed at this moment.

    Raises
    ------
    MissingResultError
        Where there is no index, or a part of it is missing.
    DataError
        Where the index is damaged or of another version.
    """
    subject = read_subject(path)
    for _ in range(_RETRIES):
        try:
            return IndexSnapshot(path, subject, *read_table(path))
        except (DataError, MissingResultError) as error:  # a writer may just have moved all rows
            damaged: PipelineError = error
    raise damaged


def read_table(path: Path, damage: Damage | None = None) -> tuple[ExperimentTable, tuple[Block, ...]]:
    """Read the committed experiments and map their rows.

    An experiment that the journal names, but whose row is not what was written, is not committed: a loss of
    power may keep the line and lose the row.

    Parameters
    ----------
    path : Path
        Folder of the index.
    damage : list, optional
        Receives (id, message) for each experiment whose row or line is damaged; these are left out. None:
        damage raises a DataError.

    Returns
    -------
    table : ExperimentTable
        The experiments, by ascending slot.
    blocks : tuple of Block
        All rows of the epoch, memory-mapped.

    Raises
    ------
    DataError
        Where an experiment is damaged and `damage` is None.
    """
    committed = read_committed(path, damage)
    epoch = committed.table.epoch
    blocks = map_blocks(path, epoch)
    table = committed.merged(lambda entry: is_intact(blocks, entry))
    lost = _damaged(path, table, blocks)
    if lost and damage is None:
        raise _lost_row(path, epoch, [table.entry(at) for at in lost])
    if damage is not None:
        rows = [table.entry(at) for at in lost]
        damage += [(row.section_data_set_id, str(_lost_row(path, epoch, [row]))) for row in rows]
    return table.without(lost), blocks


def _damaged(path: Path, table: ExperimentTable, blocks: Sequence[Block]) -> list[int]:
    """Return the places of experiments with damaged rows; only shards that differ from the seal are read."""
    slots = table.columns["slot"]
    last = int(slots[-1]) // ROWS + 1 if len(slots) else 0  # number of shards in use
    known = _read_seal(path)
    changed = [
        shard for shard in range(last) if any(known.get(k) != v for k, v in _stamps(path, table.epoch, shard))
    ]

    def look(shard: int) -> list[int]:
        low, high = np.searchsorted(slots, [shard * ROWS, (shard + 1) * ROWS]).tolist()
        return [at for at in range(low, high) if not is_intact(blocks, table.entry(at))]

    with ThreadPoolExecutor() as pool:
        return [at for found in pool.map(look, changed) for at in found]


def _lost_row(path: Path, epoch: int, entries: Sequence[Entry]) -> DataError:
    ids = ", ".join(str(entry.section_data_set_id) for entry in entries[:5])
    more = f" and {len(entries) - 5} more" if len(entries) > 5 else ""
    file = shard_file(rows_folder(path, epoch), PARTS[0], entries[0].slot // ROWS)
    return DataError(
        f"{file} (or fine, outside beside it): damaged or missing rows of experiments {ids}{more}; run `ish"
        " index` again with their folders"
    )


def write_seal(path: Path, epoch: int) -> None:
    """Record size and time of the files of rows, once all their rows are known to be intact.

    Parameters
    ----------
    path : Path
        Folder of the index.
    epoch : int
        Epoch of the rows.
    """
    stamps, shard = dict[str, list[int]](), 0
    while found := [(name, stamp) for name, stamp in _stamps(path, epoch, shard) if stamp]:
        stamps.update(found)
        shard += 1
    with replacing(path / SEAL) as fresh:
        fresh.write_text(json.dumps(stamps), encoding="utf-8")


def _stamps(path: Path, epoch: int, shard: int) -> list[tuple[str, list[int]]]:
    """Return name, and [size in bytes, time of change in ns], of each file of a shard; [] where missing."""
    found = []
    for part in PARTS:
        file = shard_file(rows_folder(path, epoch), part, shard)
        stamp = [file.stat().st_size, file.stat().st_mtime_ns] if file.is_file() else []
        found.append((file.relative_to(path).as_posix(), stamp))
    return found


def _read_seal(path: Path) -> dict[str, Any]:
    try:
        found = read_json_value(path / SEAL, "the seal of an index")
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}


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
    foreign = [name for name in names if not _OURS.fullmatch(name)]
    ours = (path / DOCUMENT).is_file() or (path / LOCK).is_file()
    if (path.exists() and not path.is_dir()) or (names and (not ours or foreign)):
        if (path / DOCUMENT).is_file() and (path / TABLE).is_file():
            return  # an index with files of the user's own beside it
        raise DataError(f"{path}: expected an index or nothing, got something else; choose another --output")
    if not (path / DOCUMENT).is_file() and _has_rows(path):
        raise _broken(path, f"{path / DOCUMENT}: is missing")
    path.mkdir(parents=True, exist_ok=True)


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
    write_whole(path / _LABELS, labels, _LABELS)
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
    for file in (path / ONTOLOGY, path / _LABELS / "c" / "0" / "0" / "0", path):
        sync(file)
    whole = beside(path / DOCUMENT)
    write_group(whole, {_ATTRIBUTE: described | {"crc32": _own_checksum(described)}})
    sync(whole / DOCUMENT)
    (whole / DOCUMENT).rename(path / DOCUMENT)
    remove(whole)
    sync(path)


def create_part(path: Path, epoch: int, arrays: Sequence[RowArray]) -> None:
    """Create the arrays of rows of an epoch, without a row.

    Parameters
    ----------
    path : Path
        Folder of the index.
    epoch : int
        Epoch of the rows.
    arrays : sequence of RowArray
        Arrays that a row consists of.
    """
    folder = rows_folder(path, epoch)
    write_group(folder, {})
    for array in arrays:
        write_rows_document(folder, array, 0)


def row_arrays(brain: int, outside: int) -> tuple[RowArray, ...]:
    """Return the arrays that a row of an index consists of.

    Parameters
    ----------
    brain : int
        Length of a row inside the brain, voxels, padded.
    outside : int
        Length of a row outside the brain, voxels, padded.

    Returns
    -------
    tuple of RowArray
        Codes, fine and outside.
    """
    fine = RowArray(PARTS[1], brain // BLOCK * FINE_BYTES, "<u1", 0)
    return (
        RowArray(PARTS[0], brain, "<u2", MISSING),
        fine,
        RowArray(PARTS[2], outside, "<u1", MISSING_OUTSIDE),
    )


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
        content = read_content(path / _LABELS / "c" / "0" / "0" / "0", "the labels of an index", _MOST_BYTES)
        if zlib.crc32(content) != described["labels"]:
            raise DataError(f"{path / _LABELS}: labels are damaged")
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


def map_blocks(path: Path, epoch: int) -> tuple[Block, ...]:
    """Map all rows of an epoch into memory.

    Parameters
    ----------
    path : Path
        Folder of the index.
    epoch : int
        Epoch of the rows.

    Returns
    -------
    tuple of Block
        One block per shard, of `ROWS` rows; the last may have fewer.
    """
    parts = zip(*(map_rows(rows_folder(path, epoch), array) for array in rows_of(path)), strict=False)
    blocks = []
    for shard, arrays in enumerate(parts):
        rows = min(len(array) for array in arrays)  # a row is whole once it is in all three
        blocks.append(Block(shard * ROWS, *(array[:rows] for array in arrays)))
    return tuple(blocks)


def entry_row(blocks: Sequence[Block], entry: Entry) -> Row:
    """Return the row of an experiment.

    Parameters
    ----------
    blocks : sequence of Block
        All rows of the epoch.
    entry : Entry
        The experiment.

    Returns
    -------
    Row
        Views on the mapped files.
    """
    block, place = blocks[entry.slot // ROWS], entry.slot % ROWS
    return Row(
        block.codes[place],
        block.fine[place],
        entry.exponent,
        block.outside[place],
        entry.outside_scale,
        entry.outside_error,
    )


def checksum(row: Row) -> int:
    """Return the CRC-32 of the bytes of a row.

    Parameters
    ----------
    row : Row
        One experiment.

    Returns
    -------
    int
        Checksum over codes, fine and outside.
    """
    found = 0
    for part in (row.codes, row.fine, row.outside):
        found = zlib.crc32(np.ascontiguousarray(part).data, found)
    return found


def write_sums(path: Path, sequence: int, sums: dict[str, SetSums]) -> None:
    """Write the sums of every voxel set, in place of any that are there.

    Parameters
    ----------
    path : Path
        Folder of the index.
    sequence : int
        Number of the commit that the sums belong to.
    sums : dict of str to SetSums
        Sums by name of the voxel set.
    """
    folder = sums_folder(path, sequence)
    remove_ours(folder, is_zarr_part)
    with replacing(folder) as fresh:
        write_group(fresh, {})
        for name, found in sums.items():
            write_group(fresh / name, {})
            squares = np.zeros((0, 0), np.float32) if found.squares is None else found.squares
            member = found.member.astype(np.uint8)
            arrays: tuple[npt.NDArray[Any], ...] = (found.slots, member, found.total, squares, found.count)
            for part, array in zip(SUMS, arrays, strict=True):
                write_whole(fresh / name / part, array, _salt(folder / name))


def remove_other_sums(path: Path, sequence: int) -> None:
    """Remove the sums of all commits but one.

    Parameters
    ----------
    path : Path
        Folder of the index.
    sequence : int
        Number of the commit whose sums stay.
    """
    for old in path.glob("sums-*"):
        if old != sums_folder(path, sequence) and _OURS.fullmatch(old.name):
            remove_ours(old, is_zarr_part)


def remove_other_rows(path: Path, epoch: int) -> None:
    """Remove the rows of all epochs but one, which an interrupted or finished move leaves behind.

    Parameters
    ----------
    path : Path
        Folder of the index.
    epoch : int
        Epoch whose rows stay.
    """
    for old in path.glob("rows-*"):
        if old != rows_folder(path, epoch) and _OURS.fullmatch(old.name):
            remove_ours(old, is_zarr_part)


def _salt(folder: Path) -> str:
    """Return what goes into the checksums of sums, so that those of another commit or set do not pass."""
    return f"{folder.parent.name}/{folder.name}"


def rows_folder(path: Path, epoch: int) -> Path:
    """Return the folder of the rows of an epoch.

    Parameters
    ----------
    path : Path
        Folder of the index.
    epoch : int
        Epoch of the rows.

    Returns
    -------
    Path
        The folder `rows-EPOCH`.
    """
    return path / f"rows-{epoch}"


def sums_folder(path: Path, sequence: int) -> Path:
    """Return the folder of the sums of a commit.

    Parameters
    ----------
    path : Path
        Folder of the index.
    sequence : int
        Number of the commit.

    Returns
    -------
    Path
        The folder `sums-SEQUENCE`.
    """
    return path / f"sums-{sequence}"


def is_intact(blocks: Sequence[Block], entry: Entry) -> bool:
    """Return whether the row of an experiment is what was written.

    Parameters
    ----------
    blocks : sequence of Block
        All rows of the epoch.
    entry : Entry
        The experiment, with its checksum.

    Returns
    -------
    bool
        False where the row is missing or its checksum differs.
    """
    return is_mapped(blocks, entry.slot) and checksum(entry_row(blocks, entry)) == entry.checksum


def is_mapped(blocks: Sequence[Block], slot: int) -> bool:
    """Return whether a row lies in the mapped blocks.

    Parameters
    ----------
    blocks : sequence of Block
        All rows of the epoch.
    slot : int
        Slot of the row.

    Returns
    -------
    bool
        True where it does.
    """
    return slot // ROWS < len(blocks) and slot % ROWS < len(blocks[slot // ROWS].codes)
