"""The joint aligner: every section and the 3-D affine together, outlines first, then the series' own stain.

The stain stage alternates between the stain table, given the poses, and the poses, given the table. Both
stages are Gauss-Newton, see `gauss_newton`, coarse to fine in the blur of atlas and images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.core.model import Bool, Float32, Float64
from pipeline.registration.fit.gauss_newton import (
    AFFINE,
    RIGID,
    Painting,
    Stage,
    moved,
    solve,
    systems,
)
from pipeline.registration.fit.neighbour_prior import neighbour_prior
from pipeline.registration.fit.volume_prior import volume_prior
from pipeline.registration.model.hand_placed import with_fixed_planes
from pipeline.registration.model.painted_atlas import Atlas
from pipeline.registration.model.stain_table import StainModel, explained, fit_stain
from pipeline.registration.model.state import LevelImage, TransformState, level_image
from pipeline.registration.model.stated_positions import NOTHING_STATED, StatedPositions
from pipeline.registration.options import AlignmentOptions
from pipeline.sections.thumbnail_tissue import TissueImage
from pipeline.system.threads import each

_OUTLINE_STEPS = 8  # Gauss-Newton steps at most, at each blur of the outline stage
_STAIN_STEPS = 4  # likewise, for each stain model
_STAIN_ROUNDS = 2  # estimates of the stain table at each blur
_CONVERGED_UM = 2.0  # um; steps below this end a stage
_STEP_PERCENTILE = 90  # of the sections' steps: a few restless sections do not hold up the series
# Coarser outlines are fitted by least squares: a far start must not look like outliers.
_ROBUST_BELOW_UM = 200.0  # um of blur
_LIMITS_BELOW_UM = 300.0  # um of blur; finer stages ignore pixels beyond a cut end of the reference
OUTLINE_SCALE = 0.5  # Geman-McClure scale of the masks, which run from 0 to 1
STAIN_SCALE = 2.5  # Geman-McClure scale of the stain, in standard deviations of its noise
_LEAST_SQUARES_SCALE = 1e6  # as good as infinite for masks: plain least squares
# um; least half distance of the planes that give the derivative along the normal, for outlines and for stain:
# the planes then lie at least three voxels of 25 um apart.
_OUTLINE_NORMAL_UM, _STAIN_NORMAL_UM = 50.0, 40.0
RESIDUAL_LEVEL = 2.0  # pixel and blur of measures, in units of `stain_pixel_um`
# A section whose cost rose beyond this factor is damped: each time by 4 x + 1, and by a third after a fall.
# The factor leaves room for resampling noise.
_COST_RISE, _DAMPING_GROWTH, _DAMPING_START, _DAMPING_DECAY = 1.01, 4.0, 1.0, 3.0
_PIXELS_A_SIGMA, _COARSEST_PIXELS = 0.5, 4.0  # pixel of a level, in units of its blur and of `stain_pixel_um`


@dataclass(frozen=True, eq=False)
class FitProblem:
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
    turn_and_mirror : mapping of int to (float, bool)
        Rotation (degrees) and mirroring that `nominal` holds besides the hints, by series.
    fixed_planes : mapping of int to (3, 3) float64
        Planes of the sections that a person has placed, by index, see `hand_placed.with_fixed_planes`.
    stated : StatedPositions
        Positions along the normal that the manifest states.
    """

    atlas: Atlas
    tissues: tuple[TissueImage, ...]
    nominal: Float64
    known: tuple[Bool, ...]
    options: AlignmentOptions
    turn_and_mirror: Mapping[int, tuple[float, bool]] = field(default_factory=dict)
    fixed_planes: Mapping[int, Float64] = field(default_factory=dict)
    stated: StatedPositions = NOTHING_STATED


@dataclass(frozen=True, eq=False)
class Solution:
    """Result of a fit.

    Attributes
    ----------
    state : TransformState
        The fitted transforms.
    model : StainModel or None
        Stain model that led to the state; None from outlines alone.
    cost : float
        Robust squared residual per weight at the last linearisation; infinite where nothing was fitted.
    """

    state: TransformState
    model: StainModel | None
    cost: float


