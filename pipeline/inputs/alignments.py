"""Open what sync and exports work on: a finished run, or a folder with data_set.xml."""

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
    """Return the synchronisation geometry of a run folder or of a folder with data_set.xml."""
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
    """Return a run's alignment with the deformations that belong to it.

    Raises
    ------
    MissingResultError
        no alignment, or one that says it is deformed without the deformations beside it.
    """
    return placement(run.require("alignment.json"))


def placement(path: Path) -> SeriesAlignment:
    """Read an `alignment.json` and the deformations beside it, where it says that it is deformed."""
    alignment = read_alignment(path)
    if alignment.deformable == "none":
        return alignment
    found = RunFolder(path.parent).read_deformations()
    sections = tuple(
        replace(s, deformation=found.get(s.alignment2d.section_number)) for s in alignment.sections
    )
    return replace(alignment, sections=sections)


def run_reference(folder: Path) -> Path | None:
    """Return the reference folder that a run used; None for the phantom or where it is not known."""
    run = RunFolder(folder)
    if not run.file("provenance.json").exists():
        return None
    directory = run.read_document("provenance.json").get("reference_directory")
    return Path(directory) if directory else None


def run_config(run: RunFolder) -> Config:
    """Return the configuration that a run was made with.

    Raises
    ------
    MissingResultError, DataError, ConfigError
        no finished run; a configuration that is torn or of another version.
    """
    path = run.require("provenance.json")
    configured = read_json(path).get("configuration")
    if not isinstance(configured, dict):
        raise DataError(f"{path}: expected the configuration of the run, got {shown(configured)}")
    return parse_config(configured, str(path))
