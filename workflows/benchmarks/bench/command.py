"""The command line of the benchmarks that measure families of figures."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path

from bench.figures import Figure, table
from bench.timing import machine_facts

Measure = Callable[[Path, list[str], int], list[Figure]]


def measure_families(
    about: str | None, families: Collection[str], measure: Measure, *, rounds: int, document: str
) -> int:
    """Run the families of the command line; print the table, write the JSON; return the exit status.

    `rounds` is the default of `--rounds`, `document` that of `--json`.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(families))
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--work", type=Path, help="folder to keep what is served; default a temporary one")
    parser.add_argument("--json", type=Path, default=Path(document))
    given = parser.parse_args()
    unknown = set(given.families) - set(families)
    if unknown:
        parser.error(f"expected families of {', '.join(families)}; got {', '.join(sorted(unknown))}")
    facts = machine_facts()
    with tempfile.TemporaryDirectory(prefix="ish-bench-") as folder:
        figures = measure(given.work or Path(folder), given.families or list(families), given.rounds)
    print("\n" + "  ".join(f"{name} {value}" for name, value in facts.items() if name != "packages"))
    print(table(figures))
    found = {
        "machine": facts,
        "rounds": given.rounds,
        "figures": [asdict(f) | {"holds": f.holds} for f in figures],
    }
    given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0 if all(figure.holds for figure in figures) else 1
