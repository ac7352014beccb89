"""Gauss-Newton for the poses of all sections and one 3-D affine together.

The atlas is rendered ("painted") on the current plane of every section and compared with the section's
image. When a section moves in its plane, the rendered image changes along its in-plane gradient. When the
volume is tilted, shifted or stretched, the image also changes along the normal; that derivative is a
central difference of two more planes. The two sets of parameters share no degree of freedom: the volume
has the common in-plane strain and the row of z, the sections have everything else in the plane. The
normal equations are therefore arrow-shaped, and the Schur complement that eliminates the sections solves
them.

Notes
-----
Residuals are weighted by the Geman-McClure function (Geman and McClure 1987), in iteratively reweighted
least squares (Holland and Welsch 1977). Single sections are damped as in Marquardt (1963). The Schur
complement of an arrow-shaped system is that of bundle adjustment (Triggs et al. 2000).

References
----------
Geman S, McClure DE (1987). Statistical methods for tomographic image reconstruction. Bulletin of the
International Statistical Institute 52(4):5-21.
Holland PW, Welsch RE (1977). Robust regression using iteratively reweighted least-squares. Communications
in Statistics A6(9):813-827.
Marquardt DW (1963). An algorithm for least-squares estimation of nonlinear parameters. Journal of the
Society for Industrial and Applied Mathematics 11(2):431-441.
Triggs B, McLauchlan PF, Hartley RI, Fitzgibbon AW (2000). Bundle adjustment - a modern synthesis. Vision
Algorithms: Theory and Practice, 298-372.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, Float64, Int64
from pipeline.geometry import affine
from pipeline.registration.model.painted_atlas import NORMAL_AXIS, Atlas, blur, paint, samples_a_pixel
from pipeline.registration.model.state import LevelImage, TransformState
from pipeline.system.threads import each

# Rotations, strains and tilts count as the displacement that they cause at this distance: about the half
# width of a section, so that one prior in um suits all parameters.
LENGTH_UM = 3000.0
RIGID, AFFINE = 3, 6  # own parameters of a section: shift x, shift y, rotation[, strains xx, yy, xy]
NORMAL_SHIFT = 3  # index of the shift along the normal among the parameters of the volume
N_VOLUME = 7  # strains xx, yy, xy; shift, tilt by x, tilt by y and stretch of z
VOLUME_CENTRE_UM = (5000.0, 4000.0)  # fixed point of the volume's strains and tilts, (x, y)
# um; a section's parameter moves no further in one step: the linearisation does not reach beyond.
LARGEST_STEP_UM = 400.0
VOLUME_SPREAD_UM = 2000.0  # um; prior of the volume's step: wide, keeps the system regular without data


@dataclass(frozen=True)
class Stage:
    """How one stage of the solution looks at the data.

    Attributes
    ----------
    sigma_um : float, um
        Gaussian blur of the atlas; the images come with the same blur.
    normal_um : float, um
        Half distance of the two planes that give the derivative along the normal.
    scale : float
        Residual at which a pixel's weight has fallen to a quarter; infinite for least squares.
    freedom : int
        3 for rigid sections, 6 for affine sections.
    move_volume : bool
        Whether the 3-D affine takes part.
    noise : float
        Standard deviation of the residuals.
    correlation_um : float, um
        Distance over which residuals are alike.
    respects_limits : bool
        Whether pixels beyond the end of a cut-off reference are ignored, instead of taken as glass.
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
        """Weight of the data against the priors: 1 / (noise^2 x correlation_um^2), in 1/mm2.

        Sums over pixels are areas in mm2, so this counts squares of side `correlation_um` as independent
        residuals.
        """
        return 1.0 / (self.noise**2 * (self.correlation_um * 1e-3) ** 2)


@dataclass(frozen=True, eq=False)
class Painting:
    """What the atlas is rendered with.

    Attributes
    ----------
    atlas : Atlas
        Labels of the reference.
    tables : (s, labels) float32
        Value of each label in each series; all series are scaled to one noise.
    gains : (n,) float64
        Staining strength of each section within its series.
    series : (n,) int64
        Row of `tables` that a section uses; empty where all use the first.
    units : (s,) float64
        What the images of a series are divided by besides the gain; empty for nothing.
    """

    atlas: Atlas
    tables: Float32
    gains: Float64
    series: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    units: Float64 = field(default_factory=lambda: np.zeros(0))

    def table(self, k: int) -> Float32:
        """Return the label values of a section.

        Parameters
        ----------
        k : int
            Index of the section.

        Returns
        -------
        (labels,) float32
            Value of each label.
        """
        return np.asarray(self.tables[self.series[k] if self.series.size else 0])

    def strength(self, k: int) -> np.float32:
        """Return the divisor of a section's image: its gain times the unit of its series.

        Parameters
        ----------
        k : int
            Index of the section.

        Returns
        -------
        float32
            The divisor; the image over it is in the units of `tables`.
        """
        unit = self.units[self.series[k]] if self.units.size else 1.0
        return np.float32(self.gains[k] * unit)


