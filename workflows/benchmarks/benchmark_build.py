"""Volumes built from rendered sections of bent brains, held against where every pixel comes from.

    python benchmark_build.py --reference $ISH_DATA/reference --cases anchored free frames lost --seeds 1 2 3

A case is built by the command's own function at 50 um and measured by what `ish sync` would answer: the error
of every pixel in tissue, and the difference of errors of neighbouring sections at one place (jitter), um,
median / 95th percentile. Without an anchor errors count up to one rigid motion.

- anchored: a brain of no symmetry, on the reference that it was bent from
- free: a symmetric brain without an anchor, slides of one frame
- frames: the same, each slide cropped to a frame of its own
- lost: `free` with a tenth of the sections lost and a tenth torn; anchored-lost: `anchored` likewise
- stain, inverted: `anchored` on a grey volume without labels, of the same stain and its negative
- template: `anchored` on the template alone, whose greys have nothing to do with those of the brain
- sagittal, sagittal-free: the left half, 110 sections, on the reference and without an anchor
- pixels, pixels-free: 120 sections 100 um apart, of 30 um pixels
- asymmetric: `free` of a brain of no symmetry
- warped: `free` with sections warped by 60 um instead of 20
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from bench.bent_brain import BentBrain, Drawing, DrawnSection, bent_brain, write_series
from pipeline.atlas_building import build
from pipeline.core.model import Float64
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.geometry.sync import image_to_reference
from pipeline.inputs.alignments import open_alignment
from pipeline.inputs.references import read_reference
from pipeline.store.run import read_json

EVERY = 4  # pixels
SPACING_UM = 50.0
NEAR_UM = 150.0  # places of two sections that are compared
SYMMETRIC = {"is_symmetric": True}
DAMAGED = {"lost": 0.1, "torn": 0.1}
SAGITTAL = {"plane": "sagittal", "sections": 110}
PIXELS = {"pixel_um": 30.0, "sections": 120}
CASES: dict[str, dict[str, Any]] = {
    "anchored": {},
    "anchored-lost": DAMAGED,
    "stain": {},
    "inverted": {},
    "template": {},
    "sagittal": SAGITTAL,
    "pixels": PIXELS,
    "free": SYMMETRIC,
    "lost": {**SYMMETRIC, **DAMAGED},
    "frames": {**SYMMETRIC, "is_cropped": True},
    "frames-lost": {**SYMMETRIC, **DAMAGED, "is_cropped": True},
    "sagittal-free": {**SYMMETRIC, **SAGITTAL},
    "pixels-free": {**SYMMETRIC, **PIXELS},
    "asymmetric": {},
    "warped": {**SYMMETRIC, "warp_um": 60.0},
}
FREE = set(list(CASES)[list(CASES).index("free") :])
Errors = dict[int, tuple[Float64, Float64]]  # by section: true places and errors, (n, 3) um


def errors_of(run: Path, brain: BentBrain, drawn: dict[int, DrawnSection], *, is_free: bool) -> Errors:
    """Return the errors of the sections that went into a volume."""
    series = open_alignment(run)
    document = read_json(run / "section_data_set.json")
    used = {s["section_number"] for s in document["section_images"] if s["status"] in ("pass", "check")}
    found = {}
    for number in sorted(used):
        one = drawn[number]
        rows, columns = (EVERY * part for part in np.nonzero(one.tissue[::EVERY, ::EVERY]))
        if len(rows) < 4:
            continue
        places = one.brain_um[rows, columns]
        true = places if is_free else brain.to_reference(places)
        pixels = np.stack([columns, rows], axis=1).astype(np.float64)
        found[number] = true, image_to_reference(series, number, pixels) - true
    return without_motion(found) if is_free else found


def without_motion(errors: Errors) -> Errors:
    """Return errors up to one rigid motion of all sections (Kabsch 1976)."""
    true = np.concatenate([t for t, _ in errors.values()])
    built = np.concatenate([t + e for t, e in errors.values()])
    middle, own = true.mean(axis=0), built.mean(axis=0)
    u, _, vt = np.linalg.svd((built - own).T @ (true - middle))
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return {n: (t, (t + e - own) @ turn + middle - t) for n, (t, e) in errors.items()}


def jitter(errors: Errors, plane: str) -> Float64:
    """Return how much the errors of neighbouring sections differ at one place, (n,) um."""
    found, across = [], {"coronal": [1, 2], "sagittal": [0, 1]}[plane]
    for one, other in zip(list(errors)[:-1], list(errors)[1:], strict=True):
        away, at = cKDTree(errors[one][0][:, across]).query(errors[other][0][:, across])
        near = away < NEAR_UM
        found.append(np.linalg.norm((errors[other][1] - errors[one][1][at])[near], axis=1))
    return np.concatenate(found)


def figures(values: Float64) -> str:
    """Return median and 95th percentile."""
    return " / ".join(f"{v:.1f}" for v in np.percentile(values, [50, 95]))


@cache
def _brain(reference: Path, seed: int, is_symmetric: bool) -> BentBrain:
    """Return the brain that all cases of a seed are cut from."""
    return bent_brain(read_reference(reference, SPACING_UM), Drawing(seed=seed, is_symmetric=is_symmetric))


def _anchor(case: str, reference: Path, brain: BentBrain, work: Path) -> Path | None:
    """Return what a case is built on."""
    if case in FREE:
        return None
    if case in ("stain", "inverted"):
        grey = brain.unbent if case == "stain" else np.where(brain.unbent > 0, 200.0 - brain.unbent, 0.0)
        write_nrrd(work / "anchor.nrrd", grey.astype(np.float32), brain.um)
        return work / "anchor.nrrd"
    return reference / "average_template_100.nrrd" if case == "template" else reference


def measure(case: str, seed: int, reference: Path, sections: int, work: Path) -> None:
    """Render, build and measure one case; print a line."""
    drawing = Drawing(**{"seed": seed, "sections": sections, **CASES[case]})
    brain = _brain(reference, seed, drawing.is_symmetric)
    drawn = write_series(work / "series", brain, drawing)
    anchor = _anchor(case, reference, brain, work)
    start, spent = time.perf_counter(), time.process_time()
    build([work / "series"], work / "out", anchor=anchor, spacing_um=SPACING_UM)
    spent, start = time.process_time() - spent, time.perf_counter() - start
    run = next(path.parent for path in (work / "out").glob("*/section_data_set.json"))
    errors = errors_of(run, brain, drawn, is_free=anchor is None)
    sizes = np.linalg.norm(np.concatenate([e for _, e in errors.values()]), axis=1)
    print(
        f"{case} seed {seed}: error {figures(sizes)} um, jitter {figures(jitter(errors, drawing.plane))} um,"
        f" {len(errors)} of {len(drawn)} sections, {spent:.0f} CPU s, {start:.0f} s",
        flush=True,
    )


def main() -> None:
    """Measure all cases that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(os.environ.get("ISH_DATA", ".")) / "reference"
    parser.add_argument("--reference", type=Path, default=default, help="default: $ISH_DATA/reference")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--sections", type=int, default=240)
    chosen = parser.parse_args()
    for seed in chosen.seeds:
        _brain.cache_clear()  # two of a seed fit into memory, not all
        for case in chosen.cases:
            with tempfile.TemporaryDirectory() as work:
                measure(case, seed, chosen.reference, chosen.sections, Path(work))


if __name__ == "__main__":
    main()
