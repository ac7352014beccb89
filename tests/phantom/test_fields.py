"""Random displacements: as long as asked for, smooth, without folds, without an affine part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import ConfigError
from pipeline.core.model import Float64
from pipeline.phantom.fields import SmoothField, least_jacobian, random_field


def lattice(dimensions: int) -> Float64:
    axes = [np.linspace(0, 8000, 17) for _ in range(dimensions)]
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, dimensions)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6), dimensions=st.sampled_from([2, 3]))
def test_length_folds_and_trend(seed: int, dimensions: int) -> None:
    points = lattice(dimensions)
    field = random_field(np.random.default_rng(seed), points, 80.0, 2000.0)
    shift = field(points)
    assert np.sqrt(np.square(shift).sum(axis=1).mean()) == pytest.approx(80.0)
    assert least_jacobian(field, points) > 0.2
    design = np.column_stack([points, np.ones(len(points))])
    trend = np.linalg.lstsq(design, shift, rcond=None)[0]
    assert np.abs(design @ trend).max() < 1e-6


def test_smooth_between_points() -> None:
    field = random_field(np.random.default_rng(1), lattice(2), 80.0, 2000.0)
    line = np.column_stack([np.linspace(0, 8000, 8001), np.full(8001, 4000.0)])
    assert np.abs(np.diff(field(line), axis=0)).max() < 0.5


def test_jacobian_of_a_known_map() -> None:
    squeeze = SmoothField(
        np.zeros((2, 6, 6)), 2000.0, np.zeros(2), np.array([[0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])
    )
    assert least_jacobian(squeeze, lattice(2)) == pytest.approx(0.5)


def test_refuses_to_fold() -> None:
    with pytest.raises(ConfigError, match="folds"):
        random_field(np.random.default_rng(0), lattice(2), 900.0, 1000.0)
