"""Writing an index: one experiment at a time, each there whole or not at all."""

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
from pipeline.search.on_disk.experiments import (
    Damage,
    Entry,
    Experiment,
    Journal,
    check_experiment,
    write_experiments,
)
from pipeline.search.on_disk.snapshot import (
    LOCK,
    checksum,
    claim_folder,
    create_part,
    entry_row,
    is_mapped,
    map_blocks,
    read_table,
    remove_other_rows,
    rows_folder,
    rows_of,
    write_seal,
)
from pipeline.store.rows import RowWriter
from pipeline.system.whole_files import remove, sweep, writing

_CHECKPOINT = 256  # commits after which the table takes the journal in
_LEAST_DEAD = 64  # replaced rows that are worth moving all others for


class IndexWriter:
    """The one writer of an index; a context manager.

    A commit appends a row and then a line to the journal. A replaced experiment gets a new row; the old
    one stays for those who still read it, until rows are moved together.
    """

    _writers: dict[str, RowWriter]
    _journal: Journal

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: Damage = []  # what was damaged and is left out
        sweep(path)
        for half in path.glob("*/**/*.partial"):  # zarr's own name for what it was writing
            remove(half)
        table, self._blocks = read_table(path, self.damage)
        remove_other_rows(path, table.epoch)  # of an interrupted move
        self.sequence, self.epoch = table.sequence, table.epoch
        self.entries = {entry.section_data_set_id: entry for entry in table.entries()}
        self._next = 1 + max((e.slot for e in self.entries.values()), default=-1)
        self._unwritten = 0
        if self.damage:
            self.sequence += 1  # the sums of this moment speak of others
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
        """Commit an experiment; returns "added", "replaced", or "unchanged" where it is there already."""
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
        )
        with writing(self.path):
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
        """Return the lines of damage but for those of experiments that were put in again."""
        return [line for number, line in self.damage if number not in self.entries]

    def row(self, entry: Entry) -> Row:
        """Return the row of a committed experiment."""
        if not is_mapped(self._blocks, entry.slot):
            self._blocks = map_blocks(self.path, self.epoch)
        return entry_row(self._blocks, entry)

    def blocks(self) -> tuple[Block, ...]:
        """Return all rows that are written so far."""
        self._blocks = map_blocks(self.path, self.epoch)
        return self._blocks

    def checkpoint(self) -> None:
        """Let the table take the journal in, rows first: what it names would outlive a loss of power."""
        with writing(self.path):
            for writer in self._writers.values():
                writer.sync()
            write_experiments(self.path, self.entries.values(), self.sequence, self.epoch)
            self._journal.close()
            self._journal = Journal(self.path)
            write_seal(self.path, self.epoch)
        self._unwritten = 0

    def compact(self) -> None:
        """Move all rows together where replaced ones take a quarter of the place or more."""
        dead = self._next - len(self.entries)
        if dead < max(_LEAST_DEAD, len(self.entries) // 4):
            return
        with writing(self.path):
            self._move(self.blocks())
        self.sequence += 1
        self.checkpoint()
        remove_other_rows(self.path, self.epoch)

    def _move(self, old: tuple[Block, ...]) -> None:
        """Write all rows anew, one behind the other, as the next epoch."""
        self._close_files()
        create_part(self.path, self.epoch + 1, rows_of(self.path))
        self.epoch += 1
        self._open()
        for slot, entry in enumerate(sorted(self.entries.values(), key=lambda e: e.slot)):
            self._write(slot, entry_row(old, entry))
            self.entries[entry.section_data_set_id] = replace(entry, slot=slot)
        self._next, self._blocks = len(self.entries), ()

    def close(self) -> None:
        """Finish the table and let the next writer in."""
        try:
            self.checkpoint()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Let go of all files; what is committed is in the table or the journal at every moment."""
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
    """Keep other writers out of the folder of an index, which is made where there is none."""
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
