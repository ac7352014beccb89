"""Render series with known truth, run them, and hold grid and section energy against the exact truth.

    python workflows/judge_section_energy.py OUTPUT --data $ISH_DATA --families coronal-drawn --seeds 1 2 \
        --deformable none volume

Prints the median |ln| of every class of size. Series and runs that are in OUTPUT already are not made again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from calibration.families import FAMILIES, Family, render
from calibration.scores import CLASSES, log_errors, read_truth
from pipeline.formats.tables.tables import read_table
from pipeline.registration import DEFORMABLE

ROOT = 997  # id of the whole brain in Allen's ontology
COLUMNS = ("expression_energy", "section_energy")


def main() -> int:
    """Print two lines a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path)
    parser.add_argument("--data", type=Path, default=os.environ.get("ISH_DATA"), help="default: $ISH_DATA")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--deformable", nargs="+", default=["none", "volume"], choices=DEFORMABLE)
    chosen = parser.parse_args()
    if chosen.data is None:
        print("no data: give --data DIR or set ISH_DATA", file=sys.stderr)
        return 2
    print(f"{'series, deformable':32}{'column':20}" + "".join(f"{a:>7}-" for a, _ in CLASSES) + " voxels")
    for name in chosen.families:
        for seed in chosen.seeds:
            folder = chosen.output / f"{name}-{seed}"
            series = render(folder, FAMILIES[name], seed, chosen.data)
            for deformable in chosen.deformable:
                run = _run(folder, series, FAMILIES[name], deformable, chosen.data)
                table = read_table(run / "structure_unionize.parquet")
                truth = read_truth(folder / "exact_truth.csv")
                for column in COLUMNS:
                    errors = log_errors(table, truth, column, ROOT)
                    medians = [f"{np.median(np.abs(e)):8.3f}" if len(e) else f"{'-':>8}" for e in errors]
                    print(f"{name}-{seed}, {deformable:18}{column:20}" + "".join(medians), flush=True)
    return 0


def _run(folder: Path, series: Path, family: Family, deformable: str, data: Path) -> Path:
    """Run a series; return the folder of the run."""
    output = folder / f"run-{deformable}"
    plane = "sagittal" if "prox1" in family.data_set else "coronal"
    command = [
        sys.executable, "-m", "pipeline", "run", f"configs/{plane}.yaml", "--input", str(series),
        "--output", str(output), "--reference", str(data / "reference"),
        "--set", f"alignment.configuration.deformable={deformable}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return next(path.parent for path in output.glob("*/structure_unionize.parquet"))


if __name__ == "__main__":
    sys.exit(main())
