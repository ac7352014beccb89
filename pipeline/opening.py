"""Open what sync and exports work on: a finished run, or a folder with data_set.xml."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import MissingResultError
from pipeline.formats.alignment_json import read_alignment
from pipeline.formats.allen_xml import read_data_set_xml
from pipeline.store.run import RunFolder, read_json
from pipeline.sync import SyncGeometry, geometry_of


def open_alignment(folder: Path) -> SyncGeometry:
    """Return the synchronisation geometry of a run folder or of a folder with data_set.xml."""
    if (folder / "alignment.json").exists() and (folder / "section_data_set.json").exists():
        run = RunFolder(folder)
        described = read_json(run.require("section_data_set.json"))
        alignment = read_alignment(run.require("alignment.json"))
        return geometry_of(int(described["id"]), float(described["section_thickness_um"]), alignment)
    if (folder / "data_set.xml").exists():
        source = read_data_set_xml(folder / "data_set.xml")
        if source.alignment is None:
            raise MissingResultError(f"{folder / 'data_set.xml'}: holds no alignment3d and alignment2d")
        data_set = source.data_set
        return geometry_of(data_set.id, data_set.section_thickness_um, source.alignment)
    raise MissingResultError(
        f"{folder}: expected a finished run (alignment.json) or a folder with data_set.xml"
    )


def run_reference(folder: Path) -> Path | None:
    """Return the reference folder that a run used; None for the phantom or where it is not known."""
    provenance = folder / "provenance.json"
    if not provenance.exists():
        return None
    directory = read_json(provenance).get("reference_directory")
    return Path(directory) if directory else None
