"""The table of an index's experiments: Parquet, and a journal of commits since it was written.

An experiment is committed by one line at the end of the journal, written after its row. From time to time the
table takes the journal in. A reader takes the journal first and the table second: the table then holds at
least what the journal may have lost to it, and lines that the table already holds are skipped. Table and
lines carry a checksum of their content and of every row: a flipped bit becomes an error of one line, never an
answer.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
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
Damage = list[tuple[int | None, str]]  # number of the experiment, where it is known, and a line for the user
PLANES = ("coronal", "sagittal", None)


@dataclass(frozen=True)
class Experiment:
    """One experiment as an index knows it.

    Attributes
    ----------
    section_data_set_id : int
        Number of the experiment, below 2^63.
    gene : str or None
        Name of the gene.
    plane_of_section : {"coronal", "sagittal"} or None
        Plane of its sections.
    source : str
        Path of its own grid; empty where there is none.
    energy_error : float or None
        Typical standard error of the logarithm of its structures' energies; None where it is not known.
    """

    section_data_set_id: int
    gene: str | None = None
    plane_of_section: str | None = None
    source: str = ""
    energy_error: float | None = None


@dataclass(frozen=True)
class Entry:
    """Where an experiment's row lies and how its codes become energies (see `search.kernels.codes.Row`).

    Attributes
    ----------
    section_data_set_id, gene, plane_of_section, source : int, str or None, str or None, str
        As `Experiment`.
    slot : int
        Position of its row.
    exponent, outside_scale, outside_error : int, float, float
        As `search.kernels.codes.Row`.
    checksum : int
        CRC-32 of the bytes of the row.
    energy_error : float or None
        As `Experiment`.
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
    energy_error: float | None = None

    @property
    def experiment(self) -> Experiment:
        """The experiment as it was added."""
        return Experiment(
            self.section_data_set_id, self.gene, self.plane_of_section, self.source, self.energy_error
        )


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
        ("energy_error", pyarrow.float64()),
    ]
)
# Of tables in which no experiment states an error: those of served grids, and of earlier versions.
SCHEMA_WITHOUT_ERRORS = SCHEMA.remove(SCHEMA.get_field_index("energy_error"))


@dataclass(frozen=True, eq=False)
class ExperimentTable:
    """The experiments of an index at one moment, by ascending slot.

    Attributes
    ----------
    sequence : int
        Number of commits up to this moment.
    epoch : int
        Which set of rows the slots refer to.
    columns : mapping of str to (n,) ndarray
        One array for each field of `Entry`; an error that is not known is NaN.
    """

    sequence: int
    epoch: int
    columns: Mapping[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["slot"])

    def entry(self, at: int) -> Entry:
        """Return one experiment.

        Parameters
        ----------
        at : int
            Its position in the table.

        Returns
        -------
        Entry
            Its fields.
        """
        found = Entry(*(_plain(self.columns[field.name][at]) for field in fields(Entry)))
        unknown = found.energy_error is None or math.isnan(found.energy_error)
        return replace(found, energy_error=None) if unknown else found

    def without(self, places: Sequence[int]) -> ExperimentTable:
        """Return the table without some experiments.

        Parameters
        ----------
        places : sequence of int
            Their positions in the table.

        Returns
        -------
        ExperimentTable
            The others, in the same order.
        """
        kept = np.delete(np.arange(len(self)), places)
        return ExperimentTable(self.sequence, self.epoch, {n: v[kept] for n, v in self.columns.items()})

    def entries(self) -> list[Entry]:
        """Return the experiments one by one."""
        return [self.entry(at) for at in range(len(self))]


