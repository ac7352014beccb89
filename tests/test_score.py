"""The figures that the demo prints, on a small run."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

WORKFLOWS = Path(__file__).parent.parent / "workflows"


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
