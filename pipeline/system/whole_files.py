"""Outputs appear whole or not at all: written beside their place, then renamed into it.

What stands in the place of an output is replaced only where it is ours: a file never takes the place of a
folder, and a folder is replaced only where its caller says what it may hold.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import DataError, PipelineError

UNFINISHED = ".unfinished-"
_OURS = re.compile(rf"{re.escape(UNFINISHED)}[0-9a-f]{{8}}-.+")  # only names that `replacing` makes

IsOurs = Callable[[Path], bool]


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
def replacing(path: Path, is_ours: IsOurs | None = None) -> Iterator[Path]:
    """Yield a fresh path beside `path`; on success it takes the place of `path`, else it is removed.

    The fresh path may become a file or a folder. A folder that is there stays there until the fresh one is
    whole.

    Parameters
    ----------
    is_ours : (path relative to the folder) -> bool
        which files a folder in that place may hold to be replaced; None: no folder is replaced

    Raises
    ------
    DataError
        a folder that is not ours in that place; what keeps the fresh path from being written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = beside(path)
        try:
            yield fresh
            _put_in_place(fresh, path, is_ours)
        except BaseException:
            remove(fresh)
            raise


def beside(path: Path) -> Path:
    """Return a name beside `path` that is swept up after a writer that died."""
    return path.parent / f"{UNFINISHED}{uuid.uuid4().hex[:8]}-{path.name}"


def _put_in_place(fresh: Path, path: Path, is_ours: IsOurs | None) -> None:
    if not path.is_dir() or path.is_symlink() or (fresh.is_dir() and not any(path.iterdir())):
        os.replace(fresh, path)
        return
    if is_ours is None or not fresh.is_dir():
        raise DataError(f"{path}: expected a file or nothing in this place, got a folder; name another")
    check_ours(path, is_ours)
    old = beside(path)
    os.replace(path, old)
    try:
        os.replace(fresh, path)
    except BaseException:
        os.replace(old, path)
        raise
    remove(old)


def check_ours(folder: Path, is_ours: IsOurs) -> None:
    """Raise DataError where a folder that is to be removed holds anything that is not ours."""
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if Path(root, name).is_symlink()]
        for name in sorted((*files, *links)):
            found = Path(root, name).relative_to(folder)
            if any(_OURS.fullmatch(part) for part in found.parts):
                continue
            if Path(root, name).is_symlink() or not is_ours(found):
                raise DataError(
                    f"{folder}: is to be replaced, but holds {found}, which is not ours; move it elsewhere"
                )


def remove_ours(folder: Path, is_ours: IsOurs) -> None:
    """Remove a folder if it is there; DataError where it holds anything that is not ours."""
    if folder.is_symlink() or folder.is_file():
        raise DataError(f"{folder}: expected a folder of ours or nothing, got something else; move it away")
    if folder.is_dir():
        check_ours(folder, is_ours)
        with writing(folder):
            shutil.rmtree(folder)


def write_at(file: int, content: bytes, offset: int) -> None:
    """Write all of `content` to an open file; OSError where not every byte found room."""
    done = 0
    while done < len(content):
        done += os.pwrite(file, content[done:], offset + done)


def sync(path: Path) -> None:
    """Make sure that a file's content, or a folder's list of names, would outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir():  # some network file systems cannot sync folders
            raise DataError(f"{path}: cannot be synced: {error.strerror}; free space?") from error
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder of ours if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what earlier, interrupted writers left in a folder and its subfolders."""
    for path in sorted(folder.rglob(f"{UNFINISHED}*")):
        if _OURS.fullmatch(path.name):
            remove(path)
