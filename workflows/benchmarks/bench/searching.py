"""Search over thousands of experiments: against reading their memory once, and against what was asked.

    python workflows/benchmarks/bench/searching.py --experiments 25000 --reference DIR --work DIR --oracle

prints the same rows at the size of the atlas: 8.5 GB of index, and with --oracle, which holds the best
hundred against float64 over all grids, another 16 GB for these. Both are removed at the end unless --keep.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from numba import njit

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from bench import pointing
from bench.timing import Row, duel, machine_facts, seconds, table
from pipeline.core.model import Float32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.metaimage import write_grid
from pipeline.inputs.references import open_reference
from pipeline.search.index import SearchIndex, open_index
from pipeline.search.indexing import build_index
from pipeline.search.kernels.correlation import pearson
from pipeline.search.on_disk.experiments import Experiment
from pipeline.search.sources import labels_reference, read_grid_file
from pipeline.search.synthetic import GridMaker

CORES = os.cpu_count() or 1
DAILY = 1500  # experiments of `make bench`
ATLAS = 25_000  # what the bounds in seconds and bytes speak of
SEED = 100_000


def rows(rounds: int, experiments: int = DAILY) -> list[Row]:
    """Build an index on the phantom brain, ask it, and remove it."""
    with tempfile.TemporaryDirectory(prefix="ish-bench-") as folder:
        return measure(Path(folder), open_reference(None, 100.0), rounds, experiments)


def measure(work: Path, space: ReferenceSpace, rounds: int, experiments: int, own: bool = False) -> list[Row]:
    """Return every row of one size.

    Parameters
    ----------
    work : folder      the index goes to work/index
    own : bool         keep each grid as MetaImage in work/grids, so that nothing has to rest on codes
    """
    feed = Feed(GridMaker.of(space), experiments, work / "grids" if own else None)
    found = building(work / "index", space, feed)
    found += asking(work / "index", rounds)
    found.append(complete(work / "complete", experiments, rounds))
    coronal = min(experiments, pointing.CORONAL)
    return [*found, *pointing.measure(work, coronal, rounds, bounded=experiments >= ATLAS)]


@dataclass
class Feed:
    """Experiments on their way into an index, one at a time; tells how long making them took."""

    maker: GridMaker
    count: int
    own: Path | None
    seconds: float = 0.0
    peak_mb: float = field(default=0.0)

    def __iter__(self) -> Iterator[tuple[Experiment, Float32]]:
        for number in range(self.count):
            made: list[tuple[Experiment, Float32]] = []
            self.seconds += seconds(lambda n=number, m=made: m.append(self.make(n)))
            yield made[0]
            if number % 100 == 0:
                self.peak_mb = max(self.peak_mb, anonymous_mb())

    def make(self, number: int) -> tuple[Experiment, Float32]:
        grid, source = self.maker.grid(number), ""
        if self.own is not None:
            path = self.own / f"{number:05d}" / "energy.mhd"
            write_grid(path, grid, 200.0)
            source = str(path)
        return self.maker.experiment(number, source), grid


def building(path: Path, space: ReferenceSpace, feed: Feed) -> list[Row]:
    """Build the index: its rate, its size and the memory that it took."""
    took = seconds(lambda: build_index(path, feed, space)) - feed.seconds
    room = sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file()) / feed.count
    peak = max(feed.peak_mb, anonymous_mb())
    whole, asked = feed.maker.grid(0).nbytes / 1e6, 8.5e9 / ATLAS / 1e6
    size = f"{feed.count} experiments"
    return [
        asked_for(
            f"index, {size}: time of one", 1e3 * took / feed.count, 0, "ms", f"{feed.count / took:.0f}/s"
        ),
        asked_for("index: room of one", room / 1e6, asked, "MB", f"its grid {whole:.3f} MB"),
        asked_for("index: memory beyond the page cache while built", peak, 1500, "MB"),
    ]


def asking(path: Path, rounds: int) -> list[Row]:
    """Open the index and ask it everything."""
    opened = median(seconds(lambda: open_index(path)) for _ in range(rounds))
    index = open_index(path)
    count, voxels = len(index), int(index.voxel_mask("all").sum())
    found = [asked_for(f"open, {count} experiments", 1e3 * opened, 1000.0, "ms")]
    scan, read, ratio = duel(lambda: index.correlation(SEED), reader(count, voxels), rounds)
    what, against = f"correlate {count} x {voxels}, voxels missing", "one read of it as float32, all cores"
    found.append(Row("search", what, against, 1e3 * scan, 1e3 * read, ratio, bound_at(count, 1 / 3)))
    found.append(domain(index, "Isocortex", rounds))
    for name, ask, most in questions(index):
        ask()
        took = 1e3 * median(seconds(ask) for _ in range(2 * rounds + 1))
        found.append(asked_for(name, took, most if count >= ATLAS else 0, "ms"))
    most = 1500.0
    return [*found, asked_for("search: memory beyond the page cache", anonymous_mb(), most, "MB")]


def questions(index: SearchIndex) -> list[tuple[str, Callable[[], object], float]]:
    """Return what is asked, and in how many ms it must be answered at the size of the atlas."""
    return [
        ("differential, TH over Isocortex", lambda: index.differential("TH", "Isocortex"), 5.0),
        ("differential, grey over fiber tracts", lambda: index.differential("grey", "fiber tracts"), 5.0),
        ("differential, whole grid", lambda: index.differential("TH", "Isocortex", voxels="grid"), 5.0),
        ("correlate, coronal", lambda: index.correlation(SEED, voxels="coronal"), 0),
        ("correlate, whole grid", lambda: index.correlation(SEED, voxels="grid"), 3000.0),
        ("structure networks", index.structure_correlation, 10_000.0),
    ]


def domain(index: SearchIndex, structure: str, rounds: int) -> Row:
    """Correlate within a structure, against its share of what the whole costs."""
    inside = index.voxel_mask("all")
    there = index.correlation(SEED, domain=structure, top=1).columns["voxels"][0]
    everywhere = index.correlation(SEED, top=1).columns["voxels"][0]
    share = float(there / everywhere)
    a, b, ratio = duel(
        lambda: index.correlation(SEED, domain=structure), lambda: index.correlation(SEED), rounds
    )
    what = f"correlate within {structure}, {share:.0%} of {int(inside.sum())} voxels"
    bound = bound_at(len(index), 0.5)
    return Row("search", what, "its share of the whole", 1e3 * a, 1e3 * b * share, ratio * share, bound)


def complete(path: Path, count: int, rounds: int) -> Row:
    """Correlate where nothing is missing: every one of 26,000 voxels of every experiment."""
    space = complete_space()
    shape = space.grid.shape
    programs = np.exp(np.random.default_rng(0).normal(0, 1.5, (40, int(np.prod(shape))))).astype(np.float32)

    def every() -> Iterator[tuple[Experiment, Float32]]:
        for number in range(count):
            weights = np.random.default_rng([number, 9]).dirichlet(np.full(40, 0.1)).astype(np.float32)
            yield Experiment(number, None, "coronal"), (weights @ programs).reshape(shape)

    build_index(path, every(), space)
    index = open_index(path)
    voxels = int(index.voxel_mask("all").sum())
    a, b, ratio = duel(lambda: index.correlation(1), reader(count, voxels), rounds)
    shutil.rmtree(path)
    what, against = f"correlate {count} x {voxels}, nothing missing", "one read of it as float32, all cores"
    return Row("search", what, against, 1e3 * a, 1e3 * b, ratio, bound_at(count, 2 / 3))


def complete_space() -> ReferenceSpace:
    """Return a phantom reduced to 26,000 voxels, all of them labelled."""
    phantom = open_reference(None, 100.0)
    ids = np.unique(phantom.annotation[phantom.annotation > 0])
    labels = np.resize(np.repeat(ids, 40), (40, 26, 25)).astype(np.uint32)
    return ReferenceSpace(9, "complete", labels, 200.0, phantom.ontology)


def reader(count: int, voxels: int) -> Callable[[], object]:
    """Return a function that reads a float32 matrix of this size once, on all cores."""
    matrix = np.ones((count, voxels), np.float32)
    parts = [part.reshape(-1) for part in np.array_split(matrix, 8 * CORES)]
    pool = ThreadPoolExecutor(CORES)
    return lambda: list(pool.map(_sum, parts))


@njit(nogil=True, fastmath=True)
def _sum(values):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for i in range(values.size):
        total += values[i]
    return total


def asked_for(what: str, ours: float, most: float, unit: str, agreement: str = "") -> Row:
    """Return a figure beside the most that it may be; 0 where nothing was asked."""
    against = "what was asked" if most else "-"
    bound = ">= 1" if most else ""
    return Row("search", what, against, ours, most, most / ours, bound, agreement, unit)


def bound_at(count: int, least: float) -> str:
    """Return a bound that was asked for at the size of the atlas; fewer rows do not fill the cores."""
    return f">= {least:.3g}" if count >= ATLAS else ""


def anonymous_mb() -> float:
    """Return this process's memory beyond the page cache, MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")) / 1024


