"""From inputs to the series of a batch: folders, globs and tables; shards; checksums of images."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError, DataError, PipelineError
from pipeline.core.intensity import fitting_bits
from pipeline.core.model import SectionDataSet, SectionImage, numbered
from pipeline.formats.manifests.series import find_series, read_series
from pipeline.formats.manifests.source import SeriesSource
from pipeline.formats.tables.tables import read_cells
from pipeline.inputs.config import LONGEST_PATH, Config
from pipeline.inputs.pixels import brightest, load_info, probe_any
from pipeline.stages.job import SeriesJob
from pipeline.stages.provenance import checksum
from pipeline.stages.run_task import stamp
from pipeline.stages.specimen import with_specimens
from pipeline.store.run import RunFolder
from pipeline.system.files import real_path, shown

OF_MASKS = "given"  # the detector of series whose images are masks

COLUMNS = ("series", "folder", "path")  # of a table: the first one present names the folders
TABLES = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class Found:
    """The series of a batch.

    Attributes
    ----------
    sources : tuple of Path
        Folders of the series, in the order named.
    notes : tuple of str
        Warnings about repeated series and skipped folders.
    """

    sources: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Broken:
    """A series that cannot start, with the error."""

    source: Path
    error: str


def find_sources(inputs: Sequence[Path]) -> Found:
    """Find the series that the inputs name.

    A series that is named twice runs once, with a note. Folders that match a glob and hold no series are
    skipped, with a note. A folder without a series that is named among others stays in the list, so that
    it fails alone.

    Parameters
    ----------
    inputs : sequence of Path
        Each a series, a folder of series, a glob, or a table: CSV, TSV or TXT with a column `series`,
        `folder` or `path` of folders relative to the table.

    Returns
    -------
    Found
        The series and notes.

    Raises
    ------
    ConfigError
        Where there is no input, an input does not exist, the only input holds no series, or a table is wrong.
    """
    if not inputs:
        raise ConfigError("no series: expected --input FOLDER, once or more")
    notes: list[str] = []
    named = [folder for given in inputs for folder in _expanded(given, notes)]
    sources: dict[Path, Path] = {}
    for folder in named:
        for source in _series_in(folder, len(named) > 1, notes):
            if real_path(source) in sources:
                notes.append(f"{source}: this series is listed twice; it runs once")
            sources.setdefault(real_path(source), source)
    return Found(tuple(sources.values()), tuple(notes))


def _series_in(folder: Path, among_others: bool, notes: list[str]) -> list[Path]:
    try:
        return find_series([folder], notes.append)
    except DataError as error:
        if among_others:
            return [folder]  # reading its manifest fails with the same message, for this series alone
        raise ConfigError(str(error)) from None


def _expanded(given: Path, notes: list[str]) -> list[Path]:
    if os.path.isfile(given) and given.suffix.lower() in TABLES:
        return _table(given)
    if os.path.exists(given):  # unlike Path.exists, False and no error for a name that is too long
        return [given]
    if not glob.has_magic(str(given)):
        raise ConfigError(f"--input {str(given)[:LONGEST_PATH]}: no such folder")
    folders = sorted(path for text in glob.glob(str(given), recursive=True) if (path := Path(text)).is_dir())
    kept = []
    for folder in folders:
        try:
            find_series([folder])
        except DataError as error:
            notes.append(f"{error}; skipped")
        else:
            kept.append(folder)
    if not kept:
        raise ConfigError(f"--input {given}: expected folders of series that match, found none")
    return kept


def _table(path: Path) -> list[Path]:
    try:
        header, rows = read_cells(path)
    except DataError as error:
        raise ConfigError(f"--input {error}") from None
    column = next((name for name in COLUMNS if name in header), None)
    if column is None:
        raise ConfigError(f"--input {path}: expected a column {COLUMNS[0]}, got {shown(','.join(header))}")
    found = []
    for line, cells in rows:
        cell = cells[header.index(column)]
        folder = path.parent / cell
        if not cell or not os.path.exists(folder):
            raise ConfigError(f"--input {path}: line {line}: {shown(cell)}: no such folder")
        found.append(folder)
    return found


def parse_shard(text: str) -> tuple[int, int]:
    """Parse the part of a batch that a run takes, such as `2/8` for the second of eight.

    Parameters
    ----------
    text : str
        I/N with I from 1 to N.

    Returns
    -------
    (int, int)
        I and N.

    Raises
    ------
    ConfigError
        Where the text has another form.

    Examples
    --------
    >>> parse_shard("2/8")
    (2, 8)
    """
    first, slash, last = text.partition("/")
    if not (slash and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise ConfigError(f"--shard {text}: expected I/N with I from 1 to N, such as 2/8")
    return int(first), int(last)


@dataclass(frozen=True)
class Plan:
    """What all series of a batch have in common.

    Attributes
    ----------
    config : Config
        Configuration.
    output : Path
        Folder that holds the run folders.
    reference : Path or None
        Reference folder; None for the phantom.
    redo : frozenset of str
        Stages that run again although they are done.
    """

    config: Config
    output: Path
    reference: Path | None
    redo: frozenset[str] = frozenset()


def plan_jobs(
    sources: Sequence[Path], plan: Plan, shard: tuple[int, int] = (1, 1)
) -> tuple[list[SeriesJob], list[Broken]]:
    """Read every manifest, and return the jobs of one shard.

    Shards take series by their position in the list, so that all shards of one command agree. Series that are
    aligned together go with the first of them.

    Parameters
    ----------
    sources : sequence of Path
        Folders of all series of the batch.
    plan : Plan
        What the series have in common.
    shard : (int, int)
        Part to take, counted from 1, and number of parts.

    Returns
    -------
    list of SeriesJob
        Jobs of the shard.
    list of Broken
        Series of the shard that cannot start.
    """
    jobs: list[SeriesJob] = []
    places: dict[Path, int] = {}
    broken: list[Broken] = []
    for place, source in enumerate(sources):
        try:
            job = read_job(source, plan)
            _check_not_twice(job, jobs)
            jobs.append(job)
            places[job.run.path] = place
        except (PipelineError, OSError) as error:
            broken += [Broken(source, str(error))] if _ours(place, shard) else []
    grouped = with_specimens(jobs)
    first = [job.specimen_series[0] if job.specimen_series else job for job in grouped]
    mine = [job for job, lead in zip(grouped, first, strict=True) if _ours(places[lead.run.path], shard)]
    return mine, broken


def _ours(place: int, shard: tuple[int, int]) -> bool:
    return place % shard[1] == shard[0] - 1


def _check_not_twice(job: SeriesJob, jobs: Sequence[SeriesJob]) -> None:
    for other in jobs:
        if other.run.path == job.run.path:
            raise DataError(
                f"{job.source}: series {job.data_set.id} is already in this batch from {other.source};"
                " give each series a unique id"
            )


def read_job(source: Path, plan: Plan) -> SeriesJob:
    """Read the manifest of a series and return its job, before its images are read.

    Parameters
    ----------
    source : Path
        Folder of the series.
    plan : Plan
        What the series of the batch have in common.

    Returns
    -------
    SeriesJob
        Job without checksums and sizes of the images.

    Raises
    ------
    DataError
        Where the manifest is missing or wrong.
    """
    found: SeriesSource = read_series(source, probe_any)
    data_set = stepped(found.data_set, plan.config.series.section_step)
    if plan.config.detection.name == OF_MASKS:
        data_set = _of_masks(data_set, plan.config)
    return SeriesJob(
        source=source,
        run=RunFolder(real_path(plan.output) / str(data_set.id)),
        data_set=data_set,
        config=plan.config,
        given=found.alignment,
        reference_directory=plan.reference,
        warnings=found.warnings,
        redo=plan.redo,
    )


def _of_masks(data_set: SectionDataSet, config: Config) -> SectionDataSet:
    """Return a series whose images are masks."""
    if config.alignment.name != "given":
        raise ConfigError(
            "detection.name=given: the images are masks, which cannot be aligned; set alignment.name=given,"
            " with the alignment.json of the series of photographs as alignment.configuration.path"
        )
    images = tuple(replace(section, is_mask=True) for section in data_set.section_images)
    return replace(data_set, section_images=images)


def stepped(data_set: SectionDataSet, step: int) -> SectionDataSet:
    """Keep every n-th section of a manifest, sorted by section number, beginning with the first.

    Parameters
    ----------
    data_set : SectionDataSet
        The whole series.
    step : int
        Interval n, at least 1.

    Returns
    -------
    SectionDataSet
        The series with fewer sections; section numbers and thickness are unchanged.
    """
    ordered = sorted(data_set.section_images, key=lambda s: s.section_number)
    return replace(data_set, section_images=tuple(ordered[::step]))


def look_at_images(jobs: Sequence[SeriesJob], threads: int) -> list[SeriesJob]:
    """Add checksum, modification time, size and brightest sample of every image to the jobs.

    Parameters
    ----------
    jobs : sequence of SeriesJob
        Jobs of the batch.
    threads : int
        Number of files read at a time.

    Returns
    -------
    list of SeriesJob
        The jobs with `files`, `stamps` and `pixels`, the bit range of 16-bit images, and warnings added.
    """
    sections = {section.path: section for job in jobs for section in job.sections if section.path is not None}
    with ThreadPoolExecutor(threads) as pool:
        looks = dict(zip(sections, pool.map(_look, sections.values()), strict=True))
    return [
        _with_looks(job, [replace(looks[s.path], section=s) for s in job.sections if s.path is not None])
        for job in jobs
    ]


def _same_files(looks: Sequence[_Look]) -> list[str]:
    """Return warnings about sections that show the same image file, or copies of it."""
    by_content: dict[str, list[_Look]] = {}
    for look in looks:
        if look.stamp is not None:
            by_content.setdefault(look.checksum, []).append(look)
    return [
        f"{numbered([look.section.section_number for look in same])} show the same image,"
        f" {same[0].section.path.name if same[0].section.path else ''}: was a row copied and not edited?"
        for same in by_content.values()
        if len(same) > 1 and len({_boxed(look.section) for look in same}) < len(same)
    ]


def _boxed(section: SectionImage) -> Any:
    """Return the tissue box: several sections may lie on one slide, each in a box of its own."""
    return section.tissue_box_px


@dataclass(frozen=True)
class _Look:
    section: SectionImage
    checksum: str
    stamp: tuple[int, int] | None
    pixels: int
    brightest: int | None = None
    notes: tuple[str, ...] = ()


def _look(section: SectionImage) -> _Look:
    path = section.path
    assert path is not None
    try:
        when = stamp(path)
        digest = checksum(path)
    except OSError as error:  # no error yet: the task that reads the file reports what is wrong
        return _Look(section, f"unreadable: {error.strerror}", None, 0)
    try:
        info = load_info(section)
        largest = None if info.range_stated else brightest(section)
    except PipelineError:
        return _Look(section, digest, when, 0)
    pixels = info.width_px * info.height_px * info.channels
    return _Look(section, digest, when, pixels, largest, info.notes)


def _range_notes(found: Mapping[int, int], bits: int | None) -> list[str]:
    """Return a warning about the range assumed for 16-bit samples whose files state none."""
    if bits is None or bits == 16:
        return []
    read_as = f"so they are read as {bits}-bit: white is {2**bits - 1}"
    brightest_of_all = f"the brightest sample is {max(found.values())}"
    return [f"{len(found)} 16-bit images state no value range; {brightest_of_all}, {read_as}"]


def _joined(looks: Sequence[_Look]) -> tuple[str, ...]:
    """Return the notes on the images; a note that several sections share appears once."""
    by_note: dict[str, list[int]] = {}
    for look in looks:
        for note in look.notes:
            by_note.setdefault(note, []).append(look.section.section_number)
    return tuple(f"{numbered(numbers)}: {note}" for note, numbers in by_note.items())


def _with_looks(job: SeriesJob, looks: Sequence[_Look]) -> SeriesJob:
    found = {k.section.section_number: k.brightest for k in looks if k.brightest is not None}
    bits = fitting_bits(max(found.values())) if found else None
    images = tuple(replace(s, bits=bits) if s.section_number in found else s for s in job.sections)
    return replace(
        job,
        data_set=replace(job.data_set, section_images=images),
        files={str(look.section.path): look.checksum for look in looks},
        stamps={str(look.section.path): look.stamp for look in looks if look.stamp is not None},
        pixels={look.section.section_number: look.pixels for look in looks},
        warnings=(*job.warnings, *_range_notes(found, bits), *_joined(looks), *_same_files(looks)),
    )
