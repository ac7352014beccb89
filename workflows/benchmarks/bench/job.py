"""The whole job against merely decoding its files: 20 sections of 75 MP, JPEG tiles, given alignment.

The series is drawn once into ISH_BENCH_DATA (default `bench-data/`): five sections, half a minute each, and
each of them stands four times in the series. A run goes from the files to StructureUnionize and the report
into an empty folder, as `ish run` does it; decoding takes the same number of threads. Both find the files in
the page cache and everything compiled. CPU time is told beside wall time: another's load changes it less.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import cv2

from bench.full_size import make_series, write_tiles
from bench.timing import Row
from pipeline import RunOptions, run
from pipeline.formats.images.files import read_image
from pipeline.formats.manifests.sections_csv import write_manifest
from pipeline.formats.manifests.series import read_series
from pipeline.inputs.config import Config
from pipeline.inputs.pixels import probe_any
from pipeline.store.tasks import Receipt

SECTIONS, DISTINCT, UM = 20, 5, 1.18
LARGE_MP, LIMIT_MB = 90.0, 1500.0
MOST_TURNS = 3


def series() -> Path:
    """Return the folder of the series, drawn where it is not there yet."""
    folder = Path(os.environ.get("ISH_BENCH_DATA", "bench-data")) / "full"
    make_series(folder, SECTIONS, UM, DISTINCT)
    return folder


@contextmanager
def scratch() -> Iterator[Path]:
    """Lend an empty folder."""
    folder = Path(tempfile.mkdtemp(prefix="ish-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def job(folder: Path, workers: int, scheduler: str = "threads") -> list[Receipt]:
    """Run a series along its given alignment, return its receipts; RuntimeError where a task fails."""
    config = Config.model_validate({"reference": {"name": "phantom"}, "alignment": {"name": "given"}})
    with scratch() as output:
        (result,) = run(config, [folder], output, None, RunOptions(scheduler, workers))
        bad = [r for r in result.receipts.values() if not r.ok]
        if bad:
            raise RuntimeError(f"{bad[0].task}: {bad[0].message}")
        return list(result.receipts.values())


def decode(folder: Path, workers: int) -> None:
    """Decode every section and drop it."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda path: read_image(path).shape, sorted(folder.glob("*.tif"))))


def cost(function: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of one call, the CPU of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def rows(rounds: int) -> list[Row]:
    """Time the job and decoding with two workers and with one, in turns, and look at the memory."""
    folder = series()
    cv2.setNumThreads(1)
    megapixels = (
        sum(i.width_px * i.height_px for i in read_series(folder, probe_any).data_set.section_images) / 1e6
    )
    job(folder, 2)
    decode(folder, 2)
    turns = [
        {n: (cost(partial(job, folder, n)), cost(partial(decode, folder, n))) for n in (2, 1)}
        for _ in range(min(rounds, MOST_TURNS))
    ]
    found = []
    # outputs are synced to the disk, whose speed no bound can know: wall times are told, CPU is held
    for k, what, bound in ((0, "wall", ""), (1, "CPU", "<= 3.2")):
        for n in (2, 1):
            ours, theirs = ([turn[n][side][k] for turn in turns] for side in (0, 1))
            ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
            name = f"whole job, {SECTIONS} sections, {megapixels:.0f} MP, {n} workers, {what}"
            found.append(
                Row("job", name, "decoding alone", median(ours), median(theirs), ratio, bound, unit="s")
            )
    one, two = ([turn[n][0][0] for turn in turns] for n in (1, 2))
    ratio = median(a / b for a, b in zip(one, two, strict=True))
    found.append(
        Row("job", "whole job, two workers", "one", median(two), median(one), ratio, ">= 1.6", unit="s")
    )
    peak = large_sections_peak_mb()
    what = f"peak memory of a worker process, sections of {LARGE_MP:.0f} MP"
    found.append(Row("job", what, "limit", peak, LIMIT_MB, peak / LIMIT_MB, "<= 1", unit="MB"))
    return found


def large_sections_peak_mb() -> float:
    """Return the peak memory of the worse of two worker processes through two large sections."""
    with scratch() as folder:
        _large_series(series(), folder)
        return max(receipt.peak_mb for receipt in job(folder, 2, "processes"))


def _large_series(source: Path, folder: Path) -> None:
    """Write a series of two sections, the largest of a series enlarged to LARGE_MP."""
    found = read_series(source, probe_any)
    images = sorted(found.data_set.section_images, key=lambda i: i.width_px * i.height_px)[-2:]
    assert images[-1].path is not None
    pixels = read_image(images[-1].path)
    factor = (LARGE_MP * 1e6 / (pixels.shape[0] * pixels.shape[1])) ** 0.5
    large = cv2.resize(pixels, None, fx=factor, fy=factor)
    um = images[-1].resolution_um / factor
    write_tiles(folder / "large.tif", large, um)
    placed = []
    for image in images:
        shutil.copyfile(folder / "large.tif", folder / f"large_{image.section_number}.tif")
        placed.append(replace(image, width_px=large.shape[1], height_px=large.shape[0], resolution_um=um))
    names = {image.section_number: f"large_{image.section_number}.tif" for image in placed}
    write_manifest(folder, replace(found.data_set, section_images=tuple(placed)), files=names)
    shutil.copyfile(source / "alignment.json", folder / "alignment.json")
