"""The table of an index's experiments: Parquet, and a journal of what was committed since.

An experiment is committed by one line at the end of the journal, written after its row. Now and then the
table takes the journal in. Whoever reads takes the journal first and the table second: the table then
holds at least what the journal may have lost to it, and lines that the table knows are passed over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.parquet

from pipeline.atomic import replacing, write_at
from pipeline.errors import DataError

TABLE = "experiments.parquet"
JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class Experiment:
    """One experiment as an index knows it; `source` is where its own grid lies, empty where nowhere."""

    section_data_set_id: int
    gene: str | None = None
    plane_of_section: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Entry:
    """Where an experiment's row lies and what turns its codes into energies (see `search.codes.Row`)."""

    section_data_set_id: int
    gene: str | None
    plane_of_section: str | None
    source: str
    slot: int
    exponent: int
    outside_scale: float
    outside_error: float

    @property
    def experiment(self) -> Experiment:
        """What was said of the experiment when it was put in."""
        return Experiment(self.section_data_set_id, self.gene, self.plane_of_section, self.source)


SCHEMA = pyarrow.schema(
    [
        ("section_data_set_id", pyarrow.int64()),
        ("gene", pyarrow.string()),
        ("plane_of_section", pyarrow.string()),
        ("source", pyarrow.string()),
        ("slot", pyarrow.int64()),
        ("exponent", pyarrow.int64()),
        ("outside_scale", pyarrow.float64()),
        ("outside_error", pyarrow.float64()),
    ]
)


@dataclass(frozen=True, eq=False)
class ExperimentTable:
    """The experiments of an index at one moment, by ascending slot.

    Parameters
    ----------
    sequence : int         how many commits led here
    epoch : int            which set of rows the slots speak of
    columns : arrays       one for each field of `Entry`
    """

    sequence: int
    epoch: int
    columns: Mapping[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["slot"])

    def entry(self, at: int) -> Entry:
        """Return the experiment at one place."""
        return Entry(*(_plain(self.columns[field.name][at]) for field in fields(Entry)))

    def entries(self) -> list[Entry]:
        """Return the experiments one by one."""
        return [self.entry(at) for at in range(len(self))]


@dataclass(frozen=True, eq=False)
class Committed:
    """The table and the journal as they were read, not yet one."""

    table: ExperimentTable
    journal: tuple[tuple[int, Entry, int], ...]  # sequence, entry, checksum of its row

    def merged(self, intact: Callable[[Entry, int], bool]) -> ExperimentTable:
        """Return both as one table.

        Parameters
        ----------
        intact : (entry, checksum) -> bool     whether the row of a journal entry is what was written
        """
        later = [line for line in self.journal if line[0] > self.table.sequence]
        fresh = {entry.section_data_set_id: entry for _, entry, crc in later if intact(entry, crc)}
        columns = self.table.columns
        if fresh:
            old = ~np.isin(columns["section_data_set_id"], list(fresh))
            added = _columns(_arrow(fresh.values()))
            columns = {name: np.concatenate([values[old], added[name]]) for name, values in columns.items()}
            order = np.argsort(columns["slot"])
            columns = {name: values[order] for name, values in columns.items()}
        last = max([self.table.sequence, *(sequence for sequence, _, _ in later)])
        return ExperimentTable(last, self.table.epoch, columns)


def read_committed(folder: Path) -> Committed:
    """Read what is committed; the journal first (see above)."""
    journal = tuple(
        (int(n["sequence"]), Entry(**n["entry"]), int(n["checksum"])) for n in _journal(folder / JOURNAL)
    )
    return Committed(_table(folder / TABLE), journal)


def write_experiments(folder: Path, entries: Iterable[Entry], sequence: int, epoch: int) -> None:
    """Write the table and empty the journal; killed between the two, both say the same."""
    table = _arrow(sorted(entries, key=lambda e: e.slot))
    meta = {"ish_sequence": str(sequence), "ish_epoch": str(epoch)}
    with replacing(folder / TABLE) as fresh:
        pyarrow.parquet.write_table(table.replace_schema_metadata(meta), fresh)
        _sync(fresh)
    with replacing(folder / JOURNAL) as fresh:
        fresh.write_bytes(b"")


class Journal:
    """The end of the journal, open for one line a commit."""

    def __init__(self, folder: Path) -> None:
        self.file = os.open(folder / JOURNAL, os.O_WRONLY | os.O_CREAT)
        self.end = os.fstat(self.file).st_size

    def commit(self, sequence: int, entry: Entry, checksum: int) -> None:
        """Add one experiment: from here on it is in the index.

        What a full disk cut off is written over by the next line; until then it counts for nothing.
        """
        said = {"sequence": sequence, "entry": asdict(entry), "checksum": checksum}
        line = (json.dumps(said) + "\n").encode()
        write_at(self.file, line, self.end)
        self.end += len(line)

    def close(self) -> None:
        """Close the file, where it is open."""
        if self.file >= 0:
            os.close(self.file)
        self.file = -1


def _journal(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines; the last may have been cut off by a kill and then counts for nothing."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = []
    for line in text.split(b"\n")[:-1]:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _table(path: Path) -> ExperimentTable:
    try:
        # read at once: a writer may put a new table in this one's place between two looks
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(path.read_bytes()))
        meta = table.schema.metadata or {}
        sequence, epoch = (int(meta[key]) for key in (b"ish_sequence", b"ish_epoch"))
        return ExperimentTable(sequence, epoch, _columns(table))
    except (OSError, KeyError, ValueError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path}: expected the table of an index's experiments, got {reason}; build the index again"
        ) from None


def _arrow(entries: Iterable[Entry]) -> pyarrow.Table:
    rows = list(entries)
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Entry)}
    return pyarrow.table(columns, schema=SCHEMA)


def _columns(table: pyarrow.Table) -> dict[str, npt.NDArray[Any]]:
    """Return columns as arrays; texts that are the same are one object, so that picking rows stays cheap."""
    texts = {field.name for field in SCHEMA if field.type == pyarrow.string()}
    return {n: _texts(table[n]) if n in texts else table[n].to_numpy() for n in SCHEMA.names}


def _texts(column: pyarrow.ChunkedArray) -> npt.NDArray[Any]:
    coded = column.combine_chunks().dictionary_encode()
    known = np.array([*coded.dictionary.to_pylist(), None], object)
    return np.asarray(known[coded.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)])


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
