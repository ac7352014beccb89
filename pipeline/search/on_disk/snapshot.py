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

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError, MissingResultError, PipelineError
from pipeline.core.model import Int64
from pipeline.search.kernels.codes import Row
from pipeline.search.kernels.sums import Block, Scales, SetSums
from pipeline.search.on_disk.document import IndexSubject, read_subject, rows_of
from pipeline.search.on_disk.experiments import (
    Damage,
    Entry,
    ExperimentTable,
    read_committed,
)
from pipeline.search.on_disk.names import OURS, PARTS, rows_folder, sums_folder
from pipeline.search.on_disk.row_files import entry_row, is_intact, map_blocks, read_seal, stamps
from pipeline.store.arrays import is_zarr_part, write_group
from pipeline.store.rows import (
    ROWS,
    map_whole,
    shard_file,
    write_whole,
)
from pipeline.system.whole_files import remove_ours, replacing

SUMS = ("slots", "member", "total", "squares", "count")  # arrays of a voxel set (see `SetSums`)
_RETRIES = 3  # attempts to open while a writer moves all rows


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
    blocks = map_blocks(path, epoch, rows_of(path))
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
    known = read_seal(path)
    changed = [
        shard for shard in range(last) if any(known.get(k) != v for k, v in stamps(path, table.epoch, shard))
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
        if old != sums_folder(path, sequence) and OURS.fullmatch(old.name):
            remove_ours(old, is_zarr_part)


def _salt(folder: Path) -> str:
    """Return what goes into the checksums of sums, so that those of another commit or set do not pass."""
    return f"{folder.parent.name}/{folder.name}"
