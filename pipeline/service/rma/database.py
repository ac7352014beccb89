"""The connection of each thread to the database, and how long an answer may take."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.service.http.answers import RequestError
from pipeline.service.rma.compile import Statement
from pipeline.service.rma.values import Scalar
from pipeline.service.served import LIMITS

STEPS = 5_000  # of SQLite's machine between two looks at the clock, about .1 ms
STATEMENTS = 256  # that a connection keeps prepared


class _Mine(threading.local):
    """What a thread keeps between queries."""

    def __init__(self) -> None:
        self.open: dict[Path, tuple[tuple[int, int], sqlite3.Connection]] = {}
        self.end = 0.0

    def late(self) -> bool:
        return time.monotonic() > self.end


_MINE = _Mine()


def close_connections() -> None:
    """Close the connections of this thread; the next query opens them again."""
    while _MINE.open:
        _MINE.open.popitem()[1][1].close()


def _connect(database: Path) -> sqlite3.Connection:
    """Return this thread's connection, a new one where the file has been replaced."""
    try:
        status = os.stat(database)
    except OSError:
        raise RequestError("the index of this server cannot be read", status=503) from None
    identity = (status.st_dev, status.st_ino)
    kept = _MINE.open.get(database)
    if kept is not None and kept[0] == identity:
        return kept[1]
    if kept is not None:
        kept[1].close()
    connection = sqlite3.connect(
        f"file:{quote(str(database))}?mode=ro", uri=True, isolation_level=None, cached_statements=STATEMENTS
    )
    connection.set_progress_handler(_MINE.late, STEPS)
    _MINE.open[database] = (identity, connection)
    return connection


@contextmanager
def reading(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for one answer: one state of it throughout, and a limit in time.

    Parameters
    ----------
    database : Path
        SQLite file; it is opened for reading only, once a thread.

    Yields
    ------
    sqlite3.Connection
        In a transaction that ends with the block.

    Raises
    ------
    RequestError
        With 400 where the time is over, 503 where the database cannot be read.
    """
    try:
        connection = _connect(database)
        start_clock()
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.rollback()
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise _too_slow() from None
        if any(words in str(error) for words in ("at most", "too many", "too large", "too complex")):
            raise RequestError(f"the query is too complex: {error}; ask in steps") from None
        raise RequestError("the index of this server cannot answer that query", status=503) from error
    except sqlite3.Error as error:
        raise RequestError("the index of this server cannot be read", status=503) from error


def start_clock() -> None:
    """Give the queries that follow in this thread their whole time."""
    _MINE.end = time.monotonic() + LIMITS.query_s


def _too_slow() -> RequestError:
    return RequestError(
        f"the query took longer than {LIMITS.query_s:g} s; narrow it, or ask for fewer rows at once"
    )


def run(
    connection: sqlite3.Connection, statement: Statement, more: tuple[Scalar, ...] = ()
) -> list[tuple[Any, ...]]:
    """Run a statement.

    Parameters
    ----------
    connection : sqlite3.Connection
        From `reading`.
    statement : Statement
        What to run.
    more : tuple of Scalar
        Values bound after its own.

    Returns
    -------
    list of tuple
        All its rows.

    Raises
    ------
    RequestError
        With 400 where the time is over.
    """
    if _MINE.late():
        raise _too_slow()
    return connection.execute(statement.sql, (*statement.values, *more)).fetchall()
