"""Render the series of a calibration, run them, and keep their truth beside them.

`FOLDER/<family>-<seed>/` holds `series/`, `runs/<id>/` and `truth.npz`; what is there is not made again.
`FOLDER/series.json` names family, seed, digest of the truth and whether the series is held out.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from calibration.uncertainty_series import FAMILIES, LAST_FITTED, series_scene
from calibration.uncertainty_truth import truth_of
from pipeline.formats.volumes.reference_folder import read_reference
from pipeline.phantom.write_series import SeriesForm, write_phantom_series

MANIFEST = "series.json"
TABLE = "structure_unionize.parquet"  # of a run that is done; a run with a failed table has a report too


def make(folder: Path, name: str, seed: int, data: Path) -> None:
    """Render and run one series, as far as it is not there."""
    own, family = folder / f"{name}-{seed}", FAMILIES[name]
    started = time.perf_counter()
    if not (own / "truth.npz").exists():
        reference = read_reference(data / "reference", template=False)
        scene = series_scene(family, seed, reference, data)
        known = truth_of(scene)
        own.mkdir(parents=True, exist_ok=True)
        form = SeriesForm(quality=95, give_alignment=False, truth_masks=False)
        write_phantom_series(own, scene, form)
        np.savez_compressed(
            own / "truth.new.npz", structure_ids=known.structure_ids, exact=known.exact, grid=known.grid
        )
        (own / "truth.new.npz").replace(own / "truth.npz")
        print(f"{own.name}: rendered in {time.perf_counter() - started:.0f} s", flush=True)
    if not any((own / "runs").glob(f"*/{TABLE}")):
        command = [sys.executable, "-m", "pipeline", "run", "coronal", "--input", str(own / "series")]
        command += ["--output", str(own / "runs"), "--reference", str(data / "reference"), "--workers", "1"]
        command += [part for setting in family.settings for part in ("--set", setting)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        (own / "run.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        print(
            f"{own.name}: run ended with {done.returncode}, {time.perf_counter() - started:.0f} s", flush=True
        )
    _enter(folder, name, seed)


def _enter(folder: Path, name: str, seed: int) -> None:
    """Write the series into the list of all series."""
    path = folder / MANIFEST
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    digest = hashlib.sha256((folder / f"{name}-{seed}" / "truth.npz").read_bytes()).hexdigest()[:16]
    known[f"{name}-{seed}"] = {"family": name, "seed": seed, "held_out": seed > LAST_FITTED, "truth": digest}
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
