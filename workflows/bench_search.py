"""Unionize and search at size: times beside what most people write, A B A B in one run, medians and ratios.

    python workflows/bench_search.py --experiments 1000
    python workflows/bench_search.py --experiments 25000 --reference DIR --work DIR --own-grids --oracle

Grids are made one at a time (search_grids.py). --own-grids keeps each as MetaImage in the work folder (16 GB
for 25,000), so that a search over the whole grid can settle its order; --oracle holds the best hundred
against float64 over all grids. The index and the grids are removed at the end unless --keep.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from numba import njit

from pipeline.formats.metaimage import write_grid
from pipeline.index import Experiment, SearchIndex, build_index, open_index
from pipeline.index_sources import labels_reference, read_grid_file
from pipeline.loading import open_reference
from pipeline.model import ExpressionSums, Float32
from pipeline.reference import ReferenceSpace, hemispheres, structure_mask
from pipeline.search.correlation import pearson
from pipeline.unionize import LabelIndex, unionize_columns, unionize_energy
from search_grids import GridMaker

Figures = dict[str, float]
CORES = os.cpu_count() or 1


def seconds(function: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long one call takes."""
    start = clock()
    function()
    return clock() - start


def duel(
    slow: Callable[[], object],
    fast: Callable[[], object],
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float, float]:
    """Return the median seconds of both, taken in turns, and the median ratio.

    What runs on one core is timed by its own time on it, so that other programs do not count.
    """
    fast()
    times = [(seconds(slow, clock), seconds(fast, clock)) for _ in range(rounds)]
    return median(a for a, _ in times), median(b for _, b in times), median(a / b for a, b in times)


