"""A finished run in the forms that other programs read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.atomic import replacing
from pipeline.errors import ConfigError
from pipeline.formats.alignment_json import read_alignment
from pipeline.formats.allen_xml import write_data_set_xml
from pipeline.formats.metaimage import write_grid
from pipeline.model import SectionDataSet, SectionImage
from pipeline.store.run import RunFolder, read_json


def export(run: RunFolder, form: str, folder: Path) -> list[Path]:
    """Write a run as `form` into `folder` and return the files; ConfigError on an unknown form."""
    if form not in EXPORTS:
        raise ConfigError(f"--format {form}: expected one of {', '.join(EXPORTS)}")
    folder.mkdir(parents=True, exist_ok=True)
    return EXPORTS[form](run, folder)


def _metaimage(run: RunFolder, folder: Path) -> list[Path]:
    """Every grid, sums included, as .mhd and .raw."""
    run.require("grid.zarr")
    paths = []
    for name, array in sorted(run.read_grid().items()):
        write_grid(folder / f"{name}.mhd", array, 200.0)
        paths.append(folder / f"{name}.mhd")
    return paths


def _csv(run: RunFolder, folder: Path) -> list[Path]:
    """The StructureUnionize table."""
    path = folder / "structure_unionize.csv"
    with replacing(path) as fresh:
        shutil.copyfile(run.require("structure_unionize.csv"), fresh)
    return [path]


def _data_set_xml(run: RunFolder, folder: Path) -> list[Path]:
    """The series and its alignment in Allen's form."""
    path = folder / "data_set.xml"
    write_data_set_xml(path, read_data_set(run), read_alignment(run.require("alignment.json")))
    return [path]


EXPORTS: dict[str, Callable[[RunFolder, Path], list[Path]]] = {
    "metaimage": _metaimage,
    "csv": _csv,
    "data-set-xml": _data_set_xml,
}


def read_data_set(run: RunFolder) -> SectionDataSet:
    """Read back the data set that a run processed; its sections have no path."""
    document = read_json(run.require("section_data_set.json"))
    names = SectionDataSet.__dataclass_fields__.keys() - {"section_images"}
    images = tuple(_section_image(item) for item in document["section_images"])
    return SectionDataSet(**{n: document[n] for n in names}, section_images=images)


def _section_image(item: dict[str, object]) -> SectionImage:
    names = SectionImage.__dataclass_fields__.keys() - {"path"}
    values = {name: item[name] for name in names}
    box, polygons = values["tissue_box_px"], values["dark_polygons_px"]
    values["tissue_box_px"] = tuple(box) if box else None  # type: ignore[arg-type]
    values["dark_polygons_px"] = tuple(tuple(tuple(p) for p in polygon) for polygon in polygons)  # type: ignore[attr-defined]
    return SectionImage(path=None, **values)  # type: ignore[arg-type]
