"""Structure tables of single grids: folders, zips and files of Allen's grid service, and finished runs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.core.model import Float32, Float64, SectionDataSet, series_spacing_um
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace, hemispheres
from pipeline.formats.manifests.allen_xml import NAME as DATA_SET_XML
from pipeline.formats.tables.tables import write_table
from pipeline.formats.volumes.zips import is_zip, open_zip
from pipeline.inputs.alignments import run_config, run_reference
from pipeline.inputs.placed_cells import read_series_cells, section_table
from pipeline.inputs.references import RunReference
from pipeline.quantification.cells import cell_width_px
from pipeline.quantification.grid_sums import RatioGrids, grid_table, unknown_columns
from pipeline.quantification.unionize import LabelIndex
from pipeline.search.sources import LOW, finished_grid, open_labels, printable, read_described, read_values
from pipeline.stages.uncertainty import UncertaintyInputs, intervals_of
from pipeline.store.publishing import publishing
from pipeline.store.run import RATIOS, RunFolder, is_run
from pipeline.store.tasks import task_name
from pipeline.system.files import real_path, shown

TABLE = "structure_unionize"
MOST_ID = 2**63 - 1  # ids are int64 in the tables
_PIXELS = ("sum_pixels", "sum_pixel_intensity")  # written beside the ratios by `ish export`
_WHOLE_ID = re.compile(r"[1-9]\d{0,18}", re.ASCII)
_SPACING_UM = 200.0  # voxel size of Allen's expression grids

Note = Callable[[str], None]
Places = dict[str, tuple[Path, str | None]]  # name of a grid -> file, and member of a zip


@dataclass(frozen=True, eq=False)
class GridTable:
    """Table of one grid.

    Attributes
    ----------
    columns : dict of str to (rows,) array
        Columns of StructureUnionize; NaN where the grid does not determine a value.
    ontology : Ontology
        Structures that the rows refer to.
    """

    columns: dict[str, npt.NDArray[Any]]
    ontology: Ontology


@dataclass(frozen=True, eq=False)
class _ExperimentGrids:
    """Content of one place: ratios, and sums where they are known.

    Attributes
    ----------
    number : int
        section_data_set_id.
    grids : RatioGrids
        Energy and, where known, density.
    pixels : (P, I, R) float64, float or None
        Pixels of every voxel, or one number for all voxels; None where not known.
    darkness : (P, I, R) float64 or None
        Summed darkness of all pixels of a voxel; None where not known.
    """

    number: int
    grids: RatioGrids
    pixels: Float64 | float | None
    darkness: Float64 | None


def unionize_grid(
    path: Path,
    reference: Path | None = None,
    served_labels: bool | None = None,
    number: int | None = None,
    note: Note = lambda line: None,
) -> GridTable:
    """Sum a grid over the structures of a reference.

    Parameters
    ----------
    path : Path
        A .mhd, a zip of the grid service, a folder with energy.mhd, or a finished run.
    reference : Path or None
        Reference folder; needed for a grid that does not come from a run, else by default that of the run.
    served_labels : bool or None
        Whether voxels carry the labels of the reference's gridAnnotation, not labels derived from its
        annotation; by default as in the run, else derived.
    number : int or None
        section_data_set_id, where neither data_set.xml nor the name of the place gives one.
    note : callable
        Called with notes on assumptions and on columns that stay empty, one line each.

    Returns
    -------
    GridTable
        One row for each structure and hemisphere with data.

    Raises
    ------
    ConfigError
        Where no reference or id is known, or the id contradicts the data.
    DataError
        Where grids are torn, have another lattice, or contradict their names.
    MissingResultError
        Where a run has no finished grid.
    """
    if not path.exists():
        raise DataError(f"{printable(path)}: no such file or folder; expected a grid")
    place = _place(path)
    run = RunFolder(place) if is_run(place) else None
    space, own_labels = _labelled(place, run, reference)
    found = _of_run(run) if run else _of_served(place, number, note)
    if run and number not in (None, found.number):
        raise ConfigError(f"--id {number}: {printable(place)} is the run of {found.number}; leave --id out")
    if found.grids.energy.shape != space.grid.shape:
        raise DataError(
            f"{printable(place)}: expected a grid of {space.grid.shape} voxels as of the reference, got"
            f" {found.grids.energy.shape}"
        )
    served = own_labels if served_labels is None else served_labels
    index = LabelIndex.of(space.grid_labels(served=served), space.ontology)
    if unknown := space.ontology.unknown(index.label_ids):
        note(
            f"labels {', '.join(map(str, unknown[:5]))} are not in the ontology; they are counted under root"
        )
    known = found.grids, found.pixels, found.darkness
    sides = hemispheres(space.grid, space.midline_um)
    columns = grid_table(found.number, *known, index, sides)
    if not len(columns["structure_id"]):
        raise DataError(f"{printable(place)}: expected data within the brain, got none in any structure")
    if run:
        columns |= _columns_beside(run, reference, served, columns, note)
    if empty := unknown_columns(*known):
        note(f"{', '.join(empty)}: empty, cannot be computed from these grids")
    return GridTable(columns, space.ontology)


def write_grid_table(output: Path, table: GridTable, inputs: Sequence[Path]) -> tuple[Path, ...]:
    """Write structure_unionize.csv and structure_unionize.parquet into a folder.

    Parameters
    ----------
    output : Path
        Folder for the files; made where it does not exist.
    table : GridTable
        Table to write.
    inputs : sequence of Path
        Everything that is read; the folder must be apart from it.

    Returns
    -------
    tuple of Path
        The files.

    Raises
    ------
    ConfigError
        Where the output is, contains or lies in an input or a run, or has files in the way that are not ours.
    """
    place = real_path(output)
    for given in inputs:
        real = real_path(given)
        home = real if real.is_dir() else real.parent
        if place.is_relative_to(home) or real.is_relative_to(place):
            raise ConfigError(
                f"--output {output}: is, contains or lies in the input {printable(given)}; choose a folder"
                " outside it"
            )
    names = [f"{TABLE}.csv", f"{TABLE}.parquet"]
    with publishing(output) as fresh:
        write_table(table.columns, *(fresh / name for name in names))
    return tuple(output / name for name in names)


def _place(path: Path) -> Path:
    """Return the run or folder that a path inside it stands for."""
    if path.is_file() and path.name in {f"{name}.mhd" for name in RATIOS}:
        path = path.absolute().parent
    if path.is_dir() and real_path(path).name == "grid" and is_run(real_path(path).parent):
        return real_path(path).parent
    return path


def _labelled(place: Path, run: RunFolder | None, reference: Path | None) -> tuple[ReferenceSpace, bool]:
    """Return the reference, and whether the run's table used the labels of its gridAnnotation."""
    served, directory = False, reference
    if run is not None and run.file("provenance.json").exists():
        served = run_config(run).unionize.grid_annotation == "served"
        directory = reference or run_reference(run.path)
    elif reference is None:
        raise ConfigError(
            f"{printable(place)}: expected --reference DIR: a grid does not name its reference;"
            " `ish reference fetch` gets one"
        )
    return open_labels(directory), served


