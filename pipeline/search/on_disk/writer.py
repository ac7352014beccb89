"""Writing an index: one experiment at a time, each committed as a whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from pipeline.core.errors import DataError
from pipeline.search.kernels.codes import Row
from pipeline.search.kernels.sums import Block
from pipeline.search.on_disk.document import claim_folder, rows_of
from pipeline.search.on_disk.experiments import (
    Damage,
    Entry,
    Experiment,
    Journal,
    check_experiment,
    write_experiments,
)
from pipeline.search.on_disk.names import LOCK, rows_folder
from pipeline.search.on_disk.row_files import (
    checksum,
    create_part,
    entry_row,
    is_mapped,
    map_blocks,
    remove_other_rows,
    write_seal,
)
from pipeline.search.on_disk.snapshot import read_table
from pipeline.store.rows import RowWriter
from pipeline.system.whole_files import remove, sweep, writing

_CHECKPOINT = 256  # commits after which the journal is merged into the table
_LEAST_DEAD = 64  # fewest replaced rows for which all others are moved


class IndexWriter:
    """The only writer of an index; a context manager.

    A commit appends a row, then a line to the journal. A replaced experiment gets a new row; the old one
    stays for its readers until the rows are compacted.

    Parameters
    ----------
    path : Path
        Folder of an index; the caller holds its `index_lock`.
    """

    _writers: dict[str, RowWriter]
    _journal: Journal

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: Damage = []  # damaged experiments, which are left out
        sweep(path)
        for half in path.glob("*/**/*.partial"):  # zarr's name for a file that it has not finished
            remove(half)
        table, self._blocks = read_table(path, self.damage)
        remove_other_rows(path, table.epoch)  # of an interrupted move
        self.sequence, self.epoch = table.sequence, table.epoch
        self.entries = {entry.section_data_set_id: entry for entry in table.entries()}
        self._next = 1 + max((e.slot for e in self.entries.values()), default=-1)
        self._unwritten = 0
        if self.damage:
            self.sequence += 1  # stored sums count the damaged experiments too: invalidate them
        with writing(path):
            write_experiments(path, self.entries.values(), self.sequence, self.epoch)
            self._open()

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._leave()

    def put(self, experiment: Experiment, row: Row) -> str:
        """Commit an experiment.

        Parameters
        ----------
        experiment : Experiment
            Id, gene, plane and source.
        row : Row
            Its encoded grid.

        Returns
        -------
        str
            "added", "replaced", or "unchanged" where the same experiment with the same grid is there already.

        Raises
        ------
        DataError
            Where the table cannot hold the experiment, or the row cannot be written.
        """
        check_experiment(experiment)
        old = self.entries.get(experiment.section_data_set_id)
        if old is not None and old.experiment == experiment and self.row(old).same(row):
            return "unchanged"
        entry = Entry(
            int(experiment.section_data_set_id),
            experiment.gene,
            experiment.plane_of_section,
            experiment.source,
            self._next,
            row.exponent,
            row.outside_scale,
            row.outside_error,
            checksum(row),
            experiment.energy_error,
        )
        with writing(self.path):
            # The line commits the row, so that it comes second.
            self._write(self._next, row)
            self._journal.commit(self.sequence + 1, entry)
        self.sequence += 1
        self._next += 1
        self.entries[entry.section_data_set_id] = entry
        self._unwritten += 1
        if self._unwritten >= _CHECKPOINT:
            self.checkpoint()
        return "added" if old is None else "replaced"

    def still_damaged(self) -> list[str]:
        """Return the messages of damaged experiments that have not been put in again."""
        return [line for number, line in self.damage if number not in self.entries]

    def row(self, entry: Entry) -> Row:
        """Return the row of a committed experiment.

        Parameters
        ----------
        entry : Entry
            The experiment.

        Returns
        -------
        Row
            Views on the mapped files.
        """
        if not is_mapped(self._blocks, entry.slot):
            self._blocks = map_blocks(self.path, self.epoch, rows_of(self.path))
        return entry_row(self._blocks, entry)

    def blocks(self) -> tuple[Block, ...]:
        """Return all rows written so far."""
        self._blocks = map_blocks(self.path, self.epoch, rows_of(self.path))
        return self._blocks

    def checkpoint(self) -> None:
        """Merge the journal into the table, once all rows are safe on disk."""
        with writing(self.path):
            # Rows first: the table must not outlive, in a loss of power, a row that it names.
            for writer in self._writers.values():
                writer.sync()
            write_experiments(self.path, self.entries.values(), self.sequence, self.epoch)
            self._journal.close()
            self._journal = Journal(self.path)
            write_seal(self.path, self.epoch)
        self._unwritten = 0

    def compact(self) -> None:
        """Rewrite all rows contiguously where replaced ones take a quarter of the space or more."""
        dead = self._next - len(self.entries)
        if dead < max(_LEAST_DEAD, len(self.entries) // 4):
            return
        with writing(self.path):
            self._move(self.blocks())
        self.sequence += 1
        self.checkpoint()
        remove_other_rows(self.path, self.epoch)

    def _move(self, old: tuple[Block, ...]) -> None:
        """Write all rows again, one after the other, as the next epoch."""
        self._close_files()
        create_part(self.path, self.epoch + 1, rows_of(self.path))
        self.epoch += 1
        self._open()
        for slot, entry in enumerate(sorted(self.entries.values(), key=lambda e: e.slot)):
            self._write(slot, entry_row(old, entry))
            self.entries[entry.section_data_set_id] = replace(entry, slot=slot)
        self._next, self._blocks = len(self.entries), ()

    def close(self) -> None:
        """Finish the table and close all files."""
        try:
            self.checkpoint()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Close all files; what is committed is in the table or the journal at every moment."""
        with writing(self.path):
            self._close_files()

    def _write(self, slot: int, row: Row) -> None:
        for name, writer in self._writers.items():
            writer.write(slot, getattr(row, name))

    def _open(self) -> None:
        folder = rows_folder(self.path, self.epoch)
        self._writers = {array.name: RowWriter(folder, array) for array in rows_of(self.path)}
        self._journal = Journal(self.path)

    def _close_files(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._journal.close()


@contextmanager
def index_lock(path: Path) -> Iterator[None]:
    """Keep other writers out of the folder of an index, which is created where there is none.

    Parameters
    ----------
    path : Path
        Folder of the index.

    Yields
    ------
    None
        While this process is the only writer.

    Raises
    ------
    DataError
        Where another process is writing, or the folder holds something else.
    """
    with writing(path):
        claim_folder(path)
        file = os.open(path / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"{path}: another process is writing this index; wait until it is done") from None
        yield
    finally:
        os.close(file)
