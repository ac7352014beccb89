"""Where compiled kernels are kept: beside their sources, and elsewhere where these may not be written.

Numba refuses to compile a kernel that is to be kept and finds no place for it, as in an installation that is
read-only. Importing this module before numba gives it one; worker processes inherit it.
"""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.system.package import PACKAGE

VARIABLE = "NUMBA_CACHE_DIR"


def cache_folder(package: Path) -> Path | None:
    """Return the folder for compiled kernels; None where they may lie beside the sources.

    The user's cache folder, else a private one among temporary files.
    """
    kept = package / "__pycache__"
    if os.access(package, os.W_OK) and (not kept.exists() or os.access(kept, os.W_OK)):
        return None
    try:
        name = f"ish-pipeline-{version('ish-pipeline')}"
    except PackageNotFoundError:  # a copy of the sources alone
        name = "ish-pipeline"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for place in (Path(home, name), Path(tempfile.gettempdir(), f"{name}-{os.getuid()}")):
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        state = place.stat()
        if state.st_uid == os.getuid() and os.access(place, os.W_OK):  # another user's kernels are not run
            return place / "kernels"
    return Path(tempfile.mkdtemp(prefix=name))


def choose() -> None:
    """Tell numba where to keep kernels, unless the user has."""
    if os.name == "posix" and not os.environ.get(VARIABLE):
        folder = cache_folder(PACKAGE)
        if folder is not None:
            os.environ[VARIABLE] = str(folder)


choose()
