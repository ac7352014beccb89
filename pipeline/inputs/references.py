"""The reference space of a run: a folder, or the phantom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.reference_folder import available, read_reference
from pipeline.phantom import phantom_reference

PHANTOM_UM = 50.0  # finer costs seconds to make and tells an alignment little
GRID_LABELS_UM = 100.0  # any resolution that divides 200 um gives the same labels; this one is small


@dataclass(frozen=True)
class RunReference:
    """The reference of a run: its folder, None for the phantom, and the resolution that is configured."""

    directory: Path | None
    resolution_um: float | None = None

    def at(self, asked_um: float | None) -> ReferenceSpace:
        """Return the space at the configured resolution, else at that of its own nearest to the asked one."""
        return open_reference(self.directory, self.resolution_um or _nearest(self.directory, asked_um))


@lru_cache(maxsize=2)
def open_reference(directory: Path | None, resolution_um: float | None) -> ReferenceSpace:
    """Read a reference folder, or make the phantom where there is none; kept for the next task."""
    if directory is None:
        return phantom_reference(resolution_um or PHANTOM_UM)
    return read_reference(directory, resolution_um)


def _nearest(directory: Path | None, asked_um: float | None) -> float | None:
    """Return the coarsest resolution no coarser than asked, of a folder; None: its finest."""
    if directory is None:
        return max(asked_um or PHANTOM_UM, PHANTOM_UM)
    if asked_um is None or not directory.is_dir():
        return asked_um
    there = [um for name, um in available(directory) if name.startswith("annotation") and um > 0]
    return max((um for um in there if um <= asked_um), default=None)
