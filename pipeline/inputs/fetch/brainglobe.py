"""BrainGlobe atlases by name, through the optional package brainglobe-atlasapi."""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError, PipelineError
from pipeline.store.brainglobe import lacking_volumes

PREFIX = "brainglobe:"
# brainglobe:allen_mouse_25um, brainglobe:allen_mouse_25um@1.2
ATLAS_NAME = re.compile(rf"{PREFIX}(?P<name>[\w.-]+)(@(?P<version>[\d._]+))?")
LIBRARY = "brainglobe_atlasapi"
LEAST_VERSION = 3  # earlier ones write another layout


def fetch_atlas(name: str, directory: Path | None = None) -> Path:
    """Return the folder of an atlas, downloaded where it is not there.

    Parameters
    ----------
    name : str
        Name with its prefix, and with the version after an @ where it is not to be the newest.
    directory : Path, optional
        Folder of BrainGlobe; default the one that its configuration names.

    Returns
    -------
    Path
        Atlas folder of version 3, with the voxels of annotation and template.

    Raises
    ------
    ConfigError
        Where the name has another form, brainglobe-atlasapi is not installed, or it has no atlas of that name
        at hand.
    """
    asked = ATLAS_NAME.fullmatch(name)
    if asked is None:
        raise ConfigError(
            f"reference {name[:80]}: expected {PREFIX}NAME or {PREFIX}NAME@VERSION, such as"
            f" {PREFIX}allen_mouse_25um"
        )
    library = _library(name)
    try:
        with redirect_stdout(sys.stderr):  # the library prints what it does
            atlas = library.BrainGlobeAtlas(
                asked["name"], version=asked["version"], brainglobe_dir=directory, check_latest=False
            )
            folder = Path(atlas.brainglobe_dir, atlas.local_full_name).parent
            for volume, chunks in lacking_volumes(folder).items():
                _download(atlas, volume, chunks)
    except PipelineError:
        raise
    except Exception as error:  # of the network, of the disk, of the library
        what = " ".join(str(error).split())[:160] or type(error).__name__
        raise ConfigError(
            f"{name}: expected an atlas of BrainGlobe, got {what}; is there a network, and is that its name?"
        ) from error
    return folder


def _library(name: str) -> Any:
    needs = (
        f"{name}: needs the package brainglobe-atlasapi {LEAST_VERSION}; install it with"
        " pip install 'ish-pipeline[brainglobe]', or give the folder of an atlas with --reference"
    )
    try:
        library = import_module(LIBRARY)
    except ImportError:
        raise ConfigError(needs) from None
    if int(library.__version__.partition(".")[0]) < LEAST_VERSION:
        raise ConfigError(f"{needs}; got {library.__version__}")
    return library


def _download(atlas: Any, volume: str, chunks: Path) -> None:
    """Have the library download a volume, or leave nothing of it: chunks that lack would read as zeros."""
    try:
        getattr(atlas, volume)  # a property that downloads what is not there
    except BaseException:
        shutil.rmtree(chunks, ignore_errors=True)
        raise
