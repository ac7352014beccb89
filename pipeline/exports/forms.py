"""Finished runs in the formats that other programs read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.core.model import Float64, SectionDataSet, SectionImage
from pipeline.exports.ro_crate import write_ro_crate
from pipeline.exports.structure_table import StructureTable, annotated, join_tables, named
from pipeline.exports.wide_table import write_wide
from pipeline.formats.alignments.alignment_json import read_alignment
from pipeline.formats.alignments.itk import write_affine
from pipeline.formats.alignments.quicknii import write_quicknii
from pipeline.formats.manifests.allen_xml import write_data_set_xml
from pipeline.formats.tables.anndata import write_anndata
from pipeline.formats.tables.tables import write_table
from pipeline.formats.volumes.metaimage import write_grid
from pipeline.inputs.alignments import read_placement
from pipeline.inputs.hand_corrections import quicknii_slice
from pipeline.store.publishing import publishing
from pipeline.store.run import DEFORMATION, RunFolder, is_run

ITK_AXES = (
    "reference points are (P, I, R) um; a program that takes points for LPS mm, as Slicer and ANTs do,",
    "needs images whose headers are in these axes and um too",
)
CCF_GRID = (67, 41, 58)  # voxels of 200 um along P, I, R
PIXELS, VOLUME = (
    "pixels of the manifest (x, y)",
    "volume um (x, y)",
)  # ends of a 2-D transform, in its comment


@dataclass(frozen=True)
class Exported:
    """The files that were written, and what was left out with the reason."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...] = ()


def export(folder: Path, form: str, output: Path | None = None, reference: Path | None = None) -> Exported:
    """Write a run, or all runs of a folder, in one format.

    Parameters
    ----------
    folder : Path
        A run, or a folder with runs in its direct subfolders.
    form : str
        One of `FORMATS`.
    output : Path or None
        Where the files go; None takes `folder`/export.
    reference : Path or None
        Folder whose ontology names the structures; None takes the reference of each run.

    Returns
    -------
    Exported
        Written files, and notes on runs or parts of them that were left out.

    Raises
    ------
    ConfigError
        Where the format is unknown.
    DataError
        Where there is no run, or its contents do not fit the format.
    MissingResultError
        Where no run has the outputs that the format needs.
    """
    if form not in EXPORTS and form not in TABLES:
        raise ConfigError(f"--format {form}: expected one of {', '.join(FORMATS)}")
    runs = find_runs(folder)
    target = output or folder / "export"
    with publishing(target) as fresh:
        if form in TABLES:
            table, left_out = join_tables(runs, reference)
            files = tuple(TABLES[form](table, fresh))
        else:
            files, left_out = _each(runs, form, fresh, apart=runs[0].path != folder)
    files = tuple(target / path.relative_to(fresh) for path in files)
    if form in TABLES:
        return Exported(files, left_out)
    deformed = [run.path.name for run in runs if form in DROPS and run.file(DEFORMATION).exists()]
    masked = _masked(runs) if form == "data-set-xml" else []
    return Exported(files, (*left_out, *(f"{name} is deformed: {DROPS[form]}" for name in deformed), *masked))


def _masked(runs: Sequence[RunFolder]) -> list[str]:
    """Note the runs whose tissue boxes and polygons are lost, since data_set.xml cannot hold them."""
    notes = []
    for run in runs:
        if not run.file("section_data_set.json").exists():
            continue
        images = read_data_set(run).section_images
        numbers = [
            i.section_number for i in images if i.tissue_box_px or i.dark_polygons_px or i.missing_polygons_px
        ]
        if numbers:
            notes.append(
                f"{run.path.name}: data_set.xml has no place for tissue boxes and polygons, those of"
                f" sections {', '.join(map(str, numbers))} are dropped"
            )
    return notes


def find_runs(folder: Path) -> list[RunFolder]:
    """Return the run that a folder is, or the runs in its direct subfolders.

    Parameters
    ----------
    folder : Path
        A run, or a folder of runs.

    Returns
    -------
    list of RunFolder
        The runs, by name.

    Raises
    ------
    DataError
        Where there is none.
    """
    places = [folder, *sorted(folder.glob("*"))]
    runs = [RunFolder(path) for path in places if is_run(path)]
    if not runs:
        raise DataError(
            f"{folder}: expected a run folder (OUTPUT/<section_data_set_id>) or a folder of runs, got neither"
        )
    return runs[:1] if runs[0].path == folder else runs


