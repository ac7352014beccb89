"""The joint aligner: every section and the 3-D affine together, outlines first, then the series' own stain.

The stain stage alternates between the stain table, given the poses, and the poses, given the table. Both
stages are Gauss-Newton, see `gauss_newton`, coarse to fine in the blur of atlas and images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.core.model import Bool, Float32, Float64
from pipeline.registration.fit.gauss_newton import AFFINE, RIGID, Painting, Stage, moved, solve, systems
from pipeline.registration.fit.neighbour_prior import neighbour_prior
from pipeline.registration.model.hand_placed import held
from pipeline.registration.model.painted_atlas import Atlas
from pipeline.registration.model.stain_table import StainModel, explained, fit_stain
from pipeline.registration.model.state import LevelImage, State, level_image
from pipeline.registration.options import AlignmentOptions
from pipeline.registration.quality.residual_shift import Evidence, evidence, plane_steps
from pipeline.sections.thumbnail_tissue import TissueImage
from pipeline.system.threads import each

_OUTLINE_STEPS = 8  # Gauss-Newton steps at most, at each blur of the outline stage
_STAIN_STEPS = 4  # likewise, for each stain model
_STAIN_ROUNDS = 2  # estimates of the stain table at each blur
_SETTLED_UM = 2.0  # steps below this end a stage
# Coarser outlines are fitted by least squares: a far start must not look like outliers.
_ROBUST_BELOW_UM = 200.0
_LIMITS_BELOW_UM = 300.0  # finer stages ignore pixels beyond a cut end of the reference
_OUTLINE_SCALE = 0.5  # Geman-McClure scale of the masks, which run from 0 to 1
_STAIN_SCALE = 2.5  # Geman-McClure scale of the stain, in standard deviations of its noise


@dataclass(frozen=True, eq=False)
class Task:
    """The sections that are fitted, and what is known about them beforehand.

    Attributes
    ----------
    atlas : Atlas
        Labels of the reference.
    tissues : tuple of TissueImage
        One for each section.
    nominal : (n, 2, 3) float64, px to um
        Thumbnail px to um about the image centre, hints and common rotation applied.
    known : tuple of (h + 2m, w + 2m) bool
        Where each section holds information, see `known_with_margin`.
    options : AlignmentOptions
        Blurs, spreads and threads.
    laid : mapping of int to (float, bool)
        Rotation (degrees) and mirroring that `nominal` holds besides the hints, by series.
    held : mapping of int to (3, 3) float64
        Planes of the sections that a person has placed, by index, see `hand_placed.held`.
    """

    atlas: Atlas
    tissues: tuple[TissueImage, ...]
    nominal: Float64
    known: tuple[Bool, ...]
    options: AlignmentOptions
    laid: Mapping[int, tuple[float, bool]] = field(default_factory=dict)
    held: Mapping[int, Float64] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Solution:
    """Result of a fit.

    Attributes
    ----------
    state : State
        The fitted transforms.
    model : StainModel or None
        Stain model that led to the state; None from outlines alone.
    cost : float
        Robust squared residual per weight at the last linearisation; infinite where nothing was fitted.
    """

    state: State
    model: StainModel | None
    cost: float


def fit_outlines(task: Task, state: State, sigmas_um: Sequence[float]) -> Solution:
    """Fit blurred tissue masks to the annotated area, coarse to fine, with rigid sections.

    Parameters
    ----------
    task : Task
        The sections.
    state : State
        Initial transforms.
    sigmas_um : sequence of float, um
        Blurs, in the order in which they are used.

    Returns
    -------
    Solution
        The fit, without a stain model.
    """
    options = task.options
    solution = Solution(state, None, np.inf)
    painting = _outlined(task)
    for sigma in sigmas_um:
        masks = [tissue.mask.astype(np.float32) for tissue in task.tissues]
        images = _images(task, masks, _pixel_um(sigma, options), sigma)
        # 1e6 is as good as infinite for masks: plain least squares.
        scale = _OUTLINE_SCALE if sigma < _ROBUST_BELOW_UM else 1e6
        stage = Stage(
            sigma_um=sigma,
            normal_um=max(0.5 * sigma, 50.0),  # at least two voxels of a 25 um atlas
            scale=scale,
            freedom=RIGID,
            move_volume=True,
            respects_limits=sigma < _LIMITS_BELOW_UM,
        )
        solution = _settle(task, painting, images, solution.state, stage, _OUTLINE_STEPS)
    return solution


def stain_explained(task: Task, state: State) -> float:
    """Return the share of the stain's variance that the labels explain, see `stain_table.explained`.

    Parameters
    ----------
    task : Task
        The sections.
    state : State
        Current transforms.

    Returns
    -------
    float
        Share, at most 1; images have twice `stain_pixel_um` (100 um by default) as pixel and blur.
    """
    pixel = 2.0 * task.options.stain_pixel_um
    images = _images(task, [tissue.stain for tissue in task.tissues], pixel, pixel)
    return explained(task.atlas, state, images, task.options.threads)


def stain_now(task: Task, state: State) -> StainModel:
    """Estimate the stain model under the current transforms.

    Parameters
    ----------
    task : Task
        The sections.
    state : State
        Current transforms.

    Returns
    -------
    StainModel
        The model; images have twice `stain_pixel_um` (100 um by default) as pixel and blur.
    """
    pixel = 2.0 * task.options.stain_pixel_um
    images = _images(task, [tissue.stain for tissue in task.tissues], pixel, pixel)
    return fit_stain(task.atlas, state, images, None, task.options.threads)


def left_over(task: Task, state: State, model: StainModel | None) -> list[Evidence]:
    """Return the residual displacement of every section, by stain, or by outline without a stain model.

    Parameters
    ----------
    task : Task
        The sections.
    state : State
        Fitted transforms.
    model : StainModel or None
        Stain model of the fit.

    Returns
    -------
    list of Evidence
        Residual displacement and its uncertainty, one for each section.
    """
    sigma = 2.0 * task.options.stain_pixel_um
    pictures = [t.mask.astype(np.float32) if model is None else t.stain for t in task.tissues]
    images = _images(task, pictures, _pixel_um(sigma, task.options), sigma)
    if model is None:
        painting = _outlined(task)
        stage = Stage(sigma, 0.5 * sigma, _OUTLINE_SCALE, RIGID, move_volume=True)
    else:
        painting = _stained(task, model)
        scale = _STAIN_SCALE * model.noise
        stage = Stage(sigma, 0.5 * sigma, scale, RIGID, move_volume=True, noise=model.noise)
    return evidence(painting, state, images, stage, task.options.threads)


def planes_left(task: Task, solution: Solution, own: Sequence[int]) -> tuple[Float64, Float64]:
    """Return by how much single sections would still be stretched and tilted to fit their stain.

    Parameters
    ----------
    task : Task
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
    sigma = 2.0 * task.options.stain_pixel_um
    painting = _stained(task, model)
    scale = _STAIN_SCALE * model.noise
    stage = Stage(sigma, 0.5 * sigma, scale, AFFINE, move_volume=True, noise=model.noise)
    images = _images(task, [t.stain for t in task.tissues], _pixel_um(sigma, task.options), sigma)

    def one(k: int) -> tuple[Float64, Float64]:
        return plane_steps(painting, solution.state, k, images[k], stage)

    found = np.array(each(one, own, task.options.threads)).reshape(len(own), 2, 5)
    return found[:, 0], found[:, 1]


