"""Random displacements have the spread they state, share what they should, and come in opposite pairs."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.quantification.uncertainty.displacements import (
    AXIS_OF_MEDIAN,
    LEAST_UM,
    NORMAL,
    UNKNOWN_UM,
    Displacements,
    scale_um,
)

AXIS = np.arange(0.0, 9000.0, 300.0)


def test_each_half_has_half_of_the_variance() -> None:
    moves = Displacements.of([0.0, 200.0], [50.0, 50.0], draws=400)
    common = moves.common([AXIS[:12], AXIS[:12], np.array([1000.0])])
    own = moves.own(0, [AXIS[:12], AXIS[:12]])
    assert float((common**2).mean()) == pytest.approx(0.5, rel=0.1)
    assert float((own**2).mean()) == pytest.approx(0.5, rel=0.1)


def test_draws_come_in_opposite_pairs() -> None:
    moves = Displacements.of([0.0], [50.0], draws=6)
    field = moves.common([AXIS, AXIS, np.array([0.0])])
    assert np.array_equal(field[0::2], -field[1::2])
    assert not np.array_equal(field[0], field[2])


def test_a_place_moves_alike_on_every_lattice() -> None:
    moves = Displacements.of([0.0], [50.0], draws=4)
    whole = moves.common([AXIS, AXIS, AXIS])
    part = moves.common([AXIS[5:9], AXIS[3:7], AXIS[10:11]])
    assert np.allclose(part, whole[:, :, 5:9, 3:7, 10:11], atol=1e-6)


def test_sections_move_on_their_own_but_neighbours_share_the_common_field() -> None:
    moves = Displacements.of([0.0, 200.0], [50.0, 50.0], draws=200)
    at = [AXIS[:4], AXIS[:4]]
    common = moves.common([*at, np.array([0.0, 200.0])])
    own = np.stack([moves.own(k, at) for k in (0, 1)])
    assert np.corrcoef(common[..., 0].ravel(), common[..., 1].ravel())[0, 1] > 0.95
    assert abs(np.corrcoef(own[0].ravel(), own[1].ravel())[0, 1]) < 0.1


def test_the_median_length_in_the_plane_is_the_stated_error() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 200_000)) * scale_um(40.0)[:2, None]
    assert float(np.median(np.hypot(x, y))) == pytest.approx(40.0, rel=0.01)
    assert scale_um(40.0)[2] == pytest.approx(NORMAL * AXIS_OF_MEDIAN * 40.0)


def test_unknown_and_tiny_errors_have_a_floor() -> None:
    moves = Displacements.of([0.0, 1.0, 2.0, 3.0], [None, float("nan"), 1.0, 80.0])
    assert moves.error_um.tolist() == [UNKNOWN_UM, UNKNOWN_UM, LEAST_UM, 80.0]