@dataclass(frozen=True, eq=False)
class Committed:
    """The table and the journal as they were read, not yet merged.

    Attributes
    ----------
    table : ExperimentTable
        The table.
    journal : tuple of (int, Entry)
        Sequence number and entry of each line.
    """

    table: ExperimentTable
    journal: tuple[tuple[int, Entry], ...]  # sequence, entry

    def merged(self, intact: Callable[[Entry], bool]) -> ExperimentTable:
        """Return table and journal as one table.

        Parameters
        ----------
        intact : callable, (Entry) -> bool
            Whether the row of a journal entry is what was written.

        Returns
        -------
        ExperimentTable
            The table with the intact entries of later lines, which replace older ones of the same number.
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
    """Refuse an experiment that the table cannot hold.

    Parameters
    ----------
    experiment : Experiment
        The experiment.

    Raises
    ------
    DataError
        For a number beyond 63 bits, a gene or path that is not text in UTF-8, another plane, or an error that
        is no number from 0.
    """
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
    error = experiment.energy_error
    number_like = isinstance(error, float | int) and not isinstance(error, bool)
    if error is not None and not (number_like and 0 <= error < math.inf):
        raise DataError(f"experiment {number}: expected an energy_error from 0, got {shown(error)}")


def _is_text(value: Any) -> bool:
    """Return whether a value is text that UTF-8 can hold."""
    try:
        return isinstance(value, str) and bool(value.encode("utf-8") or True)
    except UnicodeEncodeError:
        return False


def read_committed(folder: Path, damage: Damage | None = None) -> Committed:
    """Read what is committed, the journal first (see above).

    Parameters
    ----------
    folder : Path
        Folder of the index.
    damage : list or None
        Receives damaged lines of the journal, which are skipped; None raises instead.

    Returns
    -------
    Committed
        Table and journal.

    Raises
    ------
    DataError
        Where the table is damaged, or, without `damage`, a line of the journal.
    """
    journal = _journal(folder / JOURNAL, damage)
    return Committed(_table(folder / TABLE), journal)


def write_experiments(folder: Path, entries: Iterable[Entry], sequence: int, epoch: int) -> None:
    """Write the table and empty the journal; a kill between the two leaves both with the same content.

    Parameters
    ----------
    folder : Path
        Folder of the index.
    entries : iterable of Entry
        All experiments, in any order.
    sequence : int
        Number of commits up to now.
    epoch : int
        Which set of rows the slots refer to.
    """
    table = _arrow(sorted(entries, key=lambda e: e.slot))
    digest = _digest(sequence, epoch, table.schema.names, _columns(table))
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

        A line cut off by a full disk counts for nothing, and the next line overwrites it.

        Parameters
        ----------
        sequence : int
            Number of this commit.
        entry : Entry
            The experiment, its row already written.
        """
        fields = asdict(entry)
        if entry.energy_error is None:  # a line as earlier versions read it
            del fields["energy_error"]
        content = {"sequence": sequence, "entry": fields}
        line = (json.dumps(content | {"crc32": _line_checksum(content)}) + "\n").encode()
        write_at(self.file, line, self.end)
        self.end += len(line)

    def close(self) -> None:
        """Close the file, where it is open."""
        if self.file >= 0:
            os.close(self.file)
        self.file = -1


def _journal(path: Path, damage: Damage | None) -> tuple[tuple[int, Entry], ...]:
    """Return the entries of whole lines; a last line cut off by a kill counts for nothing."""
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
    """Return sequence and entry that a line of the journal commits; None where it is damaged."""
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
    """Read the table; DataError where it is damaged."""
    try:
        # Read at once: a writer may replace the table between two reads.
        content = read_content(path, "the table of an index's experiments", MOST_BYTES)
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content), page_checksum_verification=True)
        meta = table.schema.metadata or {}
        sequence, epoch = (int(meta[key]) for key in (b"ish_sequence", b"ish_epoch"))
        schema = table.schema.remove_metadata()
        if not (schema.equals(SCHEMA) or schema.equals(SCHEMA_WITHOUT_ERRORS)):
            raise ValueError("other columns")
        columns = _columns(table)
        if meta[b"ish_digest"].decode() != _digest(sequence, epoch, schema.names, columns):
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


def _digest(sequence: int, epoch: int, names: Sequence[str], columns: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return a digest of the whole content of a table."""
    found = hashlib.sha256(f"{sequence} {epoch}".encode())
    for name in names:
        values = columns[name]
        texts = values.dtype == object
        found.update(json.dumps(values.tolist()).encode() if texts else np.ascontiguousarray(values).data)
    return found.hexdigest()


def _arrow(entries: Iterable[Entry]) -> pyarrow.Table:
    rows = list(entries)
    known = any(row.energy_error is not None for row in rows)
    schema = SCHEMA if known else SCHEMA_WITHOUT_ERRORS
    columns = {name: [getattr(row, name) for row in rows] for name in schema.names}
    return pyarrow.table(columns, schema=schema)


def _columns(table: pyarrow.Table) -> dict[str, npt.NDArray[Any]]:
    """Return columns as arrays; equal texts are one object, which keeps picking rows cheap."""
    texts = {field.name for field in SCHEMA if field.type == pyarrow.string()}
    found = {n: _texts(table[n]) if n in texts else table[n].to_numpy() for n in table.schema.names}
    return {"energy_error": np.full(len(table), np.nan)} | found


def _texts(column: pyarrow.ChunkedArray) -> npt.NDArray[Any]:
    coded = column.combine_chunks().dictionary_encode()
    known = np.array([*coded.dictionary.to_pylist(), None], object)
    return np.asarray(known[coded.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)])


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
