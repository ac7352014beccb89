"""What the images leave undecided: the place along the normal, exchanged neighbours, mirrored sections.

A fit shows how well its sections agree with it, not how far all of them could move together. Three freedoms
are looked at by themselves.

- *common*: the sections of a series may move along their normal together, and stretch along it. The fit's own
  posterior has the standard deviation, with the prior of the scale of z.
- *own*: one section may belong elsewhere along the normal, as after an exchange of numbers. Its stain is
  compared with the planes beside its own.
- *mirrored*: the halves of the brain are alike, so a mirrored coronal section fits well about its midline.
  What is left to see is how the section is tilted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.model import Float64
from pipeline.geometry import affine
from pipeline.registration.fit.gauss_newton import (
    AFFINE,
    LARGEST_STEP_UM,
    LENGTH_UM,
    N_VOLUME,
    NORMAL_SHIFT,
    RIGID,
    VOLUME_SPREAD_UM,
    Painting,
    Stage,
    centre_um,
    painted_plane,
    section_step,
    section_system,
    systems,
)
from pipeline.registration.fit.joint import (
    FitProblem,
    level_images,
    level_pixel_um,
)
from pipeline.registration.fit.neighbour_prior import neighbour_prior
from pipeline.registration.fit.volume_prior import Z_SCALE_SPREAD
from pipeline.registration.model.painted_atlas import IN_PLANE_AXES
from pipeline.registration.model.stain_table import StainModel
from pipeline.registration.model.state import LevelImage, TransformState
from pipeline.registration.quality.residual_shift import SPREAD_UM, stain_level
from pipeline.sections.medians import MAD_TO_SIGMA
from pipeline.system.threads import each

_LEAST_REACH_UM, _REACH_SPACINGS = 600.0, 2.0  # how far along the normal a section is looked for, either way
_STEPS_A_SIDE = 6  # planes looked at on either side
_WIDE_SIGMA_UM = 250.0  # um; blur at which a mirrored section is first fitted
_REFIT_STEPS = 4  # Gauss-Newton steps at each blur
# Neighbouring pixels and structures are wrong together, more than `Stage.information` supposes: differences
# of the cost count this much less.
_TEMPERATURE = 4.0
_EXACT_UM, _MOST_OVERCONFIDENT = (
    15.0,
    8.0,
)  # um of misfit at which the residuals tell all; limit of the factor
_MIRRORED_ODDS = 0.01  # of a mirrored section, before it is looked at
_LEAST_DOUBT = 0.2  # a smaller probability of being mirrored is not counted
_NAMED_UM = 60.0  # um; a smaller doubt is not named
_LEAST_SECTIONS = 6  # sections that show how much a mirrored one differs


@dataclass(frozen=True)
class Undecided:
    """What is undecided about the place of one section, um.

    Attributes
    ----------
    common_um : float, um
        Standard deviation of its place along the normal, together with the other sections.
    own_um : float, um
        Expected distance to where along the normal its own stain puts it.
    best_um : float, um
        Where along z of the volume its stain fits best, from its place.
    mirrored_um : float, um
        Expected displacement by being mirrored.
    """

    common_um: float
    own_um: float
    best_um: float
    mirrored_um: float


def overconfidence(misfit_um: float) -> float:
    """Return how much too sure of a common place along the normal the residuals of a series make the fit.

    Parameters
    ----------
    misfit_um : float, um
        Median error that the residuals of its sections show: how unlike the reference the brain is.

    Returns
    -------
    float
        Factor on standard deviations: 1 for a brain of the reference's shape, about 7 for real ones.
    """
    return float(np.clip(misfit_um / _EXACT_UM, 1.0, _MOST_OVERCONFIDENT))


def undecided(
    problem: FitProblem, state: TransformState, model: StainModel, too_sure: float
) -> list[Undecided]:
    """Look at the freedoms of every section that a fit does not show.

    Parameters
    ----------
    problem : FitProblem
        What was fitted.
    state : TransformState
        Fitted transforms of its n sections.
    model : StainModel
        Stain model of the fit.
    too_sure : float
        See `overconfidence`.

    Returns
    -------
    list of Undecided
        One for each section.
    """
    painting, images, stage = stain_level(problem, model, RIGID)
    common = common_spread(problem, painting, state, images, replace(stage, freedom=AFFINE), too_sure)
    shifts = _shifts(state.z_um)
    symmetric = problem.atlas.plane == "coronal" and problem.options.hemisphere == "both"
    count, threads = len(images), problem.options.threads

    def along(k: int) -> tuple[float, float]:
        costs = np.array([_cost(painting, state, k, images[k], stage, s) for s in shifts])
        return expected_distance(costs, shifts)

    own = each(along, range(count), threads)
    mirrored = np.zeros(count)
    if symmetric and count >= _LEAST_SECTIONS:
        wide, still = _wide_images(problem), replace(stage, move_volume=False)
        found = each(
            lambda k: _mirrored(painting, state, k, (wide[k], images[k]), still), range(count), threads
        )
        losses, distances = np.array(found).T
        doubt = mirrored_probability(losses)
        mirrored = np.where(doubt >= _LEAST_DOUBT, doubt * distances, 0.0)
    return [Undecided(float(common[k]), *own[k], float(mirrored[k])) for k in range(count)]


def reason_of(question: Undecided) -> str:
    """Describe what about a section's place is undecided.

    Parameters
    ----------
    question : Undecided
        What was found for the section.

    Returns
    -------
    str
        The greatest doubt in words; empty where all of it is small.
    """
    greatest = max(question.common_um, question.own_um, question.mirrored_um)
    if greatest < _NAMED_UM:
        return ""
    if question.mirrored_um == greatest:
        return "may be mirrored left to right: if it is, set `flip`"
    if question.own_um == greatest:
        if question.best_um == 0.0:
            return f"its stain fits about as well elsewhere within {question.own_um:.0f} um along its normal"
        beside = "after" if question.best_um > 0 else "before"
        return (
            f"its stain fits better {abs(question.best_um):.0f} um along its normal, {beside} its place:"
            " are its number and that of a neighbour exchanged, or is one file used twice?"
        )
    return (
        "its place along the normal, together with that of the other sections, is not well known: more"
        " sections, or two placed by hand (corrections), would tell"
    )


def _wide_images(problem: FitProblem) -> list[LevelImage]:
    """Return the stain of every section at the blur at which a mirrored one is first fitted."""
    pixel_um = level_pixel_um(_WIDE_SIGMA_UM, problem.options)
    return level_images(problem, [t.stain for t in problem.tissues], pixel_um, _WIDE_SIGMA_UM)


def common_spread(
    problem: FitProblem,
    painting: Painting,
    state: TransformState,
    images: Sequence[LevelImage],
    stage: Stage,
    too_sure: float,
) -> Float64:
    """Return how well the fit knows the place of every section along the normal, together with the others.

    Parameters
    ----------
    problem : FitProblem
        What was fitted.
    painting : Painting
        What the atlas is painted with.
    state : TransformState
        Fitted transforms.
    images : sequence of LevelImage
        Image of each section.
    stage : Stage
        Blur, robust scale and noise, of affine freedom.
    too_sure : float
        Factor by which the residuals understate standard deviations.

    Returns
    -------
    (n,) float64, um
        Posterior standard deviations along z of the volume.
    """
    prior = neighbour_prior(state, problem.nominal, stage.freedom, problem.options.strain)
    data = np.zeros((N_VOLUME, N_VOLUME))
    for k, system in enumerate(systems(painting, state, images, stage, problem.options.threads)):
        own = stage.information * system.own + np.diag(1.0 / prior.spread[k] ** 2)
        side = stage.information * system.cross
        data += stage.information * system.volume - side.T @ np.linalg.solve(own, side)
    precision = data / too_sure**2 + np.eye(N_VOLUME) / VOLUME_SPREAD_UM**2
    precision[-1, -1] += 1.0 / (Z_SCALE_SPREAD * LENGTH_UM) ** 2
    shift_um, stretch = problem.stated.spreads(float(state.z_um.mean()))
    precision[NORMAL_SHIFT, NORMAL_SHIFT] += shift_um**-2.0
    precision[-1, -1] += (stretch * LENGTH_UM) ** -2.0
    free = (NORMAL_SHIFT, -1)  # shift and stretch
    covariance = np.linalg.inv(precision)[np.ix_(free, free)]
    along = np.column_stack([np.ones(len(images)), (state.z_um - state.z_um.mean()) / LENGTH_UM])
    return np.asarray(np.sqrt(np.einsum("ni,ij,nj->n", along, covariance, along)))


def _shifts(z_um: Float64) -> Float64:
    """Return the distances along the normal at which a section is looked for, um."""
    spacing = float(np.median(np.diff(z_um))) if len(z_um) > 1 else 0.0
    reach = max(_LEAST_REACH_UM, _REACH_SPACINGS * spacing)
    return np.linspace(-reach, reach, 2 * _STEPS_A_SIDE + 1)


def expected_distance(costs: Float64, shifts_um: Float64) -> tuple[float, float]:
    """Return how far a section is expected to lie from its place, by the cost of other places.

    Parameters
    ----------
    costs : (s,) float64
        Half the negative log likelihood, but for a factor, at every shift.
    shifts_um : (s,) float64, um
        The shifts, 0 among them.

    Returns
    -------
    expected : float, um
        Mean distance under the likelihood.
    best : float, um
        The shift of least cost.
    """
    likelihood = np.exp(-(costs - costs.min()) / _TEMPERATURE)
    return float(likelihood @ np.abs(shifts_um) / likelihood.sum()), float(shifts_um[costs.argmin()])


def _cost(
    painting: Painting, state: TransformState, k: int, image: LevelImage, stage: Stage, shift_um: float
) -> float:
    """Return the robust cost of a section on a plane `shift_um` along z from its own (Geman-McClure)."""
    painted = painted_plane(painting, state, k, image, stage, shift_um)
    residual = (image.values / painting.strength(k) - painted) ** 2
    robust = residual / (1.0 + residual / stage.scale**2)
    return stage.information * float((image.weights * painting.gains[k] ** 2 * robust).sum())


def _mirrored(
    painting: Painting, state: TransformState, k: int, images: Sequence[LevelImage], stage: Stage
) -> tuple[float, float]:
    """Return by how much a section fits worse mirrored, and how far its pixels would move, um."""
    turned = state.sections.copy()
    turned[k] = affine.compose(midline_mirror(painting, state, k), turned[k])
    other = state.replaced(turned)
    for image, sigma in zip(images, (_WIDE_SIGMA_UM, stage.sigma_um), strict=True):
        for _ in range(_REFIT_STEPS):
            other = _refitted(painting, other, k, image, replace(stage, sigma_um=sigma))
    image = images[-1]
    loss = _cost(painting, other, k, image, stage, 0.0) - _cost(painting, state, k, image, stage, 0.0)
    y, x = np.nonzero(image.values > 0)
    there, here = (affine.compose(s.sections[k], image.to_thumbnail) for s in (other, state))
    points = np.column_stack([x, y])
    away = np.linalg.norm(affine.apply(there, points) - affine.apply(here, points), axis=1)
    return loss, float(np.median(away)) if len(points) else 0.0


def mirrored_probability(losses: Float64) -> Float64:
    """Return the probability that a section is mirrored, by what mirroring costs it and the others.

    Parameters
    ----------
    losses : (n,) float64
        By how much each section fits worse mirrored.

    Returns
    -------
    (n,) float64
        Posterior probabilities.

    Notes
    -----
    Losses of unmirrored sections are taken as Gaussian about their median m, with the standard deviation s of
    their median absolute deviation; those of mirrored ones lie about -m. The likelihood ratio of a loss x is
    exp(-2 m x / s^2).
    """
    usual = float(np.median(losses))
    spread = max(MAD_TO_SIGMA * float(np.median(np.abs(losses - usual))), 1.0)
    log_odds = np.log(_MIRRORED_ODDS) - 2.0 * max(usual, 0.0) * losses / spread**2
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(log_odds, -50.0, 50.0))))


def midline_mirror(painting: Painting, state: TransformState, k: int) -> Float64:
    """Return the mirroring of the volume's plane about the line where the midline of the reference cuts it.

    Parameters
    ----------
    painting : Painting
        Gives the midline of the reference.
    state : TransformState
        Current transforms.
    k : int
        Index of the section.

    Returns
    -------
    (2, 3) float64, um to um
        Reflection of (x, y) of the volume.
    """
    across = IN_PLANE_AXES[painting.atlas.plane][0]  # R, for a coronal plane
    row = state.volume[across]
    normal = row[:2]
    offset = row[2] * state.z_um[k] + row[3] - painting.atlas.middle_um
    square = float(normal @ normal)
    linear = np.eye(2) - 2.0 * np.outer(normal, normal) / square
    return np.column_stack([linear, -2.0 * offset * normal / square])


def _refitted(
    painting: Painting, state: TransformState, k: int, image: LevelImage, stage: Stage
) -> TransformState:
    """Return the state after one Gauss-Newton step of one section in its plane."""
    system = section_system(painting, state, k, image, stage)
    normal = stage.information * system.own + np.eye(RIGID) / SPREAD_UM**2
    step = np.linalg.solve(normal, stage.information * system.own_right)
    move = section_step(np.clip(step, -LARGEST_STEP_UM, LARGEST_STEP_UM), centre_um(state, k, image))
    sections = state.sections.copy()
    sections[k] = affine.compose(move, sections[k])
    return state.replaced(sections)
