"""Wrong section numbers: sections whose image fits far better elsewhere in the brain than their number says.

Every section is taken out of its place and compared with planes of the stain table all along the cutting
axis, each at its best rotation and shift. Where a plane far from the stated one fits clearly better, and as
well as such planes fit the sections that lie there, the number is wrong. Such sections are left out of the
fit, and compared again once the others have been fitted without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.model import Float32, Float64
from pipeline.geometry import affine
from pipeline.registration.fit.gauss_newton import LENGTH_UM
from pipeline.registration.fit.joint import FitProblem, Solution
from pipeline.registration.fit.neighbour_prior import predicted, rigid_parts
from pipeline.registration.initial.pose_search import PlaneStack
from pipeline.registration.model.painted_atlas import NORMAL_AXIS, Atlas, area_profile
from pipeline.registration.model.state import TransformState
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.sections.thumbnail_tissue import TissueImage
from pipeline.system.threads import each

_STEP_UM = 200.0  # um in a mouse; distance of the planes
_NEAR_UM = 350.0  # um in a mouse; a section this close lies where its number says
_SWING_DEG = np.array([-8.0, 0.0, 8.0])  # degrees; rotations that are tried about an expected one
_SAME_TURN_DEG = 16.0  # degrees; expected rotations this close are tried once
_DARKEST_PERCENT = 98  # of the tissue: a dark fold or bubble must not dominate
# A section is misnumbered where its misfit (1 - cosine) at its own place is this many times that elsewhere,
# and its misfit elsewhere at most so many times that of the sections that lie there.
_LEAST_RATIO, _MOST_MISFIT = 1.3, 3.0
_CLEAR_RATIO, _USUAL_MISFIT = 1.6, 1.6  # one of the two must hold as well: a torn section fits nowhere well
_USUAL_SECTIONS = 7  # sections about a place that tell what is usual there
_MOST_BEYOND = 3.0  # in units of `_NEAR_UM`: this far beyond its end a section may still be of the brain
_CLEARED_RATIO = 1.1  # at most this, once the others are fitted without it: the number was right
_LEAST_SECTIONS = 5  # sections needed for what is usual
# The larger of a share and a count may be misnumbered: of more the fit itself is wrong.
_MOST_SHARE, _MOST_COUNT = 0.2, 3


@dataclass(frozen=True)
class Comparison:
    """Where along the cutting axis a section fits.

    Attributes
    ----------
    own : float
        Least misfit near the place that the number states: 1 - cosine of stain and painted table.
    elsewhere : float
        Least misfit at any other place.
    z_um : float, um
        The position elsewhere that fits best, in the volume.
    """

    own: float
    elsewhere: float
    z_um: float

    @property
    def ratio(self) -> float:
        """Misfit at the stated place over that elsewhere: above 1 where another place fits better."""
        return self.own / max(self.elsewhere, 1e-6)


def compare_places(
    problem: FitProblem, solution: Solution, sections: Sequence[tuple[SectionThumbnail, TissueImage]]
) -> list[Comparison]:
    """Compare sections with planes all along the cutting axis.

    Parameters
    ----------
    problem : FitProblem
        What was fitted.
    solution : Solution
        State and stain model of the fit; without a model every section is compared by its outline.
    sections : sequence of (SectionThumbnail, TissueImage)
        The sections to compare, in the fit or not, of series that are in the fit.

    Returns
    -------
    list of Comparison
        One for each section.
    """
    state, model, threads = solution.state, solution.model, problem.options.threads
    positions = _positions(problem.atlas, state, problem.options.hemisphere)
    tables = [problem.atlas.outline_table()] if model is None else list(model.tables)
    stacks = [PlaneStack.of(problem.atlas, t, state.volume, positions, threads) for t in tables]
    near_um = _NEAR_UM * problem.atlas.size / float(np.linalg.norm(state.volume[:, 2]))
    turns = dict(
        zip(state.z_um, np.rad2deg(rigid_parts(state, problem.nominal)[:, 2] / LENGTH_UM), strict=True)
    )

    def one(k: int) -> Comparison:
        thumbnail, tissue = sections[k]
        expected = predicted(thumbnail.z_um, state, problem.nominal, np.ones(len(state.z_um), bool))[2]
        usual = float(np.rad2deg(expected / LENGTH_UM))
        present = float(turns.get(thumbnail.z_um, usual))
        angles = usual + _SWING_DEG
        if abs(present - usual) > _SAME_TURN_DEG:
            angles = np.concatenate([angles, present + _SWING_DEG, present + 180.0 + _SWING_DEG])
        nominal = thumbnail.hinted(*problem.turn_and_mirror.get(thumbnail.series, (0.0, False)))
        stack = stacks[0] if model is None else stacks[thumbnail.series]
        picture = _picture(tissue, by_stain=model is not None)
        return _comparison(1.0 - stack.cosines(picture, nominal, angles), positions, thumbnail.z_um, near_um)

    return each(one, range(len(sections)), threads)


def _positions(atlas: Atlas, state: TransformState, hemisphere: str) -> Float64:
    """Return positions along z of the volume, um, at which the reference has tissue.

    A sagittal series of one half has none in the other, where every section finds its mirror image.
    """
    along, areas = area_profile(atlas)
    occupied = along[areas > 0]
    if atlas.plane == "sagittal" and hemisphere != "both":
        side = 1.0 if hemisphere == "left" else -1.0
        from_middle_um = side * (occupied - atlas.middle_um)
        occupied = occupied[from_middle_um <= _NEAR_UM * atlas.size]
    wanted = np.arange(occupied.min(), occupied.max() + 1.0, _STEP_UM * atlas.size)
    row = state.volume[NORMAL_AXIS[atlas.plane]]
    # the planes may be tilted: their middle counts
    x, y, _ = affine.apply(affine.invert(state.volume), 0.5 * atlas.extent_um)
    return np.asarray((wanted - row[0] * x - row[1] * y - row[3]) / row[2])


def _picture(tissue: TissueImage, by_stain: bool) -> Float32:
    """Return what is compared: the stain inside the tissue without its darkest spots, or the outline."""
    if not by_stain:
        return tissue.mask.astype(np.float32)
    darkest = np.float32(np.percentile(tissue.stain[tissue.mask], _DARKEST_PERCENT))
    return np.where(tissue.mask, np.clip(tissue.stain, 0.0, darkest), np.float32(0.0))


def _comparison(misfits: Float64, positions_um: Float64, z_um: float, near_um: float) -> Comparison:
    """Compare the misfits near a position with those elsewhere; far from the brain the misfit is 1."""
    away = np.abs(positions_um - z_um)
    # a little beyond its end the last planes count
    beyond = float(away.min())
    near = away <= (near_um if beyond < near_um or beyond > _MOST_BEYOND * near_um else beyond + near_um)
    elsewhere = np.where(near, np.inf, misfits)
    best = int(elsewhere.argmin())
    return Comparison(
        float(misfits[near].min(initial=1.0)), float(elsewhere[best]), float(positions_um[best])
    )


def misnumbered_sections(
    problem: FitProblem, solution: Solution, thumbnails: Sequence[SectionThumbnail]
) -> dict[int, float]:
    """Find the sections of a fit whose image lies elsewhere in the brain than their number says.

    Sections placed by hand are not judged.

    Parameters
    ----------
    problem : FitProblem
        What was fitted.
    solution : Solution
        State and stain model of the fit.
    thumbnails : sequence of SectionThumbnail
        The sections of `problem`.

    Returns
    -------
    dict of int to float
        Where in the volume (um) each such section lies, by index; empty where there are so many that the fit
        itself is in doubt.
    """
    count = len(thumbnails)
    if count < _LEAST_SECTIONS:
        return {}
    compared = compare_places(problem, solution, list(zip(thumbnails, problem.tissues, strict=True)))
    z_um = np.array([t.z_um for t in thumbnails])
    own = np.array([one.own for one in compared])
    suspects = [k for k, one in enumerate(compared) if one.ratio > _LEAST_RATIO]
    innocent = np.setdiff1d(np.arange(count), suspects)
    found = {}
    for k in suspects:
        there = innocent[np.argsort(np.abs(z_um[innocent] - compared[k].z_um))[:_USUAL_SECTIONS]]
        usual = float(np.median(own[there])) if there.size else 0.0
        most = _MOST_MISFIT if compared[k].ratio > _CLEAR_RATIO else _USUAL_MISFIT
        if k not in problem.fixed_planes and compared[k].elsewhere < most * usual:
            found[k] = compared[k].z_um
    return {} if too_many(len(found), count) else found


def too_many(wrong: int, count: int) -> bool:
    """Return whether so many numbers seem wrong that the fit itself is in doubt.

    Parameters
    ----------
    wrong : int
        Sections whose number seems wrong.
    count : int
        All sections.

    Returns
    -------
    bool
        True for more than three, and more than a fifth.
    """
    return wrong > max(_MOST_COUNT, _MOST_SHARE * count)


def numbered_rightly(place: Comparison) -> bool:
    """Return whether a section that was left out of a fit lies where its number says after all.

    Parameters
    ----------
    place : Comparison
        Of the section, under a fit of the others.

    Returns
    -------
    bool
        True where no other place fits clearly better.
    """
    return place.ratio <= _CLEARED_RATIO


def number_at(z_um: float, thickness_um: float, numbers: Sequence[int]) -> int:
    """Return the section number that belongs to a position: the free one of a regular series, or any.

    Parameters
    ----------
    z_um : float, um
        Position in the volume.
    thickness_um : float, um
        Distance from one number to the next.
    numbers : sequence of int
        Numbers of the sections that are numbered rightly, at least two.

    Returns
    -------
    int
        The nearest number that continues the spacing of `numbers` and is free, where one is near enough to
        be meant; else the nearest number.
    """
    nearest = max(0, round(z_um / thickness_um))
    steps = np.diff(np.sort(np.asarray(numbers)))
    step = int(np.bincount(steps).argmax())
    phase = int(np.bincount(np.asarray(numbers) % step).argmax())
    free = [n for n in range(phase, max(max(numbers), nearest) + 2 * step, step) if n not in set(numbers)]
    meant = min(free, key=lambda n: abs(n - z_um / thickness_um))
    reach = max(float(step), 2.0 * _STEP_UM / thickness_um)
    return meant if abs(meant - z_um / thickness_um) <= reach else nearest


def misnumbered_reason(number: int, meant: int) -> str:
    """Return the reason for the reader.

    Parameters
    ----------
    number : int
        The number that the manifest states.
    meant : int
        The number that the image suggests.

    Returns
    -------
    str
        Names both.
    """
    return (
        f"its number seems wrong: section {number} lies where section {meant} would lie; check section_number"
    )
