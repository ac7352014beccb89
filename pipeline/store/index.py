"""The folder of a search index: a zarr group with its labels, rows of codes, sums, and the experiments.

    INDEX/zarr.json, labels/      what the index is of: version, spacing, the structure of every voxel
    INDEX/ontology.json
    INDEX/experiments.parquet     the committed experiments; journal.jsonl those since the last table
    INDEX/rows-0/                 codes, fine, outside: one row an experiment, sharded, uncompressed
    INDEX/sums-17/                voxel sets and structure sums of the 17th commit, uncompressed

One process writes, any number read. A reader sees the experiments that were committed when it opened;
rows are never changed in place, so what it maps stays as it was.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.atomic import UNFINISHED, remove, replacing
from pipeline.errors import DataError, MissingResultError, PipelineError
from pipeline.later import Later
from pipeline.model import Int64, Structure, UInt32
from pipeline.ontology import Ontology
from pipeline.search.codes import FINE_BYTES, MISSING, MISSING_OUTSIDE, Row
from pipeline.search.order import BLOCK, VoxelOrder
from pipeline.search.sums import Block, Scales, SetSums
from pipeline.store.experiments import Entry, ExperimentTable, read_committed, write_experiments
from pipeline.store.shards import ROWS, create_rows, map_rows, map_whole, row_length, write_whole

if TYPE_CHECKING:
    import zarr
else:
    zarr = Later("zarr")

VERSION = 1
PARTS = ("codes", "fine", "outside")
_ATTRIBUTE = "ish_index"
_RETRIES = 5


@dataclass(frozen=True, eq=False)
class IndexSubject:
    """What an index is of: the label of every voxel, on a grid of this spacing."""

    labels: UInt32
    ontology: Ontology
    spacing_um: float


@dataclass(frozen=True, eq=False)
class IndexSnapshot:
    """An index as it was when opened."""

    path: Path
    subject: IndexSubject
    table: ExperimentTable
    blocks: tuple[Block, ...]

    @property
    def slots(self) -> Int64:
        """Where the experiments lie, ascending."""
        return np.asarray(self.table.columns["slot"])

    @property
    def scales(self) -> Scales:
        """What turns each experiment's codes into energies."""
        names = ("exponent", "outside_scale", "outside_error")
        exponent, scale, error = (np.asarray(self.table.columns[name]) for name in names)
        return Scales(exponent, scale, error)

    def row(self, at: int) -> Row:
        """Return the row of the experiment at this place of the table."""
        return entry_row(self.blocks, self.table.entry(at))

    def stored_sums(self, name: str) -> SetSums | None:
        """Return the sums of a voxel set where they are those of this very moment, else None."""
        folder = sums_folder(self.path, self.table.sequence) / name
        with suppress(PipelineError):
            found = map_whole(folder, ("slots", "member", "total", "squares", "count"))
            squares = found["squares"] if found["squares"].shape == found["total"].shape else None
            member = np.asarray(found["member"]).astype(bool)
            return SetSums(np.asarray(found["slots"]), member, found["total"], squares, found["count"])
        return None


def open_snapshot(path: Path) -> IndexSnapshot:
    """Open an index for reading.

    Raises
    ------
    MissingResultError, DataError
        where there is no index, one of a newer version, or one that lacks a part.
    """
    subject = read_subject(path)
    for attempt in range(_RETRIES):
        try:
            return IndexSnapshot(path, subject, *read_table(path))
        except MissingResultError:  # a writer has just moved all rows: look again
            if attempt == _RETRIES - 1:
                raise
    raise MissingResultError(f"{path}: no index")


def read_table(path: Path) -> tuple[ExperimentTable, tuple[Block, ...]]:
    """Read the committed experiments and map the rows that they lie in.

    An experiment that the journal names but whose row is not what was written is not committed: a loss of
    power may keep the line and lose the row.
    """
    committed = read_committed(path)
    blocks = map_blocks(path, committed.table.epoch)
    table = committed.merged(lambda entry, expected: _intact(blocks, entry, expected))
    slots = table.columns["slot"]
    if len(slots) and not is_mapped(blocks, int(slots[-1])):
        raise MissingResultError(
            f"{path}: rows of {len(slots)} experiments expected, some files are not there"
        )
    return table, blocks


