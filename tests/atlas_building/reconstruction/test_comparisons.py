"""Quadratic forms of images against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.atlas_building.reconstruction.comparisons import (
    Nodes,
    blurred,
    gradient,
    normal_form,
    robust_weights,
    spread_of,
)


def test_tents_add_up_to_one_and_interpolate() -> None:
    nodes = Nodes.over((11, 17), 50.0, 200.0)
    assert nodes.summed(np.ones((11, 17), np.float32)).sum() == pytest.approx(11 * 17)
    plane = nodes.places_um() @ np.array([2.0, -1.0])
    rows, columns = np.meshgrid(50.0 * np.arange(11), 50.0 * np.arange(17), indexing="ij")
    assert np.allclose(nodes.at_cells(plane), 2 * rows - columns, atol=1e-2)


def test_a_shift_is_seen_by_the_forms() -> None:
    y, x = np.meshgrid(np.arange(60.0), np.arange(80.0), indexing="ij")

    def image(dy: float, dx: float) -> np.ndarray:
        return (np.sin((y + dy) / 6) + np.cos((x + dx) / 5)).astype(np.float32)

    nodes = Nodes.over((60, 80), 1.0, 20.0)
    one, other = image(0, 0), image(0.5, -0.3)
    # the other is displaced so that it becomes the one: its values at x + step are wanted
    weight, pull = normal_form(
        nodes, gradient(0.5 * (one + other)), other - one, np.ones((60, 80), np.float32)
    )
    step = np.linalg.solve(weight.sum(axis=(0, 1)), pull.sum(axis=(0, 1)))
    assert step == pytest.approx([-0.5, 0.3], abs=0.02)


def test_forms_are_sums_over_tents() -> None:
    rng = np.random.default_rng(1)
    nodes = Nodes.over((9, 9), 1.0, 4.0)
    down, across, residual, weights = (rng.normal(size=(9, 9)).astype(np.float32) for _ in range(4))
    weight, pull = normal_form(nodes, (down, across), residual, weights)
    tent = nodes.rows[1][:, None] * nodes.columns[2][None, :]
    assert weight[1, 2, 0, 1] == pytest.approx((tent * weights * down * across).sum(), rel=1e-4)
    assert pull[1, 2, 0] == pytest.approx(-(tent * weights * down * residual).sum(), rel=1e-4)


def test_a_blur_ignores_what_is_not_known() -> None:
    image = np.full((20, 20), 3.0, np.float32)
    known = np.ones((20, 20), bool)
    known[5:9, 5:9] = False
    image[5:9, 5:9] = 1e6
    values, weights = blurred(image, known, 2.0)
    assert np.allclose(values, 3.0, atol=1e-4)
    assert weights[7, 7] < 0.7
    assert weights[15, 15] > 0.9


def test_outliers_hardly_count() -> None:
    weights = robust_weights(np.array([[0.0, 1.0, 100.0]], np.float32), np.ones((1, 3), np.float32), 1.0)
    assert weights[0, 0] == 1.0
    assert weights[0, 1] > 0.7
    assert weights[0, 2] < 1e-4
    normal = np.random.default_rng(2).normal(size=(100, 100)).astype(np.float32) * 3
    assert spread_of(normal, np.ones((100, 100), bool)) == pytest.approx(3.0, rel=0.05)
    assert spread_of(normal, np.zeros((100, 100), bool)) == 0.0