@dataclass(frozen=True, eq=False)
class System:
    """Normal equations of one section, before `Stage.information` is applied.

    Derivatives are in 1/um of the parameters of `_columns`; pixels are weighted by area (mm2) x gain^2.

    Attributes
    ----------
    own : (freedom, freedom) float64
        J'WJ of the section's own parameters.
    cross : (freedom, 7) float64
        J'WJ between the section's and the volume's parameters.
    volume : (7, 7) float64
        J'WJ of the volume's parameters.
    own_right : (freedom,) float64
        J'Wr of the section's own parameters.
    volume_right : (7,) float64
        J'Wr of the volume's parameters.
    cost : float
        Robust sum of squared residuals.
    weight : float
        Sum of the pixel weights.
    """

    own: Float64
    cross: Float64
    volume: Float64
    own_right: Float64
    volume_right: Float64
    cost: float
    weight: float


@kernel(inline=True)
def _columns(j, gradient, place, freedom):  # type: ignore[no-untyped-def]
    """Fill the row of J of one pixel.

    The section's columns come first: shift x, shift y, rotation and, where it is affine, strains xx, yy, xy.
    The volume's seven follow: strains xx, yy, xy, then shift, tilt by x, tilt by y and stretch of z.
    Rotations, strains and tilts are in um at `LENGTH_UM` from their centre, so that all have one unit.
    """
    # (ux, uy): from the section's centre, (qx, qy, qz): from the volume's, both in units of LENGTH_UM.
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


@kernel(inline=True)
def _add(hessian, right, j, weight, residual):  # type: ignore[no-untyped-def]
    """Add one weighted row to J'WJ (upper triangle) and J'Wr."""
    # The upper triangle is enough, since the matrix is symmetric.
    for a in range(j.size):
        weighted = weight * j[a]
        right[a] += weighted * residual
        for c in range(a, j.size):
            hessian[a, c] += weighted * j[c]


