"""Zips that anyone may have written: members are read into memory within bounds, never unpacked to disk."""

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

_STEP = 4096  # bytes asked for at once: some methods unpack all that a step of packed bytes holds
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, KeyError,
    IndexError, OverflowError, NotImplementedError, RuntimeError, AttributeError,
)  # fmt: skip


def is_zip(path: Path) -> bool:
    """Tell whether a path leads to a plain file that is a zip."""
    return path.is_file() and zipfile.is_zipfile(path)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip; DataError in one line for one that is damaged, also while it is read."""
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
    """Return a member of at most so many bytes; what states or unpacks to more is a DataError."""
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
