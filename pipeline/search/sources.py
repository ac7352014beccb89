"""What an index is built from: finished runs, and folders or zips of grids as Allen serves them."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.core.errors import ConfigError, DataError, MissingResultError, PipelineError
from pipeline.core.model import Float32, UInt32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.manifests.allen_xml import NAME as DATA_SET_XML
from pipeline.formats.manifests.allen_xml import read_data_set_xml
from pipeline.formats.manifests.source import SeriesSource
from pipeline.formats.volumes.metaimage import NO_DATA, read_metaimage
from pipeline.formats.volumes.reference_folder import available
from pipeline.formats.volumes.zips import is_zip, open_zip, read_member
from pipeline.inputs.alignments import run_reference
from pipeline.inputs.references import GRID_LABELS_UM, open_reference
from pipeline.search.names import DECLARED, Declared, named, read_declared
from pipeline.search.on_disk.experiments import Experiment
from pipeline.store.run import RunFolder, read_json
from pipeline.system.files import real_path, shown

GRID = "energy.mhd"
FACTORS = ("density.mhd", "intensity.mhd")  # energy is their product
MOST_GRID = 1 << 26  # bytes: a grid of 200 um has 637,304
MOST_XML = 1 << 26
PRODUCT = "has no energy; taken as density x intensity"
LOW = "no voxel is above 1, as in a density grid; a search compares energies"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class ExperimentSource:
    """One run, folder or zip that holds an experiment.

    `read` takes the spacing in um and whom to tell what was noticed, and raises what went wrong.
    """

    path: Path
    read: Callable[[float, Tell], tuple[Experiment, Float32]]

    @property
    def name(self) -> str:
        """The path as text that any terminal and table can hold."""
        return printable(self.path)


def printable(path: Path) -> str:
    r"""Return a path as text; bytes that are no UTF-8 as they are written in Python.

    >>> printable(Path("Prox1_\udce9"))
    'Prox1_\\xe9'
    """
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def find_experiments(
    folders: Iterable[Path], declared: Path | None = None, tell: Tell = lambda line: None
) -> list[ExperimentSource]:
    """Find the experiments of folders: what is one itself, else all in its direct subfolders and zips.

    Parameters
    ----------
    declared : Path        a CSV that says what served grids do not: section_data_set_id, gene,
                           plane_of_section, file; default `experiments.csv` in the folder, where it has one
    tell : (line)          told what was left out of that table

    Raises
    ------
    DataError
        a folder that holds none, with what is looked for.
    """
    found: list[ExperimentSource] = []
    for folder in folders:
        if folder.name == GRID and folder.is_file():
            folder = folder.parent
        stated = read_declared(declared or folder / DECLARED, required=declared is not None, tell=tell)
        inside = [folder] if _is_experiment(folder) else _children(folder)
        if not inside:
            raise DataError(
                f"{printable(folder)}: expected finished runs, folders with {GRID} or zips of the grid"
                " service, got none"
            )
        found += [_source(path, stated) for path in inside]
    return found


def read_grid_file(path: Path, spacing_um: float, tell: Tell = lambda line: None) -> Float32:
    """Read an energy grid, (P, I, R) float32, NaN = no data; DataError where it holds other than energies.

    Parameters
    ----------
    path : Path            a .mhd, a zip of the grid service, a finished run, or a folder with energy.mhd
    tell : (line)          told where density and intensity stand for the energy, or it may be a density
    """
    if path.is_dir() and _is_run(path):
        path = finished_grid(RunFolder(path))
    energy, factors = _parts(path)
    if factors:
        density, intensity = (read_values(*part, spacing_um) for part in factors)
        tell(f"{printable(path)}: {PRODUCT}")
        return _product(path, density, intensity)
    values = read_values(*energy, spacing_um)
    if 0 < np.fmax.reduce(values, axis=None, initial=np.float32(0)) <= 1:
        tell(f"{printable(path)}: {LOW}")
    return values


def _parts(
    path: Path,
) -> tuple[tuple[Path, str | None], tuple[tuple[Path, str | None], ...]]:
    """Return where an energy grid lies, and the density and intensity that stand for it where it lacks."""
    if path.is_dir():
        lies = [os.path.lexists(path / name) for name in (GRID, *FACTORS)]
        energy: tuple[Path, str | None] = (path / GRID, None)
        factors: tuple[tuple[Path, str | None], ...] = tuple((path / name, None) for name in FACTORS)
    elif is_zip(path):
        with open_zip(path) as archive:
            listed = [name for name in archive.namelist() if name.endswith(".mhd")]
        lies = [name in listed for name in (GRID, *FACTORS)]
        alone = listed[0] if len(listed) == 1 else GRID
        energy, factors = (path, alone), tuple((path, name) for name in FACTORS)
    else:
        lies, energy, factors = [True], (path, None), ()
    if not lies[0] and all(lies[1:]):
        return energy, factors
    name = Path(energy[1] or energy[0].name).stem.lower()
    other = [kind for kind in ("density", "intensity") if kind in name]
    other += [] if lies[0] else [Path(n).stem for n, there in zip(FACTORS, lies[1:], strict=True) if there]
    if other:
        raise DataError(f"{printable(path)}: expected an energy grid, got {other[0]}; give {GRID}")
    return energy, ()


def _product(path: Path, density: Float32, intensity: Float32) -> Float32:
    """Return energy = density x intensity; where nothing expresses there is no intensity, and no energy."""
    if density.shape != intensity.shape:
        raise DataError(
            f"{printable(path)}: expected density and intensity of one grid, got {density.shape} and"
            f" {intensity.shape}"
        )
    highest = float(np.fmax.reduce(density, axis=None, initial=np.float32(0)))
    if highest > 1 + 1e-6:
        raise DataError(f"{printable(path)}: expected densities up to 1, got {highest:g}")
    return np.where(density == 0, np.float32(0), density * intensity)


def read_values(path: Path, member: str | None, spacing_um: float) -> Float32:
    """Read one grid, (P, I, R) float32, NaN = no data."""
    volume, spacing, origin = read_metaimage(path, member, MOST_GRID)
    if set(spacing) != {spacing_um}:
        raise DataError(f"{path}: expected a grid of {spacing_um:g} um, got spacing {spacing}")
    if any(origin):
        raise DataError(f"{path}: expected a grid that begins at 0 0 0, got Offset {origin}; is it cut out?")
    with np.errstate(over="ignore"):
        values = volume.astype(np.float32)
    odd = int(np.count_nonzero(~np.isfinite(values)))
    if odd:
        raise DataError(f"{path}: expected numbers, got NaN or inf in {odd} voxels; no data is written as -1")
    return np.where(values == NO_DATA, np.float32(np.nan), values)


def labels_reference(directory: Path | None, folders: Iterable[Path]) -> ReferenceSpace:
    """Return the reference that labels an index: the one given, else the one that the runs used."""
    if directory is None:
        candidates = (path for folder in folders for path in (folder, *_children(folder)))
        runs = [path for path in candidates if os.access(path, os.R_OK | os.X_OK) and _is_run(path)]
        if not runs:
            raise ConfigError("index: expected --reference DIR: grids do not say which brain they lie in")
        directory = run_reference(runs[0])
    return open_labels(directory)


def brain_check(labels: UInt32) -> Callable[[Path], None]:
    """Return what raises a DataError for a run that lies in another brain than these labels.

    A run whose reference is no longer where it was cannot be told and passes; so does what is no run.
    """

    @cache
    def other(directory: Path | None) -> bool:
        try:
            space = open_labels(directory)
        except PipelineError:
            return False
        forms = [space.grid_labels()] + ([] if space.grid_annotation is None else [space.grid_annotation])
        return not any(np.array_equal(labels, form) for form in forms)

    def check(path: Path) -> None:
        if (
            os.access(path, os.R_OK)
            and _is_run(path)
            and (path / "provenance.json").exists()
            and other(run_reference(path))
        ):
            raise DataError(
                f"{path}: its reference, {run_reference(path) or 'the phantom'}, has other labels than the"
                " index; index it apart, or give --reference where both are one brain"
            )

    return check


def open_labels(directory: Path | None) -> ReferenceSpace:
    """Open a reference at a resolution that is enough for the labels of the 200 um grid."""
    if directory is None:
        return open_reference(None, GRID_LABELS_UM)
    there = available(directory) if directory.is_dir() else []
    fit = [um for name, um in there if name.startswith("annotation") and 0 < um <= GRID_LABELS_UM]
    return open_reference(directory, max(fit, default=None))


def _source(path: Path, declared: Declared) -> ExperimentSource:
    def read(spacing_um: float, tell: Tell = lambda line: None) -> tuple[Experiment, Float32]:
        try:
            str(path).encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(f"{printable(path)}: expected a name in UTF-8; rename it") from None
        try:
            if path.is_dir() and _is_run(path):
                return _read_run(path, spacing_um)
            return _read_served(path, declared, spacing_um, tell)
        except PipelineError:
            raise
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}; rights?") from None

    return ExperimentSource(path, read)


def _read_run(path: Path, spacing_um: float) -> tuple[Experiment, Float32]:
    run = RunFolder(path)
    grid = finished_grid(run)
    described = read_json(run.require("section_data_set.json"))
    number = described.get("id")
    if not isinstance(number, int):
        raise DataError(f"{path}/section_data_set.json: expected a whole number as id, got {shown(number)}")
    experiment = Experiment(
        number, described.get("gene"), described.get("plane_of_section"), str(real_path(grid))
    )
    return experiment, read_grid_file(grid, spacing_um)


def finished_grid(run: RunFolder) -> Path:
    receipt = run.read_receipt("grid")
    if receipt is None or not receipt.ok:
        state = "not there yet" if receipt is None else f"{receipt.state} {receipt.message}".strip()
        raise MissingResultError(
            f"{run.path}: expected a finished run, its grid is {state}; finish it with `ish run`"
        )
    return run.require(f"grid/{GRID}")


def _read_served(path: Path, declared: Declared, spacing_um: float, tell: Tell) -> tuple[Experiment, Float32]:
    file = path / GRID if (path / GRID).is_file() else path
    said, wanted = _described(path), declared.of_file(path)
    if said is None:
        found = wanted or Experiment(named(path, DATA_SET_XML))
    elif wanted is not None and wanted.section_data_set_id != said.section_data_set_id:
        raise DataError(
            f"{path}: expected one id, got {said.section_data_set_id} in {DATA_SET_XML} and"
            f" {wanted.section_data_set_id} in the table of experiments"
        )
    else:
        found = said
    stated = wanted or declared.by_id.get(found.section_data_set_id, found)
    experiment = Experiment(
        found.section_data_set_id,
        found.gene or stated.gene,
        found.plane_of_section or stated.plane_of_section,
        str(real_path(file)),
    )
    return experiment, read_grid_file(path, spacing_um, tell)


def _described(path: Path) -> Experiment | None:
    """Return what the data_set.xml beside a grid, or in its zip, says; None where there is none."""
    source = read_described(path)
    if source is None:
        return None
    if any("marked failed by its source" in line for line in source.warnings):
        raise DataError(f"{path}: the data set is marked failed by its source; it is left out")
    data_set = source.data_set
    return Experiment(data_set.id, data_set.gene, data_set.plane_of_section)


def read_described(path: Path) -> SeriesSource | None:
    """Read the data_set.xml in a folder or a zip; None where there is none."""
    if path.is_dir():
        return read_data_set_xml(path / DATA_SET_XML) if os.path.lexists(path / DATA_SET_XML) else None
    if not is_zip(path):
        return None
    with open_zip(path) as archive:
        if DATA_SET_XML not in archive.namelist():
            return None
        content = read_member(path, archive, DATA_SET_XML, MOST_XML)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / DATA_SET_XML
        copy.write_bytes(content)
        try:
            return read_data_set_xml(copy)
        except DataError as error:
            raise DataError(f"{path}: {str(error).removeprefix(f'{folder}/')}") from None


def _is_run(path: Path) -> bool:
    return (path / "receipts").is_dir()


def _is_experiment(path: Path) -> bool:
    """Tell whether a path is to be read; what may not be looked at is, so that it gets its line."""
    try:
        if path.is_dir():
            names = {GRID, *FACTORS} & set(os.listdir(path))
            return bool(names) or _is_run(path)
    except PermissionError:
        return True
    return path.suffix == ".zip" or (path.suffix == ".mhd" and re.search(r"\d", path.stem) is not None)


def _children(folder: Path) -> list[Path]:
    try:
        inside = sorted(folder.iterdir()) if folder.is_dir() and not _is_run(folder) else []
    except OSError as error:
        raise DataError(f"{printable(folder)}: cannot be read: {error.strerror}; rights?") from None
    return [path for path in inside if _is_experiment(path)]
