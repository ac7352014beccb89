"""The whole job against merely decoding its files: 20 sections of 70 MP, JPEG tiles, given alignment.

The series is drawn once into ISH_BENCH_DATA (default `bench-data/`; half a minute a section). A run goes from
the files to StructureUnionize and the report into an empty folder, as `ish run` does it; reading the files
takes the same number of threads. Only files in the page cache are timed: both sides read them before.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import cv2

from bench.full_size import make_series, write_tiles
from bench.timing import Row, duel, fresh, peak_mb, seconds
from pipeline import RunOptions, run
from pipeline.config import Config
from pipeline.formats.alignment_json import write_alignment
from pipeline.formats.images import read_image
from pipeline.formats.sections_csv import write_manifest
from pipeline.formats.series import read_series
from pipeline.loading import probe_any

SECTIONS, UM = 20, 1.18
LARGE_MP = 90.0


def series() -> Path:
    """Return the folder of the series, drawn where it is not there yet."""
    folder = Path(os.environ.get("ISH_BENCH_DATA", "bench-data")) / "full"
    make_series(folder, SECTIONS, UM)
    return folder


@contextmanager
def scratch() -> Iterator[Path]:
    """Lend an empty folder."""
    folder = Path(tempfile.mkdtemp(prefix="ish-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def job(folder: Path, workers: int) -> None:
    """Run a series along its given alignment; RuntimeError where a section fails."""
    config = Config.model_validate({"alignment": {"name": "given"}})
    with scratch() as output:
        (result,) = run(config, [folder], output, None, RunOptions(workers=workers))
        bad = [r for r in result.receipts.values() if not r.ok]
        if bad:
            raise RuntimeError(f"{bad[0].task}: {bad[0].message}")


def decode(folder: Path, workers: int) -> None:
    """Decode every section and drop it."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda path: read_image(path).shape, sorted(folder.glob("*.tif"))))


def rows(rounds: int) -> list[Row]:
    """Time the job with two workers and with one."""
    folder = series()
    cv2.setNumThreads(1)
    megapixels = (
        sum(i.width_px * i.height_px for i in read_series(folder, probe_any).data_set.section_images) / 1e6
    )
    found, turns = [], min(rounds, 3)
    for workers in (2, 1):
        ours, theirs, ratio = duel(
            lambda n=workers: job(folder, n), lambda n=workers: decode(folder, n), turns
        )
        what = f"whole job, {SECTIONS} sections, {megapixels:.0f} MP, {workers} workers"
        found.append(Row("job", what, "decoding alone", ours, theirs, 1 / ratio, "<= 3", unit="s"))
    pairs = [(seconds(lambda: job(folder, 1)), seconds(lambda: job(folder, 2))) for _ in range(turns)]
    one, two = (median(p[k] for p in pairs) for k in (0, 1))
    found.append(
        Row(
            "job",
            "whole job, two workers",
            "one",
            two,
            one,
            median(a / b for a, b in pairs),
            ">= 1.6",
            unit="s",
        )
    )
    peak = fresh(large_section_peak_mb)
    found.append(
        Row(
            "job",
            f"peak memory, a section of {LARGE_MP:.0f} MP",
            "limit",
            peak,
            1500,
            peak / 1500,
            "<= 1",
            unit="MB",
        )
    )
    return found


def large_section_peak_mb() -> float:
    """Return the peak memory of this process after one large section went through every stage."""
    with scratch() as folder:
        _one_large(series(), folder)
        job(folder, 1)
    return peak_mb()


def _one_large(source: Path, folder: Path) -> None:
    """Write a series of one section, enlarged to LARGE_MP, in a process that is gone afterwards."""
    if os.fork() == 0:
        found = read_series(source, probe_any)
        image = max(found.data_set.section_images, key=lambda i: i.width_px * i.height_px)
        assert image.path is not None
        assert found.alignment is not None
        pixels = read_image(image.path)
        factor = (LARGE_MP * 1e6 / (pixels.shape[0] * pixels.shape[1])) ** 0.5
        large = cv2.resize(pixels, None, fx=factor, fy=factor)
        um = image.resolution_um / factor
        write_tiles(folder / "large.tif", large, um)
        image = replace(image, width_px=large.shape[1], height_px=large.shape[0], resolution_um=um)
        write_manifest(
            folder,
            replace(found.data_set, section_images=(image,)),
            files={image.section_number: "large.tif"},
        )
        write_alignment(folder / "alignment.json", found.alignment)
        os._exit(0)
    os.wait()
