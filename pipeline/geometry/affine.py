"""Affine maps in two and three dimensions: (d, d + 1) matrices that act on column vectors, stored forward.

Flattened they take ITK's parameter order, as Allen serves them (tsv, tvs, tvr, trv): the linear part
row by row, then the translation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.model import EXTENT_UM, Float64, affine_inverse


def apply(matrix: Float64, points: npt.ArrayLike) -> Float64:
    """Map points.

    Parameters
    ----------
    matrix : (d, d + 1) float64
        Affine map.
    points : (..., d) float64
        Points in the units of the map's domain.

    Returns
    -------
    (..., d) float64
        The mapped points.

    Examples
    --------
    >>> apply(np.array([[2.0, 0.0, 1.0], [0.0, 2.0, -1.0]]), [[1.0, 1.0]])
    array([[3., 1.]])
    """
    return np.asarray(points, dtype=np.float64) @ matrix[:, :-1].T + matrix[:, -1]


def invert(matrix: Float64) -> Float64:
    """Return the inverse map.

    Parameters
    ----------
    matrix : (d, d + 1) float64
        Affine map.

    Returns
    -------
    (d, d + 1) float64
        Its inverse.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where there is none.
    """
    return affine_inverse(matrix)


def compose(last: Float64, *earlier: Float64) -> Float64:
    """Return the map that applies the rightmost first: ``compose(b, a)(x) = b(a(x))``.

    Parameters
    ----------
    last : (d, e + 1) float64
        Map that is applied last.
    *earlier : (e, f + 1) float64
        Maps before it, from last to first.

    Returns
    -------
    (d, f + 1) float64
        The composed map.
    """
    result = last
    for matrix in earlier:
        product = result[:, :-1] @ matrix  # linear part and translation at once: composing is frequent
        product[:, -1] += result[:, -1]
        result = product
    return result


def identity(dimensions: int) -> Float64:
    """Return the identity.

    Parameters
    ----------
    dimensions : int
        Number d of dimensions.

    Returns
    -------
    (d, d + 1) float64
        The map x -> x.
    """
    return np.eye(dimensions, dimensions + 1)


def scaling(factors: Sequence[float]) -> Float64:
    """Return the map x -> factors * x.

    Parameters
    ----------
    factors : sequence of d float
        Factor along each axis.

    Returns
    -------
    (d, d + 1) float64
        The scaling about the origin.
    """
    return np.column_stack([np.diag(np.asarray(factors, dtype=np.float64)), np.zeros(len(factors))])


def rigid2d(angle_deg: float, shift: Sequence[float], centre: Sequence[float] = (0.0, 0.0)) -> Float64:
    """Return a rotation about a centre, clockwise as displayed (y down), followed by a shift.

    Parameters
    ----------
    angle_deg : float, degree
        Angle; positive turns x towards y.
    shift : (float, float)
        Shift along x and y, in the units of the points.
    centre : (float, float)
        Centre of the rotation.

    Returns
    -------
    (2, 3) float64
        The rigid map.

    Examples
    --------
    >>> apply(rigid2d(90.0, (0.0, 0.0)), [[1.0, 0.0]]).round(12)
    array([[0., 1.]])
    """
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.asarray(centre, dtype=np.float64)
    return np.column_stack([turn, middle - turn @ middle + np.asarray(shift, dtype=np.float64)])


def to_itk(matrix: Float64) -> list[float]:
    """Flatten a map to ITK's parameter order.

    Parameters
    ----------
    matrix : (d, d + 1) float64
        Affine map.

    Returns
    -------
    list of d * (d + 1) float
        Linear part row by row, then the translation.

    Examples
    --------
    >>> to_itk(np.array([[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]]))
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    """
    return [float(v) for v in (*matrix[:, :-1].ravel(), *matrix[:, -1])]


def from_itk(parameters: Sequence[float], dimensions: int) -> Float64:
    """Build a map from ITK's parameter order.

    Parameters
    ----------
    parameters : sequence of float
        Linear part row by row, then the translation.
    dimensions : int
        Number d of dimensions.

    Returns
    -------
    (d, d + 1) float64
        Affine map.

    Raises
    ------
    DataError
        Where there are not d * (d + 1) numbers.
    """
    expected = dimensions * (dimensions + 1)
    if len(parameters) != expected:
        raise DataError(f"affine: expected {expected} numbers in ITK order, got {len(parameters)}")
    values = np.asarray(parameters, dtype=np.float64)
    square = dimensions * dimensions
    return np.column_stack([values[:square].reshape(dimensions, dimensions), values[square:]])


def flip_between_spaces() -> Float64:
    """Return the map between reference spaces 9 and 10, which is its own inverse: R -> 11400 um - R."""
    flip = identity(3)
    flip[2] = (0.0, 0.0, -1.0, EXTENT_UM[2])
    return flip


def between_spaces(source_id: int, target_id: int) -> Float64:
    """Return the map from one reference space to another.

    Parameters
    ----------
    source_id, target_id : int
        Allen's ids: 9 (P56), 10 (P56, left and right flipped).

    Returns
    -------
    (3, 4) float64, um -> um
        The identity between equal ids, the flip between 9 and 10.

    Raises
    ------
    DataError
        Where no map between the two spaces is known.
    """
    known = {9, 10}
    if source_id == target_id:
        return identity(3)
    if {source_id, target_id} <= known:
        return flip_between_spaces()
    raise DataError(
        f"reference spaces {source_id} and {target_id}: only 9 (P56) and 10 (P56, L/R flipped) are"
        " joined by a known transform"
    )
