"""Sources of an index: finished runs, and folders or zips of grids as the Allen Institute serves them."""

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
from pipeline.core.model import BOTH, Float32, UInt32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.manifests.allen_xml import NAME as DATA_SET_XML
from pipeline.formats.manifests.allen_xml import read_data_set_xml
from pipeline.formats.manifests.source import SeriesSource
from pipeline.formats.tables.tables import read_arrays
from pipeline.formats.volumes.metaimage import NO_DATA, read_metaimage
from pipeline.formats.volumes.reference_folder import available
from pipeline.formats.volumes.zips import is_zip, open_zip, read_member
from pipeline.inputs.alignments import run_reference
from pipeline.inputs.references import GRID_LABELS_UM, open_reference
from pipeline.search.kernels.ties import typical_error
from pipeline.search.names import DECLARED, Declared, named, read_declared
from pipeline.search.on_disk.experiments import Experiment
from pipeline.store.run import RunFolder, read_json
from pipeline.system.files import real_path, shown

GRID = "energy.mhd"  # name of an energy grid, as the grid service sends it
TABLE = "structure_unionize.parquet"  # of a run
FACTORS = ("density.mhd", "intensity.mhd")  # energy is their product
MOST_GRID = 1 << 26  # largest file of voxels, bytes; a grid of 200 um has 637 304
MOST_XML = 1 << 26  # largest data_set.xml, bytes
PRODUCT = "has no energy; taken as density x intensity"
LOW = "no voxel is above 1, as in a density grid; a search compares energies"
_ENDS = ("expression_energy_lower", "expression_energy_upper")

Note = Callable[[str], None]  # receives warnings, one line each


@dataclass(frozen=True)
class ExperimentSource:
    """One run, folder or zip that holds an experiment.

    Attributes
    ----------
    path : Path
        The run, folder or zip.
    read : callable
        read(spacing_um, note) returns the experiment and its grid, (P, I, R) float32, and raises a
        PipelineError where it cannot be read; `note` receives warnings.
    """

    path: Path
    read: Callable[[float, Note], tuple[Experiment, Float32]]

    @property
    def name(self) -> str:
        """The path as text that any terminal and table can hold."""
        return printable(self.path)


def printable(path: Path) -> str:
    r"""Return a path as text; bytes that are not UTF-8 become Python escapes.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    str
        Text that can be encoded as UTF-8.

    Examples
    --------
    >>> printable(Path("Prox1_\udce9"))
    'Prox1_\\xe9'
    """
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def find_experiments(
    folders: Iterable[Path], declared: Path | None = None, note: Note = lambda line: None
) -> list[ExperimentSource]:
    """Find the experiments of folders: the folder itself, else its direct subfolders and zips.

    Parameters
    ----------
    folders : iterable of Path
        Runs, folders with energy.mhd, zips, or folders that hold such.
    declared : Path, optional
        CSV with what served grids do not state: section_data_set_id, gene, plane_of_section, file. Default:
        `experiments.csv` in the folder, where there is one.
    note : callable
        Receives a warning for rows of that table that are left out.

    Returns
    -------
    list of ExperimentSource
        The experiments, not yet read.

    Raises
    ------
    DataError
        Where a folder holds none.
    """
    found: list[ExperimentSource] = []
    for folder in folders:
        if folder.name == GRID and folder.is_file():
            folder = folder.parent
        stated = read_declared(declared or folder / DECLARED, required=declared is not None, note=note)
        inside = [folder] if _is_experiment(folder) else _children(folder)
        if not inside:
            raise DataError(
                f"{printable(folder)}: expected finished runs, folders with {GRID} or zips of the grid"
                " service, got none"
            )
        found += [_source(path, stated) for path in inside]
    return found


def read_grid_file(path: Path, spacing_um: float, note: Note = lambda line: None) -> Float32:
    """Read an energy grid.

    Parameters
    ----------
    path : Path
        A .mhd, a zip of the grid service, a finished run, or a folder with energy.mhd.
    spacing_um : float
        Expected spacing of the grid, um.
    note : callable
        Receives a warning where the energy is computed from density and intensity, or may be a density.

    Returns
    -------
    (P, I, R) float32
        Energies; NaN = no data.

    Raises
    ------
    DataError
        Where the file holds something other than energies of this spacing.
    MissingResultError
        Where a run is not finished.
    """
    if path.is_dir() and _is_run(path):
        path = finished_grid(RunFolder(path))
    energy, factors = _parts(path)
    if factors:
        density, intensity = (read_values(*part, spacing_um) for part in factors)
        note(f"{printable(path)}: {PRODUCT}")
        return _product(path, density, intensity)
    values = read_values(*energy, spacing_um)
    # A density never exceeds 1; an energy, with an intensity up to 255, hardly stays below it everywhere.
    if 0 < np.fmax.reduce(values, axis=None, initial=np.float32(0)) <= 1:
        note(f"{printable(path)}: {LOW}")
    return values