def _each(
    runs: Sequence[RunFolder], form: str, target: Path, *, apart: bool
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Write every run by itself; of several runs, those that lack an output are left out and noted."""
    files: list[Path] = []
    left_out = []
    for run in runs:
        try:
            files += EXPORTS[form](run, target / run.path.name if apart else target)
        except MissingResultError as error:
            if not apart:
                raise
            left_out.append(f"{run.path.name} is left out: {error}")
    if not files:
        raise MissingResultError(left_out[0])
    return tuple(files), tuple(left_out)


def _metaimage(run: RunFolder, folder: Path) -> list[Path]:
    """Write every grid, sums included, as .mhd and .raw."""
    run.require("grid.zarr")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, array in sorted(run.read_grid().items()):
        write_grid(folder / f"{name}.mhd", array, 200.0)
        paths.append(folder / f"{name}.mhd")
    return paths


def _data_set_xml(run: RunFolder, folder: Path) -> list[Path]:
    """Write the series and its alignment as Allen's data_set.xml."""
    path = folder / "data_set.xml"
    folder.mkdir(parents=True, exist_ok=True)
    write_data_set_xml(path, read_data_set(run), read_alignment(run.require("alignment.json")))
    return [path]


def _tfm(run: RunFolder, folder: Path) -> list[Path]:
    """Write the alignment as ITK transforms: 3-D volume <-> reference, 2-D section <-> volume."""
    alignment = read_alignment(run.require("alignment.json"))
    space = alignment.alignment3d
    of = f"series {run.path.name}, reference space {space.reference_space_id}"
    transforms: dict[str, tuple[Float64, tuple[str, ...]]] = {
        "volume_to_reference": (space.volume_to_reference, ("volume um to reference um", *ITK_AXES)),
        "reference_to_volume": (space.reference_to_volume, ("reference um to volume um", *ITK_AXES)),
    }
    for section in alignment.sections:
        placed, number = section.alignment2d, section.alignment2d.section_number
        status = f"alignment of section {number}: {section.status.value}"
        forward, backward = f"section_{number:04d}_to_volume", f"volume_to_section_{number:04d}"
        transforms[forward] = (placed.section_to_volume, (f"{PIXELS} to {VOLUME}", status))
        transforms[backward] = (placed.volume_to_section, (f"{VOLUME} to {PIXELS}", status))
    paths = []
    for name, (matrix, comments) in transforms.items():
        paths.append(folder / "transforms" / f"{name}.tfm")
        write_affine(paths[-1], matrix, (of, *comments))
    return paths


def _quicknii(run: RunFolder, folder: Path) -> list[Path]:
    """Write all section planes for QuickNII, VisuAlign and DeepSlice; in-plane deformations as markers."""
    alignment = read_placement(run)
    _check_target(run)
    data_set = read_data_set(run)
    images = {image.section_number: image for image in data_set.section_images}
    documents = run.read_document("section_data_set.json")["section_images"]
    files = {int(d["section_number"]): str(d.get("file") or "") for d in documents}
    slices = []
    for section in alignment.sections:
        number = section.alignment2d.section_number
        z_um = data_set.z_um(number)
        slices.append(quicknii_slice(section, images[number], alignment.alignment3d, z_um, files[number]))
    path = folder / "quicknii.json"
    write_quicknii(path, run.path.name, slices)
    return [path]


def _check_target(run: RunFolder) -> None:
    """Raise DataError where the grid of a run is not in the box of CCFv3, the target that the file names."""
    if not run.file("grid.zarr").exists():
        return
    shape = next(iter(run.read_grid().values())).shape
    if shape != CCF_GRID:
        raise DataError(
            f"{run.path}: expected a run in the box of Allen's CCFv3, QuickNII's target, a grid of"
            f" {' x '.join(map(str, CCF_GRID))} voxels, got one of {' x '.join(map(str, shape))}"
        )


EXPORTS: dict[str, Callable[[RunFolder, Path], list[Path]]] = {
    "metaimage": _metaimage,
    "data-set-xml": _data_set_xml,
    "tfm": _tfm,
    "quicknii": _quicknii,
    "ro-crate": write_ro_crate,
}
DROPS = {  # the parts of a deformed alignment that a format cannot hold
    "data-set-xml": "the affine part only: data_set.xml has no place for deformations",
    "tfm": "the affine part only: the deformations stay in deformation.zarr",
    "quicknii": "planes, and in-plane deformations as markers, one a mm; out-of-plane displacements are lost",
}


def _csv(table: StructureTable, folder: Path) -> list[Path]:
    """Write the structure tables of all runs as one, with genes and structure names, as CSV and Parquet."""
    paths = [folder / f"structure_unionize.{end}" for end in ("csv", "parquet")]
    write_table(named(table), *paths)
    return paths


def _anndata(table: StructureTable, folder: Path) -> list[Path]:
    """Write a table of experiments x structures as AnnData."""
    path = folder / "structure_unionize.h5ad"
    write_anndata(path, annotated(table))
    return [path]


TABLES: dict[str, Callable[[StructureTable, Path], list[Path]]] = {
    "csv": _csv,
    "wide-csv": write_wide,
    "anndata": _anndata,
}
FORMATS = (*EXPORTS, *TABLES)


def read_data_set(run: RunFolder) -> SectionDataSet:
    """Read back the data set that a run processed; its sections have no path.

    Parameters
    ----------
    run : RunFolder
        The run.

    Returns
    -------
    SectionDataSet
        The data set, without the image files.
    """
    return data_set_of(run.read_document("section_data_set.json"))


def data_set_of(document: Mapping[str, Any]) -> SectionDataSet:
    """Return the data set that a run's section_data_set.json describes.

    Parameters
    ----------
    document : mapping of str to Any
        The document.

    Returns
    -------
    SectionDataSet
        The data set, without the image files.
    """
    names = SectionDataSet.__dataclass_fields__.keys() - {"section_images"}
    images = tuple(_section_image(item) for item in document["section_images"])
    return SectionDataSet(**{n: document[n] for n in names}, section_images=images)


def _section_image(item: dict[str, object]) -> SectionImage:
    """Return a section from its JSON entry; lists become tuples."""
    names = SectionImage.__dataclass_fields__.keys() - {"path"}
    values = {name: item[name] for name in names if name in item}
    box = values["tissue_box_px"]
    values["tissue_box_px"] = tuple(box) if box else None  # type: ignore[arg-type]
    for name in ("dark_polygons_px", "missing_polygons_px"):
        polygons = values.get(name, ())
        values[name] = tuple(tuple(tuple(p) for p in polygon) for polygon in polygons)  # type: ignore[attr-defined]
    return SectionImage(path=None, **values)  # type: ignore[arg-type]
