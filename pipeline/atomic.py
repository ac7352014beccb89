"""Outputs appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import DataError, PipelineError

UNFINISHED = ".unfinished-"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make a full disk or a folder that cannot be written a DataError in one line."""
    try:
        yield
    except PipelineError:
        raise
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written: {error.strerror or error}; free space? rights?"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a fresh path beside `path`; on success it takes the place of `path`, else it is removed.

    The fresh path may become a file or a folder. What keeps it from being written is a DataError.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.parent / f"{UNFINISHED}{uuid.uuid4().hex[:8]}-{path.name}"
        try:
            yield fresh
            remove(path) if path.is_dir() else None
            os.replace(fresh, path)
        except BaseException:
            remove(fresh)
            raise


def write_at(file: int, content: bytes, offset: int) -> None:
    """Write all of `content` to an open file; OSError where not every byte found room."""
    done = 0
    while done < len(content):
        done += os.pwrite(file, content[done:], offset + done)


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what earlier, interrupted writers left in a folder and its subfolders."""
    for path in sorted(folder.rglob(f"{UNFINISHED}*")):
        remove(path)
