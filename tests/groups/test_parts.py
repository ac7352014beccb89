"""Log energies, sets of structures, linear models and power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import Structure
from pipeline.core.ontology import Ontology
from pipeline.groups.centring import average_series, location, log_energy, offsets, stated_error
from pipeline.groups.model import build_model
from pipeline.groups.power import needed, p_threshold, power_of
from pipeline.groups.structures import leaves, nested, summary

TREE = Ontology(
    tuple(
        Structure(i, name, name, up, i, "70FF71")
        for i, name, up in (
            (1, "root", None), (2, "cortex", 1), (3, "area", 2), (4, "area, layer 1", 3),
            (5, "area, layer 2", 3), (6, "thalamus", 1), (7, "nucleus", 6), (8, "speck", 6),
            (9, "other area", 2),
        )
    )
)  # fmt: skip
LABELS = ["a"] * 3 + ["b"] * 4


def test_stated_error_is_that_of_the_interval() -> None:
    error = np.array([0.2, 0.5])
    floor = 0.02 * 5 + 0.01
    middle = np.array([3.0, 7.0]) + floor
    ends = [middle * np.exp(sign * stats.norm.ppf(0.95) * error) - floor for sign in (-1, 1)]
    np.testing.assert_allclose(stated_error(*ends, 5.0), error)
    assert np.isnan(stated_error(np.array([2.0]), np.array([1.0]), 5.0)).all()
    assert log_energy(np.array([3.0]), 5.0)[0] == pytest.approx(math.log(3 + floor))


def test_offsets_are_found_in_spite_of_structures_that_differ() -> None:
    rng = np.random.default_rng(0)
    true = np.array([0.3, -0.2, 0.0, -0.1])
    values = 2 * rng.normal(size=(101, 1)) + true + 0.01 * rng.normal(size=(101, 4))
    values[:15, 1] += 3
    values[40, 2] = np.nan
    found, common = offsets(values)
    np.testing.assert_allclose(found - found.mean(), true - true.mean(), atol=0.01)
    assert common.sum() == 100


def test_a_series_with_two_structures_has_no_offset() -> None:
    values = np.random.default_rng(0).normal(size=(8, 3))
    values[2:, 1] = np.nan
    with pytest.raises(DataError) as error:
        offsets(values)
    assert error.value.args[1] == 1


def test_location_is_that_of_the_many() -> None:
    rng = np.random.default_rng(1)
    effect = 0.4 + 0.1 * rng.normal(size=200)
    effect[:50] -= 2
    assert location(effect, np.full(200, 0.1)) == pytest.approx(0.4, abs=0.03)
    assert location(effect, np.full(200, 0.001)) == pytest.approx(0.4, abs=0.1)  # errors stated too small


def test_average_of_series_weighs_by_errors_where_all_are_known() -> None:
    nan = np.nan
    values = np.array([[1.0, 3.0], [1.0, 3.0], [1.0, nan], [nan, nan]])
    errors = np.array([[0.1, 0.2], [nan, 0.2], [0.3, nan], [nan, nan]])
    value, error = average_series(values, errors)
    np.testing.assert_allclose(value, [1.4, 2.0, 1.0, nan])
    np.testing.assert_allclose(error, [1 / math.sqrt(125), nan, 0.3, nan])


def test_summary_structures_are_whole_areas_and_nuclei_large_enough() -> None:
    volumes = {1: 10.0, 2: 5.0, 3: 4.0, 4: 2.0, 5: 2.0, 6: 2.0, 7: 1.95, 8: 0.05, 9: 1.0}
    assert summary(TREE, volumes) == (3, 7, 9)
    assert summary(TREE, volumes | {7: 0.9}) == (
        3,
        6,
        9,
    )  # most of the thalamus in no nucleus: it stays whole
    assert not nested(TREE, summary(TREE, volumes))


def test_leaves_hold_no_other_with_data() -> None:
    assert leaves(TREE, {1, 2, 3, 4, 5, 6, 9}) == (4, 5, 6, 9)
    assert nested(TREE, [4, 3, 9, 77]) == [(4, 3)]


def test_second_group_minus_first() -> None:
    model = build_model(LABELS, ("a", "b"), {}, "group")
    assert model.matrix.sum(axis=0).tolist() == [3, 4]
    assert model.contrast.tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("covariates", "message"),
    [
        ({"cage": ["1"] * 3 + ["2"] * 4}, "covariate cage: determines group"),
        ({"dose": np.array([0.0] * 3 + [1.5] * 4)}, "covariate dose: determines group"),
        ({"id": list("abcdefg")}, "covariate id: determines group"),
        (
            {"sex": list("fmfmfmf"), "batch": list("1212121")},
            "covariate batch: follows from the covariates before",
        ),
    ],
)
def test_confounded_covariates_are_refused(covariates: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(LABELS, ("a", "b"), covariates, "group")


def test_groups_of_two_are_refused() -> None:
    with pytest.raises(ConfigError, match="group a of treatment: expected at least 3 animals, got 2"):
        build_model(["a", "a", "b", "b", "b"], ("a", "b"), {}, "treatment")


def test_more_coefficients_than_animals_are_refused() -> None:
    rng = np.random.default_rng(0)
    covariates = {f"c{n}": rng.normal(size=7) for n in range(5)}
    with pytest.raises(ConfigError, match="7 animals for 7 coefficients"):
        build_model(LABELS, ("a", "b"), covariates, "group")


def test_power_is_that_of_the_t_test() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(4000, 5)), 1.5 + rng.normal(size=(4000, 5))
    seen = np.mean(stats.ttest_ind(a, b, axis=1).pvalue < 0.01)
    assert power_of(1.5, 1.0, 5, 8, 0.01) == pytest.approx(seen, abs=0.03)


def test_needed_changes_have_the_wanted_power_and_shrink_with_animals() -> None:
    found = needed(np.full(100, 0.04), 6.0, 2)
    assert [n.count for n in found] == [3, 4, 5, 6, 8, 10, 12, 16, 20]
    assert np.all(np.diff([n.middle for n in found]) < 0)
    power = power_of(math.log(found[1].middle), 0.04, 4, 12, p_threshold())
    assert power == pytest.approx(0.8, abs=1e-4)
