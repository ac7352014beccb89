"""The table of an index's experiments: Parquet, and a journal of what was committed since.

An experiment is committed by one line at the end of the journal, written after its row. Now and then the
table takes the journal in. Whoever reads takes the journal first and the table second: the table then
holds at least what the journal may have lost to it, and lines that the table knows are passed over. Table
and lines carry a checksum of what they say, and of every row: a flipped bit is a line, never an answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.parquet

from pipeline.core.errors import DataError
from pipeline.system.files import read_content, shown
from pipeline.system.whole_files import replacing, sync, write_at

TABLE = "experiments.parquet"
JOURNAL = "journal.jsonl"
MOST_BYTES = 1 << 30  # of table or journal: those of 25,000 experiments have 3 MB
Damage = list[tuple[int | None, str]]  # of which experiment, where that is known, and a line
PLANES = ("coronal", "sagittal", None)


@dataclass(frozen=True)
class Experiment:
    """One experiment as an index knows it; `source` is where its own grid lies, empty where nowhere."""

    section_data_set_id: int
    gene: str | None = None
    plane_of_section: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Entry:
    """Where an experiment's row lies and what turns its codes into energies (see `search.codes.Row`).

    `checksum` is that of the row's bytes.
    """

    section_data_set_id: int
    gene: str | None
    plane_of_section: str | None
    source: str
    slot: int
    exponent: int
    outside_scale: float
    outside_error: float
    checksum: int

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
        ("checksum", pyarrow.int64()),
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

    def without(self, places: Sequence[int]) -> ExperimentTable:
        """Return the table without the experiments at some places."""
        kept = np.delete(np.arange(len(self)), places)
        return ExperimentTable(self.sequence, self.epoch, {n: v[kept] for n, v in self.columns.items()})

    def entries(self) -> list[Entry]:
        """Return the experiments one by one."""
        return [self.entry(at) for at in range(len(self))]


@dataclass(frozen=True, eq=False)
class Committed:
    """The table and the journal as they were read, not yet one."""

    table: ExperimentTable
    journal: tuple[tuple[int, Entry], ...]  # sequence, entry

    def merged(self, intact: Callable[[Entry], bool]) -> ExperimentTable:
        """Return both as one table.

        Parameters
        ----------
        intact : (entry) -> bool     whether the row of a journal entry is what was written
        """
        following = [line for line in self.journal if line[0] > self.table.sequence]
        fresh = {entry.section_data_set_id: entry for _, entry in following if intact(entry)}
        columns = self.table.columns
        if fresh:
            old = ~np.isin(columns["section_data_set_id"], list(fresh))
            added = _columns(_arrow(fresh.values()))
            columns = {name: np.concatenate([values[old], added[name]]) for name, values in columns.items()}
            order = np.argsort(columns["slot"])
            columns = {name: values[order] for name, values in columns.items()}
        last = max([self.table.sequence, *(sequence for sequence, _ in following)])
        return ExperimentTable(last, self.table.epoch, columns)


def check_experiment(experiment: Experiment) -> None:
    """DataError for what the table cannot hold: ids beyond 64 bits, a name that is no text, another plane."""
    number, gene = experiment.section_data_set_id, experiment.gene
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not whole or not 0 <= number < 2**63:
        raise DataError(f"experiment {shown(number)}: expected a whole number below 2^63 as id")
    if gene is not None and not _is_text(gene):
        raise DataError(f"experiment {number}: expected the name of a gene, got {shown(gene)}")
    if experiment.plane_of_section not in PLANES:
        raise DataError(
            f"experiment {number}: expected coronal or sagittal, got {shown(experiment.plane_of_section)}"
        )
    if not _is_text(experiment.source):
        raise DataError(
            f"experiment {number}: expected a path in UTF-8, got {experiment.source!a}; rename it"
        )


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(value.encode("utf-8") or True)
    except UnicodeEncodeError:
        return False


def read_committed(folder: Path, damage: Damage | None = None) -> Committed:
    """Read what is committed; the journal first (see above).

    Parameters
    ----------
    damage : list      gets what is damaged in the journal and is passed over; None: DataError
    """
    journal = _journal(folder / JOURNAL, damage)
    return Committed(_table(folder / TABLE), journal)


def write_experiments(folder: Path, entries: Iterable[Entry], sequence: int, epoch: int) -> None:
    """Write the table and empty the journal; killed between the two, both say the same."""
    table = _arrow(sorted(entries, key=lambda e: e.slot))
    digest = _digest(sequence, epoch, _columns(table))
    meta = {"ish_sequence": str(sequence), "ish_epoch": str(epoch), "ish_digest": digest}
    with replacing(folder / TABLE) as fresh:
        pyarrow.parquet.write_table(table.replace_schema_metadata(meta), fresh, write_page_checksum=True)
        sync(fresh)
    sync(folder)
    with replacing(folder / JOURNAL) as fresh:
        fresh.write_bytes(b"")


class Journal:
    """The end of the journal, open for one line a commit."""

    def __init__(self, folder: Path) -> None:
        self.file = os.open(folder / JOURNAL, os.O_WRONLY | os.O_CREAT)
        self.end = os.fstat(self.file).st_size

    def commit(self, sequence: int, entry: Entry) -> None:
        """Add one experiment: from here on it is in the index.

        What a full disk cut off is written over by the next line; until then it counts for nothing.
        """
        content = {"sequence": sequence, "entry": asdict(entry)}
        line = (json.dumps(content | {"crc32": _line_checksum(content)}) + "\n").encode()
        write_at(self.file, line, self.end)
        self.end += len(line)

    def close(self) -> None:
        """Close the file, where it is open."""
        if self.file >= 0:
            os.close(self.file)
        self.file = -1


def _journal(path: Path, damage: Damage | None) -> tuple[tuple[int, Entry], ...]:
    """Return what whole lines say; the last may have been cut off by a kill and then counts for nothing."""
    if not path.exists():
        return ()
    lines: list[tuple[int, Entry]] = []
    content = read_content(path, "the journal of an index", MOST_BYTES)
    for at, line in enumerate(content.split(b"\n")[:-1]):
        found = _line(line)
        if found is not None:
            lines.append(found)
        elif damage is None:
            raise DataError(
                f"{path}: line {at + 1} is damaged; run `ish index` again with what was added last"
            )
        else:
            damage.append(
                (None, f"{path}: line {at + 1} is damaged and was left out; add what it spoke of again")
            )
    return tuple(lines)


def _line(line: bytes) -> tuple[int, Entry] | None:
    """Return sequence and entry that a line of the journal commits; None where it is not what was written."""
    try:
        content = json.loads(line)
        whole = content.pop("crc32") == _line_checksum(content)
        entry = Entry(**content["entry"])
        check_experiment(entry.experiment)
        return (int(content["sequence"]), entry) if whole else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # a DataError is a ValueError
        return None


def _line_checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content).encode())


def _table(path: Path) -> ExperimentTable:
    try:
        # read at once: a writer may put a new table in this one's place between two looks
        content = read_content(path, "the table of an index's experiments", MOST_BYTES)
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content), page_checksum_verification=True)
        meta = table.schema.metadata or {}
        sequence, epoch = (int(meta[key]) for key in (b"ish_sequence", b"ish_epoch"))
        if not table.schema.remove_metadata().equals(SCHEMA):
            raise ValueError("other columns")
        columns = _columns(table)
        if meta[b"ish_digest"].decode() != _digest(sequence, epoch, columns):
            raise ValueError("damaged ones")
        return ExperimentTable(sequence, epoch, columns)
    except DataError as error:
        raise DataError(f"{error}; remove {path.parent} and build the index again") from None
    except (OSError, KeyError, ValueError, TypeError, MemoryError, pyarrow.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DataError(
            f"{path}: expected the table of an index's experiments, got {reason}; remove {path.parent} and"
            " build the index again"
        ) from None


def _digest(sequence: int, epoch: int, columns: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return a digest of all that a table says."""
    found = hashlib.sha256(f"{sequence} {epoch}".encode())
    for name in SCHEMA.names:
        values = columns[name]
        texts = values.dtype == object
        found.update(json.dumps(values.tolist()).encode() if texts else np.ascontiguousarray(values).data)
    return found.hexdigest()


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


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
