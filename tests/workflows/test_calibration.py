"""What calibration of intervals rests on: a score, a fit of it, and the truth of a scene."""

from __future__ import annotations

import importlib
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from conftest import TESTS

from pipeline.quantification.uncertainty.intervals import CENTRES, SPREADS, Coefficients, Features


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TESTS.parent / "workflows")
    return importlib.import_module("calibration.uncertainty_score")


@pytest.fixture
def truth(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TESTS.parent / "workflows")
    return importlib.import_module("calibration.uncertainty_truth")


def known(**spreads: float) -> Coefficients:
    return Coefficients(dict.fromkeys(SPREADS, 0.0) | spreads, dict.fromkeys(CENTRES, 0.0), -1.7, 1.7)


def series(seed: int, count: int = 4000) -> SimpleNamespace:
    """Errors whose scale is 0.1, and 0.5 where `gain` is 1; they lean by -0.3 where `fluid` is."""
    rng = np.random.default_rng(seed)
    spreads, centres = np.zeros((count, len(SPREADS))), np.zeros((count, len(CENTRES)))
    spreads[:, SPREADS.index("floor")] = 1.0
    spreads[:, SPREADS.index("gain")] = rng.integers(0, 2, count)
    centres[:, CENTRES.index("fluid")] = rng.integers(0, 2, count)
    scale = np.hypot(0.1, np.sqrt(0.24) * spreads[:, SPREADS.index("gain")])
    error = scale * rng.standard_normal(count) - 0.3 * centres[:, CENTRES.index("fluid")]
    return SimpleNamespace(rows=Features(np.ones(count), 0.1, spreads, centres), error=error)


def ends(one: SimpleNamespace, fitted: Coefficients) -> tuple[np.ndarray, np.ndarray]:
    scale = np.sqrt(one.rows.spreads**2 @ np.array([fitted.spreads[n] for n in SPREADS]) ** 2)
    centre = one.rows.centres @ np.array([fitted.centres[n] for n in CENTRES])
    return centre + fitted.low * scale, centre + fitted.high * scale


def test_the_score_is_the_width_and_twenty_times_what_lies_beyond(score: ModuleType) -> None:
    found = score.interval_score(np.array([0.0, -1.2, 1.5]), np.full(3, -1.0), np.full(3, 1.0))
    assert found == pytest.approx([2.0, 2.0 + 20 * 0.2, 2.0 + 20 * 0.5])


def test_a_fit_of_the_score_finds_scale_and_centre_of_others(score: ModuleType) -> None:
    fitted = score.sharpen([series(1), series(2)], known(floor=0.3, gain=0.1))
    other = series(3)
    low, high = ends(other, fitted)
    inside = (low <= other.error) & (other.error <= high)
    for k in (0, 1):
        chosen = other.rows.spreads[:, SPREADS.index("gain")] == k
        assert inside[chosen].mean() == pytest.approx(0.9, abs=0.03)
        assert (high - low)[chosen].mean() == pytest.approx(2 * 1.645 * (0.1, 0.5)[k], rel=0.15)
    assert fitted.centres["fluid"] == pytest.approx(-0.3, abs=0.03)


def test_only_free_terms_move(score: ModuleType) -> None:
    start = known(floor=0.2, gain=0.3)
    fitted = score.sharpen([series(4)], start, {"fluid"})
    assert fitted.centres["fluid"] == pytest.approx(-0.3, abs=0.05)
    assert fitted.spreads["floor"] == pytest.approx(0.2)
    assert fitted.spreads["gain"] == pytest.approx(0.3)
    assert (fitted.low, fitted.high) == pytest.approx((start.low, start.high))
    assert {n for n in CENTRES if fitted.centres[n]} == {"fluid"}
    assert all(fitted.spreads[n] == 0 for n in SPREADS if n not in ("floor", "gain", "fluid"))


@pytest.mark.parametrize("energy", [0.0, 0.0004, 0.37, 20.0, 249.0, 400.0])
@pytest.mark.parametrize("tissue", [10.0, 33.0, 100.0, 120.0])
def test_density_between_tabled_energies_is_bilinear(truth: ModuleType, energy: float, tissue: float) -> None:
    table = np.random.default_rng(5).random((len(truth.TISSUES), len(truth.ENERGIES)))
    by_row = [np.interp(energy, truth.ENERGIES, row) for row in table]
    assert truth._density(table, energy, tissue) == pytest.approx(np.interp(tissue, truth.TISSUES, by_row))