def _parts(
    path: Path,
) -> tuple[tuple[Path, str | None], tuple[tuple[Path, str | None], ...]]:
    """Return file and member of an energy grid, and of the density and intensity that replace it."""
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
    """Return energy = density x intensity; 0 where the density is 0, since there is no intensity then."""
    if density.shape != intensity.shape:
        raise DataError(
            f"{printable(path)}: expected density and intensity of one grid, got {density.shape} and"
            f" {intensity.shape}"
        )
    highest = float(np.fmax.reduce(density, axis=None, initial=np.float32(0)))
    if highest > 1 + 1e-6:  # 1e-6: rounding of float32
        raise DataError(f"{printable(path)}: expected densities up to 1, got {highest:g}")
    return np.where(density == 0, np.float32(0), density * intensity)


def read_values(path: Path, member: str | None, spacing_um: float) -> Float32:
    """Read one grid of the grid service.

    Parameters
    ----------
    path : Path
        A .mhd, or a zip.
    member : str or None
        Name of the .mhd inside a zip; None for a plain file.
    spacing_um : float
        Expected spacing, um.

    Returns
    -------
    (P, I, R) float32
        Values; NaN = no data.

    Raises
    ------
    DataError
        Where the spacing differs, the origin is not 0, or a value is not finite.
    """
    volume, spacing, origin = read_metaimage(path, member, MOST_GRID)
    if set(spacing) != {spacing_um}:
        raise DataError(f"{path}: expected a grid of {spacing_um:g} um, got spacing {spacing}")
    if any(origin):
        raise DataError(f"{path}: expected a grid that begins at 0 0 0, got Offset {origin}; is it cut out?")
    # A value beyond float32 becomes infinite and is refused below.
    with np.errstate(over="ignore"):
        values = volume.astype(np.float32)
    odd = int(np.count_nonzero(~np.isfinite(values)))
    if odd:
        raise DataError(f"{path}: expected numbers, got NaN or inf in {odd} voxels; no data is written as -1")
    return np.where(values == NO_DATA, np.float32(np.nan), values)


def labels_reference(directory: Path | None, folders: Iterable[Path]) -> ReferenceSpace:
    """Return the reference whose labels a new index uses.

    Parameters
    ----------
    directory : Path or None
        Folder of the reference; None: the reference of the first finished run.
    folders : iterable of Path
        Runs, or folders that hold them.

    Returns
    -------
    ReferenceSpace
        The reference, at a resolution that is enough for the 200 um grid.

    Raises
    ------
    ConfigError
        Where no reference is given and there is no finished run.
    DataError
        Where the run's provenance.json is damaged or names no reference.
    """
    if directory is None:
        candidates = (path for folder in folders for path in (folder, *_children(folder)))
        readable = (path for path in candidates if os.access(path, os.R_OK | os.X_OK) and _is_run(path))
        run = next((path for path in readable if (path / "provenance.json").exists()), None)
        if run is None:
            raise ConfigError(
                "index: expected --reference DIR: grids and unfinished runs do not say which brain they show"
            )
        directory = run_reference(run)
    return open_labels(directory)


