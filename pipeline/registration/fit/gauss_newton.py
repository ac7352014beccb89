"""Gauss-Newton for all section poses and one 3-D affine together.

The atlas is painted on the current plane of every section and compared with its image. Moving a section
in its plane moves the painting along its in-plane gradient; tilting, shifting or stretching the volume
also moves it along the normal, whose derivative comes from two more planes. The parameters have no
freedom in common: what a common in-plane strain and the row of z do is the volume's, everything else in
the plane is the sections'. So the system is arrow-shaped and is solved by eliminating the sections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numba
import numpy as np

from pipeline.core.model import Float32, Float64, Int64
from pipeline.geometry import affine
from pipeline.registration.model.painted_atlas import NORMAL_AXIS, Atlas, blur, paint
from pipeline.registration.model.state import LevelImage, State
from pipeline.system.threads import each

LENGTH_UM = 3000.0
RIGID, AFFINE = 3, 6
N_VOLUME = 7
VOLUME_CENTRE_UM = (5000.0, 4000.0)  # strains and tilts of the volume are counted about it
_LARGEST_STEP_UM = 400.0
_VOLUME_SPREAD_UM = 2000.0


@dataclass(frozen=True)
class Stage:
    """How one stage of the solution looks at the data.

    Parameters
    ----------
    sigma_um : blur of the atlas; the images come blurred alike
    normal_um : half distance of the planes that give the derivative along the normal
    scale : residual at which a pixel's weight has fallen to a quarter; infinite = least squares
    freedom : 3 rigid sections, 6 affine sections
    move_volume : whether the 3-D affine takes part
    respects_limits : whether the end of a cut-off reference is the end of knowledge, not of tissue
    noise, correlation_um : size of the residuals and the distance over which they are alike
    """

    sigma_um: float
    normal_um: float
    scale: float
    freedom: int
    move_volume: bool
    noise: float = 0.2
    correlation_um: float = 300.0
    respects_limits: bool = True

    @property
    def information(self) -> float:
        """Weight of the data against priors: residuals of `noise`, alike within `correlation_um`."""
        return 1.0 / (self.noise**2 * (self.correlation_um * 1e-3) ** 2)


@dataclass(frozen=True, eq=False)
class Painting:
    """What the atlas is painted with.

    Parameters
    ----------
    tables : (s, labels) float32    value of each label in each series, all series of one noise
    gains : (n,) float64            strength of each section in its series
    series : (n,) int64             whose table a section has; empty: all have the first
    units : (s,) float64            what else the images of a series are divided by; empty: nothing
    """

    atlas: Atlas
    tables: Float32
    gains: Float64
    series: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    units: Float64 = field(default_factory=lambda: np.zeros(0))

    def table(self, k: int) -> Float32:
        """Return the table of section `k`, (labels,)."""
        return np.asarray(self.tables[self.series[k] if self.series.size else 0])

    def strength(self, k: int) -> np.float32:
        """Return what the image of section `k` is divided by."""
        unit = self.units[self.series[k]] if self.units.size else 1.0
        return np.float32(self.gains[k] * unit)


@dataclass(frozen=True, eq=False)
class System:
    """Normal equations of one section: own parameters, volume's parameters, gain aside."""

    own: Float64
    cross: Float64
    volume: Float64
    own_right: Float64
    volume_right: Float64
    cost: float
    weight: float


@numba.njit(cache=True, nogil=True, inline="always")
def _columns(j, gradient, place, freedom):  # type: ignore[no-untyped-def]
    """Fill the row of J of one pixel: shift, turn[, strains] of the section, strains, shift, tilts of z."""
    gx, gy, gz = gradient
    ux, uy, qx, qy, qz = place
    j[0] = gx
    j[1] = gy
    j[2] = gy * ux - gx * uy
    if freedom == 6:
        j[3] = gx * ux
        j[4] = gy * uy
        j[5] = gx * uy + gy * ux
    j[freedom] = gx * qx
    j[freedom + 1] = gy * qy
    j[freedom + 2] = gx * qy + gy * qx
    j[freedom + 3] = gz
    j[freedom + 4] = gz * qx
    j[freedom + 5] = gz * qy
    j[freedom + 6] = gz * qz


@numba.njit(cache=True, nogil=True, inline="always")
def _add(hessian, right, j, weight, residual):  # type: ignore[no-untyped-def]
    for a in range(j.size):
        weighted = weight * j[a]
        right[a] += weighted * residual
        for c in range(a, j.size):
            hessian[a, c] += weighted * j[c]