def fit_outlines(problem: FitProblem, state: TransformState, sigmas_um: Sequence[float]) -> Solution:
    """Fit blurred tissue masks to the annotated area, coarse to fine, with rigid sections.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    state : TransformState
        Initial transforms.
    sigmas_um : sequence of float, um
        Blurs, in the order in which they are used.

    Returns
    -------
    Solution
        The fit, without a stain model.
    """
    options = problem.options
    solution = Solution(state, None, np.inf)
    painting = outline_painting(problem)
    for sigma in sigmas_um:
        masks = [tissue.mask.astype(np.float32) for tissue in problem.tissues]
        images = level_images(problem, masks, level_pixel_um(sigma, options), sigma)
        scale = OUTLINE_SCALE if sigma < _ROBUST_BELOW_UM else _LEAST_SQUARES_SCALE
        stage = Stage(
            sigma_um=sigma,
            normal_um=max(0.5 * sigma, _OUTLINE_NORMAL_UM),
            scale=scale,
            freedom=RIGID,
            move_volume=True,
            respects_limits=sigma < _LIMITS_BELOW_UM,
        )
        solution = _iterate(problem, painting, images, solution.state, stage, _OUTLINE_STEPS)
    return solution


def stain_explained(problem: FitProblem, state: TransformState) -> float:
    """Return the share of the stain's variance that the labels explain, see `stain_table.explained`.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    state : TransformState
        Current transforms.

    Returns
    -------
    float
        Share, at most 1; images have twice `stain_pixel_um` (100 um by default) as pixel and blur.
    """
    pixel = RESIDUAL_LEVEL * problem.options.stain_pixel_um
    images = level_images(problem, [tissue.stain for tissue in problem.tissues], pixel, pixel)
    return explained(problem.atlas, state, images, problem.options.threads)


def stain_now(problem: FitProblem, state: TransformState) -> StainModel:
    """Estimate the stain model under the current transforms.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    state : TransformState
        Current transforms.

    Returns
    -------
    StainModel
        The model; images have twice `stain_pixel_um` (100 um by default) as pixel and blur.
    """
    pixel = RESIDUAL_LEVEL * problem.options.stain_pixel_um
    images = level_images(problem, [tissue.stain for tissue in problem.tissues], pixel, pixel)
    return fit_stain(problem.atlas, state, images, None, problem.options.threads)


def fit_stains(problem: FitProblem, state: TransformState) -> Solution:
    """Fit the series' own stain, coarse to fine, then release the strains of the sections.

    Parameters
    ----------
    problem : FitProblem
        The sections; `problem.options.stain_sigma_um` gives the blurs.
    state : TransformState
        Transforms after the outline stage.

    Returns
    -------
    Solution
        The fit and the last stain model.

    Notes
    -----
    The table is estimated from unblurred images and the poses from blurred ones, twice at each blur.
    """
    options = problem.options
    stains = [tissue.stain for tissue in problem.tissues]
    model: StainModel | None = None
    for sigma in options.stain_sigma_um:
        pixel = level_pixel_um(sigma, options)
        # The table needs sharp label borders; the fit needs blurred ones.
        sharp = level_images(problem, stains, pixel, 0.0)
        images = level_images(problem, stains, pixel, sigma)
        for _ in range(_STAIN_ROUNDS):
            model = fit_stain(problem.atlas, state, sharp, model, options.threads)
            solution = _stain_stage(problem, images, state, model, sigma, RIGID)
            state = solution.state
    # Last, at the finest blur: strains of the sections, about the series' own scale.
    if options.strain > 0 and model is not None:
        solution = _stain_stage(problem, images, state, model, sigma, AFFINE)
    return solution


