"""Files for other programs, written into a folder of the user without replacing anything foreign.

Files are written into a fresh folder first, then moved into place. A small list beside them records every
file with its digest: only files that are unchanged since this package wrote them are replaced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import ConfigError, DataError
from pipeline.store.run import RECEIPTS, WRITERS, is_run, read_json
from pipeline.system.files import real_path
from pipeline.system.seals import Seals, first_damaged, seal
from pipeline.system.whole_files import beside, remove, replacing, writing

LIST = ".ish-pipeline.json"


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Yield a fresh folder; on success its files, in subfolders too, move into `folder`.

    Parameters
    ----------
    folder : Path
        Folder of the user; made where it does not exist.

    Yields
    ------
    Path
        Fresh folder to write into; it is removed in any case.

    Raises
    ------
    ConfigError
        Where the folder is a run or lies in one, or a file in the way is not ours or was changed since.
    DataError
        Where the folder cannot be written.
    """
    place = real_path(folder)
    if is_run(place) or _among_outputs(place):
        raise ConfigError(
            f"--output {folder}: is a run or lies in one, whose files are its own; choose another folder"
        )
    if place.exists() and not place.is_dir():
        raise ConfigError(f"--output {folder}: expected a folder to write in, got a file; choose another")
    with writing(folder):
        place.mkdir(parents=True, exist_ok=True)
        fresh = beside(place / "export")
        fresh.mkdir()
        try:
            yield fresh
            _move(fresh, place, folder)
        finally:
            remove(fresh)


def check_file_free(path: Path, is_ours: bool = False) -> None:
    """Check that a file named by the user can be written without replacing anything foreign.

    Parameters
    ----------
    path : Path
        File to write.
    is_ours : bool
        Whether an existing file was written by this package and may be replaced.

    Raises
    ------
    ConfigError
        Where the path is a folder, or a file that is not ours.
    """
    if path.is_dir():
        raise ConfigError(f"{path}: expected the name of a file to write, got a folder; choose another name")
    if path.exists() and not is_ours:
        raise ConfigError(f"{path}: is there already and not ours; remove it, or choose another name")


def _among_outputs(place: Path) -> bool:
    """Tell whether a folder lies inside one of the outputs of a run."""
    own = {*WRITERS, RECEIPTS}
    return any(is_run(parent) and place.relative_to(parent).parts[0] in own for parent in place.parents)


def _move(fresh: Path, place: Path, folder: Path) -> None:
    """Move files into place after checking that none replaces a foreign or changed file."""
    known = listed(place)
    new = seal(fresh, [fresh])
    for name in new:
        target = place / name
        if (target.exists() or target.is_symlink()) and (
            name not in known or first_damaged(place, {name: known[name]})
        ):
            raise ConfigError(
                f"--output {folder}: {name} is there already, and is not as this program left it; move it or"
                " choose another folder"
            )
    with replacing(
        place / LIST
    ) as file:  # before moving: after a crash, a file of ours that is not listed would count as foreign
        file.write_text(json.dumps({**known, **new}, indent=1), encoding="utf-8")
    for name in new:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(fresh / name, place / name)


def listed(place: Path) -> Seals:
    """Return the files that this package wrote into a folder before, with their digests.

    Parameters
    ----------
    place : Path
        Output folder.

    Returns
    -------
    Seals
        Size and digest by path in the folder; empty where there is no list, or it is damaged.
    """
    try:
        return read_json(place / LIST)
    except DataError:
        return {}
