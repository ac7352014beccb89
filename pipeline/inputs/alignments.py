"""Alignments of finished runs, and of folders with data_set.xml, for synchronisation and exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.core.errors import DataError, MissingResultError
from pipeline.core.model import SeriesAlignment
from pipeline.formats.alignments.alignment_json import read_alignment
from pipeline.formats.manifests.allen_xml import read_data_set_xml
from pipeline.geometry.sync import SyncGeometry, geometry_of
from pipeline.inputs.config import Config, parse_config
from pipeline.store.run import RunFolder, read_json
from pipeline.system.files import shown


def open_alignment(folder: Path) -> SyncGeometry:
    """Return the synchronisation geometry of a run folder or of a folder with data_set.xml.

    Parameters
    ----------
    folder : Path
        A finished run, or a folder with data_set.xml.

    Returns
    -------
    SyncGeometry
        Alignment and section thickness of the series.

    Raises
    ------
    MissingResultError
        Where the folder holds no alignment.
    DataError
        Where the alignment cannot be read or places no section.
    """
    if (folder / "alignment.json").exists() and (folder / "section_data_set.json").exists():
        run = RunFolder(folder)
        described = run.read_document("section_data_set.json")
        return geometry_of(
            int(described["id"]), float(described["section_thickness_um"]), read_placement(run)
        )
    if (folder / "data_set.xml").exists():
        source = read_data_set_xml(folder / "data_set.xml")
        if source.alignment is None:
            raise MissingResultError(f"{folder / 'data_set.xml'}: holds no alignment3d and alignment2d")
        data_set = source.data_set
        return geometry_of(data_set.id, data_set.section_thickness_um, source.alignment)
    raise MissingResultError(
        f"{folder}: expected a finished run (alignment.json) or a folder with data_set.xml"
    )


def read_placement(run: RunFolder) -> SeriesAlignment:
    """Return a run's alignment with its deformations.

    Parameters
    ----------
    run : RunFolder
        The run.

    Returns
    -------
    SeriesAlignment
        The alignment; sections have their deformations where the run has any.

    Raises
    ------
    MissingResultError
        Where there is no alignment, or a deformed one lacks its deformations.
    """
    return placement(run.require("alignment.json"))


def placement(path: Path) -> SeriesAlignment:
    """Read an `alignment.json` and, where it is deformed, the deformations beside it.

    Parameters
    ----------
    path : Path
        The alignment.json.

    Returns
    -------
    SeriesAlignment
        The alignment with the deformations of its sections.
    """
    alignment = read_alignment(path)
    # Deformations are large arrays: they lie in files of their own beside the JSON.
    if alignment.deformable == "none":
        return alignment
    found = RunFolder(path.parent).read_deformations()
    sections = tuple(
        replace(s, deformation=found.get(s.alignment2d.section_number)) for s in alignment.sections
    )
    return replace(alignment, sections=sections)


def run_reference(folder: Path) -> Path | None:
    """Return the reference folder that a run used.

    Parameters
    ----------
    folder : Path
        Folder of the run.

    Returns
    -------
    Path or None
        The folder; None for the phantom.

    Raises
    ------
    MissingResultError
        Where the run has no provenance.json: its reference is not known.
    DataError
        Where provenance.json is damaged or names no reference.
    """
    run, path = RunFolder(folder), folder / "provenance.json"
    if not path.exists():
        raise MissingResultError(
            f"{path}: expected the file in which a run names its reference, got none; give --reference"
        )
    document = run.read_document("provenance.json")
    if "reference_directory" not in document:
        raise DataError(f"{path}: expected reference_directory, got none; give --reference, or run again")
    directory = document["reference_directory"]
    return Path(directory) if directory else None


def run_config(run: RunFolder) -> Config:
    """Return the configuration of a finished run.

    Parameters
    ----------
    run : RunFolder
        The run.

    Returns
    -------
    Config
        Its configuration.

    Raises
    ------
    MissingResultError
        Where the run is not finished.
    DataError
        Where its provenance.json is damaged.
    ConfigError
        Where the configuration is of another version.
    """
    path = run.require("provenance.json")
    configured = read_json(path).get("configuration")
    if not isinstance(configured, dict):
        raise DataError(f"{path}: expected the configuration of the run, got {shown(configured)}")
    return parse_config(configured, str(path))
