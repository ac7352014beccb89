"""Folders that are served: finished runs, and folders with data_set.xml and the grids of the original."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import DataError
from pipeline.formats.images.files import SUFFIXES
from pipeline.formats.manifests.allen_xml import NAME as DATA_SET_XML
from pipeline.store.run import RECEIPTS, is_run
from pipeline.system.files import real_path

GRIDS = ("energy.mhd", "density.mhd", "intensity.mhd")
# What a finished run has; each is written whole, so that its state tells whether the run changed.
OF_A_RUN = ("section_data_set.json", "provenance.json", "grid.zarr", "structure_unionize.parquet")
SETTLED = f"{RECEIPTS}/summarise.json"  # written when a series is done, with or without failed sections


@dataclass(frozen=True)
class Found:
    """A folder that can be served.

    Attributes
    ----------
    folder : Path
        The folder, links resolved.
    is_run : bool
        Whether it is a run.
    stamp : str
        Digest of the state of its files: changes whenever the outputs do.
    """

    folder: Path
    is_run: bool
    stamp: str


def find_served(folders: Sequence[Path]) -> list[Found]:
    """Find what can be served: each folder itself, else its direct subfolders.

    Parameters
    ----------
    folders : sequence of Path
        Runs, folders with data_set.xml, or folders that hold such.

    Returns
    -------
    list of Found
        In the order of the folders, then by name, each once.

    Raises
    ------
    DataError
        Where a folder does not exist or holds nothing that can be served.
    """
    found: dict[Path, Found] = {}
    for folder in folders:
        if not folder.is_dir():
            got = "a file" if folder.exists() else "no such folder; look at the path"
            raise DataError(f"{folder}: expected a folder of finished runs, got {got}")
        here = list(_in(folder))
        if not here:
            raise DataError(_nothing(folder))
        found.update({one.folder: one for one in here})
    return list(found.values())


def look_again(folders: Sequence[Path]) -> list[Found]:
    """Find what can be served now; a folder that is gone or empty by now has nothing.

    Parameters
    ----------
    folders : sequence of Path
        As of `find_served`.

    Returns
    -------
    list of Found
        As of `find_served`.
    """
    found = {one.folder: one for folder in folders if folder.is_dir() for one in _in(folder)}
    return list(found.values())


def _in(folder: Path) -> Iterable[Found]:
    own = _look(folder)
    if own is not None:
        yield own
        return
    try:
        inside = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}; rights?") from None
    for path in inside:
        one = _look(Path(path))
        if one is not None:
            yield one


def _look(folder: Path) -> Found | None:
    """Return a folder as it is now; None where it is neither a finished run nor a served data set."""
    if (folder / RECEIPTS).is_dir():
        finished = is_run(folder) and (folder / SETTLED).is_file() and (folder / OF_A_RUN[0]).is_file()
        return Found(real_path(folder), True, _stamp(folder, (RECEIPTS, *OF_A_RUN))) if finished else None
    if (folder / DATA_SET_XML).is_file():
        return Found(real_path(folder), False, _stamp(folder, (DATA_SET_XML, *GRIDS)))
    return None


def _stamp(folder: Path, names: Iterable[str]) -> str:
    """Return a digest of what the file system says of files; a file that is replaced has another inode."""
    states = []
    for name in names:
        try:
            state = os.stat(folder / name)
            states.append(f"{name} {state.st_ino} {state.st_size} {state.st_mtime_ns}")
        except OSError:
            states.append(f"{name} -")
    return hashlib.sha256("\n".join(states).encode()).hexdigest()[:16]


def unfinished(folders: Sequence[Path]) -> list[Path]:
    """Return the runs that were begun and are not served, since they did not finish.

    Parameters
    ----------
    folders : sequence of Path
        As of `find_served`.

    Returns
    -------
    list of Path
        Each folder itself or its direct subfolders, by name.
    """
    looked = [path for folder in folders for path in (folder, *sorted(folder.glob("*")))]
    return [path for path in looked if (path / RECEIPTS).is_dir() and _look(path) is None]


def _nothing(folder: Path) -> str:
    """Return why a folder cannot be served."""
    begun = unfinished([folder])
    if begun:
        return (
            f"{folder}: expected finished runs, got {len(begun)} that did not finish ({begun[0].name}); see"
            f" `ish status {folder}`"
        )
    inside = list(folder.iterdir())
    expected = f"{folder}: expected finished runs (OUTPUT of `ish run`) or folders with {DATA_SET_XML}"
    images = sum(path.suffix.lower() in SUFFIXES for path in inside)
    if images:
        return f"{expected}, got {images} image files; `ish init` and `ish run` make a run of them"
    return f"{expected}, got {'neither' if inside else 'an empty folder'}"
