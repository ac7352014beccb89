"""The flow between two plates: its equations against dense algebra, and motions that are known."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

from pipeline.atlas_building.plates.label_flow import (
    RELAXATION,
    _normal_form,
    _relax,
    label_flow,
    structure_codes,
)

SHAPE = (9, 11)
LINEAGES = [(0,), (997, 8), (997, 7), (997, 3)]


def test_the_form_of_a_pixel_is_that_of_its_weighted_difference():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, *SHAPE, 4)).astype(np.float32)
    form = np.empty((*SHAPE, 5), np.float32)
    _normal_form(first, second, np.float32(0.5), form)
    slopes = np.stack(np.gradient((first + second) / 2, axis=(0, 1)), axis=-1)[4, 5]
    difference = (first - second)[4, 5]
    weight = 1 / np.sqrt(1 + (difference**2).sum() / 0.5)
    square, pull = weight * slopes.T @ slopes, weight * slopes.T @ difference
    expected = [square[0, 0], square[1, 1], square[0, 1], *pull]
    np.testing.assert_allclose(form[4, 5], expected, rtol=1e-4, atol=1e-5)


def test_relaxation_ends_at_the_solution_of_all_equations():
    rng = np.random.default_rng(2)
    slopes = rng.normal(size=(*SHAPE, 2))
    before = rng.normal(size=(*SHAPE, 2)).astype(np.float32)
    pulls = rng.normal(size=(*SHAPE, 2))
    form = np.stack(
        [
            slopes[..., 0] ** 2,
            slopes[..., 1] ** 2,
            slopes[..., 0] * slopes[..., 1],
            *np.moveaxis(pulls, -1, 0),
        ],
        axis=-1,
    ).astype(np.float32)
    flow, stiffness = before.copy(), 0.3
    _relax(form, before, np.float32(stiffness), 400, np.float32(RELAXATION), flow)

    size = SHAPE[0] * SHAPE[1]
    number = np.arange(size).reshape(SHAPE)
    pairs = np.concatenate(
        [
            np.stack([number[1:], number[:-1]], -1).reshape(-1, 2),
            np.stack([number[:, 1:], number[:, :-1]], -1).reshape(-1, 2),
        ]
    )
    step = sparse.coo_matrix(
        (np.tile([1.0, -1.0], len(pairs)), (np.repeat(np.arange(len(pairs)), 2), pairs.ravel())),
        shape=(len(pairs), size),
    )
    smooth = sparse.kron(sparse.eye(2), stiffness * step.T @ step)
    yy, xx, yx = (sparse.diags(form[..., k].ravel().astype(float)) for k in range(3))
    data = sparse.bmat([[yy, yx], [yx, xx]])
    u = np.moveaxis(before, -1, 0).ravel().astype(float)
    right = data @ u + np.moveaxis(form[..., 3:], -1, 0).ravel().astype(float)
    solved = spsolve((data + smooth).tocsc(), right).reshape(2, *SHAPE)
    np.testing.assert_allclose(flow, np.moveaxis(solved, 0, -1), atol=1e-3)


def discs(row: float, column: float) -> np.ndarray:
    i, j = np.indices((80, 96)).astype(float)
    plate = np.where((i - row) ** 2 + (j - column) ** 2 < 24**2, 1, 0)
    return np.where((i - row) ** 2 + (j - column - 6) ** 2 < 9**2, 2, plate).astype(np.int32)


def test_a_motion_of_the_whole_is_found():
    flow = label_flow(discs(38, 46), discs(41, 42), structure_codes(LINEAGES))
    border = discs(39.5, 44) > 0
    np.testing.assert_allclose(np.median(flow[border], axis=0), [3, -4], atol=0.2)


def test_a_structure_without_a_partner_moves_nothing_far_from_it():
    second = discs(38, 46)
    second[30:36, 52:58] = 3
    flow = label_flow(discs(38, 46), second, structure_codes(LINEAGES))
    i, j = np.indices(flow.shape[:2])
    far = np.maximum(np.abs(i - 32.5), np.abs(j - 54.5)) > 12
    assert np.percentile(np.abs(flow[far]), 95) < 0.5
