"""How a batch of many small series scales: two workers against one, the scheduler's share, peak memory.

python workflows/benchmarks/bench_batch.py FOLDER [--series 40] [--sections 4] [--resolution-um 16]

Workers have one thread each, so that a single one does not use both cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.phantom.scenes import phantom_scene, render_options
from pipeline.phantom.write_series import SeriesForm, write_phantom_series
from pipeline.store.run import RunFolder

CONFIG = Path(__file__).parents[2] / "configs" / "phantom.yaml"
COMMAND = (sys.executable, "-c", "from pipeline.cli import main; main()")
ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
GIVEN = ("--set", "alignment.name=given", "--set", "reference.resolution_um=100")


@dataclass(frozen=True)
class Measured:
    """One batch: wall time, the sum over its tasks, peak memory of the run and of its largest worker."""

    wall_s: float
    tasks_s: float
    own_mb: float
    worker_mb: float


def make(folder: Path, series: int, sections: int, resolution_um: float) -> None:
    """Render one series and repeat it under ids of its own."""
    write_phantom_series(
        folder / "one", phantom_scene("sagittal", sections, resolution_um, render_options({"seed": 3})),
        SeriesForm(give_alignment=True),
    )  # fmt: skip
    for number in range(1, series + 1):
        copy = Path(shutil.copytree(folder / "one" / "series", folder / "all" / f"s{number:03d}"))
        path = copy / "section_data_set.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"id": number}))


def batch(inputs: list[Path], output: Path, workers: int, scheduler: str = "processes") -> Measured:
    """Run series anew and measure."""
    shutil.rmtree(output, ignore_errors=True)
    named = [word for path in inputs for word in ("--input", str(path))]
    words = ["run", str(CONFIG), *named, "--output", str(output), *GIVEN]
    words += ["--scheduler", scheduler, "--workers", str(workers)]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*COMMAND, *words], env=os.environ | ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    assert status == 0, f"the batch ended with {status}"
    receipts = [r for run in output.iterdir() for r in RunFolder(run).receipts().values()]
    tasks = sum(r.wall_s for r in receipts)
    return Measured(wall, tasks, usage.ru_maxrss / 1024, max(r.peak_mb for r in receipts))


def main() -> None:
    """Measure and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, default=40)
    parser.add_argument("--sections", type=int, default=4)
    parser.add_argument("--resolution-um", type=float, default=16.0)
    given = parser.parse_args()
    if given.folder.exists():
        parser.error(f"{given.folder}: expected a new folder to render and run in; name another")
    make(given.folder, given.series, given.sections, given.resolution_um)
    every = sorted((given.folder / "all").iterdir())
    out = given.folder / "out"
    batch(every[:1], out, 1)  # compile kernels into the cache
    single = batch(every[:1], out, 1)
    quarter = batch(every[: given.series // 4], out, 2)
    two = batch(every, out, 2)
    one = batch(every, out, 1)
    print(
        json.dumps({"one worker": vars(one), "two workers": vars(two), "a quarter": vars(quarter)}, indent=1)
    )
    print(f"two workers / one: {one.wall_s / two.wall_s:.2f} x")
    print(f"to start and to end, one series: {single.wall_s - single.tasks_s:.1f} s")
    further = one.wall_s - single.wall_s, one.tasks_s - single.tasks_s
    print(f"outside tasks, every further series, one worker: {100 * (1 - further[1] / further[0]):.1f} %")
    print(f"peak of the run itself, {given.series} series / a quarter: {two.own_mb / quarter.own_mb:.2f}")
    print(f"peak of a worker, {given.series} series / a quarter: {two.worker_mb / quarter.worker_mb:.2f}")


if __name__ == "__main__":
    main()