def _columns_beside(
    run: RunFolder, reference: Path | None, served: bool, table: Mapping[str, npt.NDArray[Any]], note: Note
) -> dict[str, npt.NDArray[Any]]:
    """Return the columns beside the grid's; fewer, with a note, where a run did not keep what they need."""
    described = run.read_document("section_data_set.json")
    try:
        thickness_um = float(described["section_thickness_um"])
        numbers = sorted(int(image["section_number"]) for image in described["section_images"])
        cells = read_series_cells(run, thickness_um)
    except MissingResultError:
        note(f"section energy is left out: {printable(run.path)} is of an earlier version; `ish run` adds it")
        return {}
    used = RunReference(reference)
    if reference is None:
        used = RunReference(run_reference(run.path), run_config(run).reference.resolution_um)
    spacing_um = series_spacing_um(numbers, thickness_um)
    columns = section_table(cells, used, spacing_um, table)
    inputs = _uncertainty_inputs(run, numbers, note)
    if inputs is None:
        return columns
    labels = "served" if served else "derived"
    return columns | intervals_of(run, cells, spacing_um, used, labels, inputs, {**table, **columns})[0]


def _uncertainty_inputs(run: RunFolder, numbers: Sequence[int], note: Note) -> UncertaintyInputs | None:
    """Return what intervals need of a run; None where it left them out or is of an earlier version."""
    config = run_config(run)
    if not config.uncertainty.intervals:
        return None
    receipts = (run.read_receipt(task_name("detect", number)) for number in numbers)
    facts = [receipt.facts for receipt in receipts if receipt is not None and receipt.ok]
    if any("sensitivity" not in one for one in facts):
        note(f"intervals are left out: {printable(run.path)} is of an earlier version; `ish run` adds them")
        return None
    return UncertaintyInputs(config.gridding.z_smoothing_um, tuple(one["sensitivity"] for one in facts))


def _of_run(run: RunFolder) -> _ExperimentGrids:
    """Read the grid of a finished run, with pixels and summed darkness of every voxel."""
    finished_grid(run)
    for name in ("grid.zarr", *(f"grid/{n}.{end}" for n in RATIOS for end in ("mhd", "raw"))):
        run.require(name)
    arrays = run.read_grid()
    number = run.read_document("section_data_set.json").get("id")
    if not isinstance(number, int):
        raise DataError(f"{run.path}/section_data_set.json: expected a whole id, got {shown(number)}")
    covered = arrays["sum_pixels"] >= 0
    known = {n: np.where(covered, arrays[n], np.nan).astype(np.float64) for n in (*RATIOS, *_PIXELS)}
    grids = RatioGrids(known["energy"], known["density"])
    return _ExperimentGrids(number, grids, known["sum_pixels"], known["sum_pixel_intensity"])


