"""The midline of a brain: a plane first, then a smooth surface.

The plane is the one about which the volume is most like its mirror image. The surface bends it where columns
of voxels on either side of it say so, and is held smooth by its bending energy, so that it runs on straight
where there is little tissue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize, sparse
from scipy.interpolate import BSpline
from scipy.sparse.linalg import spsolve

from pipeline.core.model import Bool, Float32, Float64

# Starts of the search: slopes of the normal along P and I, and offsets from the middle of the tissue, um.
START_SLOPES = (-0.3, 0.0, 0.3)
START_OFFSETS_UM = (-900.0, 0.0, 900.0)
COARSE_UM, FINE_UM = 300.0, 60.0  # blur of the search for the plane
COARSE_POINTS, FINE_POINTS = 4000, 40000
KNOT_UM = 1200.0  # distance of the knots of the surface
REACH_UM = 2000.0  # how far from the surface voxels are compared
NEAR_UM = 1300.0  # standard deviation of their weight
BLURS_UM = (250.0, 120.0, 60.0)  # of the rounds of the surface
ROUNDS = 3  # at each blur
STIFFNESS = 10000.0  # of the bending energy: 30 left the rim of a rendered brain 39 um off (95 %), this 12


@dataclass(frozen=True, eq=False)
class MidlinePlane:
    """A plane.

    Attributes
    ----------
    point_um : (3,) float64, um
        A point of it, (P, I, R): where it is nearest to the middle of the tissue.
    normal : (3,) float64
        Of length 1, towards right.
    """

    point_um: Float64
    normal: Float64

    def mirrored(self, points_um: npt.NDArray[Any]) -> Float64:
        """Return the mirror images of points, (n, 3) um."""
        across = (points_um - self.point_um) @ self.normal
        return np.asarray(points_um - 2.0 * across[:, None] * self.normal)

    def frame(self) -> Float64:
        """Return the rotation whose rows are the axes of the plane's own frame, (3, 3).

        It is the least rotation that takes R to the normal.
        """
        axis = np.array([0.0, 0.0, 1.0])
        v, c = np.cross(self.normal, axis), float(self.normal @ axis)
        skew = np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])
        return np.asarray(np.eye(3) + skew + skew @ skew / (1.0 + c))


@dataclass(frozen=True, eq=False)
class MidlineSurface:
    """A surface in the frame of a plane: how far across from R = `middle_um` it lies over (P, I).

    Attributes
    ----------
    knots : (2,) of (k,) float64, um
        Knots of the cubic B-splines along P and I.
    coefficients : (a, b) float64, um
        Of the products of B-splines.
    middle_um : float, um
        R of the plane in its frame.
    """

    knots: tuple[Float64, Float64]
    coefficients: Float64
    middle_um: float

    def across(self, p_um: Float64, i_um: Float64, along: tuple[int, int] = (0, 0)) -> Float64:
        """Return the distance of the surface from the plane, or a derivative of it.

        Parameters
        ----------
        p_um, i_um : (a,) and (b,) float64, um
            Places along P and I; beyond the knots the surface runs on straight.
        along : (int, int)
            Order of the derivative along P and I.

        Returns
        -------
        (a, b) float64
            In um, or um per um, and so on.
        """
        rows, columns = (
            _basis(places, knots, order)
            for places, knots, order in zip((p_um, i_um), self.knots, along, strict=True)
        )
        return np.asarray(rows @ self.coefficients @ columns.T)


def correlation(a: Float32, b: Float32) -> float:
    """Return Pearson's correlation of two lists of values; 0 where one of them does not vary.

    Parameters
    ----------
    a, b : (n,) float32
        Values.

    Returns
    -------
    float
        From -1 to 1.
    """
    x, y = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0 else 0.0


def find_plane(values: Float32, mask: Bool, spacing_um: float) -> MidlinePlane:
    """Return the plane about which a volume is most like its mirror image.

    Parameters
    ----------
    values : (P, I, R) float32
        The volume.
    mask : (P, I, R) bool
        Its tissue.
    spacing_um : float, um
        Voxel size along all axes.

    Returns
    -------
    MidlinePlane
        The best of a search from many starts (Nelder and Mead 1965) by correlation within the tissue.
    """
    points = np.argwhere(mask) * spacing_um
    centre = points.mean(axis=0)
    draw = np.random.default_rng(0)
    best: Float64 = np.zeros(3)
    for blur_um, count in ((COARSE_UM, COARSE_POINTS), (FINE_UM, FINE_POINTS)):
        blurred = ndimage.gaussian_filter(values, blur_um / spacing_um)
        some = points[draw.choice(len(points), min(count, len(points)), replace=False)]
        here = _at(blurred, some / spacing_um)

        def unlike(
            x: Float64, some: npt.NDArray[Any] = some, here: Float32 = here, blurred: Float32 = blurred
        ) -> float:
            there = _plane(x, centre).mirrored(some)
            return -correlation(here, _at(blurred, there / spacing_um))

        if blur_um == COARSE_UM:
            starts = [(a, b, o) for a in START_SLOPES for b in START_SLOPES for o in START_OFFSETS_UM]
            costs = [unlike(np.array([a, b, o / 1000.0])) for a, b, o in starts]
            ranked = sorted(range(len(starts)), key=costs.__getitem__)[:3]
            tried = [_descend(unlike, np.array([*starts[k][:2], starts[k][2] / 1000.0]), 0.1) for k in ranked]
            best = min(tried, key=unlike)
        else:
            best = _descend(unlike, best, 0.01)
    return _plane(best, centre)


def _descend(unlike: object, start: Float64, step: float) -> Float64:
    simplex = np.vstack([start, start + step * np.eye(3)])
    options = {"initial_simplex": simplex, "xatol": 1e-5, "fatol": 1e-8, "maxiter": 200}
    return np.asarray(optimize.minimize(unlike, start, method="Nelder-Mead", options=options).x)  # type: ignore[call-overload]


def _plane(x: Float64, centre: Float64) -> MidlinePlane:
    """Return the plane of two slopes and an offset in mm."""
    normal = np.array([x[0], x[1], 1.0])
    normal /= np.linalg.norm(normal)
    return MidlinePlane(centre + 1000.0 * x[2] * normal, normal)


def _at(values: Float32, places: npt.NDArray[Any]) -> Float32:
    """Sample a volume linearly; beyond its faces it goes on as it ends."""
    return np.asarray(ndimage.map_coordinates(values, places.T, np.float32, 1, mode="nearest"))


def find_surface(
    values: Float32, mask: Bool, spacing_um: float, middle_um: float, stiffness: float = STIFFNESS
) -> MidlineSurface:
    """Return the surface about which a volume that lies straight is most like its mirror image.

    Parameters
    ----------
    values : (P, I, R) float32
        Volume in the frame of its plane, evened.
    mask : (P, I, R) bool
        Its tissue.
    spacing_um : float, um
        Voxel size.
    middle_um : float, um
        R of the plane.
    stiffness : float
        Weight of the bending energy.

    Returns
    -------
    MidlineSurface
        Gauss-Newton on the differences of voxels that mirror each other about the surface's tangent planes,
        with Geman-McClure weights (1985), from coarse to fine.
    """
    axes = [np.arange(n, dtype=np.float64) * spacing_um for n in values.shape[:2]]
    knots = (_knots(axes[0]), _knots(axes[1]))
    found = MidlineSurface(knots, np.zeros((len(knots[0]) - 4, len(knots[1]) - 4)), middle_um)
    products = _Products.of(axes, knots)
    for blur_um in BLURS_UM:
        blurred = ndimage.gaussian_filter(values, blur_um / spacing_um)
        slopes = [ndimage.gaussian_filter1d(blurred, 0.7, axis=k, order=1) / spacing_um for k in range(3)]
        for _ in range(ROUNDS):
            step = _step(found, axes, (blurred, slopes, mask), spacing_um, products, stiffness)
            found = MidlineSurface(knots, found.coefficients + step, middle_um)
    return found


@dataclass(frozen=True, eq=False)
class _Products:
    """The B-splines at all columns: values and slopes, (columns, coefficients), and their bending energy."""

    terms: tuple[sparse.csr_array, sparse.csr_array, sparse.csr_array]
    bending: sparse.csr_array

    @classmethod
    def of(cls, axes: Sequence[Float64], knots: tuple[Float64, Float64]) -> _Products:
        b = [
            [sparse.csr_array(_basis(x, k, order)) for order in range(3)]
            for x, k in zip(axes, knots, strict=True)
        ]
        terms = tuple(sparse.csr_array(sparse.kron(b[0][m], b[1][n])) for m, n in ((0, 0), (1, 0), (0, 1)))
        bent = [sparse.kron(b[0][m], b[1][n]) for m, n in ((2, 0), (1, 1), (0, 2))]
        energy = bent[0].T @ bent[0] + 2.0 * bent[1].T @ bent[1] + bent[2].T @ bent[2]
        return cls(terms, sparse.csr_array(energy))  # type: ignore[arg-type]


def _step(
    surface: MidlineSurface,
    axes: Sequence[Float64],
    volume: tuple[Float32, Sequence[Float32], Bool],
    spacing_um: float,
    products: _Products,
    stiffness: float,
) -> Float64:
    """Return the change of the coefficients that one step of Gauss-Newton asks for."""
    blurred, slopes, mask = volume
    s, s_p, s_i = (surface.across(axes[0], axes[1], along) for along in ((0, 0), (1, 0), (0, 1)))
    p, i = np.meshgrid(*axes, indexing="ij")
    foot = np.stack([p, i, surface.middle_um + s], axis=-1).reshape(-1, 3)
    normal = np.stack([-s_p, -s_i, np.ones_like(s)], axis=-1).reshape(-1, 3)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    far = np.arange(spacing_um, REACH_UM + 1.0, spacing_um)
    residuals, jacobians, weights = [], [], []
    for t in far:
        right, left = (foot + t * normal) / spacing_um, (foot - t * normal) / spacing_um
        inside = _within(mask, right) | _within(mask, left)
        g_right, g_left = ([_at(g, x) for g in slopes] for x in (right, left))
        residuals.append(_at(blurred, right) - _at(blurred, left))
        jacobians.append([g_right[2] - g_left[2], *(-t * (g_right[k] + g_left[k]) for k in range(2))])
        weights.append(inside * np.exp(-0.5 * (t / NEAR_UM) ** 2))
    r, j, w = np.array(residuals), np.array(jacobians), np.array(weights)
    scale = max(float(np.sqrt(np.average(r * r, weights=w + 1e-12))), 1e-6)  # of a perfect brain: 0
    w = w / (1.0 + (r / (2.0 * scale)) ** 2) ** 2 / scale**2
    return _solved(surface, products, stiffness, (r, j, w))


def _solved(
    surface: MidlineSurface, products: _Products, stiffness: float, sums: tuple[Float64, Float64, Float64]
) -> Float64:
    r, j, w = sums
    count = surface.coefficients.size
    matrix, right = sparse.csr_array((count, count)), np.zeros(count)
    for a, left_term in enumerate(products.terms):
        right -= left_term.T @ (w * j[:, a] * r).sum(axis=0)
        for b, right_term in enumerate(products.terms):
            matrix = (
                matrix + left_term.T @ sparse.diags_array((w * j[:, a] * j[:, b]).sum(axis=0)) @ right_term
            )
    bending = stiffness * 1e6 * products.bending
    flat = surface.coefficients.ravel()
    matrix = matrix + bending + 1e-9 * sparse.eye_array(count)
    return np.asarray(spsolve(sparse.csc_array(matrix), right - bending @ flat)).reshape(
        surface.coefficients.shape
    )


def _within(mask: Bool, places: Float64) -> Bool:
    at = np.clip(np.rint(places).astype(np.intp), 0, np.array(mask.shape) - 1)
    return np.asarray(mask[tuple(at.T)])


def _knots(places: Float64) -> Float64:
    """Return knots of cubic B-splines over a range, evenly."""
    count = max(1, round((places[-1] - places[0]) / KNOT_UM))
    step = (places[-1] - places[0]) / count
    return np.asarray(places[0] + step * np.arange(-3, count + 4))


def _basis(places: Float64, knots: Float64, order: int) -> Float64:
    """Return the B-splines, or derivatives of them, at places, (n, k); straight on beyond the knots."""
    low, high = knots[3], knots[-4]
    inside = np.clip(places, low, high)
    splines = BSpline(knots, np.eye(len(knots) - 4), 3)
    if order == 0:
        return np.asarray(splines(inside) + (places - inside)[:, None] * splines(inside, 1))
    beyond = (places != inside)[:, None]
    return np.asarray(np.where(beyond & (order > 1), 0.0, splines(inside, order)))