@numba.njit(cache=True, nogil=True)
def accumulate(pixels, geometry, scale, freedom):  # type: ignore[no-untyped-def]
    """Sum J'WJ and J'Wr over the pixels of a section.

    Parameters
    ----------
    pixels : (4, h, w) float32      image, weights, atlas painted on the plane, its derivative along z
    scale : float                   residual at which the weight is down to a quarter

    Returns
    -------
    hessian (n, n), upper triangle, n = freedom + 7; right (n,); robust sum of squares; sum of weights
    """
    values, weights, painted, normal = pixels[0], pixels[1], pixels[2], pixels[3]
    hessian, right, j = np.zeros((freedom + 7, freedom + 7)), np.zeros(freedom + 7), np.zeros(freedom + 7)
    cost, total = 0.0, 0.0
    to_volume, inverse, along, limits, own, qz = geometry
    for y in range(1, values.shape[0] - 1):
        for x in range(1, values.shape[1] - 1):
            weight = weights[y, x]
            position = along[0] * x + along[1] * y + along[2]
            if weight <= 0.0 or position < limits[0] or position > limits[1]:
                continue
            residual = values[y, x] - painted[y, x]
            robust = 1.0 / (1.0 + (residual / scale) ** 2)
            cost += weight * residual * residual * robust
            total += weight
            fx = 0.5 * (painted[y, x + 1] - painted[y, x - 1])
            fy = 0.5 * (painted[y + 1, x] - painted[y - 1, x])
            fz = normal[y, x]
            if fx == 0.0 and fy == 0.0 and fz == 0.0:
                continue
            gx = inverse[0, 0] * fx + inverse[1, 0] * fy
            gy = inverse[0, 1] * fx + inverse[1, 1] * fy
            vx = to_volume[0, 0] * x + to_volume[0, 1] * y + to_volume[0, 2]
            vy = to_volume[1, 0] * x + to_volume[1, 1] * y + to_volume[1, 2]
            ux, uy = (vx - own[0]) / LENGTH_UM, (vy - own[1]) / LENGTH_UM
            qx, qy = (vx - VOLUME_CENTRE_UM[0]) / LENGTH_UM, (vy - VOLUME_CENTRE_UM[1]) / LENGTH_UM
            _columns(j, (gx, gy, fz), (ux, uy, qx, qy, qz), freedom)
            _add(hessian, right, j, weight * robust * robust, residual)
    return hessian, right, cost, total


class Geometry(NamedTuple):
    """Where the pixels of a section lie.

    Parameters
    ----------
    to_volume : (2, 3) float64      px to volume um
    inverse : (2, 2) float64        volume um to px, linear part
    along : (3,) float64            (x, y, 1) px to the reference's cutting axis, um
    limits_um : (float, float)      ends of what is known along that axis
    centre_um : (float, float)      about which the section turns
    z : float                       from the middle of the series, over LENGTH_UM
    """

    to_volume: Float64
    inverse: Float64
    along: Float64
    limits_um: tuple[float, float]
    centre_um: tuple[float, float]
    z: float


def painted_plane(
    painting: Painting, state: State, k: int, image: LevelImage, stage: Stage, shift_um: float = 0.0
) -> Float32:
    """Return the atlas painted on the plane of section `k`, blurred; (h, w) float32."""
    atlas = painting.atlas
    matrix = state.plane(k, image.to_thumbnail, shift_um)
    smooth = image.pixel_um < 1.6 * atlas.voxel_um or stage.sigma_um > 1.8 * image.pixel_um
    shape, samples = image.values.shape, 1 if smooth else 2
    raw = paint(atlas.index, 1.0 / atlas.voxel_um, painting.table(k), matrix, shape, samples)
    return blur(raw, stage.sigma_um / image.pixel_um)


def section_system(painting: Painting, state: State, k: int, image: LevelImage, stage: Stage) -> System:
    """Return the normal equations of section `k`."""
    middle = painted_plane(painting, state, k, image, stage)
    normal = np.zeros_like(middle)
    if stage.move_volume:
        ahead = painted_plane(painting, state, k, image, stage, stage.normal_um)
        behind = painted_plane(painting, state, k, image, stage, -stage.normal_um)
        normal = (ahead - behind) / np.float32(2.0 * stage.normal_um)
    gain = np.float32(painting.gains[k])  # outliers are judged at the section's own strength,
    weights = image.weights * gain**2  # but the noise of a pale one is larger against its stain
    pixels = np.stack([image.values / painting.strength(k), weights, middle, normal])
    geometry = _geometry(painting.atlas, state, k, image, stage)
    upper, right, cost, weight = accumulate(pixels, geometry, stage.scale, stage.freedom)
    full = np.triu(upper) + np.triu(upper, 1).T
    f = stage.freedom
    return System(full[:f, :f], full[:f, f:], full[f:, f:], right[:f], right[f:], cost, weight)


