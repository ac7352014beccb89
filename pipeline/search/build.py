"""Filling an index: grids become rows; rows become voxel sets and structure sums."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipeline.core.errors import ConfigError, DataError, PipelineError
from pipeline.core.model import Float32, Grid
from pipeline.core.reference_space import hemispheres
from pipeline.search.kernels.codes import Row, check_grid, encode
from pipeline.search.kernels.order import VoxelOrder
from pipeline.search.kernels.sums import Block, SetSums, count_covered, covered_set, empty_sums, fill_sums
from pipeline.search.on_disk.document import IndexSubject, create_index, read_subject
from pipeline.search.on_disk.experiments import Experiment, ExperimentTable, check_experiment
from pipeline.search.on_disk.snapshot import IndexSnapshot, open_snapshot, remove_other_sums, write_sums
from pipeline.search.on_disk.writer import IndexWriter, index_lock
from pipeline.system.files import real_path

VOXEL_SETS = {
    "all": "brain voxels that at least 80 % of all experiments cover",
    "coronal": "coronal experiments only: brain voxels that at least 80 % of them cover, both hemispheres",
    "grid": "every voxel of the grid; a correlation without a domain counts those outside the brain too",
}
Outcome = tuple[Experiment, Float32]
T = TypeVar("T")
S = TypeVar("S")
_SHARES = 4  # shares of work per core: few enough for little overhead, enough for an even load


@dataclass
class BuildReport:
    """Outcome of a build.

    Attributes
    ----------
    added : int
        Number of new experiments.
    replaced : int
        Number of experiments whose grid or description changed.
    unchanged : int
        Number of experiments that were there already.
    errors : list of str
        One line for each experiment that was left out or is damaged.
    notes : list of str
        Warnings.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def voxel_order(subject: IndexSubject) -> VoxelOrder:
    """Return the storage order of an index.

    Parameters
    ----------
    subject : IndexSubject
        Labels, ontology and spacing.

    Returns
    -------
    VoxelOrder
        The order of these labels.
    """
    p, i, r = subject.labels.shape
    grid = Grid((p, i, r), subject.spacing_um)
    return VoxelOrder.of(subject.labels, subject.ontology, hemispheres(grid, subject.midline_um))


def check_output(output: Path, folders: Sequence[Path]) -> None:
    """Refuse to create an index inside a folder that it is built from.

    Parameters
    ----------
    output : Path
        Folder of the index; an existing index passes.
    folders : sequence of Path
        Folders that the index is built from.

    Raises
    ------
    ConfigError
        Where a new index would lie in, or be, one of them.
    """
    if (output / "zarr.json").exists():
        return
    real = real_path(output)
    for folder in folders:
        if folder.is_dir() and real.is_relative_to(real_path(folder)):
            raise ConfigError(
                f"{output}: expected an --output outside of {folder}, from which the index is built; name"
                " another"
            )


def fill_index(
    path: Path,
    subject: IndexSubject | None,
    jobs: Iterable[tuple[str, Callable[[], Outcome]]],
    listener: Callable[[str, str], None],
) -> BuildReport:
    """Put experiments into an index, which is created where there is none.

    Parameters
    ----------
    path : Path
        Folder of the index.
    subject : IndexSubject or None
        Labels of a new index; None where the index must exist.
    jobs : iterable of (str, callable)
        Name of each experiment, and a function that reads it and its grid. A PipelineError leaves it out.
    listener : callable
        Progress callback: listener(name, outcome), with "added", "replaced", "unchanged" or an error message.

    Returns
    -------
    BuildReport
        Counts and errors.

    Raises
    ------
    DataError
        Where the index has other labels, is damaged, or is being written by another process.
    MissingResultError
        Where there is no index and no subject.
    """
    if subject is None:
        subject = read_subject(path)
    with index_lock(path):
        report = _fill(path, _subject(path, subject), jobs, listener)
        refresh_sums(path)
    return report