def create_index(path: Path, subject: IndexSubject, order: VoxelOrder) -> None:
    """Create an index without experiments, whole or not at all."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(f"{path}: expected an index or nothing, got something else; choose another --output")
    for half in path.parent.glob(f"{UNFINISHED}*-{path.name}"):  # of a creation that was killed
        remove(half)
    with replacing(path) as fresh:
        group = zarr.create_group(fresh, zarr_format=3)
        group.attrs[_ATTRIBUTE] = {"version": VERSION, "spacing_um": subject.spacing_um}
        group.create_array(
            "labels", data=np.ascontiguousarray(subject.labels, np.uint32), chunks=subject.labels.shape
        )
        structures = [asdict(structure) for structure in subject.ontology.structures]
        (fresh / "ontology.json").write_text(json.dumps(structures), encoding="utf-8")
        create_part(fresh, 0, order.padded, order.padded_outside)
        write_experiments(fresh, (), 0, 0)


def create_part(path: Path, epoch: int, brain: int, outside: int) -> None:
    """Create the arrays of rows of one epoch, without a row; how many voxels a row has, in and outside."""
    folder = rows_folder(path, epoch)
    zarr.create_group(folder, zarr_format=3)
    create_rows(folder, "codes", brain, "<u2", MISSING)
    create_rows(folder, "fine", brain // BLOCK * FINE_BYTES, "u1", 0)
    create_rows(folder, "outside", outside, "u1", MISSING_OUTSIDE)


def row_lengths(path: Path, epoch: int) -> tuple[int, int]:
    """Return how many voxels a row has inside the brain and outside."""
    folder = rows_folder(path, epoch)
    return row_length(folder, "codes"), row_length(folder, "outside")


def read_subject(path: Path) -> IndexSubject:
    """Read what an index is of; the errors are those of `open_snapshot`."""
    if not (path / "zarr.json").exists():
        raise MissingResultError(f"{path}: no index here; make one with `ish index DIR --output {path}`")
    try:
        group = zarr.open_group(path, mode="r")
        described: Any = group.attrs[_ATTRIBUTE]
        version, spacing = int(described["version"]), float(described["spacing_um"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: expected a search index, got another zarr group") from None
    if version > VERSION:
        raise DataError(
            f"{path}: the index is of version {version}, this program reads {VERSION}; update ish-pipeline"
        )
    try:
        labels = np.asarray(group["labels"][...], np.uint32)
        items = json.loads((path / "ontology.json").read_text(encoding="utf-8"))
        ontology = Ontology(tuple(Structure(**item) for item in items))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: labels or ontology are damaged ({error}); build the index again") from None
    return IndexSubject(labels, ontology, spacing)


def map_blocks(path: Path, epoch: int) -> tuple[Block, ...]:
    """Map all rows of an epoch."""
    parts = zip(*(map_rows(rows_folder(path, epoch), part) for part in PARTS), strict=False)
    blocks = []
    for shard, arrays in enumerate(parts):
        rows = min(len(array) for array in arrays)  # a row is whole once it is in all three
        blocks.append(Block(shard * ROWS, *(array[:rows] for array in arrays)))
    return tuple(blocks)


def entry_row(blocks: Sequence[Block], entry: Entry) -> Row:
    """Return the row of an experiment, as views on the mapped files."""
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
    """Return a checksum of the bytes of a row."""
    found = 0
    for part in (row.codes, row.fine, row.outside):
        found = zlib.crc32(part.tobytes(), found)
    return found


def write_sums(path: Path, sequence: int, sums: dict[str, SetSums]) -> None:
    """Write the sums of every voxel set."""
    with replacing(sums_folder(path, sequence)) as fresh:
        zarr.create_group(fresh, zarr_format=3)
        for name, found in sums.items():
            group = zarr.create_group(fresh / name, zarr_format=3)
            squares = np.zeros((0, 0), np.float32) if found.squares is None else found.squares
            arrays: dict[str, npt.NDArray[Any]] = {
                "slots": found.slots,
                "member": found.member.astype(np.uint8),
                "total": found.total,
            }
            write_whole(group, {**arrays, "squares": squares, "count": found.count})


def remove_other_sums(path: Path, sequence: int) -> None:
    """Remove the sums of all moments but one."""
    for old in path.glob("sums-*"):
        if old != sums_folder(path, sequence):
            remove(old)


def rows_folder(path: Path, epoch: int) -> Path:
    """Return the folder of an epoch's rows."""
    return path / f"rows-{epoch}"


def sums_folder(path: Path, sequence: int) -> Path:
    """Return the folder of the sums of one moment."""
    return path / f"sums-{sequence}"


def _intact(blocks: Sequence[Block], entry: Entry, expected: int) -> bool:
    return is_mapped(blocks, entry.slot) and checksum(entry_row(blocks, entry)) == expected


def is_mapped(blocks: Sequence[Block], slot: int) -> bool:
    """Whether a row lies in what is mapped."""
    return slot // ROWS < len(blocks) and slot % ROWS < len(blocks[slot // ROWS].codes)