def fit_stains(task: Task, state: State) -> Solution:
    """Fit the series' own stain, coarse to fine, then release the strains of the sections.

    Parameters
    ----------
    task : Task
        The sections; `task.options.stain_sigma_um` gives the blurs.
    state : State
        Transforms after the outline stage.

    Returns
    -------
    Solution
        The fit and the last stain model.

    Notes
    -----
    The table is estimated from unblurred images and the poses from blurred ones, twice at each blur.
    """
    options = task.options
    stains = [tissue.stain for tissue in task.tissues]
    model: StainModel | None = None
    for sigma in options.stain_sigma_um:
        pixel = _pixel_um(sigma, options)
        # The table needs sharp label borders; the fit needs blurred ones.
        sharp = _images(task, stains, pixel, 0.0)
        images = _images(task, stains, pixel, sigma)
        for _ in range(_STAIN_ROUNDS):
            model = fit_stain(task.atlas, state, sharp, model, options.threads)
            solution = _stain_stage(task, images, state, model, sigma, RIGID)
            state = solution.state
    # Last, at the finest blur: strains of the sections, about the series' own scale.
    if options.strain > 0 and model is not None:
        solution = _stain_stage(task, images, state, model, sigma, AFFINE)
    return solution


def _stain_stage(
    task: Task, images: list[LevelImage], state: State, model: StainModel, sigma: float, freedom: int
) -> Solution:
    """Fit at one blur and with one stain model."""
    stage = Stage(
        sigma_um=sigma,
        normal_um=max(0.5 * sigma, 40.0),  # um
        scale=_STAIN_SCALE * model.noise,
        freedom=freedom,
        move_volume=freedom == RIGID,  # sections with strains of their own would trade them with the volume's
        noise=model.noise,
    )
    painting = _stained(task, model)
    return replace(_settle(task, painting, images, state, stage, _STAIN_STEPS), model=model)