def _fill(
    path: Path,
    subject: IndexSubject,
    jobs: Iterable[tuple[str, Callable[[], Outcome]]],
    listener: Callable[[str, str], None],
) -> BuildReport:
    order, report, seen = voxel_order(subject), BuildReport(), dict[int, str]()
    if not (path / "zarr.json").exists():
        create_index(path, subject, order)
    with IndexWriter(path) as writer:
        for name, read in jobs:
            try:
                experiment, row = _row(order, read, name, seen)
            except PipelineError as error:
                what = str(error) if name in str(error) else f"{name}: {error}"
                report.errors.append(what)
            else:  # an error in writing ends the build
                what = writer.put(experiment, row)
                setattr(report, what, getattr(report, what) + 1)
            listener(name, what)
        for what in writer.still_damaged():
            report.errors.append(what)
            listener(str(path), what)
        writer.compact()
    return report


def _row(
    order: VoxelOrder, read: Callable[[], Outcome], name: str, seen: dict[int, str]
) -> tuple[Experiment, Row]:
    """Read and encode one experiment; DataError where its id was seen before."""
    experiment, grid = read()
    check_experiment(experiment)
    number = experiment.section_data_set_id
    if number in seen:
        raise DataError(
            f"experiment {number} was already taken from {seen[number]}; give each an id of its own"
        )
    row = encode(check_grid(grid, order.shape), order)
    seen[number] = name
    return experiment, row


def _subject(path: Path, wanted: IndexSubject) -> IndexSubject:
    """Return the subject of an existing index, after checking that it has the wanted labels."""
    if not (path / "zarr.json").exists():
        return wanted
    there = read_subject(path)
    same = wanted.spacing_um == there.spacing_um and wanted.midline_um == there.midline_um
    if not same or not np.array_equal(wanted.labels, there.labels):
        raise DataError(
            f"{path}: the index has other labels, or another midline, than this reference; build a new one"
            " elsewhere"
        )
    return there


def refresh_sums(path: Path) -> None:
    """Compute voxel sets and structure sums of the committed experiments, unless they are stored intact.

    Parameters
    ----------
    path : Path
        Folder of the index.
    """
    snapshot = open_snapshot(path)
    sequence, table = snapshot.table.sequence, snapshot.table
    if not all(_is_stored(snapshot, name) for name in VOXEL_SETS):
        order = voxel_order(snapshot.subject)
        write_sums(
            path, sequence, {name: sum_set(name, order, table, snapshot.blocks) for name in VOXEL_SETS}
        )
    remove_other_sums(path, sequence)


def _is_stored(snapshot: IndexSnapshot, name: str) -> bool:
    """Return whether the sums of a voxel set are stored for this commit, undamaged."""
    stored = snapshot.stored_sums(name)
    try:
        if stored is not None:
            stored.check(None)
    except DataError:
        return False
    return stored is not None


def sum_set(name: str, order: VoxelOrder, table: ExperimentTable, blocks: tuple[Block, ...]) -> SetSums:
    """Compute a voxel set and the sums of its experiments over every structure.

    Parameters
    ----------
    name : str
        One of `VOXEL_SETS`.
    order : VoxelOrder
        Storage order of the voxels.
    table : ExperimentTable
        The committed experiments.
    blocks : tuple of Block
        Their rows.

    Returns
    -------
    SetSums
        The set and its sums; without squares for "grid".
    """
    chosen = np.ones(len(table), np.bool_)
    if name == "coronal":
        chosen = table.columns["plane_of_section"] == "coronal"
    slots, exponents = table.columns["slot"][chosen], table.columns["exponent"][chosen]
    member = order.whole()
    if name != "grid":
        # Blocks are disjoint sets of experiments: their counts add up. The zeros stand for an empty index.
        counts = sum(parallel(lambda block: count_covered([block], slots, order.padded), blocks))
        member = covered_set(np.asarray(counts) + np.zeros(order.padded, np.int64), len(slots))
    sums = empty_sums(order, slots, member, squares=name != "grid")
    parallel(lambda block: fill_sums(sums, block, exponents, order), blocks)
    return sums


def parallel(function: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Apply a function to items on all cores, in threads.

    Parameters
    ----------
    function : callable
        Takes one item; its kernels release the interpreter lock.
    items : sequence
        The items.

    Returns
    -------
    list
        Results, in the order of the items.
    """
    cores = os.cpu_count() or 1
    length = max(1, -(-len(items) // (_SHARES * cores)))
    shares = [items[at : at + length] for at in range(0, len(items), length)]
    with ThreadPoolExecutor(cores) as pool:
        done = pool.map(lambda share: [function(item) for item in share], shares)
        return [result for share in done for result in share]
