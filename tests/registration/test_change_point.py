"""A series that is of two brains of one stain: found by the one change point of its planes and sizes."""

import numpy as np
import pytest
from registration.test_align import CORONAL, rendered
from scipy.stats import multivariate_normal

from pipeline.phantom import phantom_reference
from pipeline.registration.align import Series, _fit, orientation_of
from pipeline.registration.quality.change_point import _DRIFT_VARIANCES, _gain, deviations, find_change_point

COUNT, CUT = 20, 9
Z_UM = np.arange(COUNT) * 220.0
BEHIND = np.arange(COUNT)[:, None] >= CUT
SPREAD = np.full((COUNT, 5), 15.0)
SIZES = np.array([60.0, -70.0, 10.0, 110.0, -40.0])


def scatter(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 15.0, (COUNT, 5))


@pytest.mark.parametrize("seed", range(10))
def test_one_change_point_is_two_brains_wherever_it_is_and_whatever_single_sections_do(seed: int) -> None:
    values = scatter(seed) + SIZES * BEHIND
    values[[3, 15]] += 250.0  # torn
    found = find_change_point(Z_UM, values, SPREAD)
    assert found is not None
    assert found[0] == Z_UM[CUT - 1]
    assert found[1] == pytest.approx(SIZES, abs=30.0)


@pytest.mark.parametrize("seed", range(10))
def test_scatter_trend_wander_and_torn_sections_are_one_brain(seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    values = scatter(seed)
    values[rng.integers(COUNT, size=3)] += 250.0
    assert find_change_point(Z_UM, values, SPREAD) is None
    trend = np.outer(Z_UM / 3000.0, rng.normal(0.0, 80.0, 5))
    assert find_change_point(Z_UM, values + trend, SPREAD) is None
    wander = rng.normal(0.0, 30.0, (COUNT, 5)).cumsum(axis=0)
    assert find_change_point(Z_UM, values + wander, SPREAD) is None
    assert (
        find_change_point(Z_UM, 6.0 * scatter(seed) + SIZES * BEHIND, SPREAD) is None
    )  # scatters more than stated


def test_what_is_small_or_short_or_uncertain_is_no_change_point() -> None:
    values = scatter(0) + SIZES * BEHIND
    assert (
        find_change_point(Z_UM, 0.1 * values, 0.1 * SPREAD) is None
    )  # 11 um over 3 mm: individuals differ by more
    assert find_change_point(Z_UM[:13], values[:13], SPREAD[:13]) is None
    uncertain = SPREAD.copy()
    uncertain[::2] = 300.0
    assert find_change_point(Z_UM, values, uncertain) is None


def test_the_gain_is_that_of_the_likeliest_scatter_and_walk() -> None:
    rng = np.random.default_rng(2)
    z_mm, spread, behind = np.arange(12) * 0.3, rng.uniform(8.0, 20.0, 12), (np.arange(12) >= 5) * 1.0
    values = rng.normal(0.0, 30.0, 12) + 90.0 * behind
    likeliest = []
    for terms in (np.ones((12, 1)), np.column_stack([np.ones(12), behind])):
        reached = []
        for walk in _DRIFT_VARIANCES:
            shape = np.diag(spread**2) + walk * np.median(spread) ** 2 * np.minimum.outer(z_mm, z_mm)
            inverse = np.linalg.inv(shape)
            fit = terms @ np.linalg.solve(terms.T @ inverse @ terms, terms.T @ inverse @ values)
            factors = np.geomspace(1.0, 30.0, 2000)
            reached += [multivariate_normal(fit, factor * shape).logpdf(values) for factor in factors]
        likeliest.append(max(reached))
    assert _gain(z_mm, behind, values, spread)[0] == pytest.approx(2.0 * np.diff(likeliest)[0], abs=0.01)


@pytest.mark.slow
def test_one_rendered_brain_has_no_change_point() -> None:
    reference = phantom_reference(100.0)
    series = Series.of(rendered(reference, "coronal", 16, seed=21)[1], CORONAL)
    problem, solution = _fit({0: orientation_of(series, series.usable, reference)}, series.usable, reference)
    values, spread = deviations(problem, solution, range(16))
    assert values.shape == spread.shape == (16, 5)
    assert [a.shape for a in deviations(problem, solution, ())] == [(0, 5)] * 2
    np.testing.assert_array_equal(deviations(problem, solution, (3, 5))[0], values[[3, 5]])
    assert find_change_point(solution.state.z_um, values, spread) is None
    tilted = values + np.where(np.arange(16)[:, None] >= 8, [0.0, 90.0, 0.0, 120.0, 0.0], 0.0)
    assert find_change_point(solution.state.z_um, tilted, spread) is not None
