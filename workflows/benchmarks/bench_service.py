"""How fast `ish serve` answers: the goals of the service, measured at HTTP on one serving core.

    python workflows/benchmarks/bench_service.py                     every family
    python workflows/benchmarks/bench_service.py images sync         these
    python workflows/benchmarks/bench_service.py --work FOLDER       keep what is served, for the next time

The server is a process on the first core, the client asks from the last one, eight requests at once unless
the line says otherwise. What is served is drawn first, into a temporary folder: two minutes. With ISH_DATA
structures and outlines of the 25 um annotation are measured as well. Times of single answers are taken one at
a time. On a machine that does other work, too, look at the CPU time of the server beside the figures: that is
what a request costs. Linux only. The exit status is 1 where a goal is missed by more than a fifth.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench import served_inputs
from bench.command import measure_families
from bench.figures import Figure, table
from bench.service_rows import ALL_RUNS, FAMILIES
from bench.serving import ASKING, ROOT


def measure(work: Path, families: list[str], rounds: int) -> list[Figure]:
    """Compile, make what is served, then measure the families from the client's core."""
    subprocess.run([sys.executable, "workflows/compile_kernels.py"], cwd=ROOT, check=True)
    served_inputs.make_all(work, ALL_RUNS)
    os.sched_setaffinity(0, {ASKING})
    found = []
    for name in families:
        part = FAMILIES[name](work, rounds)
        print(table(part), flush=True)
        found += part
    return found


def main() -> int:
    """Run the families of the command line; print the table, write the JSON."""
    return measure_families(__doc__, FAMILIES, measure, rounds=5, document="bench-service.json")


if __name__ == "__main__":
    sys.exit(main())
