"""A series folder: which manifest it has, which file shows which section, in which frame."""

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
    probe : callable    tells size and resolution of an image that the manifest does not; a caller that
                        also knows OME-Zarr folders hands in its own

    Raises
    ------
    DataError
        a manifest that is wrong, with file and line. A bad or missing image is a warning.
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
    """Return the series folders among `folders` and, where one is none itself, among its direct subfolders.

    Parameters
    ----------
    note : told, in a line each, which subfolders cannot be read

    Raises
    ------
    DataError
        a folder that holds no series, with what a series needs.
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
    """Tell whether a folder has a manifest."""
    return os.path.isdir(folder) and not {sections_csv.NAME, allen_xml.NAME}.isdisjoint(_names(folder))


def _may_be_series(folder: Path, note: Callable[[str], None]) -> bool:
    try:
        return is_series(folder)
    except DataError as error:  # one that may not be read, such as lost+found
        note(f"{error}; passed over")
        return False


def file_of_section(names: Sequence[str], numbers: Iterable[int]) -> dict[int, list[str]]:
    """Tell sections from file names: `_s0070` decides, else `_70_` or `_70` at the end of the stem.

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
    """Tell image files, by their bytes or, so that damaged ones are reported, by their suffix."""
    if path.name.startswith("."):
        return False
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        if not path.is_file():  # to open a named pipe is to wait
            return False
        with path.open("rb") as file:
            return headers.sniff(file.read(16)) is not None
    except OSError:  # a folder, or a file that may not be read and whose name promises no image
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
