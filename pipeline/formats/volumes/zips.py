"""Bounded reading of zips of unknown origin: members are read into memory, never unpacked to disk."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import DataError, PipelineError
from pipeline.system.files import check_plain, shown

_STEP = 4096  # bytes per read: some methods unpack everything that one step of packed bytes holds
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, KeyError,
    IndexError, OverflowError, NotImplementedError, RuntimeError, AttributeError,
)  # fmt: skip


def is_zip(path: Path) -> bool:
    """Check whether a path leads to a regular file that is a zip.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    bool
        False also where there is no such file.
    """
    return path.is_file() and zipfile.is_zipfile(path)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip for reading.

    Parameters
    ----------
    path : Path
        Zip file.

    Yields
    ------
    ZipFile
        The open archive.

    Raises
    ------
    DataError
        Where the file is missing or damaged, also if the damage shows while the block reads.
    """
    check_plain(path, "a zip")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except PipelineError:
        raise
    except _DAMAGED as error:
        raise DataError(
            f"{path}: expected a whole zip, got a damaged one ({shown(str(error))}); download it again"
        ) from error


def read_member(path: Path, archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Return the content of a member of bounded size.

    Parameters
    ----------
    path : Path
        Zip file, for messages.
    archive : ZipFile
        The same file, open.
    name : str
        Member to read; KeyError where there is none.
    most : int, bytes
        Largest unpacked size that is accepted.

    Returns
    -------
    bytes
        The unpacked content.

    Raises
    ------
    DataError
        Where the member is encrypted, or states or unpacks to more than `most`.
    """
    where = f"{path}:{name}"
    member = archive.getinfo(name)
    if member.flag_bits & 1:
        raise DataError(f"{where}: expected a member without a password, got an encrypted one")
    if member.file_size > most:
        raise DataError(f"{where}: expected at most {most} bytes, the zip states {member.file_size}")
    content = bytearray()
    with archive.open(member) as file:
        while len(content) <= most and (part := file.read(_STEP)):
            content += part
    if len(content) > most:
        raise DataError(f"{where}: expected at most {most} bytes, got more")
    return bytes(content)
