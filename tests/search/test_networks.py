"""Structure networks: r between structures, held against numpy pair by pair."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from conftest import Ish
from hypothesis import given
from hypothesis import strategies as st
from search_cases import Case, experiments, space

from pipeline.core.errors import DataError
from pipeline.core.model import Float64
from pipeline.formats.volumes.metaimage import read_metaimage
from pipeline.inputs.references import open_reference
from pipeline.search.index import open_index
from pipeline.search.indexing import build_index
from pipeline.search.kernels.networks import profile_correlation


def oracle(profiles: Float64) -> tuple[Float64, np.ndarray]:
    """Return r of every pair by numpy, over the columns that both have."""
    size = len(profiles)
    r, shared = np.full((size, size), np.nan), np.zeros((size, size), np.int64)
    for i in range(size):
        for j in range(size):
            both = ~np.isnan(profiles[i]) & ~np.isnan(profiles[j])
            a, b = profiles[i, both], profiles[j, both]
            shared[i, j] = both.sum()
            if both.sum() >= 3 and np.ptp(a) > 0 and np.ptp(b) > 0:
                r[i, j] = np.corrcoef(a, b)[0, 1]
    return r, shared


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 9),
    experiments=st.integers(1, 40),
    gaps=st.sampled_from([0.0, 0.2, 0.7]),
)
def test_every_pair_is_that_of_numpy(seed: int, size: int, experiments: int, gaps: float) -> None:
    rng = np.random.default_rng(seed)
    profiles = np.exp(rng.normal(0, 2, (size, experiments))) + rng.uniform(0, 1e4)
    profiles[rng.random(profiles.shape) < gaps] = np.nan
    r, shared = profile_correlation(profiles)
    wanted, numbers = oracle(profiles)
    np.testing.assert_array_equal(shared, numbers)
    np.testing.assert_allclose(r, wanted, atol=1e-8)
    np.testing.assert_array_equal(r, r.T)


def test_a_constant_structure_is_like_none() -> None:
    profiles = np.array([[1.0, 2, 4, 8], [5, 5, 5, 5], [3, 3, 3, np.nan], [1, 2, 4, np.nan]])
    r, _ = profile_correlation(profiles)
    assert r[0, 0] == 1
    assert np.isnan(r[1]).all()
    assert np.isnan(r[2]).all()
    assert r[0, 3] == pytest.approx(1)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Case]:
    case = experiments(4, 14, brain=space(planes=7))
    path = tmp_path_factory.mktemp("networks") / "index"
    build_index(path, case.pairs, case.space)
    return path, case


@pytest.mark.parametrize("voxels", ["all", "coronal", "grid"])
def test_the_index_gives_what_the_grids_give(index: tuple[Path, Case], voxels: str) -> None:
    path, case = index
    found = open_index(path).structure_correlation(voxels=voxels)
    inside = case.member(voxels)
    below = {s.id: case.space.ontology.descendants(s.id) for s in case.space.ontology.structures}
    profiles = []
    for structure in found.columns["structure_id"].tolist():
        mask = inside & np.isin(case.labels, list(below[structure]))
        values = [np.where(mask, case.grids[n], np.nan) for n in case.chosen(voxels)]
        profiles.append([np.nanmean(v) if np.isfinite(v).any() else np.nan for v in values])
    r, shared = oracle(np.array(profiles))
    np.testing.assert_array_equal(found.shared, shared)
    np.testing.assert_allclose(found.r, r, atol=1e-5)  # the index keeps 28 bits a voxel


def test_some_structures_alone(index: tuple[Path, Case]) -> None:
    path, _ = index
    opened = open_index(path)
    whole, part = opened.structure_correlation(), opened.structure_correlation("TH,CTX")
    names = whole.columns["acronym"].tolist()
    assert part.columns["acronym"].tolist() == ["CTX", "TH"]
    assert part.r[0, 1] == whole.r[names.index("CTX"), names.index("TH")]
    with pytest.raises(DataError, match="NOPE"):
        opened.structure_correlation("NOPE")
    with pytest.raises(DataError, match="none of its"):
        opened.structure_correlation("void")


def test_edges_are_the_pairs_above_a_threshold(index: tuple[Path, Case]) -> None:
    found = open_index(index[0]).structure_correlation()
    least = 0.4
    edges = found.edges(least)
    wanted = {(a, b) for a in range(len(found)) for b in range(a + 1, len(found)) if found.r[a, b] >= least}
    assert set(edges) == wanted
    assert 0 < len(edges) < len(found) * (len(found) - 1) / 2


def test_the_command_gives_the_matrix(
    index: tuple[Path, Case], ish: Ish, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = index
    found = open_index(path).structure_correlation()
    assert ish("search", "structures", path, "--csv") == 0
    head, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert head == ["structure_id", "acronym", "name", "voxels", *found.columns["acronym"]]
    matrix = np.array([[float(cell or "nan") for cell in row[4:]] for row in rows])
    np.testing.assert_array_equal(matrix, found.r)
    assert ish("search", "structures", path, "--only", "TH,CTX") == 0
    assert capsys.readouterr().out.split()[:6] == ["id", "acronym", "name", "voxels", "CTX", "TH"]


def test_served_grids_give_what_numpy_gives(ish_data: Path, tmp_path: Path, ish: Ish) -> None:
    """Three served grids: r of every pair of structures, by numpy from the voxels of the files themselves."""
    folder = ish_data / "reference"
    assert ish("index", ish_data / "ish", "--output", tmp_path / "i", "--reference", folder) in (0, 1)
    index = open_index(tmp_path / "i")
    every_eighth = index.structures("grid").columns["structure_id"].tolist()[::8]
    found = index.structure_correlation(every_eighth, voxels="grid")
    assert len(found) > 80
    reference = open_reference(folder, None)
    labels = reference.grid_labels(served=False)
    served = [read_metaimage(path)[0] for path in sorted((ish_data / "ish").glob("*/energy.mhd"))]
    assert len(served) == 3
    grids = [np.where(grid < 0, np.nan, grid.astype(np.float64)) for grid in served]
    profiles = []
    for structure in found.columns["structure_id"].tolist():
        inside = np.isin(labels, list(reference.ontology.descendants(structure)))
        values = [grid[inside] for grid in grids]
        profiles.append([np.nanmean(v) if np.isfinite(v).any() else np.nan for v in values])
    r, shared = oracle(np.array(profiles))
    np.testing.assert_array_equal(found.shared, shared)
    assert np.isfinite(r).sum() > 5_000
    np.testing.assert_allclose(found.r, r, atol=1e-5)
