"""Reference space of a run: a folder, or the phantom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.brainglobe import is_brainglobe, is_brainglobe_3
from pipeline.formats.volumes.reference_folder import DESCRIPTION, GRID_ANNOTATION, ONTOLOGY, available
from pipeline.formats.volumes.reference_folder import read_reference as read_folder
from pipeline.phantom import PHANTOM_UM, check_spacing, phantom_reference
from pipeline.store.brainglobe import atlas_files, read_atlas

GRID_LABELS_UM = 100.0  # any spacing that divides 200 um gives the same labels; this one is fast to read
OUTLINE_UM = 50.0  # voxel size of the annotation whose outlines are drawn, and that sections are held against


@dataclass(frozen=True)
class RunReference:
    """The reference of a run.

    Attributes
    ----------
    directory : Path or None
        Folder of the reference; None: the phantom.
    resolution_um : float or None
        Configured spacing, um; None: as each task asks.
    """

    directory: Path | None
    resolution_um: float | None = None

    def at(self, asked_um: float | None) -> ReferenceSpace:
        """Return the reference space at a suitable spacing.

        Parameters
        ----------
        asked_um : float or None
            Spacing that a task asks for, um; None: the finest of a folder, 50 um for the phantom.

        Returns
        -------
        ReferenceSpace
            At the configured spacing. Else, for a folder, at the coarsest available one up to `asked_um`, or
            at its finest; for the phantom, at `asked_um`, but never below 50 um.
        """
        return open_reference(self.directory, self.resolution_um or _nearest(self.directory, asked_um))


def check_reference(reference: RunReference) -> None:
    """Refuse a reference that cannot be read; the phantom is not drawn for it, which takes half a second.

    Parameters
    ----------
    reference : RunReference
        The reference of a run.

    Raises
    ------
    DataError
        Where a file is missing, damaged or of another box.
    ConfigError
        Where the phantom is not made in the configured voxel size.
    """
    if reference.directory is None:
        check_spacing(reference.resolution_um or PHANTOM_UM)
    else:
        reference.at(GRID_LABELS_UM)


def read_reference(
    folder: Path, resolution_um: float | None = None, *, template: bool = True
) -> ReferenceSpace:
    """Read a reference folder: Allen's files under either of their names, or a BrainGlobe atlas.

    Parameters
    ----------
    folder : Path
        Reference folder.
    resolution_um : float, um, optional
        Voxel size of the annotation; default the finest in the folder.
    template : bool
        Read the template too: at the resolution of the annotation, else the finest in the folder.

    Returns
    -------
    ReferenceSpace
        The reference; the served gridAnnotation is included where the folder holds it.

    Raises
    ------
    DataError
        Where a file is missing, damaged or of another box; the message names what a reference folder needs.
    """
    if is_brainglobe_3(folder):
        return read_atlas(folder, resolution_um, template=template)
    return read_folder(folder, resolution_um, template=template)


@lru_cache(maxsize=2)
def open_reference(directory: Path | None, resolution_um: float | None) -> ReferenceSpace:
    """Read a reference folder, or make the phantom; the last two are cached.

    Parameters
    ----------
    directory : Path or None
        Folder of the reference; None: the phantom.
    resolution_um : float or None
        Spacing, um; None: the finest of the folder, 50 um for the phantom.

    Returns
    -------
    ReferenceSpace
        Annotation, ontology and template.
    """
    if directory is None:
        return phantom_reference(resolution_um or PHANTOM_UM)
    return read_reference(directory, resolution_um)


def _nearest(directory: Path | None, asked_um: float | None) -> float | None:
    """Return the coarsest spacing of a folder up to the one asked for, um; None: its finest."""
    if directory is None:
        return max(asked_um or PHANTOM_UM, PHANTOM_UM)
    if asked_um is None or not directory.is_dir():
        return asked_um
    there = [um for name, um in available(directory) if name.startswith("annotation") and um > 0]
    return max((um for um in there if um <= asked_um), default=None)


def reference_files(directory: Path) -> list[Path]:
    """Return the files that a reference is read from.

    Parameters
    ----------
    directory : Path
        Folder in BrainGlobe's form or with annotation, ontology and grid annotation.

    Returns
    -------
    list of Path
        Existing files, sorted.
    """
    if is_brainglobe_3(directory):
        return atlas_files(directory)
    if is_brainglobe(directory):
        return sorted(path for path in directory.iterdir() if path.suffix in {".json", ".tiff"})
    names = {name for name, _ in available(directory)} | {ONTOLOGY, GRID_ANNOTATION, DESCRIPTION}
    names |= {Path(name).with_suffix(".raw").name for name in names if name.endswith(".mhd")}
    return sorted(directory / name for name in names if (directory / name).is_file())
