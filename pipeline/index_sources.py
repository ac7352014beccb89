"""What an index is built from: finished runs, and folders or zips of grids as Allen serves them."""

from __future__ import annotations

import re
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.errors import ConfigError, DataError, MissingResultError, PipelineError
from pipeline.formats.allen_xml import NAME as DATA_SET_XML
from pipeline.formats.allen_xml import read_data_set_xml
from pipeline.formats.metaimage import NO_DATA, read_metaimage
from pipeline.formats.reference import available
from pipeline.formats.tables import read_cells
from pipeline.loading import GRID_LABELS_UM, open_reference
from pipeline.model import Float32, UInt32
from pipeline.opening import run_reference
from pipeline.reference import ReferenceSpace
from pipeline.store.experiments import Experiment
from pipeline.store.run import RunFolder, read_json

GRID = "energy.mhd"
DECLARED = "experiments.csv"
_COLUMNS = ("section_data_set_id", "gene", "plane_of_section")
_PLANES = ("coronal", "sagittal", "")


@dataclass(frozen=True)
class ExperimentSource:
    """One run, folder or zip that holds an experiment; `read` says what went wrong where it does not."""

    path: Path
    read: Callable[[float], tuple[Experiment, Float32]]


def find_experiments(folders: Iterable[Path], declared: Path | None = None) -> list[ExperimentSource]:
    """Find the experiments of folders: what is one itself, else all in its direct subfolders and zips.

    Parameters
    ----------
    declared : Path        a CSV that says what served grids do not: section_data_set_id, gene,
                           plane_of_section; default `experiments.csv` in the folder, where it has one

    Raises
    ------
    DataError
        a folder that holds none, with what is looked for.
    """
    found: list[ExperimentSource] = []
    for folder in folders:
        stated = _declared(declared or folder / DECLARED, required=declared is not None)
        inside = [folder] if _is_experiment(folder) else _children(folder)
        if not inside:
            raise DataError(
                f"{folder}: expected finished runs, folders with {GRID} or zips of the grid service, got none"
            )
        found += [_source(path, stated) for path in inside]
    return found


def read_grid_file(path: Path, spacing_um: float) -> Float32:
    """Read an energy grid, (P, I, R) float32, NaN = no data; DataError where it holds other than energies.

    Parameters
    ----------
    path : Path            a .mhd, a zip of the grid service, a finished run, or a folder with energy.mhd
    """
    if path.is_dir():
        path = _finished_grid(RunFolder(path)) if _is_run(path) else path / GRID
    volume, spacing, _ = read_metaimage(path)
    if set(spacing) != {spacing_um}:
        raise DataError(f"{path}: expected a grid of {spacing_um:g} um, got spacing {spacing}")
    values = volume.astype(np.float32)
    odd = int(np.count_nonzero(~np.isfinite(values)))
    if odd:
        raise DataError(f"{path}: expected numbers, got NaN or inf in {odd} voxels; no data is written as -1")
    return np.where(values == NO_DATA, np.float32(np.nan), values)


def labels_reference(directory: Path | None, folders: Iterable[Path]) -> ReferenceSpace:
    """Return the reference that labels an index: the one given, else the one that the runs used."""
    if directory is None:
        runs = [path for folder in folders for path in (folder, *_children(folder)) if _is_run(path)]
        if not runs:
            raise ConfigError("index: expected --reference DIR: grids do not say which brain they lie in")
        directory = run_reference(runs[0])
    return _open_labels(directory)


def brain_check(labels: UInt32) -> Callable[[Path], None]:
    """Return what raises a DataError for a run that lies in another brain than these labels.

    A run whose reference is no longer where it was cannot be told and passes; so does what is no run.
    """

    @cache
    def other(directory: Path | None) -> bool:
        try:
            space = _open_labels(directory)
        except PipelineError:
            return False
        forms = [space.grid_labels()] + ([] if space.grid_annotation is None else [space.grid_annotation])
        return not any(np.array_equal(labels, form) for form in forms)

    def check(path: Path) -> None:
        if _is_run(path) and (path / "provenance.json").exists() and other(run_reference(path)):
            raise DataError(
                f"{path}: its reference, {run_reference(path) or 'the phantom'}, has other labels than the"
                " index; index it apart, or give --reference where both are one brain"
            )

    return check


