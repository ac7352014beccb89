"""Seals of outputs: size and digest of every file, taken once the file is on the disk.

A power cut may keep a name and lose the content, a copy may break off, a disk may flip a bit. A file counts
as an output of a task only where it is byte for byte what that task wrote.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.system.whole_files import sync, writing

Seals = Mapping[str, Sequence[int | str]]  # path in the run folder -> size in bytes, digest
DIGITS = 32  # of a digest in hexadecimal: 128 bits
BLOCK = 1 << 20  # bytes read at once


def seal(folder: Path, outputs: Iterable[Path]) -> dict[str, list[int | str]]:
    """Sync outputs to the disk and return the size and digest of each of their files.

    Parameters
    ----------
    folder : Path
        Run folder.
    outputs : iterable of Path
        Files and folders below `folder`; missing ones are ignored.

    Returns
    -------
    dict of [int, str]
        Size in bytes and digest, by path relative to `folder`.

    Raises
    ------
    DataError
        Where a file cannot be read or synced.
    """
    files = sorted(file for output in outputs for file in _files(output))
    with writing(folder):
        sealed: dict[str, list[int | str]] = {}
        for file in files:
            sync(file)
            sealed[file.relative_to(folder).as_posix()] = [file.stat().st_size, digest(file)]
        for parent in sorted({p for file in files for p in file.parents if p.is_relative_to(folder)}):
            sync(parent)
    return sealed


def first_damaged(folder: Path, sealed: Seals, within: str = "") -> str:
    """Return the first file that differs from its seal.

    Parameters
    ----------
    folder : Path
        Run folder.
    sealed : mapping of [int, str]
        Seals as `seal` returns them.
    within : str
        Check this file or folder only; empty: all.

    Returns
    -------
    str
        Path relative to `folder`; empty where all files are intact.
    """
    for name, known in sealed.items():
        if within and name != within and not name.startswith(f"{within}/"):
            continue
        if not _is_as_sealed(folder / name, known):
            return name
    return ""


def digest(file: Path) -> str:
    """Return the SHA-256 digest of a file's bytes.

    Parameters
    ----------
    file : Path
        File to read.

    Returns
    -------
    str
        The first 32 hexadecimal digits (128 bits).
    """
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            found.update(block)
    return found.hexdigest()[:DIGITS]


def _is_as_sealed(file: Path, known: Sequence[int | str]) -> bool:
    try:
        size, expected = known
        # A link is never an output: the task did not write the file behind it.
        whole = not file.is_symlink() and file.is_file() and file.stat().st_size == size
        return whole and digest(file) == expected
    except (OSError, TypeError, ValueError):
        return False


def _files(output: Path) -> list[Path]:
    if not output.is_dir():
        return [output] if output.exists() else []
    return [Path(root, name) for root, _, names in os.walk(output) for name in names]
