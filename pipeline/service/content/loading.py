"""Reading what is served: a run or a served data set becomes a ServedExperiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from pipeline.core.errors import DataError, MissingResultError
from pipeline.core.model import SectionDataSet, SectionImage
from pipeline.exports.forms import data_set_of
from pipeline.formats.manifests.allen_xml import NAME as DATA_SET_XML
from pipeline.formats.manifests.sections_csv import NAME as SECTIONS_CSV
from pipeline.formats.manifests.series import read_series
from pipeline.geometry.sync import SyncGeometry, geometry_of
from pipeline.inputs.alignments import read_placement
from pipeline.search.names import DECLARED, read_declared
from pipeline.service.content.catalogue import ServedExperiment, ServedSection
from pipeline.service.content.numbering import Numbers
from pipeline.service.content.scan import Found
from pipeline.store.run import RunFolder

KIND = "section_image"


@dataclass(frozen=True)
class Outcome:
    """What a run says of one section.

    Attributes
    ----------
    status : str
        pass, check, fail or missing.
    flags : tuple of str
        Notes.
    estimated_error_um : float or None, um
        Estimated error of its place.
    """

    status: str = "pass"
    flags: tuple[str, ...] = ()
    estimated_error_um: float | None = None


@dataclass(frozen=True, eq=False)
class Loaded:
    """An experiment as its folder tells, before its sections have their numbers.

    Attributes
    ----------
    data_set : SectionDataSet
        The series; sections carry absolute paths of their images, where those are known.
    outcomes : mapping of int to Outcome
        Outcome of each section by number.
    geometry : SyncGeometry or None
        Alignment; None where there is none.
    stated : bool
        Whether the ids of the sections are those of the original.
    manifest : Path or None
        The data_set.xml that describes the series, where there is one.
    notes : tuple of str
        Errors and warnings of the run.
    """

    data_set: SectionDataSet
    outcomes: Mapping[int, Outcome]
    geometry: SyncGeometry | None
    stated: bool
    manifest: Path | None
    notes: tuple[str, ...] = ()


def load(found: Found) -> Loaded:
    """Read an experiment, all but its pixels and grids.

    Parameters
    ----------
    found : Found
        A run or a served data set.

    Returns
    -------
    Loaded
        The experiment.

    Raises
    ------
    DataError
        Where a document is damaged.
    MissingResultError
        Where one is gone.
    """
    return _load_run(RunFolder(found.folder)) if found.is_run else _load_served(found.folder)


def _load_run(run: RunFolder) -> Loaded:
    document = _described(run)
    data_set = data_set_of(document)
    provenance = run.read_document("provenance.json") if run.file("provenance.json").exists() else {}
    manifests = [Path(name) for name in provenance.get("manifests", {})]
    described = next((path for path in manifests if path.name == DATA_SET_XML), None)
    if any(path.name == SECTIONS_CSV for path in manifests):
        described = None  # the table takes precedence
    entries: dict[int, dict[str, Any]] = {int(e["section_number"]): e for e in document["section_images"]}
    source = Path(provenance["source"]) if provenance.get("source") else None
    images = tuple(
        replace(image, path=_beside(source, entries[image.section_number].get("file")))
        for image in data_set.section_images
    )
    return Loaded(
        replace(data_set, section_images=tuple(sorted(images, key=lambda image: image.section_number))),
        {number: _outcome(entry) for number, entry in entries.items()},
        _geometry(run, data_set),
        stated=described is not None,
        manifest=described if described is not None and described.is_file() else None,
        notes=(*document.get("errors", ()), *document.get("warnings", ())),
    )


def _described(run: RunFolder) -> dict[str, Any]:
    """Return section_data_set.json, the longest document: megabytes, most of them measures."""
    path = run.require("section_data_set.json")
    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        document = None
    return (
        document if isinstance(document, dict) else run.read_document(path.name)
    )  # NaN, or says what is wrong


def _outcome(entry: Mapping[str, Any]) -> Outcome:
    error_um = entry.get("quality", {}).get("estimated_error_um")
    return Outcome(
        str(entry.get("status", "pass")),
        tuple(map(str, entry.get("flags", ()))),
        None if error_um is None else float(error_um),
    )


def _beside(source: Path | None, name: str | None) -> Path | None:
    return source / name if source is not None and name else None


def _geometry(run: RunFolder, data_set: SectionDataSet) -> SyncGeometry | None:
    """Return the alignment of a run; None where the series was not aligned."""
    try:
        return geometry_of(data_set.id, data_set.section_thickness_um, read_placement(run))
    except MissingResultError:
        return None


def _load_served(folder: Path) -> Loaded:
    source = read_series(folder)
    data_set = source.data_set
    if data_set.gene is None:
        data_set = replace(data_set, gene=_declared_gene(folder, data_set.id))
    geometry = None
    if source.alignment is not None and source.alignment.sections:
        geometry = geometry_of(data_set.id, data_set.section_thickness_um, source.alignment)
    outcomes = {
        image.section_number: Outcome("fail" if image.failed else "pass") for image in data_set.section_images
    }
    return Loaded(data_set, outcomes, geometry, stated=True, manifest=folder / DATA_SET_XML)


def _declared_gene(folder: Path, experiment_id: int) -> str | None:
    """Return the gene that a table beside a served data set declares, as `ish index` reads it."""
    for path in (folder / DECLARED, folder.parent / DECLARED):
        found = read_declared(path, required=False, note=lambda line: None).by_id.get(experiment_id)
        if found is not None and found.gene:
            return found.gene
    return None


def numbered(loaded: Loaded, numbers: Numbers) -> dict[int, int]:
    """Return the SectionImage id of every section, by section number.

    Parameters
    ----------
    loaded : Loaded
        The experiment.
    numbers : Numbers
        Keeps the numbers that are given here.

    Returns
    -------
    dict of int to int
        Ids below 2**31 that no other section has.
    """
    data_set = loaded.data_set
    keys = {
        image.section_number: f"{data_set.id}/{image.section_number}" for image in data_set.section_images
    }
    stated = {keys[i.section_number]: i.id for i in data_set.section_images} if loaded.stated else {}
    found = numbers.of(KIND, keys.values(), stated)
    return {number: found[key] for number, key in keys.items()}


def served(found: Found, loaded: Loaded, ids: Mapping[int, int]) -> ServedExperiment:
    """Put an experiment and the ids of its sections together.

    Parameters
    ----------
    found : Found
        Where it lies.
    loaded : Loaded
        What it is.
    ids : mapping of int to int
        SectionImage ids by section number.

    Returns
    -------
    ServedExperiment
        The experiment.

    Raises
    ------
    DataError
        Where the folder has other sections than those that were numbered: it changed in between.
    """
    data_set = loaded.data_set
    run = found.folder if found.is_run else None
    if {image.section_number for image in data_set.section_images} != ids.keys():
        raise DataError(f"{found.folder}: changed while it was read; ask again in a moment")
    sections = {
        image.section_number: _section(image, ids[image.section_number], data_set.id, loaded, run)
        for image in data_set.section_images
    }
    return ServedExperiment(
        data_set.id,
        found.folder,
        data_set,
        sections,
        loaded.geometry,
        found.is_run,
        found.stamp,
        loaded.notes,
    )


def _section(
    image: SectionImage, id_: int, experiment_id: int, loaded: Loaded, run: Path | None
) -> ServedSection:
    outcome = loaded.outcomes.get(image.section_number, Outcome())
    return ServedSection(
        id_, experiment_id, image, outcome.status, run, outcome.flags, outcome.estimated_error_um
    )
