"""The figures that the demo prints, on a small run."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest
from conftest import TESTS, vouch

from pipeline.core.errors import DataError

WORKFLOWS = TESTS.parent / "workflows" / "benchmarks"


def test_a_run_along_the_true_alignment_comes_near_the_truth(
    rendered: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(WORKFLOWS))
    figures = importlib.import_module("score").score(finished, rendered)
    assert figures["mask"]["dice"] > 0.4  # at 16 um a pixel is as large as a cell
    assert figures["structures, gridded truth"]["pearson"] > 0.98
    voxels = figures["voxels, gridded truth"]
    assert voxels["voxels"] > 1000
    assert voxels["pearson"] > 0.97


def test_labels_are_those_of_the_run(
    rendered: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The phantom has no gridAnnotation: a run that says it used one cannot be scored by other labels."""
    monkeypatch.syspath_prepend(str(WORKFLOWS))
    run = Path(shutil.copytree(finished, tmp_path / finished.name))
    document = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    document["configuration"]["unionize"]["grid_annotation"] = "served"
    (run / "provenance.json").write_text(json.dumps(document), encoding="utf-8")
    vouch(run)
    with pytest.raises(DataError, match="has no gridAnnotation"):
        importlib.import_module("score").score(run, rendered)
