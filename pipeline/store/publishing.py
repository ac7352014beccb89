"""Files for other programs, put into a folder of the user's: nothing that is not ours is ever replaced there.

Files are written into a fresh folder first and then moved to their places, all or none. What was put there
before stands in a small list beside them, with its digest: only what is still as we wrote it gives way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import ConfigError
from pipeline.store.run import RECEIPTS, WRITERS, is_run
from pipeline.system.files import real_path
from pipeline.system.seals import Seals, first_damaged, seal
from pipeline.system.whole_files import beside, remove, replacing, writing

LIST = ".ish-pipeline.json"


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Yield a fresh folder; on success its files, in subfolders too, take their places in `folder`.

    Raises
    ------
    ConfigError
        a folder that is a run, and a file in the way that is not ours or was changed since.
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
    """Raise ConfigError where a file that a user names is a folder, or holds what is not ours."""
    if path.is_dir():
        raise ConfigError(f"{path}: expected the name of a file to write, got a folder; choose another name")
    if path.exists() and not is_ours:
        raise ConfigError(f"{path}: is there already and not ours; remove it, or choose another name")


def _among_outputs(place: Path) -> bool:
    """Tell whether a folder lies where a run keeps what it writes and reads."""
    own = {*WRITERS, RECEIPTS}
    return any(is_run(parent) and place.relative_to(parent).parts[0] in own for parent in place.parents)


def _move(fresh: Path, place: Path, folder: Path) -> None:
    known = _listed(place)
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
    with replacing(place / LIST) as file:  # first: a file that is ours and not listed would be in the way
        file.write_text(json.dumps({**known, **new}, indent=1), encoding="utf-8")
    for name in new:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(fresh / name, place / name)


def _listed(place: Path) -> Seals:
    """Return what this program put into a folder before."""
    try:
        document = json.loads((place / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, Mapping) else {}