def brain_check(labels: UInt32) -> Callable[[Path], None]:
    """Return a check that raises a DataError for a run aligned to another brain than these labels.

    Parameters
    ----------
    labels : (P, I, R) uint32
        Labels of the index.

    Returns
    -------
    callable
        check(path). What is not a run passes, and so does a run whose reference cannot be opened any more.
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
    """Open a reference at a resolution that is enough for the labels of the 200 um grid.

    Parameters
    ----------
    directory : Path or None
        Folder of the reference; None: the phantom.

    Returns
    -------
    ReferenceSpace
        At the coarsest resolution up to 100 um, else at the finest.
    """
    if directory is None:
        return open_reference(None, GRID_LABELS_UM)
    there = available(directory) if directory.is_dir() else []
    fit = [um for name, um in there if name.startswith("annotation") and 0 < um <= GRID_LABELS_UM]
    return open_reference(directory, max(fit, default=None))


def _source(path: Path, declared: Declared) -> ExperimentSource:
    def read(spacing_um: float, note: Note = lambda line: None) -> tuple[Experiment, Float32]:
        try:
            str(path).encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(f"{printable(path)}: expected a name in UTF-8; rename it") from None
        try:
            if path.is_dir() and _is_run(path):
                return _read_run(path, spacing_um, note)
            return _read_served(path, declared, spacing_um, note)
        except PipelineError:
            raise
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}; rights?") from None

    return ExperimentSource(path, read)


def _read_run(path: Path, spacing_um: float, note: Note) -> tuple[Experiment, Float32]:
    run = RunFolder(path)
    grid = finished_grid(run)
    described = read_json(run.require("section_data_set.json"))
    number = described.get("id")
    if not isinstance(number, int):
        raise DataError(f"{path}/section_data_set.json: expected a whole number as id, got {shown(number)}")
    experiment = Experiment(
        number,
        described.get("gene"),
        described.get("plane_of_section"),
        str(real_path(grid)),
        _energy_error(run, note),
    )
    return experiment, read_grid_file(grid, spacing_um)


def _energy_error(run: RunFolder, note: Note) -> float | None:
    """Return the typical error of a run's structure energies; None where it states no intervals."""
    receipt = run.read_receipt("unionize")
    if receipt is None or not receipt.ok:
        return None
    try:
        table = read_arrays(run.require(TABLE))
        if not set(_ENDS) <= table.keys():
            return None
        both = table["hemisphere_id"] == BOTH
        lower, upper = (np.asarray(table[name][both], np.float64) for name in _ENDS)
    except (PipelineError, KeyError, TypeError, ValueError) as error:
        note(f"{printable(run.path)}: its intervals cannot be read, so that its ranks get no range: {error}")
        return None
    return typical_error(lower, upper)


def finished_grid(run: RunFolder) -> Path:
    """Return the energy grid of a finished run.

    Parameters
    ----------
    run : RunFolder
        The run.

    Returns
    -------
    Path
        Its energy.mhd.

    Raises
    ------
    MissingResultError
        Where the run has not finished its grid.
    """
    receipt = run.read_receipt("grid")
    if receipt is None or not receipt.ok:
        state = "not there yet" if receipt is None else f"{receipt.state} {receipt.message}".strip()
        raise MissingResultError(
            f"{run.path}: expected a finished run, its grid is {state}; finish it with `ish run`"
        )
    return run.require(f"grid/{GRID}")


def _read_served(path: Path, declared: Declared, spacing_um: float, note: Note) -> tuple[Experiment, Float32]:
    """Read a served grid; data_set.xml states its id, else the table, else its name."""
    file = path / GRID if (path / GRID).is_file() else path
    described, wanted = _described(path), declared.of_file(path)
    if described is None:
        found = wanted or Experiment(named(path, DATA_SET_XML))
    elif wanted is not None and wanted.section_data_set_id != described.section_data_set_id:
        raise DataError(
            f"{path}: expected one id, got {described.section_data_set_id} in {DATA_SET_XML} and"
            f" {wanted.section_data_set_id} in the table of experiments"
        )
    else:
        found = described
    stated = wanted or declared.by_id.get(found.section_data_set_id, found)
    experiment = Experiment(
        found.section_data_set_id,
        found.gene or stated.gene,
        found.plane_of_section or stated.plane_of_section,
        str(real_path(file)),
    )
    return experiment, read_grid_file(path, spacing_um, note)


def _described(path: Path) -> Experiment | None:
    """Return the experiment that the data_set.xml of a folder or zip describes; None where there is none."""
    source = read_described(path)
    if source is None:
        return None
    if any("marked failed by its source" in line for line in source.warnings):
        raise DataError(f"{path}: the data set is marked failed by its source; it is left out")
    data_set = source.data_set
    return Experiment(data_set.id, data_set.gene, data_set.plane_of_section)


def read_described(path: Path) -> SeriesSource | None:
    """Read the data_set.xml in a folder or a zip.

    Parameters
    ----------
    path : Path
        Folder or zip.

    Returns
    -------
    SeriesSource or None
        Its content; None where there is none.

    Raises
    ------
    DataError
        Where it cannot be read.
    """
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
    """Return whether a path is to be read; one without access counts, so that it is reported."""
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