def _open_labels(directory: Path | None) -> ReferenceSpace:
    """Open a reference at a resolution that is enough for the labels of the 200 um grid."""
    if directory is None:
        return open_reference(None, GRID_LABELS_UM)
    there = available(directory) if directory.is_dir() else []
    fit = [um for name, um in there if name.startswith("annotation") and 0 < um <= GRID_LABELS_UM]
    return open_reference(directory, max(fit, default=None))


def _source(path: Path, declared: dict[int, Experiment]) -> ExperimentSource:
    if _is_run(path):
        return ExperimentSource(path, lambda spacing_um: _read_run(path, spacing_um))
    return ExperimentSource(path, lambda spacing_um: _read_served(path, declared, spacing_um))


def _read_run(path: Path, spacing_um: float) -> tuple[Experiment, Float32]:
    run = RunFolder(path)
    grid = _finished_grid(run)
    described = read_json(run.require("section_data_set.json"))
    experiment = Experiment(
        int(described["id"]), described.get("gene"), described.get("plane_of_section"), str(grid.resolve())
    )
    return experiment, read_grid_file(grid, spacing_um)


def _finished_grid(run: RunFolder) -> Path:
    receipt = run.read_receipt("grid")
    if receipt is None or not receipt.ok:
        state = "not there yet" if receipt is None else f"{receipt.state} {receipt.message}".strip()
        raise MissingResultError(
            f"{run.path}: expected a finished run, its grid is {state}; finish it with `ish run`"
        )
    return run.require(f"grid/{GRID}")


def _read_served(
    path: Path, declared: dict[int, Experiment], spacing_um: float
) -> tuple[Experiment, Float32]:
    file = path / GRID if path.is_dir() else path
    found = _described(path) or Experiment(_named(path))
    stated = declared.get(found.section_data_set_id, found)
    experiment = Experiment(
        found.section_data_set_id,
        found.gene or stated.gene,
        found.plane_of_section or stated.plane_of_section,
        str(file.resolve()),
    )
    return experiment, read_grid_file(file, spacing_um)


def _described(path: Path) -> Experiment | None:
    """Return what the data_set.xml beside a grid, or in its zip, says; None where there is none."""
    if path.is_dir():
        return _from_xml(path / DATA_SET_XML) if (path / DATA_SET_XML).is_file() else None
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        if DATA_SET_XML not in archive.namelist():
            return None
        try:
            return _from_xml(Path(archive.extract(DATA_SET_XML, folder)))
        except DataError as error:
            raise DataError(f"{path}: {str(error).removeprefix(f'{folder}/')}") from None


def _from_xml(path: Path) -> Experiment:
    data_set = read_data_set_xml(path).data_set
    if ElementTree.parse(path).getroot().findtext("failed") == "true":
        raise DataError(f"{path}: the data set is marked failed by its source; it is left out")
    return Experiment(data_set.id, data_set.gene, data_set.plane_of_section)


def _named(path: Path) -> int:
    """Return the data set id that a name ends with."""
    numbers = re.findall(r"\d+", path.stem if path.is_file() else path.name)
    if not numbers:
        raise DataError(
            f"{path}: expected {DATA_SET_XML} beside the grid or a data set id in the name, got neither"
        )
    return int(numbers[-1])


def _declared(path: Path, *, required: bool) -> dict[int, Experiment]:
    if not required and not path.is_file():
        return {}
    header, rows = read_cells(path)
    if missing := [name for name in _COLUMNS if name not in header]:
        raise DataError(f"{path}: expected columns {','.join(_COLUMNS)}, {missing[0]} is missing")
    found = {}
    for line, cells in rows:
        number, gene, plane = (cells[header.index(name)] for name in _COLUMNS)
        if not number.isdigit() or plane not in _PLANES:
            raise DataError(
                f"{path}: line {line}: expected an id and coronal or sagittal, got {number}, {plane}"
            )
        found[int(number)] = Experiment(int(number), gene or None, plane or None)
    return found


def _is_run(path: Path) -> bool:
    return (path / "receipts").is_dir()


def _is_experiment(path: Path) -> bool:
    if path.is_dir():
        return _is_run(path) or (path / GRID).is_file()
    return path.suffix == ".zip" or (path.suffix == ".mhd" and re.search(r"\d", path.stem) is not None)


def _children(folder: Path) -> list[Path]:
    inside = sorted(folder.iterdir()) if folder.is_dir() and not _is_run(folder) else []
    return [path for path in inside if _is_experiment(path)]
