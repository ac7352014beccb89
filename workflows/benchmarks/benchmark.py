"""Time the pipeline against what most people write, and against merely reading the files.

    python workflows/benchmarks/benchmark.py                       every family
    python workflows/benchmarks/benchmark.py gridding detector     these
    python workflows/benchmarks/benchmark.py --rounds 5 --json bench.json

Ratios are medians of turns (A B A B) of one run; times alone say little on a shared machine. The exit
status is 1 where a ratio is short of its bound.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

# One thread, before any library asks: what is compared is the algorithm.
for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from bench import detector, gridding, job, searching, unionizing  # noqa: E402
from bench.timing import Row, machine_facts, table  # noqa: E402

FAMILIES: dict[str, Callable[[int], list[Row]]] = {
    "detector": detector.rows,
    "gridding": gridding.rows,
    "unionize": unionizing.rows,
    "search": searching.rows,
    "job": job.rows,
}


def main() -> int:
    """Run the families of the command line; print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("bench.json"))
    given = parser.parse_args()
    unknown = set(given.families) - set(FAMILIES)
    if unknown:
        parser.error(f"expected families of {', '.join(FAMILIES)}; got {', '.join(sorted(unknown))}")
    facts = machine_facts()
    rows = [row for name in given.families or FAMILIES for row in FAMILIES[name](given.rounds)]
    print("  ".join(f"{name} {value}" for name, value in facts.items() if name != "packages"))
    print(table(rows))
    document = {
        "machine": facts,
        "rounds": given.rounds,
        "rows": [asdict(r) | {"holds": r.holds} for r in rows],
    }
    given.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
