"""The user's own manifest: sections.csv, one row a section, beside section_data_set.yaml."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from pipeline.core.did_you_mean import nearest
from pipeline.core.errors import DataError
from pipeline.core.model import SectionDataSet, SectionImage
from pipeline.formats.images.files import ImageInfo
from pipeline.formats.manifests import series_yaml
from pipeline.formats.manifests.series_yaml import POLYGONS, SeriesFields, check_resolution, read_series_yaml
from pipeline.formats.manifests.source import SeriesSource
from pipeline.formats.tables.tables import MOST_NUMBER, number, read_cells, write_csv
from pipeline.system.files import CONTROLS, shown
from pipeline.system.whole_files import replacing

NAME = "sections.csv"
REQUIRED = ("section_number", "file")
POSITION = "section_position_um"  # along the normal, in the reference
BOX = ("x_px", "y_px", "box_width_px", "box_height_px")
COLUMNS = (
    *REQUIRED,
    "width_px",
    "height_px",
    "resolution_um",
    "failed",
    *BOX,
    "rotate_deg",
    "flip",
    POSITION,
)
TRUE, FALSE = ("true", "1", "yes"), ("", "false", "0", "no")
FLIPS = {"": None, "none": None, "horizontal": "horizontal", "vertical": "vertical"}

MOST_DOUBTS = 20  # unknown columns that are checked for typing errors
FULL_TURN_DEG = 360.0  # largest rotation in either direction
LONGEST_NAME = 255  # bytes of a name in common file systems

Probe = Callable[[Path], ImageInfo]


def read_sections_csv(folder: Path, probe: Probe) -> SeriesSource:
    """Read `sections.csv` and `section_data_set.yaml` of a folder.

    Unreadable images are noticed here only where the manifest needs them for a size or resolution.

    Parameters
    ----------
    folder : Path
        Series folder.
    probe : callable
        Returns the ImageInfo of an image; called where a row lacks size or resolution.

    Returns
    -------
    SeriesSource
        The series; a missing or unreadable image is a warning, and its section has `path` None.

    Raises
    ------
    DataError
        Where a manifest is wrong; the message names file and line.
    """
    path = folder / NAME
    fields = read_series_yaml(folder / series_yaml.NAME)
    header, lines = read_cells(path)
    header = _known(path, header)
    warnings = [*fields.warnings, *_check_columns(path, header)]
    if not lines:
        raise DataError(f"{path}: expected one row a section, got only the header")
    rows = [_Row(path, line, dict(zip(header, cells, strict=True))) for line, cells in lines]
    _check_numbers(path, rows)
    sections = []
    for row in sorted(rows, key=lambda row: row.section_number):
        section, warning = _section(row, folder, fields, probe)
        sections.append(section)
        warnings += warning
    for key, polygons in zip(POLYGONS, (fields.dark_polygons_px, fields.missing_polygons_px), strict=True):
        lacking = sorted(polygons.keys() - {s.section_number for s in sections})
        if lacking:
            raise DataError(f"{folder / series_yaml.NAME}: {key} names section {lacking[0]}, {NAME} does not")
    data_set = SectionDataSet(section_images=tuple(sections), **fields.values)
    return SeriesSource(data_set, None, tuple(warnings))


@dataclass(frozen=True)
class _Row:
    """One line of the table, with its place for messages."""

    path: Path
    line: int
    cells: Mapping[str, str]

    @property
    def where(self) -> str:
        return f"{self.path}: line {self.line}"

    def text(self, column: str) -> str:
        return self.cells.get(column, "")

    def number(self, column: str) -> float | None:
        cell = self.text(column)
        return number(self.path, self.line, column, cell) if cell else None

    def whole(self, column: str) -> int | None:
        value = self.number(column)
        if value is None:
            return None
        if value != int(value) or not 0 <= value <= MOST_NUMBER:
            raise DataError(
                f"{self.where}: expected a whole number in {column}, got {shown(self.text(column))}"
            )
        return int(value)

    def size(self, column: str) -> int | None:
        value = self.whole(column)
        if value == 0:
            raise DataError(f"{self.where}: expected {column} of at least 1, got 0")
        return value

    @property
    def section_number(self) -> int:
        value = self.whole("section_number")
        if value is None:
            raise DataError(f"{self.where}: expected a section_number, got an empty cell")
        return value


def _known(path: Path, header: list[str]) -> list[str]:
    """Return the header with our columns by their own names: `Section Number` is section_number."""
    plain = ["_".join(name.lower().split()) for name in header]
    known = [own if own in COLUMNS else name for own, name in zip(plain, header, strict=True)]
    twice = next((name for name, count in Counter(known).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{path}: expected every column once, got {twice} twice, written in two ways")
    return known


def _check_columns(path: Path, header: list[str]) -> list[str]:
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise DataError(
            f"{path}: expected the columns {', '.join(REQUIRED)} separated by commas,"
            f" got {shown(','.join(header))}"
        )
    doubts = []
    for name in sorted(set(header) - set(COLUMNS))[:MOST_DOUBTS]:
        near = nearest(name, COLUMNS)
        doubts += [f"{path}: column {name} is not used; did you mean {near[0]}?"] if near else []
    return doubts


def _check_numbers(path: Path, rows: list[_Row]) -> None:
    first: dict[int, int] = {}
    for row in rows:
        earlier = first.setdefault(row.section_number, row.line)
        if earlier != row.line:
            raise DataError(
                f"{path}: section {row.section_number} on lines {earlier} and {row.line}; once is right"
            )


def _section(row: _Row, folder: Path, fields: SeriesFields, probe: Probe) -> tuple[SectionImage, list[str]]:
    image, warnings = _file(row, folder)
    width, height = row.size("width_px"), row.size("height_px")
    resolution = row.number("resolution_um")
    resolution = fields.resolution_um if resolution is None else resolution
    if image is not None and None in (width, height, resolution):
        try:
            info = probe(image)
        except DataError as error:
            image, warnings = None, [f"section {row.section_number}: left out: {error}"]
        else:
            width = info.width_px if width is None else width
            height = info.height_px if height is None else height
            resolution = info.resolution_um if resolution is None else resolution
            if resolution is None:
                raise DataError(_no_resolution(row, image))
    section = SectionImage(
        id=row.section_number,
        section_number=row.section_number,
        path=image,
        width_px=width or 0,
        height_px=height or 0,
        resolution_um=0.0 if resolution is None else check_resolution(row.where, resolution),
        dark_polygons_px=fields.dark_polygons_px.get(row.section_number, ()),
        missing_polygons_px=fields.missing_polygons_px.get(row.section_number, ()),
        failed=_failed(row),
        rotate_deg=_turn(row),
        flip=_flip(row),
        position_um=row.number(POSITION),
    )
    return replace(section, tissue_box_px=_tissue_box(row, section)), warnings


def _no_resolution(row: _Row, image: Path) -> str:
    return (
        f"{row.where}: expected a resolution_um here, in {series_yaml.NAME} or in {image.name}, got none;"
        " add it or run `ish init --resolution-um`"
    )


def _file(row: _Row, folder: Path) -> tuple[Path | None, list[str]]:
    name = row.text("file")
    if not name:
        return None, [f"section {row.section_number}: missing: no file is named"]
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise DataError(f"{row.where}: expected a file within the folder of the series, got {shown(name)}")
    if CONTROLS.search(name) or max(len(os.fsencode(part)) for part in parts) > LONGEST_NAME:
        raise DataError(f"{row.where}: expected the name of a file in column file, got {shown(name)}")
    if not os.path.exists(folder / name):  # returns False for a path that is too long
        return None, [f"section {row.section_number}: missing: no file {folder / name}"]
    return folder / name, []


def _failed(row: _Row) -> bool:
    cell = row.text("failed").lower()
    if cell not in TRUE + FALSE:
        raise DataError(f"{row.where}: expected true or false in failed, got {shown(cell)}")
    return cell in TRUE


def _turn(row: _Row) -> float:
    value = row.number("rotate_deg") or 0.0
    if abs(value) > FULL_TURN_DEG:
        raise DataError(f"{row.where}: expected rotate_deg from -360 to 360, got {value:g}")
    return value


def _flip(row: _Row) -> Literal["horizontal", "vertical"] | None:
    cell = row.text("flip").lower()
    if cell not in FLIPS:
        raise DataError(f"{row.where}: expected horizontal, vertical or nothing in flip, got {shown(cell)}")
    return FLIPS[cell]  # type: ignore[return-value]


def _tissue_box(row: _Row, section: SectionImage) -> tuple[float, float, float, float] | None:
    values = [row.number(column) for column in BOX]
    if all(value is None for value in values):
        return None
    if None in values:
        raise DataError(f"{row.where}: expected all of {', '.join(BOX)} or none, got {values}")
    x, y, width, height = (float(value) for value in values if value is not None)
    if width <= 0 or height <= 0 or x < 0 or y < 0 or _outside(section, x + width, y + height):
        raise DataError(
            f"{row.where}: expected a tissue box inside {section.width_px} x {section.height_px} px, got"
            f" x {x:g}, y {y:g}, width {width:g}, height {height:g}"
        )
    return x, y, width, height


def _outside(section: SectionImage, right: float, bottom: float) -> bool:
    known = section.width_px > 0 and section.height_px > 0
    return known and (right > section.width_px or bottom > section.height_px)


def write_manifest(folder: Path, data_set: SectionDataSet, *, files: Mapping[int, str]) -> None:
    """Write `sections.csv` and `section_data_set.yaml` into a folder.

    Parameters
    ----------
    folder : Path
        Series folder.
    data_set : SectionDataSet
        The series; optional columns without a value are left out.
    files : mapping of int to str
        File name of each section, relative to `folder`; sections may be missing.
    """
    images = sorted(data_set.section_images, key=lambda image: image.section_number)
    rows = [_cells(image, files.get(image.section_number, "")) for image in images]
    used = [c for c in COLUMNS if c in COLUMNS[:5] or any(row[c] != "" for row in rows)]
    write_csv(folder / NAME, {c: [row[c] for row in rows] for c in used})
    with replacing(folder / series_yaml.NAME) as fresh:
        text = yaml.safe_dump(_document(data_set), sort_keys=False, allow_unicode=True)
        fresh.write_text(text, encoding="utf-8")


def _cells(image: SectionImage, file: str) -> dict[str, Any]:
    box = image.tissue_box_px or ("",) * 4
    return {
        "section_number": image.section_number,
        "file": file,
        "width_px": image.width_px or "",
        "height_px": image.height_px or "",
        "resolution_um": image.resolution_um or "",
        "failed": "true" if image.failed else "",
        **dict(zip(BOX, box, strict=True)),
        "rotate_deg": image.rotate_deg or "",
        "flip": image.flip or "",
        POSITION: "" if image.position_um is None else image.position_um,
    }


def _document(data_set: SectionDataSet) -> dict[str, Any]:
    document = {
        key: getattr(data_set, key)
        for key in series_yaml.KEYS
        if key not in ("resolution_um", *POLYGONS) and getattr(data_set, key) is not None
    }
    for key, name in zip(POLYGONS, ("dark_polygons_px", "missing_polygons_px"), strict=True):
        polygons = {
            image.section_number: [[list(point) for point in ring] for ring in getattr(image, name)]
            for image in data_set.section_images
            if getattr(image, name)
        }
        document |= {key: polygons} if polygons else {}
    return document
