"""Cache folder for compiled kernels: beside the sources, or elsewhere where these are read-only.

Numba refuses to compile a cached kernel where it finds no folder for it, as in a read-only installation.
Importing this module before numba provides one; worker processes inherit it.
"""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.core.package import PACKAGE

VARIABLE = "NUMBA_CACHE_DIR"  # environment variable that numba reads


def cache_folder(package: Path) -> Path | None:
    """Return the folder for compiled kernels.

    Parameters
    ----------
    package : Path
        Folder of this package.

    Returns
    -------
    Path or None
        None where kernels may lie beside the sources; else in the user's cache folder, else a private
        temporary one.
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
    """Set numba's cache folder unless the user has set it."""
    if os.name == "posix" and not os.environ.get(VARIABLE):
        folder = cache_folder(PACKAGE)
        if folder is not None:
            os.environ[VARIABLE] = str(folder)


choose()
