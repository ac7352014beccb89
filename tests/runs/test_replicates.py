"""Repeatability of runs from their tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import BOTH, LEFT, RIGHT
from pipeline.inputs.references import open_reference
from pipeline.runs.replicates import replicates, write_replicates


def write_run(folder: Path, seed: int, specimen: str, sides: tuple[int, ...] = (LEFT, RIGHT, BOTH)) -> Path:
    """Write the table of a phantom's run: a common level with 15 % noise in each row."""
    ids = np.array([s.id for s in open_reference(None, 100.0).ontology.structures])
    level = np.exp(np.random.default_rng(0).normal(1, 1, len(ids)))
    rng = np.random.default_rng(seed)
    energy = np.concatenate([level * np.exp(0.15 * rng.normal(size=len(ids))) for _ in sides])
    columns = {
        "structure_id": np.tile(ids, len(sides)),
        "hemisphere_id": np.repeat(sides, len(ids)),
        "section_energy": energy,
        "section_energy_lower": energy * np.exp(-1.645 * 0.15),
        "section_energy_upper": energy * np.exp(1.645 * 0.15),
    }
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "structure_unionize.parquet")
    (folder / "provenance.json").write_text(json.dumps({"reference_directory": None, "reference": {}}))
    (folder / "section_data_set.json").write_text(json.dumps({"specimen": specimen}))
    return folder


def test_sides_replicates_and_interleaved_series(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, n, name[0]) for n, name in enumerate(("x1", "x2", "y1"))]
    found = replicates(runs)
    assert [(pair.kind, pair.name) for pair in found.pairs] == [
        ("left/right", "x1"), ("left/right", "x2"), ("left/right", "y1"),
        ("interleaved", "x1 : x2"), ("replicate", "x1 : y1"), ("replicate", "x2 : y1"),
    ]  # fmt: skip
    for pair in found.pairs:
        assert pair.figures[0].cv == pytest.approx(0.15, abs=0.03)
        assert pair.figures[0].inside == pytest.approx(0.9, abs=0.06)
        assert sum(f.structures for f in pair.figures[1:]) <= pair.figures[0].structures
    page = write_replicates(tmp_path / "out", found)[1].read_text()
    assert "interleaved" in page
    assert "https://" not in page


def test_one_run_with_one_side_has_nothing_to_compare(tmp_path: Path) -> None:
    run = write_run(tmp_path / "x", 0, "x", (LEFT, BOTH))
    with pytest.raises(ConfigError, match="nothing to compare"):
        replicates([run])
    with pytest.raises(DataError, match="expected a finished run"):
        replicates([tmp_path / "none"])


def test_command_prints_figures_and_asks_for_two_runs_otherwise(tmp_path: Path) -> None:
    run = write_run(tmp_path / "x", 0, "x")
    shown = CliRunner().invoke(app, ["compare", "--replicates", str(run), "--json"])
    assert json.loads(shown.stdout)[0]["kind"] == "left/right"
    assert isinstance(CliRunner().invoke(app, ["compare", str(run)]).exception, ConfigError)