def check_best(index: SearchIndex, voxels: str, top: int = 100) -> Row:
    """Hold the best against float64 over all own grids; `ours` counts those at their very place."""
    experiments = index.experiments
    coronal = experiments["plane_of_section"] == "coronal"
    chosen = np.flatnonzero(coronal | (voxels != "coronal"))
    inside = index.voxel_mask(voxels).reshape(-1)

    def values(at: int) -> Float32:
        return read_grid_file(Path(experiments["source"][at]), 200.0).reshape(-1)[inside]

    seed = int(np.flatnonzero(experiments["section_data_set_id"] == SEED)[0])
    x = values(seed).astype(np.float64)
    with ThreadPoolExecutor(CORES) as pool:
        r = np.array(list(pool.map(lambda at: pearson(x, values(at))[0], chosen.tolist())))
    ids = experiments["section_data_set_id"][chosen]
    best = ids[np.lexsort((ids, -np.nan_to_num(r, nan=-2.0)))][:top]
    found = index.correlation(SEED, voxels=voxels, top=top).columns
    expected = dict(zip(ids.tolist(), r.tolist(), strict=True))
    off = max(abs(b - expected[a]) for a, b in zip(found["section_data_set_id"], found["r"], strict=True))
    same = float((found["section_data_set_id"] == best).sum())
    what = f"the best {top} of {len(chosen)}, {voxels}"
    return Row(
        "search", what, "float64 over all grids", same, top, same / top, ">= 1", f"within {off:.1e}", ""
    )


def main() -> int:
    """Measure one size and print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", type=int, default=ATLAS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reference", type=Path, help="default: the phantom")
    parser.add_argument("--work", type=Path, help="default: a temporary folder")
    parser.add_argument("--oracle", action="store_true", help="hold the best hundred against float64")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp(prefix="ish-bench-"))
    space = labels_reference(given.reference, []) if given.reference else open_reference(None, 100.0)
    print("  ".join(f"{name} {value}" for name, value in machine_facts().items() if name != "packages"))
    found = measure(work, space, given.rounds, given.experiments, given.oracle)
    print(table(found), flush=True)
    if given.oracle:
        checked = [check_best(open_index(work / "index"), name) for name in ("all", "coronal", "grid")]
        print(table(checked))
        found += checked
    if not given.keep:
        shutil.rmtree(work)
    return 0 if all(row.holds for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
