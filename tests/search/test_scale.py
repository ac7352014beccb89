"""Over a thousand experiments: the best hundred are those of float64, within the room that each may take."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from conftest import TESTS
from search_cases import pearson

from pipeline.formats.volumes.metaimage import write_grid
from pipeline.inputs.references import open_reference
from pipeline.search.index import open_index
from pipeline.search.indexing import build_index
from pipeline.search.sources import read_grid_file
from pipeline.search.synthetic import GridMaker

WORKFLOWS = TESTS.parent / "workflows" / "benchmarks"
COUNT = 1200


@pytest.mark.slow
def test_the_best_hundred_are_those_of_float64(tmp_path: Path) -> None:
    brain = open_reference(None, 100.0)
    maker = GridMaker.of(brain)

    def every():  # type: ignore[no-untyped-def]
        for number in range(COUNT):
            path = tmp_path / "grids" / str(number) / "energy.mhd"
            grid = maker.grid(number)
            write_grid(path, grid, 200.0)
            yield maker.experiment(number, str(path)), grid

    assert not build_index(tmp_path / "index", every(), brain).errors
    room = sum(f.stat().st_size for f in (tmp_path / "index").rglob("*") if f.is_file())
    assert room / COUNT <= 8.5e9 / 25_000
    index = open_index(tmp_path / "index")
    sources = index.experiments["source"].tolist()
    for voxels in ("all", "coronal", "grid"):
        inside = index.voxel_mask(voxels)
        chosen = [
            i
            for i, p in enumerate(index.experiments["plane_of_section"])
            if voxels != "coronal" or p == "coronal"
        ]
        seed = maker.grid(17)[inside]
        r = np.array([pearson(seed, read_grid_file(Path(sources[i]), 200.0)[inside])[0] for i in chosen])
        ids = index.experiments["section_data_set_id"][chosen]
        best = ids[np.lexsort((ids, -r))][:100]
        found = index.correlation(maker.experiment(17).section_data_set_id, voxels=voxels)
        assert np.array_equal(found.columns["section_data_set_id"], best)
        assert found.notes == ()
        assert found.columns["r"] == pytest.approx(np.sort(r)[::-1][:100], abs=1e-7)


@pytest.mark.slow
def test_the_benchmark_says_that_answers_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(WORKFLOWS))
    searching = importlib.import_module("bench.searching")
    brain = open_reference(None, 100.0)
    rows = searching.measure(tmp_path, brain, rounds=1, experiments=120, own=True)
    assert all(row.holds for row in rows)
    checked = [
        searching.check_best(open_index(tmp_path / "index"), v, 10) for v in ("all", "coronal", "grid")
    ]
    assert all(row.ratio == 1 for row in checked)
    assert not (tmp_path / "complete").exists()