def _stain_stage(
    problem: FitProblem,
    images: list[LevelImage],
    state: TransformState,
    model: StainModel,
    sigma: float,
    freedom: int,
) -> Solution:
    """Fit at one blur and with one stain model."""
    stage = Stage(
        sigma_um=sigma,
        normal_um=max(0.5 * sigma, _STAIN_NORMAL_UM),
        scale=STAIN_SCALE * model.noise,
        freedom=freedom,
        move_volume=freedom == RIGID,  # sections with strains of their own would trade them with the volume's
        noise=model.noise,
    )
    painting = stain_painting(problem, model)
    return replace(_iterate(problem, painting, images, state, stage, _STAIN_STEPS), model=model)


def outline_painting(problem: FitProblem) -> Painting:
    """Return what renders the outlines: tissue 1, outside 0.

    Parameters
    ----------
    problem : FitProblem
        The sections and the atlas.

    Returns
    -------
    Painting
        Gains of 1.
    """
    return Painting(problem.atlas, problem.atlas.outline_table()[None], np.ones(len(problem.tissues)))


def stain_painting(problem: FitProblem, model: StainModel) -> Painting:
    """Return what renders the stain, each series in units in which all series have the same noise.

    Parameters
    ----------
    problem : FitProblem
        The sections and the atlas.
    model : StainModel
        Tables, gains and noises.

    Returns
    -------
    Painting
        Tables and units of the series, gains of the sections.
    """
    tables = np.asarray(model.tables / model.units[:, None], dtype=np.float32)
    return Painting(problem.atlas, tables, model.gains, model.series, model.units)


def _iterate(
    problem: FitProblem,
    painting: Painting,
    images: list[LevelImage],
    state: TransformState,
    stage: Stage,
    steps: int,
) -> Solution:
    """Take Gauss-Newton steps until they are small; damp a section whose cost rises.

    The damping follows Levenberg-Marquardt (Marquardt 1963) for each section by itself. Steps are not undone.
    """
    options = problem.options
    damping = np.zeros(len(images))
    last = np.full(len(images), np.inf)
    for _ in range(steps):
        found = systems(painting, state, images, stage, options.threads)
        costs = np.array([system.cost for system in found])
        # A section whose cost rose takes shorter steps, and longer ones again after it fell.
        rose = costs > _COST_RISE * last
        damping = np.where(rose, _DAMPING_GROWTH * damping + _DAMPING_START, damping / _DAMPING_DECAY)
        last = costs
        prior = neighbour_prior(state, problem.nominal, stage.freedom, options.strain)
        # Sections placed by hand are put back after every step, so that the volume adapts to them.
        sections, volume = solve(
            found, prior, volume_prior(state, problem.atlas.plane, problem.stated), stage, damping
        )
        state = with_fixed_planes(moved(state, images, sections, volume), problem.fixed_planes)
        typical = float(np.percentile(np.abs(sections), _STEP_PERCENTILE))
        if max(typical, float(np.abs(volume).max())) < _CONVERGED_UM:
            break
    weights = sum(system.weight for system in found)
    return Solution(state, None, float(last.sum()) / max(weights, 1e-12))


def level_images(
    problem: FitProblem, images: Sequence[Float32], pixel_um: float, sigma_um: float
) -> list[LevelImage]:
    """Return the images of all sections at one level.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    images : sequence of (h, w) float32
        Stain or mask of each section.
    pixel_um : float, um
        Wanted pixel, see `level_image`.
    sigma_um : float, um
        Blur; 0 for none.

    Returns
    -------
    list of LevelImage
        One for each section.
    """

    def one(k: int) -> LevelImage:
        return level_image(problem.tissues[k], problem.known[k], images[k], pixel_um, sigma_um)

    return each(one, range(len(images)), problem.options.threads)


def level_pixel_um(sigma_um: float, options: AlignmentOptions) -> float:
    """Return the pixel of a level: half the blur, within 1 to 4 times `stain_pixel_um`.

    Parameters
    ----------
    sigma_um : float, um
        Blur of the level.
    options : AlignmentOptions
        Gives `stain_pixel_um`.

    Returns
    -------
    float, um
        Wanted pixel.
    """
    finest = options.stain_pixel_um
    return float(np.clip(_PIXELS_A_SIGMA * sigma_um, finest, _COARSEST_PIXELS * finest))
