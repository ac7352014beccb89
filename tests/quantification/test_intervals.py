"""Intervals hold their value, widen with every term, and say NaN where nothing is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import DataError
from pipeline.quantification.uncertainty.coefficients import (
    COEFFICIENTS,
    read_coefficients,
    write_coefficients,
)
from pipeline.quantification.uncertainty.columns import coverage_of_side, excess_of_sides, outside
from pipeline.quantification.uncertainty.intervals import (
    CAUSES,
    CENTRES,
    SPREADS,
    Coefficients,
    Features,
    RowFacts,
    cause_shares,
    features,
    intervals,
)
from pipeline.quantification.uncertainty.series_terms import MEASURES
from pipeline.quantification.uncertainty.terms import TERMS, Terms


def known(spread: float = 0.5, centre: float = 0.0) -> Coefficients:
    return Coefficients(dict.fromkeys(SPREADS, spread), dict.fromkeys(CENTRES, centre), -1.7, 1.9)


def rows(value: np.ndarray, part: float = 0.1, least: float = 0.05) -> Features:
    count = len(value)
    return Features(value, least, np.full((count, len(SPREADS)), part), np.full((count, len(CENTRES)), part))


@given(
    st.lists(st.floats(0, 250), min_size=1, max_size=8),
    st.floats(0, 3),
    st.floats(-2, 2),
    st.floats(1e-4, 1),
)
def test_an_interval_holds_its_value(values: list[float], part: float, centre: float, least: float) -> None:
    value = np.array(values)
    lower, upper = intervals(rows(value, part, least), known(centre=centre))
    assert (lower <= value).all()
    assert (value <= upper).all()
    assert (lower >= 0).all()


@pytest.mark.parametrize("at", range(len(SPREADS)))
def test_every_term_widens(at: int) -> None:
    one = rows(np.array([3.0]))
    more = one.spreads.copy()
    more[0, at] *= 3
    (low, up), (low2, up2) = intervals(one, known()), intervals(replace(one, spreads=more), known())
    assert low2[0] < low[0]
    assert up2[0] > up[0]


def test_no_value_has_no_interval_and_no_shares() -> None:
    one = rows(np.array([np.nan, 1.0]))
    lower, upper = intervals(one, known())
    assert np.isnan(lower).tolist() == np.isnan(upper).tolist() == [True, False]
    assert all(np.isnan(share).tolist() == [True, False] for share in cause_shares(one, known()).values())


def test_shares_sum_to_one_and_every_term_has_a_cause() -> None:
    shares = cause_shares(rows(np.array([1.0, 2.0])), known())
    assert sum(shares.values()) == pytest.approx(np.ones(2))
    assert sorted(name for names in CAUSES.values() for name in names) == sorted(SPREADS)


@given(st.floats(0.01, 1000))
def test_intervals_do_not_depend_on_the_unit(unit: float) -> None:
    value = np.array([0.0, 0.3, 12.0])
    lower, upper = intervals(rows(value), known())
    scaled = intervals(rows(unit * value, least=0.05 * unit), known())
    assert scaled[0] == pytest.approx(unit * lower)
    assert scaled[1] == pytest.approx(unit * upper)


def terms(value: np.ndarray) -> Terms:
    nothing = np.zeros(len(value))
    return Terms(value, 0.05, np.zeros((len(value), len(TERMS))), nothing, np.zeros((len(value), 2)), nothing)


def facts(count: int, *, fluid: bool = False) -> RowFacts:
    return RowFacts(np.ones(count), np.ones(count), np.full(count, fluid))


def test_what_is_counted_in_a_ventricle_may_all_be_its_walls() -> None:
    value = np.array([2.0])
    on_grid = features(terms(value), None, (5.0, 5.0), facts(1, fluid=True))
    assert on_grid.spreads[0, SPREADS.index("fluid")] == 0
    tissue, fluid = (
        features(terms(value), terms(value), (5.0, 5.0), facts(1, fluid=wet)) for wet in (False, True)
    )
    for parts, names in ((tissue.spreads, SPREADS), (tissue.centres, CENTRES)):
        assert parts[0, names.index("fluid")] == 0
    assert fluid.spreads[0, SPREADS.index("fluid")] == pytest.approx(2.0 / 2.05)
    section = read_coefficients().measures["section_energy"]
    (low, high), (low2, high2) = (intervals(one, section) for one in (tissue, fluid))
    assert low2[0] < 0.5 * low[0]
    assert value[0] <= high2[0] <= high[0]


def test_pixels_beyond_the_calibrated_range_widen_but_do_not_shift() -> None:
    value = np.array([2.0])
    edge, beyond = (features(terms(value), None, (um, 8.0), facts(1)) for um in (8.0, 16.0))
    assert np.array_equal(edge.centres, beyond.centres)
    assert beyond.spreads[0, SPREADS.index("pixel")] > edge.spreads[0, SPREADS.index("pixel")]


def test_a_share_that_was_not_cut_and_a_leak_widen() -> None:
    value = np.array([2.0, 2.0])
    of_rows = RowFacts(np.array([1.0, 0.2]), np.array([1.0, 0.4]), np.zeros(2, np.bool_))
    found = features(terms(value), terms(np.array([2.0, 1.0])), (5.0, 5.0), of_rows)
    for name in ("uncovered", "leak", "gap"):
        column = found.spreads[:, SPREADS.index(name)]
        assert column[0] == 0
        assert column[1] > 0


def test_unknown_features_are_finite() -> None:
    nan = np.array([np.nan])
    found = features(terms(nan), terms(nan), (5.0, 5.0), RowFacts(np.ones(1), nan, np.ones(1, np.bool_)))
    assert np.isfinite(found.spreads).all()
    assert np.isfinite(found.centres).all()


def test_both_sides_take_the_coverage_of_the_better_one() -> None:
    structure, side = np.array([7, 7, 7, 8]), np.array([1, 2, 3, 3])
    found = coverage_of_side(structure, side, np.array([1.0, 0.0, 0.5, 0.4]))
    assert found.tolist() == [1.0, 0.0, 1.0, 0.4]


@pytest.mark.parametrize(("apart", "wide"), [(0.01, False), (0.9, True)])
def test_intervals_widen_where_sides_differ_more_than_errors_explain(apart: float, wide: bool) -> None:
    rng = np.random.default_rng(8)
    left = rng.uniform(1, 5, 60)
    value = np.stack([left, left * np.exp(apart * rng.standard_normal(60))], axis=1).ravel()
    structure, side = np.repeat(np.arange(60), 2), np.tile([1, 2], 60)
    found = excess_of_sides(rows(value, 0.1), known(), structure, side, np.full(120, 50.0))
    assert (found > 1.5) if wide else found == 1.0
    one_sided = excess_of_sides(rows(value, 0.1), known(), structure, np.ones(120, int), np.full(120, 50.0))
    assert one_sided == 1.0
    slivers = np.where(side == 2, 0.0, 50.0)  # as where less than half of the other side was cut
    assert excess_of_sides(rows(value, 0.1), known(), structure, side, slivers) == 1.0


def test_the_coefficients_of_the_package_are_sound() -> None:
    found = read_coefficients()
    assert set(found.measures) == set(MEASURES)
    for one in found.measures.values():
        assert one.low < 0 < one.high
        assert all(v >= 0 for v in one.spreads.values())
        assert one.spreads["floor"] >= 0.02
    assert found.provenance["series"]
    assert found.provenance["made_by"]
    assert all(0 < low <= high for low, high in found.ranges.values())


def test_coefficients_are_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_coefficients({"section_energy": known()}, {"pixel_um": (1.0, 9.0)}, {"series": {}}, path)
    found = read_coefficients(path)
    assert found.measures["section_energy"] == known()
    assert found.ranges == {"pixel_um": (1.0, 9.0)}


@pytest.mark.parametrize("damage", ["not JSON", "no measure", "a term too few", "a word for a number"])
def test_damaged_coefficients_are_one_line(tmp_path: Path, damage: str) -> None:
    document = json.loads(COEFFICIENTS.read_text(encoding="utf-8"))
    if damage == "no measure":
        del document["measures"]
    if damage == "a term too few":
        del document["measures"]["section_energy"]["spreads"]["floor"]
    if damage == "a word for a number":
        document["ranges"]["pixel_um"] = ["fine", 9.0]
    path = tmp_path / "c.json"
    path.write_text("{" if damage == "not JSON" else json.dumps(document), encoding="utf-8")
    with pytest.raises(DataError, match="expected") as caught:
        read_coefficients(path)
    assert "\n" not in str(caught.value)


def test_series_outside_the_calibrated_range_are_named() -> None:
    found = replace(read_coefficients(), ranges={"pixel_um": (2.0, 8.0), "spacing_um": (100.0, 300.0)})
    assert outside(found, {"pixel_um": 8.2, "spacing_um": 200.0}) == []
    assert outside(found, {"pixel_um": 0.5, "spacing_um": 200.0}) == ["pixels of 0.5 um (2 to 8)"]
