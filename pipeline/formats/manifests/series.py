"""Series folders: their manifest, and which file shows which section."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.core.errors import DataError
from pipeline.formats.images import headers
from pipeline.formats.images.files import probe as probe_file
from pipeline.formats.manifests import allen_xml, sections_csv
from pipeline.formats.manifests.sections_csv import Probe
from pipeline.formats.manifests.source import SeriesSource

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".btf", ".jp2", ".j2k", ".jpx", ".zarr")


def read_series(folder: Path, probe: Probe = probe_file) -> SeriesSource:
    """Read the manifest of a series: `sections.csv` with `section_data_set.yaml`, or Allen's `data_set.xml`.

    Parameters
    ----------
    folder : Path
        Series folder; the CSV takes precedence where both manifests are present.
    probe : callable
        Returns the ImageInfo of an image whose size or resolution the manifest does not state. Callers that
        support OME-Zarr folders pass their own.

    Returns
    -------
    SeriesSource
        The series; a bad or missing image is a warning.

    Raises
    ------
    DataError
        Where there is no manifest or it is wrong; the message names file and, in a CSV, line.
    """
    names = _names(folder)
    has_csv, has_xml = sections_csv.NAME in names, allen_xml.NAME in names
    if has_csv:
        source = sections_csv.read_sections_csv(folder, probe)
        both = (f"{folder}: both {sections_csv.NAME} and {allen_xml.NAME}: the first is used",) * has_xml
        return replace(source, warnings=both + source.warnings)
    if has_xml:
        return _read_xml(folder)
    raise DataError(_needs(folder))


def find_series(folders: Iterable[Path], note: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Return the series folders among folders and their direct subfolders.

    Parameters
    ----------
    folders : iterable of Path
        Series folders, or folders that contain them.
    note : callable
        Receives a line for each subfolder that cannot be read.

    Returns
    -------
    list of Path
        Without duplicates, subfolders sorted by name.

    Raises
    ------
    DataError
        Where a folder holds no series; the message states what a series needs.
    """
    found: list[Path] = []
    for folder in folders:
        names = _names(folder)
        inside = [folder]
        if not is_series(folder):
            inside = sorted(folder / name for name in names if _may_be_series(folder / name, note))
        if not inside:
            raise DataError(_needs(folder))
        found += [path for path in inside if path not in found]
    return found


def is_series(folder: Path) -> bool:
    """Check whether a folder has a manifest.

    Parameters
    ----------
    folder : Path
        Any path.

    Returns
    -------
    bool
        True where it is a folder with a `sections.csv` or `data_set.xml`.

    Raises
    ------
    DataError
        Where the folder cannot be listed.
    """
    return os.path.isdir(folder) and not {sections_csv.NAME, allen_xml.NAME}.isdisjoint(_names(folder))


def _may_be_series(folder: Path, note: Callable[[str], None]) -> bool:
    try:
        return is_series(folder)
    except DataError as error:  # an unreadable folder, such as lost+found
        note(f"{error}; passed over")
        return False


def file_of_section(names: Sequence[str], numbers: Iterable[int]) -> dict[int, list[str]]:
    """Match file names to sections: `_s0070` has precedence, else `_70_` or `_70` at the end of the stem.

    Parameters
    ----------
    names : sequence of str
        File names.
    numbers : iterable of int
        Section numbers of the series; other numbers in names are ignored.

    Returns
    -------
    dict of list of str
        File names by section number, sorted.

    Raises
    ------
    DataError
        Where a name matches two sections.

    Examples
    --------
    >>> file_of_section(["Prox1_70_0207_D.jpg", "x_s0078.tif", "notes.txt"], [70, 78])
    {70: ['Prox1_70_0207_D.jpg'], 78: ['x_s0078.tif']}
    """
    known = set(numbers)
    found: dict[int, list[str]] = {}
    for name in sorted(names):
        stem = name.rpartition(".")[0] or name
        stated = [int(n) for n in re.findall(r"_s(\d+)(?=_|$)", stem)]
        groups = stated or [int(n) for n in re.findall(r"_(\d+)(?=_|$)", stem)]
        sections = sorted(known.intersection(groups))
        if len(sections) > 1:
            raise DataError(f"{name}: its name holds sections {sections[0]} and {sections[1]}; end it in _sN")
        for number in sections:
            found.setdefault(number, []).append(name)
    return found


def _read_xml(folder: Path) -> SeriesSource:
    source = allen_xml.read_data_set_xml(folder / allen_xml.NAME)
    images = source.data_set.section_images
    names = [name for name in _names(folder) if _may_be_image(folder / name)]
    files = file_of_section(names, [image.section_number for image in images])
    for number, candidates in files.items():
        if len(candidates) > 1:
            raise DataError(
                f"{folder}: section {number}: expected one file, got {' and '.join(candidates)}; remove one"
            )
    placed = tuple(
        replace(image, path=folder / files[image.section_number][0])
        if image.section_number in files
        else image
        for image in images
    )
    missing = [image.section_number for image in placed if image.path is None]
    warnings = source.warnings
    if missing:
        listed = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
        warnings += (f"{folder}: no image for {len(missing)} of {len(placed)} sections: {listed}",)
    return replace(source, data_set=replace(source.data_set, section_images=placed), warnings=warnings)


def _may_be_image(path: Path) -> bool:
    """Recognise images by their suffix, so that damaged ones are reported, or by their first bytes."""
    if path.name.startswith("."):
        return False
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        if not path.is_file():  # opening a named pipe would block
            return False
        with path.open("rb") as file:
            return headers.sniff(file.read(16)) is not None
    except OSError:  # an unreadable file without the suffix of an image
        return False


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except NotADirectoryError:
        raise DataError(
            f"{folder}: expected a folder with a series, got a file; give its folder, {folder.parent}"
        ) from None
    except OSError as error:
        raise DataError(
            f"{folder}: expected a folder with a series, got {error.strerror or error}"
        ) from error


def _needs(folder: Path) -> str:
    return (
        f"{folder}: expected a series: {sections_csv.NAME} with section_data_set.yaml, or Allen's"
        f" {allen_xml.NAME}, here or one folder below, got neither; `ish init` writes a manifest for images"
    )
