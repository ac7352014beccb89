"""Moderated t statistics: against limma's own figures, and against one structure at a time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from pipeline.core.errors import DataError
from pipeline.groups.moderated import fit_variance_prior, fit_weighted, moderated_tests, trigamma_inverse

# Example "lmFit, eBayes, topTable" of limma's published test output (Bioconductor package limma,
# limma-Tests.Rout.save among its tests). The data are drawn there from a seed; they are what R 4.2.2 draws.
PUBLISHED = np.array(
    [
        [1.739979941, 1.37349789, 2.214582784, 0.010843653, 0.28017501, -0.11026523],
        [0.079905658, -0.157845741, -0.281544912, 0.583060894, 0.103173, -0.280355274],
        [0.066711148, -0.46242077, 0.028606203, 0.22116412, 0.244206083, -0.012491766],
        [-0.083072553, 0.058296321, -0.138845826, 0.69640018, 0.274602301, 0.202833602],
        [0.418275912, 0.079326765, -0.440664647, 0.104672804, -0.051555639, 0.259930844],
        [-0.1976736, -0.335620551, 0.045805952, -0.340174998, -0.720669334, 0.070552507],
        [0.198159384, 0.195285887, 0.532128783, 0.12640058, -0.052413387, -0.28019104],
        [-0.00397671, -0.309870072, -0.19442128, -0.277366877, 0.650734761, 0.24397565],
        [-0.27944409, 0.19776045, -0.059945243, -0.30211871, 0.01751505, 0.404495567],
        [0.364406743, 0.07134882, 0.20677312, -0.056842299, -0.406474335, 0.675564833],
    ]
)
PUBLISHED_TOP = {  # row: logFC, t, P.Value, adj.P.Val of Last3 - First3
    0: (-1.71576906, -6.8894222, 2.674199e-08, 2.674199e-07),
    3: (0.44581938, 1.7901232, 8.100587e-02, 3.494414e-01),
    6: (-0.37725930, -1.5148301, 1.376783e-01, 3.494414e-01),
    7: (0.37520387, 1.5065768, 1.397766e-01, 3.494414e-01),
    2: (0.27332729, 1.0975061, 2.789833e-01, 5.196681e-01),
    1: (0.25512120, 1.0244023, 3.118009e-01, 5.196681e-01),
    5: (-0.16760121, -0.6729784, 5.048308e-01, 7.098782e-01),
    9: (-0.14342683, -0.5759097, 5.679026e-01, 7.098782e-01),
    8: (0.08717360, 0.3500330, 7.281504e-01, 7.335508e-01),
    4: (0.08536999, 0.3427908, 7.335508e-01, 7.335508e-01),
}

# limma 3.54.1 (lmFit with weights, eBayes, topTable with confint) on these figures: groups of 4 with a
# covariate, three missing values.
VALUES = np.array(
    [
        [3.577, 3.568, 1.991, 1.56, 4.157, 4.119, 3.037, 2.76],
        [-0.646, 0.175, 0.099, -0.597, 0.503, 0.086, -0.468, -0.168],
        [-0.583, np.nan, 0.631, -0.119, -0.221, 0.456, -1.376, -0.29],
        [-0.388, 0.44, 0.557, 0.297, -0.007, 0.664, -1.248, -0.287],
        [-1.195, -1.1, -1.21, 1.5, 0.452, 0.393, -1.094, -2.198],
        [-1.198, -0.389, -0.349, -0.885, 2.159, 1.403, -0.705, 0.743],
        [0.725, -0.005, -0.844, -0.277, np.nan, np.nan, -0.06, 1.585],
        [-0.073, 0.618, 0.449, -0.82, 0.301, 0.721, 1.515, -0.403],
        [0.173, 0.95, 0.125, -0.442, -1.774, 1.426, 0.388, 0.7],
        [1.153, 0.371, -0.041, -0.211, 0.168, 0.369, 0.002, 0.124],
        [0.531, 1.941, -0.625, 2.008, 0.247, 0.643, 0.043, 1.258],
        [4.091, -2.09, -0.846, 0.89, -1.355, -1.389, -0.592, -0.864],
    ]
)
WEIGHTS = np.array(
    [
        [1.801, 0.337, 1.834, 1.402, 0.328, 1.251, 4.64, 0.823],
        [1.088, 3.001, 1.294, 0.951, 2.285, 0.262, 5.099, 0.464],
        [0.742, 1.619, 2.213, 0.537, 2.353, 0.194, 2.213, 0.931],
        [1.379, 0.883, 0.589, 1.405, 0.992, 1.402, 0.875, 1.284],
        [1.571, 1.666, 1.366, 1.269, 1.274, 2.282, 1.394, 0.539],
        [1.534, 2.925, 1.899, 0.464, 1.068, 0.405, 0.683, 0.961],
        [0.537, 1.426, 1.208, 0.78, 1.005, 1.539, 2.094, 0.666],
        [2.947, 1.024, 2.024, 2.156, 1.682, 1.196, 1.35, 1.57],
        [0.419, 0.358, 0.36, 0.53, 2.074, 1.664, 0.28, 4.122],
        [2.165, 2.041, 0.542, 0.865, 0.8, 2.527, 0.616, 1.829],
        [1.99, 0.66, 1.123, 1.608, 1.253, 1.109, 0.259, 0.983],
        [1.237, 1.766, 1.156, 0.572, 1.615, 0.658, 2.332, 1.523],
    ]
)
SEX = np.array([0, 1, 0, 1, 1, 0, 1, 1.0])
WEIGHTED_TOP = np.array(  # logFC, CI.L, CI.R, t, P.Value, adj.P.Val
    [
        [1.2064258890, -0.15288778671, 2.5657395648, 1.8558878190, 0.07883388778, 0.4730033267],
        [-0.1168893583, -1.27338478010, 1.0396060636, -0.2113497876, 0.83483410239, 0.8348341024],
        [-0.3865198690, -2.87058207665, 2.0975423387, -0.3265642464, 0.74770995893, 0.8156835916],
        [-0.2119103059, -1.55423032736, 1.1304097156, -0.3301161486, 0.74487507671, 0.8156835916],
        [0.3520243251, -1.10130526661, 1.8053539167, 0.5064998456, 0.61825361225, 0.8156835916],
        [1.5360294698, 0.01994146071, 3.0521174788, 2.1185850068, 0.04733987947, 0.4730033267],
        [0.4381197229, -1.44498278927, 2.3212222351, 0.4902941287, 0.63009857561, 0.8156835916],
        [0.7086811528, -0.52500276220, 1.9423650678, 1.2012066834, 0.24423179991, 0.8156835916],
        [0.3819268748, -1.66559061526, 2.4294443648, 0.3900527626, 0.70077663314, 0.8156835916],
        [-0.2972369864, -1.41255670857, 0.8180827357, -0.5572809878, 0.58375316146, 0.8156835916],
        [-0.5924685523, -2.01732407783, 0.8323869733, -0.8694912816, 0.39528303310, 0.8156835916],
        [-0.3857483439, -2.40053403504, 1.6290373473, -0.4003556590, 0.69329954966, 0.8156835916],
    ]
)


def two_groups(first: int, second: int) -> np.ndarray:
    return np.eye(2)[[0] * first + [1] * second]


def test_equals_the_figures_that_limma_publishes() -> None:
    found = moderated_tests(
        fit_weighted(PUBLISHED, np.ones_like(PUBLISHED), two_groups(3, 3)), np.array([-1.0, 1])
    )
    q_value = stats.false_discovery_control(found.p_value)
    for row, expected in PUBLISHED_TOP.items():
        got = (found.effect[row], found.t[row], found.p_value[row], q_value[row])
        assert got == pytest.approx(expected, rel=5e-7)
    assert found.prior_freedom == np.inf
    assert found.prior_variance == pytest.approx(0.09303434898, rel=1e-6)


def test_equals_limma_with_weights_missing_values_and_a_covariate() -> None:
    weights = np.where(np.isfinite(VALUES), WEIGHTS, 0.0)
    found = moderated_tests(
        fit_weighted(VALUES, weights, np.column_stack([two_groups(4, 4), SEX])), np.array([-1.0, 1, 0])
    )
    q_value = stats.false_discovery_control(found.p_value)
    got = np.stack([found.effect, found.lower, found.upper, found.t, found.p_value, q_value], axis=1)
    np.testing.assert_allclose(got, WEIGHTED_TOP, rtol=1e-8)
    assert (found.prior_freedom, found.prior_variance) == pytest.approx((14.264529540, 1.022262291), rel=1e-9)
    assert found.freedom[2] == pytest.approx(18.26452954)


def test_each_structure_is_weighted_least_squares_of_its_own() -> None:
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=(5, 9)), rng.uniform(0.2, 3, (5, 9))
    values[2, 4], weights[2, 4] = np.nan, 0
    design = np.column_stack([two_groups(4, 5), rng.normal(size=9)])
    found = fit_weighted(values, weights, design)
    for row in range(5):
        there = weights[row] > 0
        root = np.sqrt(weights[row, there])
        solved, rest, *_ = np.linalg.lstsq(design[there] * root[:, None], values[row, there] * root)
        np.testing.assert_allclose(found.coefficients[row], solved)
        assert found.squares[row] == pytest.approx(rest[0])
        assert found.freedom[row] == there.sum() - 3


def test_prior_finds_the_variance_and_freedom_that_were_drawn() -> None:
    rng = np.random.default_rng(2)
    true = 0.3 * 6 / rng.chisquare(6, 4000)
    variance, freedom = fit_variance_prior(true * rng.chisquare(4, 4000) / 4, np.full(4000, 4.0))
    assert variance == pytest.approx(0.3, rel=0.05)
    assert freedom == pytest.approx(6, rel=0.15)


@pytest.mark.parametrize("y", [1e-4, 0.3, 1.0, 40.0, 1e7])
def test_trigamma_inverse_inverts(y: float) -> None:
    assert trigamma_inverse(float(special.polygamma(1, y))) == pytest.approx(y, rel=1e-6)


def test_values_without_scatter_give_no_nan() -> None:
    found = moderated_tests(
        fit_weighted(np.zeros((4, 6)), np.ones((4, 6)), two_groups(3, 3)), np.array([-1.0, 1])
    )
    assert (found.p_value == 1).all()


def test_one_structure_has_no_prior() -> None:
    with pytest.raises(DataError, match="at least 2 structures, got 1"):
        fit_variance_prior(np.array([1.0]), np.array([4.0]))


def test_animals_that_do_not_determine_the_model_are_refused() -> None:
    with pytest.raises(DataError, match="do not determine"):
        fit_weighted(np.ones((1, 4)), np.array([[1.0, 1, 0, 0]]), two_groups(2, 2))
