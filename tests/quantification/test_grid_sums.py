"""Ratio grids as sums again: against unionize of the sums they came from, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantification.test_unionize import ONTOLOGY, SIDE, _case

from pipeline.core.errors import DataError
from pipeline.core.model import ExpressionSums, Float32
from pipeline.quantification.grid_sums import RatioGrids, grid_table
from pipeline.quantification.unionize import LabelIndex, unionize_columns

SHAPE = (5, 4, 6)


def ratios(sums: ExpressionSums, covered: np.ndarray) -> dict[str, Float32]:
    """Return the grids that would be served of sums."""
    found = {name: getattr(sums, name) for name in ("energy", "density", "intensity")}
    return {name: np.where(covered, grid, np.nan).astype(np.float32) for name, grid in found.items()}


def case(seed: int):  # type: ignore[no-untyped-def]
    """Return labels, coverage, and sums whose intensity is 1 to 255 wherever a pixel expresses."""
    labels, covered, sums = _case(seed)
    rng = np.random.default_rng(seed)
    covered &= sums.sum_pixels > 0
    expressing = sums.sum_expressing_pixels * (rng.random(SHAPE) < 0.8)
    bright = expressing * rng.uniform(100, 200, SHAPE)
    return labels, covered, ExpressionSums(sums.sum_pixels, expressing, bright, sums.sum_pixels * 60)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["energy density", "density intensity", "energy intensity"]))
def test_any_two_ratios_with_pixels_give_the_table_of_the_sums(seed: int, names: str) -> None:
    labels, covered, sums = case(seed)
    index = LabelIndex.of(labels, ONTOLOGY)
    served = ratios(sums, covered)
    grids = RatioGrids.of({name: served[name] for name in names.split()})
    found = grid_table(7, grids, sums.sum_pixels, sums.sum_pixel_intensity, index, SIDE)
    expected = unionize_columns(7, sums, covered, index, SIDE)
    assert list(found) == list(expected)
    for name, column in expected.items():
        assert found[name] == pytest.approx(column, rel=3e-6, abs=1e-12, nan_ok=True), name


def test_constant_pixels_give_means_over_voxels_and_whole_cells() -> None:
    labels, covered, sums = case(3)
    index = LabelIndex.of(labels, ONTOLOGY)
    grids = RatioGrids.of(ratios(sums, covered))
    found = grid_table(7, grids, 36481.0, None, index, SIDE)
    bare = grid_table(7, grids, None, None, index, SIDE)
    (at,) = np.flatnonzero((found["structure_id"] == 4) & (found["hemisphere_id"] == 3))
    inside = (labels == 4) & covered
    energy, density = grids.energy[inside], grids.density[inside]  # type: ignore[index]
    assert found["sum_pixels"][at] == 36481 * inside.sum()
    assert found["sum_expressing_pixel_intensity"][at] == pytest.approx(36481 * energy.sum())
    for table in (found, bare):
        assert table["expression_energy"][at] == pytest.approx(energy.mean())
        assert table["expression_density"][at] == pytest.approx(density.mean())
        assert table["expression_intensity"][at] == pytest.approx(energy.sum() / density.sum())
        assert table["coverage"][at] == inside.sum() / (labels == 4).sum()
    assert np.isnan(found["sum_pixel_intensity"]).all()
    assert np.isnan([bare[name] for name in bare if name.startswith("sum_")]).all()


def test_energy_alone_leaves_density_and_intensity_empty() -> None:
    labels, covered, sums = case(5)
    grids = RatioGrids.of({"energy": ratios(sums, covered)["energy"]})
    found = grid_table(7, grids, 36481.0, None, LabelIndex.of(labels, ONTOLOGY), SIDE)
    empty = {name for name, column in found.items() if np.isnan(column.astype(float)).all()}
    assert empty == {
        "sum_expressing_pixels", "sum_pixel_intensity", "expression_density", "expression_intensity"
    }  # fmt: skip


def test_silent_voxels_need_no_intensity() -> None:
    density = np.array([[[0.0, 0.5, np.nan]]], np.float32)
    intensity = np.array([[[np.nan, 100.0, np.nan]]], np.float32)
    assert RatioGrids.of({"density": density, "intensity": intensity}).energy.tolist()[0][0][:2] == [
        0.0,
        50.0,
    ]
    energy = np.array([[[0.0, 50.0, np.nan]]], np.float32)
    found = RatioGrids.of({"energy": energy, "intensity": intensity})
    assert found.density is not None
    assert found.density[0, 0, :2].tolist() == [0.0, 0.5]


def _wrong(**changed: object) -> dict[str, Float32]:
    rng = np.random.default_rng(1)
    density = rng.uniform(0.01, 0.2, SHAPE).astype(np.float32)
    intensity = rng.uniform(110, 180, SHAPE).astype(np.float32)
    known = {"energy": density * intensity, "density": density, "intensity": intensity}
    given = {name: known.get(str(source), source) for name, source in changed.items()}
    return {name: grid for name, grid in given.items() if grid is not None}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("grids", "words"),
    [
        (_wrong(energy="density", density="density"), "energy: expected 1 to 255 times the density, got 1"),
        (_wrong(energy="density", density="density", intensity="intensity"), "energy: expected 1 to 255"),
        (_wrong(energy="energy", density="energy"), "density: expected values from 0 to 1"),
        (_wrong(energy="intensity", density="density"), "energy: expected 1 to 255 times the density"),
        (_wrong(energy=_wrong(a="energy")["a"] * 30), "energy: expected values from 0 to 255"),
        (_wrong(energy=-_wrong(a="energy")["a"]), "energy: expected values from 0 to 255 and -1"),
        (_wrong(density="density"), "expected energy, or density and intensity, got density"),
        (_wrong(intensity="intensity"), "expected energy, or density and intensity, got intensity"),
        (_wrong(energy="energy", intensity=np.zeros(SHAPE, np.float32)), "intensity: expected a value above"),
        (
            _wrong(energy=_wrong(a="energy")["a"] * 1.2, density="density", intensity="intensity"),
            r"energy: expected density x intensity, got values \d+% apart",
        ),
        (
            _wrong(density="density", intensity=np.full(SHAPE, np.nan, np.float32)),
            "intensity: expected a value wherever the density is above 0",
        ),
        (
            _wrong(energy=np.where(np.arange(6) < 1, np.nan, _wrong(a="energy")["a"]), density="density"),
            "expected data where the energy has data, got other in 20 voxels",
        ),
    ],
)  # fmt: skip
def test_grids_that_cannot_be_are_refused(grids: dict[str, Float32], words: str) -> None:
    with pytest.raises(DataError, match=words):
        RatioGrids.of(grids)
