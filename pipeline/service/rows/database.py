"""The SQLite file behind RMA: rows of the models for everything that is served, kept between starts."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.code import code_digest
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.core.model import Float64
from pipeline.core.package import PACKAGE
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry.structure_centres import structure_centres
from pipeline.service.content.catalogue import Entry
from pipeline.service.content.loading import Loaded, load, numbered
from pipeline.service.content.numbering import Numbers
from pipeline.service.content.reference_choice import ReferenceChoice
from pipeline.service.content.scan import Found
from pipeline.service.rma.schema import MODELS, create_indices, create_tables, drop_indices
from pipeline.service.rows.of_experiments import (
    Columns,
    Row,
    gene_number,
    rows_of_experiment,
    summary,
    without_experiment,
)
from pipeline.service.rows.of_reference import rows_of_reference, without_reference
from pipeline.system.files import real_path

SERVED = (
    "CREATE TABLE served_ (folder TEXT PRIMARY KEY, stamp TEXT, is_run INTEGER, id INTEGER, sections TEXT,"
    " summary TEXT)"
)
STATE = "CREATE TABLE state_ (name TEXT PRIMARY KEY, value TEXT)"
LONGEST = MODELS["StructureUnionize"]  # its table has far more rows than all others
# A value that no table takes, such as an id beyond 2**63; a full disk is none of them.
UNFIT = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError,
         OverflowError, UnicodeError)  # fmt: skip
BATCH = 50  # experiments a transaction: a server that is stopped keeps what it has read

UNUSED_S = 30 * 86400.0  # seconds after which the file of other folders, or of older code, is removed
TOLD = 500  # experiments between two lines on how far it is

ReferencePart = Callable[[], tuple[ReferenceSpace, Path | None] | None]


def remove_unused(cache: Path, kept: Path) -> None:
    """Remove files of rows that no server has used for a month.

    Parameters
    ----------
    cache : Path
        Folder of the files.
    kept : Path
        File that stays.
    """
    for path in cache.glob("models-*.sqlite"):
        with suppress(OSError):  # another server was faster
            if path != kept and time.time() - path.stat().st_mtime > UNUSED_S:
                for suffix in ("", "-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)


class Database:
    """Rows of the models, brought up to date by `update`.

    Parameters
    ----------
    cache : Path
        Folder of the file.
    folders : sequence of Path
        What is served; other folders have another file.
    numbers : Numbers
        Ids of what the sources do not number.
    reference : ReferenceChoice
        The reference, which runs have to fit.
    """

    def __init__(
        self, cache: Path, folders: Sequence[Path], numbers: Numbers, reference: ReferenceChoice
    ) -> None:
        named = "\n".join([str(reference.directory), *(str(real_path(folder)) for folder in folders)])
        digest = hashlib.sha256(f"{_own_code()}\n{named}".encode()).hexdigest()[:16]
        self.path, self._numbers = cache / f"models-{digest}.sqlite", numbers
        self._reference = reference
        self._genes: dict[str, int] = {}  # ids that were asked for, by symbol
        remove_unused(cache, self.path)
        with closing(self._open()) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'state_'").fetchone():
                connection.execute(SERVED)
                connection.execute(STATE)
                create_tables(connection)
            connection.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=120, isolation_level=None)
        connection.execute("PRAGMA synchronous=NORMAL")  # all of it can be made again
        connection.execute("PRAGMA wal_autocheckpoint=20000")  # pages: waits for the disk less often
        return connection

    def update(
        self,
        found: Sequence[Found],
        reference: ReferencePart,
        *,
        strict: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> tuple[list[Entry], list[str]]:
        """Bring the rows up to date.

        Parameters
        ----------
        found : sequence of Found
            What is there now.
        reference : callable
            Returns the reference and its folder; called only where rows of it are to be made.
        strict : bool
            Whether a run of another brain is an error; else it is left out.
        say : callable
            Receives how far it is, where there is much to read.

        Returns
        -------
        entries : list of Entry
            What is served.
        notes : list of str
            What is left out, and why.

        Raises
        ------
        ConfigError
            Where `strict` and a run was aligned to another brain.
        """
        os.utime(self.path)  # in use: another server that shares the cache leaves it
        with closing(self._open()) as connection:
            self._update_reference(connection, reference)
            known = {e.folder: e for e in _entries(connection)}
            gone = known.keys() - {str(one.folder) for one in found}
            changed = [one for one in found if known.get(str(one.folder), _NONE).stamp != one.stamp]
            notes: list[str] = []
            with _transaction(connection):
                for folder in gone | {str(one.folder) for one in changed if str(one.folder) in known}:
                    self._forget(connection, known[folder])
                if len(changed) > max(len(known), BATCH):
                    drop_indices(connection, LONGEST)  # all rows at once are indexed faster
            for start in range(0, len(changed), BATCH):
                read = [self._read(one, notes, strict) for one in changed[start : start + BATCH]]
                with _transaction(connection):
                    for part in filter(None, read):
                        self._keep(connection, *part, notes)
                if (done := start + BATCH) % TOLD == 0 and done < len(changed):
                    say(f"read {done} of {len(changed)} experiments; what is read is kept for the next start")
            create_indices(connection, LONGEST)  # also after a server that was stopped in between
            if changed:
                connection.execute("PRAGMA analysis_limit=1000")
                connection.execute("ANALYZE")
                self._genes.clear()
            return list(_entries(connection)), notes

    def _read(
        self, one: Found, notes: list[str], strict: bool
    ) -> tuple[Found, Loaded, dict[int, int]] | None:
        try:
            self._reference.check(one)
            loaded = load(one)
            return one, loaded, numbered(loaded, self._numbers)
        except PipelineError as error:
            if strict and isinstance(error, ConfigError):
                raise
            notes.append(f"{one.folder.name} is left out: {error}")
            return None

    def _keep(
        self,
        connection: sqlite3.Connection,
        one: Found,
        loaded: Loaded,
        ids: dict[int, int],
        notes: list[str],
    ) -> None:
        there = connection.execute(
            "SELECT folder FROM served_ WHERE id = ?", (loaded.data_set.id,)
        ).fetchone()
        if there is not None:
            if there[0] != str(one.folder):  # else another server was faster
                notes.append(
                    f"{one.folder}: is left out, since {there[0]} has the same id {loaded.data_set.id}"
                )
            return
        try:
            rows = rows_of_experiment(one, loaded, ids, self._numbers)
        except PipelineError as error:
            notes.append(f"{one.folder.name} is left out: {error}")
            return
        served = (
            str(one.folder),
            one.stamp,
            one.is_run,
            loaded.data_set.id,
            json.dumps(list(ids.items())),
            json.dumps(summary(loaded)),
        )
        connection.execute("SAVEPOINT one")
        try:
            _insert(connection, rows)
            connection.execute("INSERT INTO served_ VALUES (?, ?, ?, ?, ?, ?)", served)
        except UNFIT as error:
            connection.execute("ROLLBACK TO one")
            notes.append(f"{one.folder.name} is left out: {error}")
        connection.execute("RELEASE one")

    @staticmethod
    def _forget(connection: sqlite3.Connection, entry: Entry) -> None:
        connection.execute("DELETE FROM served_ WHERE folder = ?", (entry.folder,))
        for statement in without_experiment():
            connection.execute(statement, {"id": entry.id})

    def _update_reference(self, connection: sqlite3.Connection, reference: ReferencePart) -> None:
        """Make the rows of the reference, where they are not those of its present files."""
        row = connection.execute("SELECT value FROM state_ WHERE name = 'reference'").fetchone()
        stamp = _stamp(self._reference.directory) if self._reference.known else "none"
        if row is not None and row[0] == stamp:
            return
        part = reference()
        rows = rows_of_reference(part, self.centres(*part) if part else {})
        with _transaction(connection):
            for statement in without_reference():
                connection.execute(statement)
            _insert(connection, rows)
            connection.execute("REPLACE INTO state_ VALUES ('reference', ?)", (stamp,))

    def gene_id(self, symbol: str) -> int:
        """Return the id of a gene.

        Parameters
        ----------
        symbol : str
            Its symbol.

        Returns
        -------
        int
            That in the table of genes, else the one that is kept for the symbol.
        """
        if symbol not in self._genes:
            with closing(self._open()) as connection:
                row = connection.execute(
                    "SELECT id FROM genes WHERE acronym = ? LIMIT 1", (symbol,)
                ).fetchone()
            self._genes[symbol] = int(row[0]) if row else gene_number(self._numbers, symbol)
        return self._genes[symbol]

    def centres(self, reference: ReferenceSpace, directory: Path | None) -> dict[int, Float64]:
        """Return the centres of structures, computed once for a reference.

        Parameters
        ----------
        reference : ReferenceSpace
            The reference.
        directory : Path or None
            Its folder; None: the phantom.

        Returns
        -------
        dict of int to (3,) float64, um
            (P, I, R) by structure id.
        """
        name = f"centres {_stamp(directory)}"
        with closing(self._open()) as connection:
            row = connection.execute("SELECT value FROM state_ WHERE name = ?", (name,)).fetchone()
            if row is None:
                found = {one: point.tolist() for one, point in structure_centres(reference).items()}
                row = (json.dumps(found),)
                with _transaction(connection):
                    connection.execute("REPLACE INTO state_ VALUES (?, ?)", (name, *row))
        return {int(one): np.array(point) for one, point in json.loads(row[0]).items()}


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


_NONE = Entry(0, "", "", False, {}, {})


def _entries(connection: sqlite3.Connection) -> Iterator[Entry]:
    for folder, stamp, is_run, one, sections, about in connection.execute(
        "SELECT * FROM served_ ORDER BY id"
    ):
        yield Entry(one, folder, stamp, bool(is_run), dict(json.loads(sections)), json.loads(about))


def _insert(connection: sqlite3.Connection, rows: Mapping[str, list[Row] | Columns]) -> None:
    for table, content in rows.items():
        if not content:
            continue
        values: Iterable[tuple[Any, ...]]
        if isinstance(content, dict):
            names, values = list(content), zip(*content.values(), strict=True)
        else:
            names = list(dict.fromkeys(name for row in content for name in row))
            values = (tuple(row.get(name) for name in names) for row in content)
        columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
        connection.executemany(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", values)


def _own_code() -> str:
    """Return a digest of this folder's sources: other code makes other rows, in another file."""
    digest = hashlib.sha256()
    for path in sorted((PACKAGE / "service").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _stamp(directory: Path | None) -> str:
    """Return a digest of the state of a reference folder's files; of the phantom, of the code."""
    if directory is None:
        return f"phantom {code_digest()[:16]}"
    files = sorted(path for path in directory.glob("*") if path.is_file())
    states = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join([str(directory), *states]).encode()).hexdigest()[:16]
