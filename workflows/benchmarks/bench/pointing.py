"""Search at a point over coronal experiments: against reading their memory once, as floats and as stored."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from bench.timing import Row, duel
from pipeline.core.model import Float32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.inputs.references import open_reference
from pipeline.search.build import parallel, voxel_order
from pipeline.search.index import open_index
from pipeline.search.indexing import build_index
from pipeline.search.kernels.point import Profile, Scan, correlate, profiles, tiles
from pipeline.search.on_disk.experiments import Experiment
from pipeline.search.on_disk.snapshot import open_snapshot
from pipeline.search.synthetic import GridMaker

VOXELS = 58_387  # of the coronal search of the original
CORONAL = 4_000  # its experiments
MOST = 1.5  # reads of its memory that a search at a point may take
POINT_UM = (5000.0, 4000.0, 4000.0)


@dataclass(frozen=True)
class Series:
    """Coronal experiments on the brain of the original's size, one at a time."""

    maker: GridMaker
    count: int
    missing: bool

    def __iter__(self) -> Iterator[tuple[Experiment, Float32]]:
        for number in range(self.count):
            grid = self.maker.grid(number)
            if self.missing:  # sections that are lost
                grid[np.random.default_rng([number, 5]).random(len(grid)) < 0.03] = np.nan
            yield Experiment(number, f"Gene{number // 2}", "coronal"), grid


def measure(work: Path, count: int, rounds: int, *, bounded: bool) -> list[Row]:
    """Build an index with and one without missing voxels, ask both, and remove them."""
    space = _space()
    maker = GridMaker.of(space, complete=True)
    found = []
    for missing in (True, False):
        path = work / f"point-{missing}"
        build_index(path, Series(maker, count, missing), space)
        found += ask(path, "voxels missing" if missing else "nothing missing", rounds, bounded=bounded)
        shutil.rmtree(path)
    return found


def ask(path: Path, what: str, rounds: int, *, bounded: bool) -> list[Row]:
    """Ask an index at a point: the whole answer, and the pass over the rows alone."""
    index, snapshot = open_index(path), open_snapshot(path)
    voxels, count = int(index.voxel_mask("coronal").sum()), len(index)
    result = index.at_point(POINT_UM)
    domains = f"domains {result.local_voxels}, {result.wider_voxels}; map within {result.within:.1e}"
    scan = _scan(path)
    ours: dict[str, Callable[[], object]] = {
        "search at a point": lambda: index.at_point(POINT_UM, top=50),
        "its pass over the codes": lambda: parallel(lambda t: correlate(*t), scan),
    }
    theirs = {
        "one read of it as float32, all cores": floats(count, voxels),
        "one read of its codes, all cores": stored([block.codes for block in snapshot.blocks]),
    }
    return [
        _row(f"{name}, {count} x {voxels}, {what}", against, duel(ask_it, read, rounds), domains, bounded)
        for name, ask_it in ours.items()
        for against, read in theirs.items()
    ]


def _row(what: str, against: str, times: tuple[float, float, float], domains: str, bounded: bool) -> Row:
    bound = f">= {1 / MOST:.3g}" if bounded and "float32" in against else ""
    return Row("search", what, against, 1e3 * times[0], 1e3 * times[1], times[2], bound, domains)


def _scan(path: Path) -> list[tuple[Scan, slice]]:
    """Return the tiles of the pass that a search at the point makes."""
    snapshot = open_snapshot(path)
    order = voxel_order(snapshot.subject)
    at = np.ravel_multi_index([round(um / 200) for um in POINT_UM], order.shape)
    seed = np.flatnonzero(order.brain == at)
    slots, exponents = snapshot.slots, snapshot.scales.exponent
    profile = Profile.of(slots, exponents, profiles(snapshot.blocks, slots, exponents, seed)[0])
    counts = open_index(path).differential("root", "root", voxels="coronal")
    known = dict(zip(counts.columns["section_data_set_id"], counts.columns["target_voxels"], strict=True))
    ids = snapshot.table.columns["section_data_set_id"][np.searchsorted(slots, profile.slots)]
    complete = np.array([known[i] == len(order.brain) for i in ids])
    scan = Scan.of(snapshot.blocks, profile, complete)
    return [(scan, tile) for tile in tiles(order.padded, os.cpu_count() or 1)]


def floats(count: int, voxels: int) -> Callable[[], object]:
    """Return a function that reads a float32 matrix of this size once, on all cores."""
    return stored([np.ones((min(256, count - at), voxels), np.float32) for at in range(0, count, 256)])


def stored(arrays: list[np.ndarray]) -> Callable[[], object]:
    """Return a function that reads arrays once, on all cores."""
    flat = [array.reshape(-1) for array in arrays]
    words = [array[: array.nbytes // 8 * 8 // array.itemsize].view(np.uint64) for array in flat]
    pool = ThreadPoolExecutor()
    return lambda: list(pool.map(_fold, words))


@njit(nogil=True)
def _fold(words):  # type: ignore[no-untyped-def]
    folded = np.uint64(0)
    for i in range(words.size):
        folded ^= words[i]
    return folded


def _space() -> ReferenceSpace:
    """Return the phantom, with labels for as many voxels as the original's coronal search has."""
    phantom = open_reference(None, 100.0)
    labels = phantom.grid_labels().copy()
    labels.reshape(-1)[np.flatnonzero(labels)[VOXELS:]] = 0
    # An annotation at the spacing of the grid, one voxel less along each axis, spans the same box.
    return ReferenceSpace(9, "coronal", labels[:-1, :-1, :-1], 200.0, phantom.ontology)
