"""The demo: a phantom series of 20 sagittal sections through the whole pipeline, held against its truth."""

from __future__ import annotations

import csv
from pathlib import Path

HERE = Path(__file__).parent.parent
OUTPUT = HERE / "demo-output"


def energies(path: Path) -> dict[tuple[str, str], float]:
    """Return expression energy by structure and hemisphere."""
    with path.open(encoding="utf-8") as file:
        return {
            (row["structure_id"], row["hemisphere_id"]): float(row["expression_energy"])
            for row in csv.DictReader(file)
        }
