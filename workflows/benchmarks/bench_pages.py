"""How fast the pages of `ish view` are: first views, frames while panning, sizes, against their goals.

    python workflows/benchmarks/bench_pages.py                  all of it
    python workflows/benchmarks/bench_pages.py sizes frames     these
    python workflows/benchmarks/bench_pages.py --work FOLDER    keep what is served, for the next time

Debian's Chromium draws in software. Each view is the first of a new browser profile on a new server with an
empty cache. What is served is rendered first, into a temporary folder: three sections of 70 MP take some
minutes. The machine must do nothing else: its load at the start is printed. Linux only. The exit status is 1
where a goal is missed by more than a fifth.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench import pages, served_inputs
from bench.command import measure_families
from bench.figures import Figure
from bench.serving import ROOT
from bench.timing import machine_facts

FAMILIES = ("sizes", "views", "frames")


def measure(work: Path, families: list[str], rounds: int) -> list[Figure]:
    """Make what is served, then measure the families."""
    found = pages.sizes() if "sizes" in families else []
    path = pages.browser_path()
    if not {"views", "frames"} & set(families):
        return found
    if path is None:
        raise SystemExit(
            "expected Chromium as `chromium` on the path, found none; install it, or ask for sizes alone"
        )
    subprocess.run([sys.executable, "workflows/compile_kernels.py"], cwd=ROOT, check=True)
    large, small = served_inputs.large_run(work), served_inputs.small_run(work)
    print(f"load before the measurement: {machine_facts()['load']}; {pages.core_note()}", flush=True)
    with pages.chromium(path) as browser:
        if "views" in families:
            found += pages.views(browser, large, work / "page-cache", rounds)
        if "frames" in families:
            found += pages.frames(browser, [large, small], work / "page-cache" / "frames", rounds)
    return found


def main() -> int:
    """Run the families of the command line; print the table, write the JSON."""
    return measure_families(__doc__, FAMILIES, measure, rounds=3, document="bench-pages.json")


if __name__ == "__main__":
    sys.exit(main())
