"""Terms of the error of a structure's value, against their definitions and by experiment."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.quantification.uncertainty.detector_share import BINS, bin_of, sensitivities
from pipeline.quantification.uncertainty.terms import (
    CELL_UM2,
    MOST,
    USUAL_GAIN,
    backdrop_of,
    chance_term,
    detector_terms,
    least_of,
    placement_terms,
    section_gain,
    section_terms,
)


def test_placement_is_spread_and_mean_of_the_logarithm() -> None:
    moved = np.array([[2.0, np.nan], [8.0, np.nan]])
    spread, shift = placement_terms(moved, np.array([4.0, 1.0]), 0.0)
    assert spread[0] == pytest.approx(np.log(2))
    assert shift[0] == pytest.approx(0.0)
    assert spread[1] == MOST
    assert shift[1] == 0.0


def test_sampling_is_the_error_of_a_ratio_by_experiment() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.uniform(50, 150, (4000, 12))
    bright = pixels * rng.lognormal(0.0, 0.4, pixels.shape)
    found = np.log(bright.sum(axis=1) / pixels.sum(axis=1))
    sampling, succession, _ = section_terms(pixels, bright, 0.0)
    assert float(np.sqrt((sampling**2).mean())) == pytest.approx(found.std(), rel=0.08)
    assert float(np.sqrt((succession**2).mean())) < float(np.sqrt((sampling**2).mean()))


def test_a_smooth_course_along_the_brain_is_no_error_of_succession() -> None:
    pixels = np.ones((1, 40))
    smooth = (2 + np.sin(np.linspace(0, np.pi, 40)))[None]
    jagged = np.random.default_rng(2).permutation(smooth[0])[None]
    assert section_terms(pixels, smooth, 0.0)[1][0] < 0.5 * section_terms(pixels, jagged, 0.0)[1][0]
    assert section_terms(pixels, smooth, 0.0)[0] == pytest.approx(section_terms(pixels, jagged, 0.0)[0])


@pytest.mark.parametrize("count", [2, 4, 16])
def test_terms_fall_with_the_number_of_sections(count: int) -> None:
    rng = np.random.default_rng(4)
    many, few = (np.exp(rng.normal(0, 0.3, (500, n))) for n in (2 * count, count))
    for more, fewer in zip(
        section_terms(np.ones_like(many), many, 0.0), section_terms(np.ones_like(few), few, 0.0), strict=True
    ):
        assert (more**2).mean() < (fewer**2).mean()


def test_gain_of_even_sections_is_one_over_the_root_of_their_number() -> None:
    gain = section_terms(np.ones((1, 9)), np.full((1, 9), 5.0), 0.01)[2]
    assert gain[0] == pytest.approx(1 / 3)


def test_terms_do_not_change_with_the_unit_of_expression() -> None:
    rng = np.random.default_rng(5)
    pixels, bright = rng.uniform(1, 2, (30, 8)), rng.uniform(0, 3, (30, 8))
    for a, b in zip(section_terms(pixels, bright, 0.1), section_terms(pixels, 7 * bright, 0.7), strict=True):
        assert np.allclose(a, b)
    for a, b in zip(
        section_terms(pixels, bright, 0.1), section_terms(9 * pixels, 9 * bright, 0.1), strict=True
    ):
        assert np.allclose(a, b)


def test_a_structure_without_pixels_has_finite_terms() -> None:
    for term in section_terms(np.zeros((1, 5)), np.zeros((1, 5)), 0.1):
        assert np.isfinite(term).all()


def test_chance_is_one_over_the_root_of_the_cells() -> None:
    seen = np.array([100 * CELL_UM2, 0.0])
    found = chance_term(seen, np.ones(2))
    assert found[0] == pytest.approx(0.1, rel=0.01)
    assert found[1] == pytest.approx(2.0)  # nothing seen is not certain


def test_the_gain_of_sections_is_found_among_structures_they_share() -> None:
    rng = np.random.default_rng(6)
    gain = np.exp(rng.normal(0, 0.2, 60))
    levels = rng.lognormal(0, 1, (80, 1)) * np.exp(0.02 * rng.normal(0, 1, (80, 60)))
    pixels = np.full((80, 60), 1e4)
    assert section_gain(pixels, pixels * levels * gain) == pytest.approx(0.2, abs=0.06)
    assert section_gain(pixels, pixels * levels) < 0.05
    assert section_gain(pixels[:, :3], pixels[:, :3]) == USUAL_GAIN  # too short to tell


def test_backdrop_is_relative_to_the_brain_and_bounded() -> None:
    sums = {
        "sum_pixels": np.array([100.0, 100.0, 100.0, 0.0]),
        "sum_expressing_pixels": np.array([0.0, 50.0, 0.0, 0.0]),
        "sum_expressing_pixel_intensity": np.array([0.0, 5000.0, 0.0, 0.0]),
        "sum_pixel_intensity": np.array([4000.0, 7000.0, 100.0, 0.0]),
    }
    assert backdrop_of(sums, 0) == pytest.approx([0.0, 0.0, -1.0, 0.0])
    assert backdrop_of(sums, None) == pytest.approx([0.0] * 4)


def test_the_least_value_has_a_floor_without_a_brain() -> None:
    assert least_of(5.0, density=False) == pytest.approx(0.11)
    assert least_of(float("nan"), density=False) == pytest.approx(0.01)


def test_densities_fall_into_bins_with_nan_in_the_first() -> None:
    assert bin_of(np.array([np.nan, 0.0, 0.019, 0.02, 0.5, 1.0])).tolist() == [0, 0, 0, 1, BINS - 1, BINS - 1]


def test_sensitivity_is_half_the_change_between_the_thresholds() -> None:
    marked = [0.0, 0.0, 1e9, 0.0, 0.0, 0.0]
    twice, half = [2 * v for v in marked], [v / 2 for v in marked]
    fact = {"as_marked": marked, "contrast_lower": twice, "contrast_higher": half}
    found = sensitivities([fact, {}, fact])
    assert set(found) == {"contrast"}
    assert found["contrast"][2] == pytest.approx(np.log(2), rel=0.02)
    assert np.all(found["contrast"] > 0)  # bins that nothing is known of take the mean
    assert sensitivities([{}, {}]) == {}


def test_detector_terms_weigh_bins_by_their_share() -> None:
    shares = np.zeros((2, BINS))
    shares[0, 1], shares[1, :2] = 1.0, 0.5
    contrast = np.zeros(BINS)
    contrast[1] = 0.3
    found = detector_terms(shares, {"contrast": contrast}, np.ones(2))
    assert found.tolist() == [[pytest.approx(0.3), 0.0], [pytest.approx(0.15), 0.0]]