def _outlined(task: Task) -> Painting:
    return Painting(task.atlas, task.atlas.outline_table()[None], np.ones(len(task.tissues)))


def _stained(task: Task, model: StainModel) -> Painting:
    """Render with the stain; each series is in units in which all series have the same noise."""
    tables = np.asarray(model.tables / model.units[:, None], dtype=np.float32)
    return Painting(task.atlas, tables, model.gains, model.series, model.units)


def _settle(
    task: Task, painting: Painting, images: list[LevelImage], state: State, stage: Stage, steps: int
) -> Solution:
    """Take Gauss-Newton steps until they are small; damp a section whose cost rises.

    The damping follows Levenberg-Marquardt (Marquardt 1963) for each section by itself. Steps are not undone.
    """
    options = task.options
    damping = np.zeros(len(images))
    last = np.full(len(images), np.inf)
    for _ in range(steps):
        found = systems(painting, state, images, stage, options.threads)
        costs = np.array([system.cost for system in found])
        # A section whose cost rose by over 1 % takes shorter steps, and longer ones again after it fell.
        damping = np.where(costs > 1.01 * last, 4.0 * damping + 1.0, damping / 3.0)
        last = costs
        prior = neighbour_prior(state, task.nominal, stage.freedom, options.strain)
        # Sections placed by hand are put back after every step, so that the volume adapts to them.
        sections, volume = solve(found, prior, stage, damping)
        state = held(moved(state, images, sections, volume), task.held)
        # The 90th percentile: a few restless sections do not hold up the series.
        if max(float(np.percentile(np.abs(sections), 90)), float(np.abs(volume).max())) < _SETTLED_UM:
            break
    weights = sum(system.weight for system in found)
    return Solution(state, None, float(last.sum()) / max(weights, 1e-12))


def _images(task: Task, images: Sequence[Float32], pixel_um: float, sigma_um: float) -> list[LevelImage]:
    """Return the images of all sections at one level."""

    def one(k: int) -> LevelImage:
        return level_image(task.tissues[k], task.known[k], images[k], pixel_um, sigma_um)

    return each(one, range(len(images)), task.options.threads)


def _pixel_um(sigma_um: float, options: AlignmentOptions) -> float:
    """Return the pixel of a level: half the blur, within 1 to 4 times `stain_pixel_um`."""
    return float(np.clip(0.5 * sigma_um, options.stain_pixel_um, 4.0 * options.stain_pixel_um))