def _of_served(place: Path, number: int | None, note: Note) -> _ExperimentGrids:
    """Read grids as the grid service sends them, or as `ish export --format metaimage` writes them."""
    there = _places(place)
    source = read_described(place)
    for line in source.warnings if source else ():
        if "marked failed" in line:
            note(line)
    data_set = source.data_set if source else None
    own = _number(place, data_set, number)
    values = {name: read_values(*at, _SPACING_UM) for name, at in there.items()}
    shapes = {grid.shape for grid in values.values()}
    if len(shapes) > 1:
        raise DataError(f"{printable(place)}: expected grids of one shape, got {sorted(shapes)}")
    try:
        grids = RatioGrids.of({name: grid for name, grid in values.items() if name in RATIOS})
    except DataError as error:
        raise DataError(f"{printable(place)}: {error}") from None
    if list(there) == ["energy"] and 0 < np.nanmax(grids.energy, initial=0.0) <= 1:
        note(f"{printable(place)}: {LOW}")
    if "energy" not in there:
        note("energy is taken as density x intensity")
    return _ExperimentGrids(own, grids, *_pixels(place, values, grids, data_set, note))


def _pixels(
    place: Path,
    values: dict[str, Float32],
    grids: RatioGrids,
    data_set: SectionDataSet | None,
    note: Note,
) -> tuple[Float64 | float | None, Float64 | None]:
    """Return pixels and summed darkness of voxels.

    They come from grids of their own where these exist; else every voxel counts the pixels of a whole 200 um
    cell, and summed darkness is unknown.
    """
    if "sum_pixels" in values:
        own = [values[name].astype(np.float64) for name in _PIXELS if name in values]
        if any((np.isfinite(grid) & (grid >= 0) != grids.covered).any() for grid in own):
            raise DataError(
                f"{printable(place)}: expected sums exactly where the energy has data, got other voxels"
            )
        return own[0], own[1] if len(own) > 1 else None
    widths = {cell_width_px(i.resolution_um) for i in data_set.section_images} if data_set else set()
    if len(widths) != 1:
        got = f"none in a {DATA_SET_XML} beside the grid" if not widths else "several"
        note(f"sums need a single image resolution, got {got}; all voxels are weighted equally")
        return None, None
    pixels = widths.pop() ** 2
    note(
        f"sums assume {pixels} pixels in every voxel: the grid service does not state them, and voxels at"
        " the edge of an image have fewer"
    )
    return float(pixels), None


def _places(place: Path) -> Places:
    """Return where the grids of a served experiment lie; DataError where the energy cannot be computed."""
    wanted = (*RATIOS, *_PIXELS)
    if place.is_dir():
        try:
            listed = os.listdir(place)
        except OSError as error:
            raise DataError(
                f"{printable(place)}: cannot be read: {error.strerror}; check its permissions"
            ) from None
        found: Places = {n: (place / f"{n}.mhd", None) for n in wanted if f"{n}.mhd" in listed}
    elif is_zip(place) or place.suffix == ".zip":
        with open_zip(place) as archive:
            listed = [name for name in archive.namelist() if name.endswith(".mhd")]
        found = {n: (place, f"{n}.mhd") for n in wanted if f"{n}.mhd" in listed}
    else:
        listed, found = [place.name], {"energy": (place, None)}
        kind = next((name for name in ("density", "intensity", "sum_") if name in place.stem.lower()), None)
        if kind is not None:
            raise DataError(f"{printable(place)}: expected an energy grid, got one named {kind}")
    if "energy" not in found and not {"density", "intensity"} <= found.keys():
        got = ", ".join(sorted(name for name in listed if name.endswith(".mhd"))[:5]) or "no grid"
        raise DataError(
            f"{printable(place)}: expected energy.mhd, or density.mhd and intensity.mhd, got {got}"
        )
    return found


def _number(place: Path, data_set: SectionDataSet | None, given: int | None) -> int:
    """Return the id of an experiment: from data_set.xml, else the user, else the name of the place."""
    if data_set is not None:
        if given not in (None, data_set.id):
            raise ConfigError(
                f"--id {given}: {DATA_SET_XML} of {printable(place)} says {data_set.id}; leave --id out"
            )
        return data_set.id
    if given is not None:
        return given
    name = real_path(place).name if place.is_dir() else place.stem
    if _WHOLE_ID.fullmatch(name) and int(name) <= MOST_ID:
        return int(name)
    raise ConfigError(
        f"{printable(place)}: expected {DATA_SET_XML} beside the grid, or an id as its whole name, got"
        " neither; give --id"
    )
