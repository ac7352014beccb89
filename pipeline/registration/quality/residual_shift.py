"""Residual displacement: the error that the images still show once a series is fitted.

Every section is cut into blocks of 1.5 mm. In each block one Gauss-Newton step estimates how far the stain
would still move within the plane, and how well that is determined. One step along the normal estimates how
far the plane is off.

Notes
-----
The step of a block is that of Lucas & Kanade (1981), with the weights of Geman & McClure (1987) and a
Gaussian prior on the displacement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, Float64
from pipeline.registration.fit.gauss_newton import (
    AFFINE,
    NORMAL_SHIFT,
    RIGID,
    Painting,
    Stage,
    painted_plane,
    section_system,
)
from pipeline.registration.fit.joint import (
    OUTLINE_SCALE,
    RESIDUAL_LEVEL,
    STAIN_SCALE,
    FitProblem,
    Solution,
    level_images,
    level_pixel_um,
    outline_painting,
    stain_painting,
)
from pipeline.registration.model.stain_table import StainModel
from pipeline.registration.model.state import LevelImage, TransformState
from pipeline.system.threads import each

_BLOCK_UM = 1500.0  # um; side of a block
_LEAST_BLOCK_PX = 3  # px; of a block, for central differences
SPREAD_UM = 300.0  # um; prior standard deviation of a displacement


@dataclass(frozen=True)
class ResidualDisplacement:
    """Residual displacement of a section, um.

    Attributes
    ----------
    local_um : float, um
        Displacement of the blocks within the plane, r.m.s.
    uncertainty_um : float, um
        Uncertainty of these displacements, r.m.s.; 300 um where nothing is seen.
    plane_um : float, um
        Displacement of the section along its normal.
    """

    local_um: float
    uncertainty_um: float
    plane_um: float


@kernel
def block_sums(values, weights, painted, scale, size):  # type: ignore[no-untyped-def]
    """Sum the normal equations of every block, with robust weights.

    Parameters
    ----------
    values : (h, w) float32
        Image of the section.
    weights : (h, w) float32
        Weight of each pixel; 0 is left out.
    painted : (h, w) float32
        Atlas painted on the plane of the section.
    scale : float
        Residual at which a weight is down to a quarter (Geman-McClure).
    size : int, px
        Side of a block.

    Returns
    -------
    (rows, columns, 6) float64
        Sums of J'WJ (xx, xy, yy), of J'Wr (x, y), and the weight on tissue.
    """
    h, w = values.shape
    sums = np.zeros(((h + size - 1) // size, (w + size - 1) // size, 6))
    for y in range(1, h - 1):
        for x in range(1, w - 1):
            weight = weights[y, x]
            if weight <= 0.0:
                continue
            gx = 0.5 * (painted[y, x + 1] - painted[y, x - 1])  # central differences, per px
            gy = 0.5 * (painted[y + 1, x] - painted[y - 1, x])
            residual = values[y, x] - painted[y, x]
            robust = weight / (1.0 + (residual / scale) ** 2) ** 2  # Geman-McClure
            cell = sums[y // size, x // size]
            cell[0] += robust * gx * gx
            cell[1] += robust * gx * gy
            cell[2] += robust * gy * gy
            cell[3] += robust * gx * residual
            cell[4] += robust * gy * residual
            if painted[y, x] > 0.0 or values[y, x] > scale:  # glass on glass is no tissue
                cell[5] += weight
    return sums


def stain_level(
    problem: FitProblem, model: StainModel, freedom: int
) -> tuple[Painting, list[LevelImage], Stage]:
    """Return the level on which the residuals of the stain are looked at.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    model : StainModel
        Stain model of the fit.
    freedom : int
        3 for rigid sections, 6 for affine ones.

    Returns
    -------
    painting : Painting
        What the atlas is painted with.
    images : list of LevelImage
        Stain of each section, with twice `stain_pixel_um` (100 um by default) as blur.
    stage : Stage
        Blur, robust scale and noise.
    """
    sigma = RESIDUAL_LEVEL * problem.options.stain_pixel_um
    stains = [tissue.stain for tissue in problem.tissues]
    images = level_images(problem, stains, level_pixel_um(sigma, problem.options), sigma)
    scale = STAIN_SCALE * model.noise
    stage = Stage(sigma, 0.5 * sigma, scale, freedom, move_volume=True, noise=model.noise)
    return stain_painting(problem, model), images, stage


def residual_displacements(
    problem: FitProblem, state: TransformState, model: StainModel | None
) -> list[ResidualDisplacement]:
    """Return the residual displacement of every section, by stain, or by outline without a stain model.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    state : TransformState
        Fitted transforms.
    model : StainModel or None
        Stain model of the fit.

    Returns
    -------
    list of ResidualDisplacement
        Residual displacement and its uncertainty, one for each section.
    """
    if model is not None:
        painting, images, stage = stain_level(problem, model, RIGID)
    else:
        sigma = RESIDUAL_LEVEL * problem.options.stain_pixel_um
        masks = [t.mask.astype(np.float32) for t in problem.tissues]
        images = level_images(problem, masks, level_pixel_um(sigma, problem.options), sigma)
        painting = outline_painting(problem)
        stage = Stage(sigma, 0.5 * sigma, OUTLINE_SCALE, RIGID, move_volume=True)
    return block_displacements(painting, state, images, stage, problem.options.threads)


def residual_planes(problem: FitProblem, solution: Solution, own: Sequence[int]) -> tuple[Float64, Float64]:
    """Return by how much single sections would still be stretched and tilted to fit their stain.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    solution : Solution
        The fit.
    own : sequence of int
        Indices of the sections that are asked for.

    Returns
    -------
    steps : (n, 5) float64, um at 3 mm
        Stretch x, stretch y, shear, tilt along x, tilt along y, see `residual_shift.plane_steps`.
    spread : (n, 5) float64, um at 3 mm
        Standard deviations; infinite where there is no stain model.
    """
    model = solution.model
    if model is None:
        return np.zeros((len(own), 5)), np.full((len(own), 5), np.inf)
    painting, images, stage = stain_level(problem, model, AFFINE)

    def one(k: int) -> tuple[Float64, Float64]:
        return plane_steps(painting, solution.state, k, images[k], stage)

    found = np.array(each(one, own, problem.options.threads)).reshape(len(own), 2, 5)
    return found[:, 0], found[:, 1]


def block_displacements(
    painting: Painting, state: TransformState, images: Sequence[LevelImage], stage: Stage, threads: int
) -> list[ResidualDisplacement]:
    """Estimate the residual displacement of every section.

    Parameters
    ----------
    painting : Painting
        What the atlas is painted with.
    state : TransformState
        Placement of the n sections.
    images : sequence of LevelImage
        Image of each section.
    stage : Stage
        Blur, robust scale and noise; `plane_um` needs its `move_volume`.
    threads : int
        Threads that share the sections.

    Returns
    -------
    list of ResidualDisplacement
        One for each section.
    """

    def one(k: int) -> ResidualDisplacement:
        painted = painted_plane(painting, state, k, images[k], stage)
        local, uncertainty = block_displacement(painting, k, images[k], painted, stage)
        return ResidualDisplacement(local, uncertainty, _along_normal(painting, state, k, images[k], stage))

    return each(one, range(len(images)), threads)


def block_displacement(
    painting: Painting, k: int, image: LevelImage, painted: Float32, stage: Stage
) -> tuple[float, float]:
    """Estimate the residual displacement of one section within its plane.

    Parameters
    ----------
    painting : Painting
        What the atlas is painted with.
    k : int
        Index of the section.
    image : LevelImage
        Its image.
    painted : (h, w) float32
        Atlas painted where the section lies, with the blur of the image.
    stage : Stage
        Blur, robust scale and noise.

    Returns
    -------
    local : float, um
        Displacement of the blocks, r.m.s.
    uncertainty : float, um
        Uncertainty of these displacements, r.m.s.
    """
    size = max(_LEAST_BLOCK_PX, round(_BLOCK_UM / image.pixel_um))
    weights = image.weights * np.float32(painting.gains[k]) ** 2
    sums = block_sums(image.values / painting.strength(k), weights, painted, stage.scale, size)
    return _blocks(sums.reshape(-1, 6), stage.information, image.pixel_um)


def _blocks(sums: Float64, information: float, pixel_um: float) -> tuple[float, float]:
    """Return the r.m.s. displacement and its r.m.s. uncertainty over the blocks with tissue, um."""
    sums = sums[sums[:, 5] > 0]
    if len(sums) == 0:
        return 0.0, SPREAD_UM
    normal = np.empty((len(sums), 2, 2))
    normal[:, 0, 0], normal[:, 1, 1] = sums[:, 0], sums[:, 2]
    normal[:, 0, 1] = normal[:, 1, 0] = sums[:, 1]
    # gradients per um, plus the prior
    normal = information / pixel_um**2 * normal + np.eye(2) / SPREAD_UM**2
    inverse = np.linalg.inv(normal)
    steps = np.einsum("nij,nj->ni", inverse, information / pixel_um * sums[:, 3:5])
    spread = 0.5 * np.trace(inverse, axis1=1, axis2=2)  # variance of one coordinate, um2
    share = sums[:, 5] / sums[:, 5].sum()  # blocks count by their tissue
    return float(np.sqrt(share @ (steps**2).sum(axis=1))), float(np.sqrt(share @ spread))


def _along_normal(
    painting: Painting, state: TransformState, k: int, image: LevelImage, stage: Stage
) -> float:
    """Return how far a section would move along its normal with its own pose free, um."""
    system = section_system(painting, state, k, image, stage)
    size = stage.freedom + 1
    normal, right = np.empty((size, size)), np.empty(size)
    normal[:-1, :-1], normal[:-1, -1] = system.own, system.cross[:, NORMAL_SHIFT]
    normal[-1, :-1], normal[-1, -1] = system.cross[:, NORMAL_SHIFT], system.volume[NORMAL_SHIFT, NORMAL_SHIFT]
    right[:-1], right[-1] = system.own_right, system.volume_right[NORMAL_SHIFT]
    prior = np.eye(size) / SPREAD_UM**2
    return abs(float(np.linalg.solve(stage.information * normal + prior, stage.information * right)[-1]))


def plane_steps(
    painting: Painting, state: TransformState, k: int, image: LevelImage, stage: Stage
) -> tuple[Float64, Float64]:
    """Return how a section on its own would be stretched and tilted, with the uncertainty.

    Parameters
    ----------
    painting : Painting
        What the atlas is painted with.
    state : TransformState
        Placement of the sections.
    k : int
        Index of the section.
    image : LevelImage
        Its image.
    stage : Stage
        Blur, robust scale and noise, of affine freedom.

    Returns
    -------
    steps : (5,) float64, um over 3 mm
        Stretch x, stretch y, shear of the section; tilt along x, tilt along y.
    spread : (5,) float64, um over 3 mm
        Standard deviations; 300 um where nothing is seen.
    """
    system = section_system(painting, state, k, image, stage)
    along = slice(NORMAL_SHIFT, NORMAL_SHIFT + 3)  # shift and tilts along the normal
    cross = system.cross[:, along]
    normal = np.block([[system.own, cross], [cross.T, system.volume[along, along]]])
    right = np.concatenate([system.own_right, system.volume_right[along]])
    # posterior covariance, um2
    covariance = np.linalg.inv(stage.information * normal + np.eye(len(right)) / SPREAD_UM**2)
    # after shift x, shift y, turn; after the shift along the normal
    kept = [RIGID, RIGID + 1, RIGID + 2, AFFINE + 1, AFFINE + 2]
    step = stage.information * covariance @ right
    return step[kept], np.sqrt(np.diag(covariance)[kept])
