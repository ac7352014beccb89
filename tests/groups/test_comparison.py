"""Comparison of groups: symmetries, what the weights do, false discoveries and power on simulated animals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipeline.core.errors import DataError
from pipeline.groups.comparison import Compared, Series, compare_groups
from pipeline.groups.model import Model, build_model

HALVED = np.log(0.5)


def simulated(
    seed: int, count: int, structures: int = 150, changed: float = 0.1, base: float = 0.185
) -> tuple[Series, np.ndarray]:
    """Return animals of two groups and which structures changed.

    15 % of structure-animal pairs are 3-6 times noisier; stated errors are right within a factor 1.65.
    """
    rng = np.random.default_rng(seed)
    shape = (structures, 2 * count)
    sigma = np.where(rng.random(shape) < 0.15, rng.uniform(3, 6, shape), 1.0) * base
    truth = rng.random(structures) < changed
    values = (
        rng.normal(size=(structures, 1)) + sigma * rng.normal(size=shape) + 0.2 * rng.normal(size=shape[1])
    )
    values[:, count:] += np.where(truth, HALVED, 0.0)[:, None]
    stated = sigma * np.exp(np.log(1.65) * rng.normal(size=shape))
    every = np.ones(structures, np.bool_)
    return Series(values, stated, np.arange(shape[1]), every, every), truth


def two_groups(count: int) -> Model:
    return build_model(["a"] * count + ["b"] * count, ("a", "b"), {}, "group")


def test_few_false_discoveries_and_much_power_on_simulated_animals() -> None:
    found = []
    for seed in range(10):
        series, truth = simulated(seed, 4)
        result = compare_groups(series, two_groups(4))
        called, welch = result.q_value < 0.05, result.welch_q < 0.05
        covered = (result.tests.lower <= HALVED * truth) & (result.tests.upper >= HALVED * truth)
        found.append(
            (
                (called & truth).sum() / truth.sum(),
                (called & ~truth).sum() / max(called.sum(), 1),
                (welch & truth).sum() / truth.sum(),
                covered.mean(),
            )
        )
    power, false, welch, covered = np.mean(found, axis=0)
    assert power > 0.7
    assert false < 0.055
    assert welch < 0.3
    assert 0.93 < covered < 0.97


def test_permuted_labels_give_uniform_p() -> None:
    series, _ = simulated(5, 4, structures=60, changed=0)
    rng, found = np.random.default_rng(0), []
    for _ in range(12):
        order = rng.permutation(8)
        shuffled = replace(series, values=series.values[:, order], errors=series.errors[:, order])
        found.append(compare_groups(shuffled, two_groups(4)).tests.p_value)
    assert stats.kstest(np.concatenate(found), "uniform").pvalue > 0.001
    assert abs(np.mean(np.concatenate(found) < 0.05) - 0.05) < 0.02


def compared(series: Series, model: Model | None = None, centre: bool = True) -> Compared:
    return compare_groups(series, model or two_groups(4), centre=centre)


def test_swapped_groups_turn_the_effect_round() -> None:
    series, _ = simulated(1, 4, structures=60)
    one = compared(series)
    other = compared(series, build_model(["a"] * 4 + ["b"] * 4, ("b", "a"), {}, "group"))
    np.testing.assert_allclose(other.tests.effect, -one.tests.effect, atol=2e-3)
    np.testing.assert_allclose(other.tests.p_value, one.tests.p_value, rtol=0.05, atol=1e-6)
    np.testing.assert_array_equal(other.counts, one.counts[:, ::-1])


def test_order_of_animals_and_structures_changes_nothing() -> None:
    series, _ = simulated(2, 4, structures=60)
    rows, animals = np.random.default_rng(0).permutation(60), np.array([5, 0, 7, 2, 1, 6, 3, 4])
    labels = ["a" if n < 4 else "b" for n in animals]
    shuffled = replace(series, values=series.values[rows][:, animals], errors=series.errors[rows][:, animals])
    one, other = compared(series), compared(shuffled, build_model(labels, ("a", "b"), {}, "group"))
    np.testing.assert_allclose(other.tests.effect, one.tests.effect[rows], atol=2e-3)
    np.testing.assert_allclose(other.tests.p_value, one.tests.p_value[rows], rtol=0.05, atol=1e-6)


def test_a_constant_per_animal_changes_nothing_when_centred() -> None:
    series, _ = simulated(3, 4, structures=60)
    shifted = replace(series, values=series.values + np.random.default_rng(1).normal(size=8))
    # weights come from a search that stops near its optimum: where, depends on the last bits of its input
    np.testing.assert_allclose(compared(shifted).tests.effect, compared(series).tests.effect, atol=1e-4)
    values = [found - found.mean() for found in (compared(shifted).values, compared(series).values)]
    np.testing.assert_allclose(*values, atol=1e-4)
    free = compared(shifted, centre=False)
    assert np.abs(free.tests.effect - compared(series, centre=False).tests.effect).min() > 0.01


def test_centring_is_not_pulled_by_structures_that_all_change_one_way() -> None:
    series, truth = simulated(4, 6, structures=300, changed=0.25, base=0.12)
    found = compared(series, two_groups(6))
    assert abs(np.median(found.tests.effect[~truth])) < 0.03
    assert np.median(found.tests.effect[truth]) == pytest.approx(HALVED, abs=0.05)


def test_stated_errors_that_tell_nothing_are_given_little_weight() -> None:
    rng = np.random.default_rng(6)
    every = np.ones(200, np.bool_)
    values = rng.normal(size=(200, 12))
    stated = np.exp(rng.normal(size=(200, 12)))
    found = compared(Series(values, stated, np.arange(12), every, every), two_groups(6))
    trusted = 1 / stated**2
    assert np.log(found.weights).std() < 0.25 * np.log(trusted).std()


def test_without_stated_errors_all_weigh_alike() -> None:
    series, _ = simulated(7, 4, structures=40)
    found = compared(replace(series, errors=np.full_like(series.errors, np.nan)))
    assert found.variance_function is None
    assert (found.weights == 1).all()


def test_series_of_one_animal_count_once() -> None:
    series, _ = simulated(8, 4, structures=60)
    twice = Series(
        np.repeat(series.values, 2, axis=1),
        np.repeat(series.errors, 2, axis=1) * np.sqrt(2),
        np.repeat(np.arange(8), 2),
        series.tested,
        series.scaling,
    )
    one, other = compared(series), compared(twice)
    np.testing.assert_allclose(other.tests.p_value, one.tests.p_value, rtol=1e-3, atol=1e-9)
    assert (other.counts == 4).all()


def test_structures_with_too_few_animals_are_left_out_with_the_reason() -> None:
    series, _ = simulated(9, 4, structures=40)
    values = series.values.copy()
    values[3, :2] = np.nan  # 2 of 4 left
    values[5, 0] = np.nan  # 3 of 4 left: tested
    found = compared(replace(series, values=values))
    assert found.left_out == ((3, 2, 4, "fewer than 3 animals of a group have data"),)
    assert found.counts[list(found.rows).index(5)].tolist() == [3, 4]


def test_no_structure_at_all_is_an_error() -> None:
    series, _ = simulated(9, 4, structures=40)
    with pytest.raises(DataError, match="no structure can be tested"):
        compared(replace(series, values=np.full_like(series.values, np.nan)), centre=False)


def test_covariate_takes_its_own_effect_out() -> None:
    series, _ = simulated(10, 6, structures=80, changed=0)
    sex = ["f", "m"] * 4 + ["m"] * 3 + ["f"]  # more males in the second group
    shift = np.random.default_rng(3).normal(size=80)[:, None] * np.array([s == "m" for s in sex])
    altered = replace(series, values=series.values + shift)
    labels = ["a"] * 6 + ["b"] * 6
    plain = compare_groups(altered, build_model(labels, ("a", "b"), {}, "g"))
    adjusted = compare_groups(altered, build_model(labels, ("a", "b"), {"sex": sex}, "g"))
    assert np.std(adjusted.tests.effect) < 0.75 * np.std(plain.tests.effect)
    assert (adjusted.q_value < 0.05).sum() <= 1