def anonymous_mb() -> float:
    """Return this process's memory beyond the page cache, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")) / 1024


def bench_unionize(space: ReferenceSpace, maker: GridMaker, grids: int) -> Figures:
    """Time unionize on one grid and on many."""
    own = time.process_time
    labels, sides = space.grid_labels(), hemispheres(space.grid)
    index = LabelIndex.of(labels, space.ontology)
    grid = maker.grid(0)
    covered = ~np.isnan(grid)
    energy = np.nan_to_num(grid).astype(np.float64)
    sums = ExpressionSums(np.where(covered, 1e4, 0), energy * 80, energy * 1e4, np.where(covered, 5e5, 0))

    def masks() -> None:
        for structure in space.ontology.structures:
            mask = structure_mask(labels, space.ontology, [structure.id]) & covered
            for side in (1, 2, 3):
                chosen = mask if side == 3 else mask & (sides == side)
                [array[chosen].sum() for array in sums.arrays().values()]

    many = np.stack([maker.grid(n % 20) for n in range(grids)])
    slow, fast, ratio = duel(masks, lambda: unionize_columns(1, sums, covered, index, sides), 3, own)
    slow_many, fast_many, ratio_many = duel(
        lambda: bincount_loop(many, labels, sides, index), lambda: unionize_energy(many, index, sides), 3, own
    )
    return {
        "unionize_mask_loop_ms": 1e3 * slow,
        "unionize_ms": 1e3 * fast,
        "unionize_ratio": ratio,
        "unionize_many_grids": grids,
        "unionize_many_bincount_ms": 1e3 * slow_many,
        "unionize_many_ms": 1e3 * fast_many,
        "unionize_many_ratio": ratio_many,
    }


def bincount_loop(
    grids: Float32, labels: np.ndarray, sides: np.ndarray, index: LabelIndex
) -> list[np.ndarray]:
    """Sum many grids the usual way: bincounts by label and side, then the tree."""
    _, inverse = np.unique(labels, return_inverse=True)
    keys = inverse.reshape(-1) * 2 + (np.broadcast_to(sides, labels.shape).reshape(-1) - 1)
    found = []
    for grid in grids:
        flat = grid.reshape(-1)
        there = ~np.isnan(flat)
        values = np.where(there, flat, 0)
        direct = [
            np.bincount(keys, weights=w, minlength=2 * len(index.label_ids))
            for w in (there, values, values**2)
        ]
        found.append(index.propagate(np.stack(direct, axis=1).reshape(-1, 2, 3)))
    return found


def bench_finest(directory: Path) -> Figures:
    """Time unionize on the finest annotation of a reference."""
    space = open_reference(directory, None)
    labels = space.annotation
    sides = np.where(np.arange(labels.shape[2]) * space.annotation_um < 5700.0, 1, 2).astype(np.uint8)
    values = (labels % 97).astype(np.float32)
    covered = values > 3
    sums = ExpressionSums(values, values, values, values)
    index = LabelIndex.of(labels, space.ontology)
    made = median(seconds(lambda: LabelIndex.of(labels, space.ontology)) for _ in range(3))
    summed = median(seconds(lambda: unionize_columns(1, sums, covered, index, sides)) for _ in range(5))
    return {
        "finest_um": space.annotation_um,
        "finest_index_ms": 1e3 * made,
        "finest_unionize_ms": 1e3 * summed,
    }


class Feed:
    """Experiments on their way into an index; tells how long making them took."""

    def __init__(self, maker: GridMaker, count: int, own: Path | None) -> None:
        self.maker, self.count, self.own = maker, count, own
        self.seconds, self.peak_mb = 0.0, 0.0

    def __iter__(self) -> Iterator[tuple[Experiment, Float32]]:
        for number in range(self.count):
            start = time.perf_counter()
            pair = self.make(number)
            self.seconds += time.perf_counter() - start
            yield pair
            if number % 100 == 0:
                self.peak_mb = max(self.peak_mb, anonymous_mb())

    def make(self, number: int) -> tuple[Experiment, Float32]:
        grid = self.maker.grid(number)
        source = ""
        if self.own is not None:
            path = self.own / f"{number:05d}" / "energy.mhd"
            write_grid(path, grid, 200.0)
            source = str(path)
        return self.maker.experiment(number, source), grid


def bench_build(work: Path, space: ReferenceSpace, maker: GridMaker, count: int, own: bool) -> Figures:
    """Build the index and tell its rate, size and the memory it took."""
    feed = Feed(maker, count, work / "grids" if own else None)
    whole = seconds(lambda: build_index(work / "index", feed, space))
    files = [path for path in (work / "index").rglob("*") if path.is_file()]
    return {
        "experiments": count,
        "build_s": whole - feed.seconds,
        "build_rate_per_s": count / (whole - feed.seconds),
        "build_peak_anonymous_mb": max(feed.peak_mb, anonymous_mb()),
        "making_grids_s": feed.seconds,
        "index_gb": sum(path.stat().st_blocks * 512 for path in files) / 1e9,
        "index_bytes_per_experiment": sum(path.stat().st_blocks * 512 for path in files) / count,
    }


@njit(nogil=True, fastmath=True)
def _sum(values):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for i in range(values.size):
        total += values[i]
    return total


def reader(rows: int, voxels: int) -> Callable[[], object]:
    """Return a function that reads a float32 matrix of this size once, on all cores."""
    matrix = np.ones((rows, voxels), np.float32)
    parts = [part.reshape(-1) for part in np.array_split(matrix, 8 * CORES)]
    pool = ThreadPoolExecutor(CORES)
    return lambda: list(pool.map(_sum, parts))


def bench_search(path: Path, seed: int) -> Figures:
    """Time opening and both searches against reading the matrix once."""
    figures = {"open_s": seconds(lambda: open_index(path))}
    index = open_index(path)
    count, voxels = len(index), int(index.voxel_mask("all").sum())
    figures |= {"voxels_all": voxels, "voxels_coronal": int(index.voxel_mask("coronal").sum())}
    read, scan, ratio = duel(reader(count, voxels), lambda: index.correlation(seed))
    figures |= {
        "read_all_float32_ms": 1e3 * read,
        "correlation_all_ms": 1e3 * scan,
        "correlation_per_read": 1 / ratio,
    }
    for name, ask in questions(index, seed).items():
        ask()
        figures[f"{name}_ms"] = 1e3 * median(seconds(ask) for _ in range(7))
    figures["anonymous_mb_after_search"] = anonymous_mb()
    return figures


def questions(index: SearchIndex, seed: int) -> dict[str, Callable[[], object]]:
    """Return the questions that are timed by themselves."""
    return {
        "differential_th_over_cortex": lambda: index.differential(["TH"], ["Isocortex"]),
        "differential_root_children": lambda: index.differential(["grey"], ["fiber tracts"]),
        "differential_whole_grid": lambda: index.differential(["TH"], ["Isocortex"], voxels="grid"),
        "correlation_domain_cortex": lambda: index.correlation(seed, domain=["Isocortex"]),
        "correlation_domain_th": lambda: index.correlation(seed, domain=["TH"]),
        "correlation_coronal": lambda: index.correlation(seed, voxels="coronal"),
        "correlation_whole_grid": lambda: index.correlation(seed, voxels="grid"),
    }


def bench_complete(work: Path, count: int) -> Figures:
    """Time a correlation where nothing is missing: every one of 26,000 voxels of every experiment."""
    space = complete_space()
    shape = space.grid.shape
    programs = np.exp(np.random.default_rng(0).normal(0, 1.5, (40, int(np.prod(shape))))).astype(np.float32)

    def every() -> Iterator[tuple[Experiment, Float32]]:
        for number in range(count):
            weights = np.random.default_rng([number, 9]).dirichlet(np.full(40, 0.1)).astype(np.float32)
            yield Experiment(number, None, "coronal"), (weights @ programs).reshape(shape)

    build_index(work / "complete", every(), space)
    index = open_index(work / "complete")
    voxels = int(index.voxel_mask("all").sum())
    read, scan, ratio = duel(reader(count, voxels), lambda: index.correlation(1), 9)
    shutil.rmtree(work / "complete")
    return {
        "complete_voxels": voxels,
        "complete_read_float32_ms": 1e3 * read,
        "complete_correlation_ms": 1e3 * scan,
        "complete_per_read": 1 / ratio,
    }


def complete_space() -> ReferenceSpace:
    """Return a phantom reduced to 26,000 voxels, all of them labelled."""
    phantom = open_reference(None, 100.0)
    ids = np.unique(phantom.annotation[phantom.annotation > 0])
    labels = np.resize(np.repeat(ids, 40), (40, 26, 25)).astype(np.uint32)
    return ReferenceSpace(9, "complete", labels, 200.0, phantom.ontology)


def check_best(index: SearchIndex, seed: int, voxels: str) -> Figures:
    """Hold the best hundred against float64 over all own grids."""
    experiments = index.experiments
    chosen = [
        i for i, p in enumerate(experiments["plane_of_section"]) if voxels != "coronal" or p == "coronal"
    ]
    inside = index.voxel_mask(voxels).reshape(-1)
    own = read_grid_file(Path(experiments["source"][experiments["section_data_set_id"] == seed][0]), 200.0)
    x = own.reshape(-1)[inside].astype(np.float64)

    def one(at: int) -> float:
        return float(
            pearson(x, read_grid_file(Path(experiments["source"][at]), 200.0).reshape(-1)[inside])[0]
        )

    with ThreadPoolExecutor(CORES) as pool:
        r = np.array(list(pool.map(one, chosen)))
    ids = experiments["section_data_set_id"][chosen]
    best = ids[np.lexsort((ids, -np.nan_to_num(r, nan=-2.0)))][:100]
    found = index.correlation(seed, voxels=voxels, top=100)
    expected = dict(zip(ids.tolist(), r.tolist(), strict=True))
    off = [abs(row["r"] - expected[row["section_data_set_id"]]) for row in found.rows()]
    same = float(np.array_equal(found.columns["section_data_set_id"], best))
    return {f"oracle_{voxels}_same_100": same, f"oracle_{voxels}_largest_difference": max(off)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--reference", type=Path, help="default: the phantom")
    parser.add_argument("--work", type=Path, help="default: a temporary folder")
    parser.add_argument("--own-grids", action="store_true")
    parser.add_argument("--oracle", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp(prefix="ish-bench-"))
    space = labels_reference(given.reference, []) if given.reference else open_reference(None, 100.0)
    maker = GridMaker.of(space)
    figures: Figures = {}
    steps: list[Callable[[], Figures]] = [
        lambda: bench_unionize(space, maker, min(given.experiments, 1000)),
        lambda: bench_finest(given.reference) if given.reference else {},
        lambda: bench_build(work, space, maker, given.experiments, given.own_grids or given.oracle),
        lambda: bench_search(work / "index", 100_000),
    ]
    if given.oracle:
        steps += [
            lambda v=v: check_best(open_index(work / "index"), 100_000, v) for v in ("all", "coronal", "grid")
        ]
    steps.append(lambda: bench_complete(work, given.experiments))
    for step in steps:
        for name, value in step().items():
            figures[name] = value
            print(f"{name:36s}{value:.6g}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if not given.keep:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
