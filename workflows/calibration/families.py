"""Families of rendered series that section energy is judged on, on disk with their exact truth.

A series lies in a folder of its own: `rendered/` as `ish phantom` writes it, the exact truth in
`exact_truth.csv`, the scene's recipe in `recipe.json`, the run in `run/`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from calibration.exact_truth import exact_truth
from calibration.uncertainty_series import IN_PARTS, NRP1, PDYN, POSE, PROX1, Family, series_scene
from pipeline.formats.tables.tables import write_csv
from pipeline.inputs.references import read_reference
from pipeline.phantom.write_series import SeriesForm, write_phantom_series

DAMAGE = {
    **POSE, "warp_um": 60.0, "shape_um": 100.0, "texture": 0.15, "losses": 0.5, "missing": 0.08, "dust": 2.0,
    "expression_gain": 0.12,
}  # fmt: skip

FAMILIES = {
    "coronal-grid": Family(NRP1, NRP1, 4.0, DAMAGE),
    "coronal-drawn": Family(NRP1, IN_PARTS, 4.0, DAMAGE),
    "coronal-other-grid": Family(PDYN, PDYN, 5.0, {**DAMAGE, "warp_um": 40.0, "shape_um": 120.0}, 2),
    "sagittal-grid": Family(PROX1, PROX1, 4.0, DAMAGE),
    "sagittal-drawn": Family(PROX1, IN_PARTS, 4.0, DAMAGE),
    "few-drawn": Family(PDYN, IN_PARTS, 6.0, {**DAMAGE, "warp_um": 80.0, "expression_gain": 0.15}, 4),
    "coronal-coarse": Family(NRP1, IN_PARTS, 8.0, DAMAGE),
}


def render(folder: Path, family: Family, seed: int, data: Path) -> Path:
    """Render a series with its truth into a folder, if it is not there; return the series."""
    recipe = json.dumps({**asdict(family), "seed": seed}, indent=1)
    made = folder / "recipe.json"
    if made.exists() and made.read_text(encoding="utf-8") == recipe:
        return folder / "rendered" / "series"
    scene = series_scene(family, seed, read_reference(data / "reference", 25.0, template=False), data)
    form = SeriesForm(give_alignment=False, give_hints=False, truth_masks=False)
    series = write_phantom_series(folder / "rendered", scene, form)
    write_csv(folder / "exact_truth.csv", exact_truth(scene))
    made.write_text(recipe, encoding="utf-8")
    return series
