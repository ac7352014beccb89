"""Numbers of section images, genes and specimens that their source did not number, kept for good."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path

NAME = "ids.sqlite"  # in the cache; never removed to make room
FIRST, LAST = 1_500_000_000, 2_099_999_999  # the range of numbers given here: above those of the original,
# and below those of the plates
TABLE = "CREATE TABLE IF NOT EXISTS numbers (kind TEXT, key TEXT, id INTEGER, PRIMARY KEY (kind, key))"
UNIQUE = "CREATE UNIQUE INDEX IF NOT EXISTS number_once ON numbers (kind, id)"


class Numbers:
    """Numbers by kind and key: the same key has the same number at every start and on every machine.

    A number is a digest of its key, so that links outlast the cache; only where two keys meet in one number
    does the second take the next free one, which the file remembers.

    Parameters
    ----------
    path : Path
        SQLite file; made where it does not exist. Several servers may share it.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._connection.close)
        # A commit need not wait for the disk: what a power cut takes is given again, from the same digests.
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", TABLE, UNIQUE):
            self._connection.execute(statement)

    def of(self, kind: str, keys: Iterable[str], stated: Mapping[str, int] | None = None) -> dict[str, int]:
        """Return the numbers of keys, and keep those that are new.

        Parameters
        ----------
        kind : str
            What is numbered, such as "section_image"; kinds are numbered apart.
        keys : iterable of str
            What tells one thing from all others of its kind.
        stated : mapping of str to int, optional
            Numbers that the source gives. They are taken where no other key has them.

        Returns
        -------
        dict of str to int
            By key, below 2**31.
        """
        wanted = list(dict.fromkeys(keys))
        stated = stated or {}
        with self._lock:
            connection = self._connection
            found = self._known(connection, kind, wanted)
            if all(key in found for key in wanted):
                return found
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                found = self._known(connection, kind, wanted)  # another server may have been faster
                for key in wanted:
                    if key not in found:
                        found[key] = _take(connection, kind, key, stated.get(key))
        return found

    @staticmethod
    def _known(connection: sqlite3.Connection, kind: str, keys: list[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, id FROM numbers WHERE kind = ? AND key IN ({marks})"
            found.update(connection.execute(query, [kind, *some]))
        return {key: found[key] for key in keys if key in found}


def _take(connection: sqlite3.Connection, kind: str, key: str, stated: int | None) -> int:
    """Keep and return a number for a key: the stated one where it is free, else the first free one."""
    digest = int.from_bytes(hashlib.sha256(f"{kind}/{key}".encode()).digest()[:8], "big")
    number = stated if stated is not None and 0 < stated <= LAST else FIRST + digest % (LAST - FIRST)
    while connection.execute("SELECT 1 FROM numbers WHERE kind = ? AND id = ?", (kind, number)).fetchone():
        number = (
            FIRST + (number + 1 - FIRST) % (LAST - FIRST)
            if number >= FIRST
            else FIRST + digest % (LAST - FIRST)
        )
    connection.execute("INSERT INTO numbers VALUES (?, ?, ?)", (kind, key, number))
    return number
