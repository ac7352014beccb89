"""Which reference a server shows, and whether a run was aligned to that brain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.core.errors import ConfigError, PipelineError
from pipeline.inputs.alignments import run_reference
from pipeline.search.sources import open_labels
from pipeline.service.content.scan import Found
from pipeline.system.files import real_path


@dataclass(frozen=True)
class ReferenceChoice:
    """The reference of a server.

    Attributes
    ----------
    directory : Path or None
        Its folder; None: the phantom.
    known : bool
        Whether there is one at all: served grids do not tell theirs.
    """

    directory: Path | None
    known: bool
    _fits: dict[Path | None, bool] = field(default_factory=dict, compare=False, repr=False)

    def check(self, found: Found) -> None:
        """Check that a run was aligned to this brain; what is not a run passes, and what cannot be told.

        Parameters
        ----------
        found : Found
            What is to be served.

        Raises
        ------
        ConfigError
            Where the run's reference has other labels on the 200 um grid.
        """
        if not found.is_run or not self.known:
            return
        try:
            own = run_reference(found.folder)
        except PipelineError:
            return
        if own != self.directory and not self._fits.setdefault(own, self._same(own)):
            raise ConfigError(
                f"--reference {_named(self.directory)}: expected the brain that run {found.folder.name} was"
                f" aligned to, {_named(own)}, got other labels; serve runs of different brains apart"
            )

    def _same(self, own: Path | None) -> bool:
        try:
            spaces = [open_labels(directory) for directory in (own, self.directory)]
        except PipelineError:
            return True  # a reference that has moved
        mine, other = (space.grid_labels() for space in spaces)
        return bool(np.array_equal(mine, other))


def choose_reference(found: Sequence[Found], given: Path | None) -> ReferenceChoice:
    """Choose the reference of a server.

    Parameters
    ----------
    found : sequence of Found
        What is to be served.
    given : Path or None
        What the user named.

    Returns
    -------
    ReferenceChoice
        The given one, else that of the first run, else that of ISH_REFERENCE, else none.

    Raises
    ------
    ConfigError
        Where the folder does not exist.
    """
    if given is not None:
        return ReferenceChoice(_folder(given), known=True)
    for one in found:
        if one.is_run:
            try:
                own = run_reference(one.folder)
            except PipelineError:
                continue  # a run without provenance
            return ReferenceChoice(own and _folder(own), known=True)
    named = os.environ.get("ISH_REFERENCE")
    return ReferenceChoice(_folder(Path(named)), True) if named else ReferenceChoice(None, False)


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ConfigError(
            f"--reference {path}: expected the folder of a reference, got none; give --reference"
        )
    return real_path(path)


def _named(directory: Path | None) -> str:
    return str(directory) if directory else "the phantom"