def _geometry(atlas: Atlas, state: State, k: int, image: LevelImage, stage: Stage) -> Geometry:
    to_volume = _level_to_volume(state, k, image)
    return Geometry(
        to_volume=to_volume,
        inverse=np.asarray(np.linalg.inv(to_volume[:, :2]), dtype=np.float64),
        along=state.plane(k, image.to_thumbnail)[NORMAL_AXIS[atlas.plane]],
        limits_um=atlas.limits_um if stage.respects_limits else (-np.inf, np.inf),
        centre_um=centre_um(state, k, image),
        z=(float(state.z_um[k]) - float(np.mean(state.z_um))) / LENGTH_UM,
    )


def _level_to_volume(state: State, k: int, image: LevelImage) -> Float64:
    return affine.compose(state.sections[k], image.to_thumbnail)


def centre_um(state: State, k: int, image: LevelImage) -> tuple[float, float]:
    """Return the middle of the frame of section `k` in the volume."""
    h, w = image.values.shape
    x, y = _level_to_volume(state, k, image) @ np.array([0.5 * (w - 1), 0.5 * (h - 1), 1.0])
    return float(x), float(y)


def systems(
    painting: Painting, state: State, images: Sequence[LevelImage], stage: Stage, threads: int
) -> list[System]:
    """Return the normal equations of every section."""

    def one(k: int) -> System:
        return section_system(painting, state, k, images[k], stage)

    return each(one, range(len(images)), threads)


@dataclass(frozen=True, eq=False)
class Prior:
    """What is expected of the sections' parameters before the images are seen.

    Parameters
    ----------
    target : (n, freedom) float64, um       step that would reach the expectation
    spread : (n, freedom) float64, um       standard deviation about it
    """

    target: Float64
    spread: Float64


def solve(found: Sequence[System], prior: Prior, stage: Stage, damping: Float64) -> tuple[Float64, Float64]:
    """Return the steps of the sections, (n, freedom), and of the volume, (7,), all in um.

    `damping`, (n,), shortens the steps of single sections as Levenberg and Marquardt do.
    """
    freedom = stage.freedom
    own, cross, right = [], [], []
    reduced = np.eye(N_VOLUME) / _VOLUME_SPREAD_UM**2
    reduced_right = np.zeros(N_VOLUME)
    for k, system in enumerate(found):
        precision = 1.0 / prior.spread[k] ** 2
        normal = stage.information * system.own + np.diag(precision)
        inverse = np.linalg.inv(normal + damping[k] * np.diag(np.diag(normal)))
        side = stage.information * system.cross
        toward = stage.information * system.own_right + precision * prior.target[k]
        own.append(inverse)
        cross.append(side)
        right.append(toward)
        reduced += stage.information * system.volume - side.T @ inverse @ side
        reduced_right += stage.information * system.volume_right - side.T @ inverse @ toward
    volume = np.zeros(N_VOLUME)
    if stage.move_volume:
        volume = np.asarray(np.linalg.solve(reduced, reduced_right), dtype=np.float64)
    steps = [
        inverse @ (toward - side @ volume) for inverse, side, toward in zip(own, cross, right, strict=True)
    ]
    sections = np.array(steps).reshape(len(found), freedom)
    return np.clip(sections, -_LARGEST_STEP_UM, _LARGEST_STEP_UM), volume


def moved(state: State, images: Sequence[LevelImage], sections: Float64, volume: Float64) -> State:
    """Return the state after a step of `solve`."""
    matrices = [
        affine.compose(_section_step(step, centre_um(state, k, images[k])), state.sections[k])
        for k, step in enumerate(sections)
    ]
    return state.replaced(np.array(matrices), affine.compose(state.volume, _volume_step(state, volume)))


def _section_step(step: Float64, centre: tuple[float, float]) -> Float64:
    turn = affine.rigid2d(float(np.rad2deg(step[2] / LENGTH_UM)), (step[0], step[1]), centre)
    if step.size == RIGID:
        return turn
    xx, yy, xy = step[3:] / LENGTH_UM
    linear = np.array([[1.0 + xx, xy], [xy, 1.0 + yy]])
    middle = np.asarray(centre)
    return affine.compose(turn, np.column_stack([linear, middle - linear @ middle]))


def _volume_step(state: State, step: Float64) -> Float64:
    """The map of the volume onto itself: strain in the plane, then shift, tilt and stretch of z."""
    xx, yy, xy = step[:3] / LENGTH_UM
    shift, by_x, by_y, by_z = step[3], *(step[4:] / LENGTH_UM)
    x0, y0 = VOLUME_CENTRE_UM
    z0 = float(np.mean(state.z_um))
    linear = np.array([[1.0 + xx, xy, 0.0], [xy, 1.0 + yy, 0.0], [by_x, by_y, 1.0 + by_z]])
    centre = np.array([x0, y0, z0])
    return np.column_stack([linear, centre - linear @ centre + np.array([0.0, 0.0, shift])])
