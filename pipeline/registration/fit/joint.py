"""The joint aligner: every section and the 3-D affine together, outline first, then the series' own stain."""

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

_OUTLINE_STEPS = 8
_STAIN_STEPS = 4
_STAIN_ROUNDS = 2
_SETTLED_UM = 2.0
_ROBUST_BELOW_UM = 200.0
_LIMITS_BELOW_UM = 300.0
_OUTLINE_SCALE = 0.5
_STAIN_SCALE = 2.5


@dataclass(frozen=True, eq=False)
class Task:
    """The part of a series that is fitted.

    Parameters
    ----------
    nominal : (n, 2, 3) float64     thumbnail px to um about the image centre, hints and common turn applied
    known : where each section says something, see `known_with_margin`
    laid : turn in degrees and whether mirrored, that `nominal` holds beside the hints, by series
    held : planes of the sections that a person has placed, see `corrections.held`
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
    """A state and the stain model that led to it (None from outlines alone)."""

    state: State
    model: StainModel | None
    cost: float


def fit_outlines(task: Task, state: State, sigmas_um: Sequence[float]) -> Solution:
    """Fit blurred tissue masks to the annotated area, coarse to fine, sections rigid."""
    options = task.options
    solution = Solution(state, None, np.inf)
    painting = _outlined(task)
    for sigma in sigmas_um:
        masks = [tissue.mask.astype(np.float32) for tissue in task.tissues]
        images = _images(task, masks, _pixel_um(sigma, options), sigma)
        scale = _OUTLINE_SCALE if sigma < _ROBUST_BELOW_UM else 1e6
        stage = Stage(
            sigma_um=sigma,
            normal_um=max(0.5 * sigma, 50.0),
            scale=scale,
            freedom=RIGID,
            move_volume=True,
            respects_limits=sigma < _LIMITS_BELOW_UM,
        )
        solution = _settle(task, painting, images, solution.state, stage, _OUTLINE_STEPS)
    return solution


def stain_explained(task: Task, state: State) -> float:
    """Return how much of the stain's variance the labels explain, at 100 um; see `stain.explained`."""
    pixel = 2.0 * task.options.stain_pixel_um
    images = _images(task, [tissue.stain for tissue in task.tissues], pixel, pixel)
    return explained(task.atlas, state, images, task.options.threads)


def stain_now(task: Task, state: State) -> StainModel:
    """Return the stain model that the present state suggests, at 100 um."""
    pixel = 2.0 * task.options.stain_pixel_um
    images = _images(task, [tissue.stain for tissue in task.tissues], pixel, pixel)
    return fit_stain(task.atlas, state, images, None, task.options.threads)


def left_over(task: Task, state: State, model: StainModel | None) -> list[Evidence]:
    """Return what the images say of the error that is left, by stain, or by outline where there is none."""
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
    """Return by how much some sections would each be stretched and tilted by their stain, and how unsure.

    Returns
    -------
    steps, spread : (n, 5) float64, um over 3 mm        see `evidence.plane_steps`
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

    steps, spread = zip(*each(one, own, task.options.threads), strict=True)
    return np.array(steps), np.array(spread)


def fit_stains(task: Task, state: State) -> Solution:
    """Fit the series' own stain table, re-estimated on the way; then free the sections' strains."""
    options = task.options
    stains = [tissue.stain for tissue in task.tissues]
    model: StainModel | None = None
    for sigma in options.stain_sigma_um:
        pixel = _pixel_um(sigma, options)
        sharp = _images(task, stains, pixel, 0.0)
        images = _images(task, stains, pixel, sigma)
        for _ in range(_STAIN_ROUNDS):
            model = fit_stain(task.atlas, state, sharp, model, options.threads)
            solution = _stain_stage(task, images, state, model, sigma, RIGID)
            state = solution.state
    if options.strain > 0 and model is not None:
        solution = _stain_stage(task, images, state, model, sigma, AFFINE)
    return solution


def _stain_stage(
    task: Task, images: list[LevelImage], state: State, model: StainModel, sigma: float, freedom: int
) -> Solution:
    stage = Stage(
        sigma_um=sigma,
        normal_um=max(0.5 * sigma, 40.0),
        scale=_STAIN_SCALE * model.noise,
        freedom=freedom,
        move_volume=freedom == RIGID,
        noise=model.noise,
    )
    painting = _stained(task, model)
    return replace(_settle(task, painting, images, state, stage, _STAIN_STEPS), model=model)


def _outlined(task: Task) -> Painting:
    return Painting(task.atlas, task.atlas.outline_table()[None], np.ones(len(task.tissues)))


def _stained(task: Task, model: StainModel) -> Painting:
    """Paint with the stain, each series in units in which all have the same noise."""
    tables = np.asarray(model.tables / model.units[:, None], dtype=np.float32)
    return Painting(task.atlas, tables, model.gains, model.series, model.units)


def _settle(
    task: Task, painting: Painting, images: list[LevelImage], state: State, stage: Stage, steps: int
) -> Solution:
    """Step until nothing moves; a section whose cost rises is damped."""
    options = task.options
    damping = np.zeros(len(images))
    last = np.full(len(images), np.inf)
    for _ in range(steps):
        found = systems(painting, state, images, stage, options.threads)
        costs = np.array([system.cost for system in found])
        damping = np.where(costs > 1.01 * last, 4.0 * damping + 1.0, damping / 3.0)
        last = costs
        prior = neighbour_prior(state, task.nominal, stage.freedom, options.strain)
        sections, volume = solve(found, prior, stage, damping)
        state = held(moved(state, images, sections, volume), task.held)
        if max(float(np.percentile(np.abs(sections), 90)), float(np.abs(volume).max())) < _SETTLED_UM:
            break
    weights = sum(system.weight for system in found)
    return Solution(state, None, float(last.sum()) / max(weights, 1e-12))


def _images(task: Task, images: Sequence[Float32], pixel_um: float, sigma_um: float) -> list[LevelImage]:
    def one(k: int) -> LevelImage:
        return level_image(task.tissues[k], task.known[k], images[k], pixel_um, sigma_um)

    return each(one, range(len(images)), task.options.threads)


def _pixel_um(sigma_um: float, options: AlignmentOptions) -> float:
    return float(np.clip(0.5 * sigma_um, options.stain_pixel_um, 4.0 * options.stain_pixel_um))
