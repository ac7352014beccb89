"""Affine maps: order, inverses, composition, the flip between spaces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.core.errors import AlignmentError, DataError
from pipeline.core.model import Alignment2d, Alignment3d
from pipeline.geometry import affine

finite = st.floats(-100, 100, allow_nan=False)


@given(arrays(float, (2, 3), elements=finite), arrays(float, (3, 2), elements=finite))
def test_composition_is_application_in_turn(matrix: np.ndarray, points: np.ndarray) -> None:  # type: ignore[type-arg]
    other = affine.rigid2d(31.0, (5.0, -7.0), (100.0, 40.0))
    np.testing.assert_allclose(
        affine.apply(affine.compose(other, matrix), points),
        affine.apply(other, affine.apply(matrix, points)),
        atol=1e-8,
    )


@given(st.floats(-180, 180), finite, finite)
def test_inverse_undoes(angle: float, x: float, y: float) -> None:
    matrix = affine.compose(affine.scaling((1.05, 0.9)), affine.rigid2d(angle, (x, y)))
    np.testing.assert_allclose(affine.compose(affine.invert(matrix), matrix), affine.identity(2), atol=1e-9)


def test_itk_order_is_rows_then_translation() -> None:
    tvr = list(range(1, 13))
    matrix = affine.from_itk(tvr, 3)
    assert matrix[0].tolist() == [1, 2, 3, 10]
    assert affine.to_itk(matrix) == tvr
    with pytest.raises(DataError, match="expected 12 numbers"):
        affine.from_itk(tvr[:-1], 3)


def test_rotation_turns_clockwise_about_its_centre() -> None:
    turn = affine.rigid2d(90.0, (0.0, 0.0), centre=(10.0, 10.0))
    np.testing.assert_allclose(affine.apply(turn, [[10.0, 0.0], [10.0, 10.0]]), [[20.0, 10.0], [10.0, 10.0]])


def test_flip_between_spaces_is_its_own_inverse() -> None:
    flip = affine.between_spaces(9, 10)
    np.testing.assert_array_equal(affine.apply(flip, [[1.0, 2.0, 3.0]]), [[1.0, 2.0, 11397.0]])
    np.testing.assert_array_equal(affine.compose(flip, affine.between_spaces(10, 9)), affine.identity(3))
    with pytest.raises(DataError, match="only 9"):
        affine.between_spaces(9, 7)


def test_alignments_know_their_inverse_and_refuse_the_singular() -> None:
    forward = affine.compose(affine.scaling((1.05, 1.05)), affine.rigid2d(4.0, (3.0, 2.0)))
    alignment = Alignment2d(7, forward)
    np.testing.assert_allclose(alignment.volume_to_section, affine.invert(forward))
    with pytest.raises(ValueError, match="read-only"):
        alignment.section_to_volume[0, 0] = 1.0
    with pytest.raises(AlignmentError, match="section 7: the matrix cannot be inverted"):
        Alignment2d(7, np.zeros((2, 3)))
    with pytest.raises(AlignmentError, match=r"expected a \(3, 4\) matrix"):
        Alignment3d(9, np.eye(3))