@kernel
def accumulate(pixels, geometry, scale, freedom):  # type: ignore[no-untyped-def]
    """Sum J'WJ and J'Wr over the pixels of a section.

    Parameters
    ----------
    pixels : (4, h, w) float32
        Image, weights (mm2 x gain^2), atlas rendered on the plane, and its derivative along z (1/um).
    geometry : Geometry
        Where the pixels lie.
    scale : float
        Residual at which the weight is down to a quarter.
    freedom : int
        Number of the section's own parameters, 3 or 6.

    Returns
    -------
    hessian : (n, n) float64
        Upper triangle of J'WJ, n = freedom + 7.
    right : (n,) float64
        J'Wr.
    cost : float
        Sum of weight x rho(residual), rho of Geman-McClure.
    total : float
        Sum of the pixel weights.

    Notes
    -----
    Geman and McClure (1987): rho(r) = r^2 / (1 + (r/scale)^2), and the weight of iteratively reweighted least
    squares is 1 / (1 + (r/scale)^2)^2.
    """
    values, weights, painted, normal = pixels[0], pixels[1], pixels[2], pixels[3]
    hessian, right, j = np.zeros((freedom + 7, freedom + 7)), np.zeros(freedom + 7), np.zeros(freedom + 7)
    cost, total = 0.0, 0.0
    to_volume, inverse, along, limits, own, qz = geometry
    # The outermost pixels have no central difference.
    for y in range(1, values.shape[0] - 1):
        for x in range(1, values.shape[1] - 1):
            weight = weights[y, x]
            # Position on the reference's cutting axis: beyond its cut end nothing is known.
            position = along[0] * x + along[1] * y + along[2]
            if weight <= 0.0 or position < limits[0] or position > limits[1]:
                continue
            residual = values[y, x] - painted[y, x]
            # Geman-McClure: the cost takes this factor once, its derivative, and so the weight, twice.
            robust = 1.0 / (1.0 + (residual / scale) ** 2)
            cost += weight * residual * residual * robust
            total += weight
            # Gradient in px, then by the chain rule in um of the volume.
            fx = 0.5 * (painted[y, x + 1] - painted[y, x - 1])
            fy = 0.5 * (painted[y + 1, x] - painted[y - 1, x])
            fz = normal[y, x]
            # A flat neighbourhood adds only zeros to the sums.
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

    Attributes
    ----------
    to_volume : (2, 3) float64
        Level px to volume um.
    inverse : (2, 2) float64
        Linear part of volume um to px.
    along : (3,) float64
        (x, y, 1) px to the position on the reference's cutting axis, um.
    limits_um : (float, float), um
        Ends of the known reference on that axis.
    centre_um : (float, float), um
        Point of the volume about which the section rotates.
    z : float
        Distance from the mean z of the series, over `LENGTH_UM`.
    """

    to_volume: Float64
    inverse: Float64
    along: Float64
    limits_um: tuple[float, float]
    centre_um: tuple[float, float]
    z: float


def painted_plane(
    painting: Painting, state: TransformState, k: int, image: LevelImage, stage: Stage, shift_um: float = 0.0
) -> Float32:
    """Render the atlas on the plane of a section and blur it.

    Parameters
    ----------
    painting : Painting
        Atlas and label values.
    state : TransformState
        Current transforms.
    k : int
        Index of the section.
    image : LevelImage
        Gives pixel grid and pixel size.
    stage : Stage
        Gives the blur.
    shift_um : float, um
        Distance of the plane from the section along z of the volume.

    Returns
    -------
    (h, w) float32
        The blurred rendering.
    """
    atlas = painting.atlas
    matrix = state.plane(k, image.to_thumbnail, shift_um)
    shape, samples = image.values.shape, samples_a_pixel(image.pixel_um, atlas.voxel_um, stage.sigma_um)
    raw = paint(atlas.index, 1.0 / atlas.voxel_um, painting.table(k), matrix, shape, samples)
    return blur(raw, stage.sigma_um / image.pixel_um)


def section_system(
    painting: Painting, state: TransformState, k: int, image: LevelImage, stage: Stage
) -> System:
    """Return the normal equations of one section.

    Parameters
    ----------
    painting : Painting
        Atlas, label values and gains.
    state : TransformState
        Current transforms, at which the problem is linearised.
    k : int
        Index of the section.
    image : LevelImage
        The section's image at this level.
    stage : Stage
        Blur, robustness and degrees of freedom.

    Returns
    -------
    System
        Normal equations, cost and total weight.
    """
    middle = painted_plane(painting, state, k, image, stage)
    normal = np.zeros_like(middle)
    if stage.move_volume:
        ahead = painted_plane(painting, state, k, image, stage, stage.normal_um)
        behind = painted_plane(painting, state, k, image, stage, -stage.normal_um)
        normal = (ahead - behind) / np.float32(2.0 * stage.normal_um)
    gain = np.float32(painting.gains[k])  # outliers are judged at the section's own strength,
    weights = image.weights * gain**2  # but a pale section is noisier relative to its stain
    pixels = np.stack([image.values / painting.strength(k), weights, middle, normal])
    geometry = _geometry(painting.atlas, state, k, image, stage)
    upper, right, cost, weight = accumulate(pixels, geometry, stage.scale, stage.freedom)
    full = np.triu(upper) + np.triu(upper, 1).T
    f = stage.freedom
    return System(full[:f, :f], full[:f, f:], full[f:, f:], right[:f], right[f:], cost, weight)


def _geometry(atlas: Atlas, state: TransformState, k: int, image: LevelImage, stage: Stage) -> Geometry:
    to_volume = _level_to_volume(state, k, image)
    return Geometry(
        to_volume=to_volume,
        inverse=np.asarray(np.linalg.inv(to_volume[:, :2]), dtype=np.float64),
        along=state.plane(k, image.to_thumbnail)[NORMAL_AXIS[atlas.plane]],
        limits_um=atlas.limits_um if stage.respects_limits else (-np.inf, np.inf),
        centre_um=centre_um(state, k, image),
        z=(float(state.z_um[k]) - float(np.mean(state.z_um))) / LENGTH_UM,
    )


def _level_to_volume(state: TransformState, k: int, image: LevelImage) -> Float64:
    return affine.compose(state.sections[k], image.to_thumbnail)


def centre_um(state: TransformState, k: int, image: LevelImage) -> tuple[float, float]:
    """Return the centre of a section's image frame in the volume.

    Parameters
    ----------
    state : TransformState
        Current transforms.
    k : int
        Index of the section.
    image : LevelImage
        Gives the frame, margin included.

    Returns
    -------
    (float, float), um
        (x, y) of the volume.
    """
    h, w = image.values.shape
    x, y = _level_to_volume(state, k, image) @ np.array([0.5 * (w - 1), 0.5 * (h - 1), 1.0])
    return float(x), float(y)


def systems(
    painting: Painting, state: TransformState, images: Sequence[LevelImage], stage: Stage, threads: int
) -> list[System]:
    """Return the normal equations of every section.

    Parameters
    ----------
    painting : Painting
        Atlas, label values and gains.
    state : TransformState
        Current transforms.
    images : sequence of LevelImage
        One for each section.
    stage : Stage
        Blur, robustness and degrees of freedom.
    threads : int
        Threads that share the sections.

    Returns
    -------
    list of System
        In the order of the sections.
    """

    def one(k: int) -> System:
        return section_system(painting, state, k, images[k], stage)

    return each(one, range(len(images)), threads)


@dataclass(frozen=True, eq=False)
class Prior:
    """Gaussian prior of the sections' parameters.

    Attributes
    ----------
    target : (n, freedom) float64, um
        Step that would reach the expected pose.
    spread : (n, freedom) float64, um
        Standard deviation about it.
    """

    target: Float64
    spread: Float64


@dataclass(frozen=True, eq=False)
class VolumePrior:
    """Gaussian prior of the volume's parameters.

    Attributes
    ----------
    target : (7,) float64, um
        Step that would reach the expected value.
    spread : (7,) float64, um
        Standard deviation about it; infinite where nothing is expected.
    """

    target: Float64
    spread: Float64


def solve(
    found: Sequence[System], prior: Prior, whole: VolumePrior, stage: Stage, damping: Float64
) -> tuple[Float64, Float64]:
    """Solve the damped normal equations of all sections and the volume.

    Parameters
    ----------
    found : sequence of System
        Normal equations of every section.
    prior : Prior
        Expected steps of the sections.
    whole : VolumePrior
        Expected step of the volume.
    stage : Stage
        Weight of the data, degrees of freedom, and whether the volume moves.
    damping : (n,) float64
        Shortens the steps of single sections; 0 for a plain Gauss-Newton step.

    Returns
    -------
    sections : (n, freedom) float64, um
        Steps of the sections, each component at most 400 um.
    volume : (7,) float64, um
        Step of the volume; zeros where it does not move.

    Notes
    -----
    The damping multiplies the diagonal (Marquardt 1963). The sections are eliminated by the Schur complement,
    so the cost is linear in their number.
    """
    freedom = stage.freedom
    own, cross, right = [], [], []
    # Information of the volume alone; the Schur terms of the sections are subtracted one by one.
    reduced = np.eye(N_VOLUME) / VOLUME_SPREAD_UM**2
    reduced += np.diag(1.0 / whole.spread**2)
    reduced_right = whole.target / whole.spread**2
    for k, system in enumerate(found):
        precision = 1.0 / prior.spread[k] ** 2
        # MAP estimate: the prior adds its precision to the data's.
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
    # Back substitution: each section's step, given the volume's.
    steps = [
        inverse @ (toward - side @ volume) for inverse, side, toward in zip(own, cross, right, strict=True)
    ]
    sections = np.array(steps).reshape(len(found), freedom)
    return np.clip(sections, -LARGEST_STEP_UM, LARGEST_STEP_UM), volume


def moved(
    state: TransformState, images: Sequence[LevelImage], sections: Float64, volume: Float64
) -> TransformState:
    """Return the state after a step of `solve`.

    Parameters
    ----------
    state : TransformState
        Transforms before the step.
    images : sequence of LevelImage
        Give the points about which the sections rotate.
    sections : (n, 3) or (n, 6) float64, um
        Steps of the sections.
    volume : (7,) float64, um
        Step of the volume.

    Returns
    -------
    TransformState
        Transforms after the step.
    """
    matrices = [
        # A section's step acts after its matrix, in the volume; the volume's acts before its matrix.
        affine.compose(section_step(step, centre_um(state, k, images[k])), state.sections[k])
        for k, step in enumerate(sections)
    ]
    return state.replaced(np.array(matrices), affine.compose(state.volume, _volume_step(state, volume)))


def section_step(step: Float64, centre: tuple[float, float]) -> Float64:
    """Return the (2, 3) map of the volume's plane onto itself: strain, rotation about `centre`, shift."""
    # Arc at LENGTH_UM to angle.
    turn = affine.rigid2d(float(np.rad2deg(step[2] / LENGTH_UM)), (step[0], step[1]), centre)
    if step.size == RIGID:
        return turn
    xx, yy, xy = step[3:] / LENGTH_UM
    linear = np.array([[1.0 + xx, xy], [xy, 1.0 + yy]])
    middle = np.asarray(centre)
    return affine.compose(turn, np.column_stack([linear, middle - linear @ middle]))


def _volume_step(state: TransformState, step: Float64) -> Float64:
    """Return the (3, 4) map of the volume onto itself: in-plane strain; shift, tilt and stretch of z."""
    xx, yy, xy = step[:3] / LENGTH_UM
    shift, by_x, by_y, by_z = step[3], *(step[4:] / LENGTH_UM)
    x0, y0 = VOLUME_CENTRE_UM
    # Tilts and stretch turn about the middle of the series, where shift and tilt are least correlated.
    z0 = float(np.mean(state.z_um))
    linear = np.array([[1.0 + xx, xy, 0.0], [xy, 1.0 + yy, 0.0], [by_x, by_y, 1.0 + by_z]])
    centre = np.array([x0, y0, z0])
    return np.column_stack([linear, centre - linear @ centre + np.array([0.0, 0.0, shift])])
