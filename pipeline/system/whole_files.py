"""Atomic outputs: written beside their place, then renamed into it, so that they appear whole or not at all.

An existing output is replaced only where it is ours. A file never replaces a folder, and a folder is replaced
only where the caller states what it may hold.
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

UNFINISHED = ".unfinished-"  # prefix of outputs that are still being written
_OURS = re.compile(rf"{re.escape(UNFINISHED)}[0-9a-f]{{8}}-.+")  # only names that `beside` makes

IsOurs = Callable[[Path], bool]  # takes a path relative to the folder in question


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError while writing, such as a full disk, into a one-line DataError.

    Parameters
    ----------
    path : Path
        Output that the message names.

    Yields
    ------
    None
        While the block writes.

    Raises
    ------
    DataError
        Where the block raises OSError.
    """
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
    """Provide a fresh path beside `path` that replaces it on success and is removed otherwise.

    The fresh path may become a file or a folder. An existing folder stays in place until the fresh one is
    whole.

    Parameters
    ----------
    path : Path
        Final place of the output.
    is_ours : callable, optional
        Takes a path relative to the folder in that place and tells whether it may be replaced; None: no
        folder is replaced.

    Yields
    ------
    Path
        The fresh path, to be written by the block.

    Raises
    ------
    DataError
        Where a folder in that place is not ours, or the fresh path cannot be written.
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
    """Return a fresh name beside a path; `sweep` removes it if its writer dies.

    Parameters
    ----------
    path : Path
        Final place of an output.

    Returns
    -------
    Path
        Hidden name in the same folder.
    """
    return path.parent / f"{UNFINISHED}{uuid.uuid4().hex[:8]}-{path.name}"


def put_aside(path: Path, stem: str, suffix: str = "") -> str:
    """Rename a file of the user's within its folder, to a name that no other file has.

    Parameters
    ----------
    path : Path
        File to rename.
    stem, suffix : str
        What the new name has before and after its number.

    Returns
    -------
    str
        New name; its number is one above the highest that is there, so that what was put aside last counts
        highest even where earlier ones were removed.
    """
    numbered = re.compile(rf"{re.escape(stem)}(\d+){re.escape(suffix)}")
    taken = [int(found[1]) for name in os.listdir(path.parent) if (found := numbered.fullmatch(name))]
    kept = path.with_name(f"{stem}{max(taken, default=0) + 1}{suffix}")
    os.replace(path, kept)
    return kept.name


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
    """Check that a folder to be removed holds nothing but our files.

    Parameters
    ----------
    folder : Path
        Folder to check.
    is_ours : callable
        Takes a path relative to the folder.

    Raises
    ------
    DataError
        Where a file is not ours, or is a link.
    """
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
    """Remove a folder of ours if it exists.

    Parameters
    ----------
    folder : Path
        Folder to remove.
    is_ours : callable
        Takes a path relative to the folder.

    Raises
    ------
    DataError
        Where the path is a file or link, holds anything that is not ours, or cannot be removed.
    """
    if folder.is_symlink() or folder.is_file():
        raise DataError(f"{folder}: expected a folder of ours or nothing, got something else; move it away")
    if folder.is_dir():
        check_ours(folder, is_ours)
        with writing(folder):
            shutil.rmtree(folder)


def write_at(file: int, content: bytes, offset: int) -> None:
    """Write bytes to an open file at an offset; OSError where they do not all fit.

    Parameters
    ----------
    file : int
        File descriptor.
    content : bytes
        Written completely, in several calls if need be.
    offset : int, bytes
        Position of the first byte in the file.
    """
    done = 0
    while done < len(content):
        done += os.pwrite(file, content[done:], offset + done)


def sync(path: Path) -> None:
    """Make a file's content, or a folder's list of names, survive a power cut.

    Parameters
    ----------
    path : Path
        File or folder.

    Raises
    ------
    DataError
        Where a file cannot be synced; folders that cannot be synced are ignored.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir():  # some network file systems cannot sync folders
            raise DataError(f"{path}: cannot be synced: {error.strerror}; free space?") from error
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or folder of ours if it exists.

    Parameters
    ----------
    path : Path
        A link is removed, not its target.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what interrupted writers left in a folder and its subfolders.

    Parameters
    ----------
    folder : Path
        Output folder.
    """
    for path in sorted(folder.rglob(f"{UNFINISHED}*")):
        if _OURS.fullmatch(path.name):
            remove(path)
