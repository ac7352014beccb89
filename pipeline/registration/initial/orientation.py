"""Orientation of a series: direction of the numbers, rotation, mirroring, half, and which part of the brain.

Every candidate orientation is tried on a subset of the sections. Tissue areas along the cutting axis propose
positions, outlines at all angles narrow them down, and a coarse fit of outlines and stain decides. Hints of
the manifest are preferred to equals. Where the images clearly contradict a hint, the images decide and a
note reports the contradiction.

Notes
-----
Candidates are ranked by the sum of the Dice coefficient of the outlines (Dice 1945) and the share of the
stain's variance that the labels explain, a correlation ratio (Roche et al. 1998, see `stain_table`).

References
----------
Dice LR (1945). Measures of the amount of ecologic association between species. Ecology 26(3):297-302.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.core.model import Bool, Float64
from pipeline.geometry.scales import POSSIBLE_SCALES, outside, scales_of
from pipeline.registration.fit.joint import FitProblem, fit_outlines, stain_explained
from pipeline.registration.initial.pose_search import (
    Landscape,
    PoseSearch,
    ProfileFit,
    first_volume,
    fit_profile,
    middle_span_um,
)
from pipeline.registration.initial.upright import turned_together
from pipeline.registration.model.painted_atlas import Atlas
from pipeline.registration.model.state import TransformState
from pipeline.registration.model.stated_positions import NOTHING_STATED, StatedPositions
from pipeline.registration.options import ORDERS, AlignmentOptions
from pipeline.registration.quality.measures import overlaps
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.sections.thumbnail_tissue import TissueImage

_COARSE_SIGMA_UM = (400.0, 250.0)  # um in a mouse; blurs of the coarse outline fit
_ANGLE_STEP_DEG = 5.0  # degrees
ANGLES_DEG = np.arange(-180.0, 180.0, _ANGLE_STEP_DEG)  # exhaustive search, clockwise as displayed
_SCREENING_SECTIONS = 10  # sections that score the positions
_COARSE_FIT_SECTIONS = 16  # sections of a coarse fit
_POSITIONS_A_PROFILE = 3  # positions taken from each area profile
# Sections smaller than this share of this percentile of the tissue areas are not used here: slivers from the
# ends of the brain have hardly an outline.
_LARGE_SHARE, _LARGE_PERCENTILE = 0.3, 80
_SCORE_MARGIN = 0.10  # outline score behind the best within which a position is fitted
_MOST_POSITIONS = 4  # positions that are fitted, besides the best of each direction
HINT_DEG = 45.0  # degrees; within which a rotation agrees with a hint: halfway to the next right angle
_COMMON_DEG = 20.0  # degrees; by which sections may deviate from a common rotation
_IMPOSSIBLE = 2.0  # taken off the score of a fit at an impossible scale: more than any score
_COMMON_STEPS = round(_COMMON_DEG / _ANGLE_STEP_DEG)  # the same in steps of `ANGLES_DEG`
_PEAK_DEG = 60.0  # degrees; by which two common rotations must differ to be tried both
_MOST_ROTATIONS = 2  # common rotations that are tried: the right one and, mostly, that upside down
_TIE_WEIGHT = 0.1  # of the score at the angle itself, against that within `_COMMON_DEG`
_TIED_SCORES = 0.02  # difference of `CoarseFit.score` that is too small to decide
ACCEPTABLE_DICE = 0.85  # mean Dice from which what the manifest states is kept against a better score
_CONTRADICTION = 0.10  # difference of `CoarseFit.score` that overrules a hint
# Unambiguous from here on: the best wrong fit of rendered series had 0.96 and 0.36.
_CERTAIN_DICE, _CERTAIN_STAIN = 0.96, 0.42
_GOOD_DICE, _GOOD_STAIN = 0.95, 0.35  # no other position in this direction is fitted
# Gain in mean score by individual rotations above which they are tried, and tried first.
_OWN_ROTATION_GAIN, _LARGE_OWN_ROTATION_GAIN = 0.005, 0.03
_ROUGH_HINT_DEG = 30.0  # degrees; by which a `rotate_deg` given by eye may be off
_MOST_NAMED = 5  # sections that a note names
_MOST_ALTERNATIVES = 3  # orientations that a note names beside the best


@dataclass(frozen=True, eq=False)
class UsableSections:
    """The sections that show tissue, in order of z.

    Attributes
    ----------
    thumbnails : tuple of SectionThumbnail
        The sections.
    tissues : tuple of TissueImage
        One for each section.
    known : tuple of (h + 2m, w + 2m) bool
        Where each section holds information, see `known_with_margin`.
    fixed_planes : mapping of int to (3, 3) float64
        Planes of the sections that a person has placed, by index, see `hand_placed.with_fixed_planes`.
    stated : StatedPositions
        Positions along the normal that the manifest states, of the whole series.
    """

    thumbnails: tuple[SectionThumbnail, ...]
    tissues: tuple[TissueImage, ...]
    known: tuple[Bool, ...]
    fixed_planes: Mapping[int, Float64] = field(default_factory=dict)
    stated: StatedPositions = NOTHING_STATED

    @property
    def z_um(self) -> Float64:
        """Positions of the sections in the volume, (n,) um."""
        return np.array([t.z_um for t in self.thumbnails])

    def nominal(self, mirrored: bool, turn_deg: float = 0.0) -> Float64:
        """Return the nominal poses: hints applied, then one rotation for all sections.

        Parameters
        ----------
        mirrored : bool
            Whether the images are mirrored left to right besides `flip`.
        turn_deg : float, degrees
            Rotation beyond `rotate_deg`, clockwise as displayed.

        Returns
        -------
        (n, 2, 3) float64, px to um
            Thumbnail px to um about the image centre.
        """
        return np.array([t.hinted(turn_deg, mirrored) for t in self.thumbnails])

    def nominal_by_series(self, turn_and_mirror: Mapping[int, tuple[float, bool]]) -> Float64:
        """Return the nominal poses where each series has a rotation and mirroring of its own.

        Parameters
        ----------
        turn_and_mirror : mapping of int to (float, bool)
            Rotation beyond `rotate_deg` (degrees) and mirroring, by series.

        Returns
        -------
        (n, 2, 3) float64, px to um
            Thumbnail px to um about the image centre.
        """
        return np.array([t.hinted(*turn_and_mirror[t.series]) for t in self.thumbnails])

    def subset(self, count: int) -> UsableSections:
        """Return a subset of the larger sections, evenly spread over the series.

        Parameters
        ----------
        count : int
            Number of sections; fewer where fewer are large.

        Returns
        -------
        UsableSections
            Sections that are not small, see `_LARGE_SHARE`.
        """
        areas = np.array([t.area_um2 for t in self.tissues])
        large = np.flatnonzero(areas >= _LARGE_SHARE * np.percentile(areas, _LARGE_PERCENTILE))
        chosen = large[np.unique(np.linspace(0, large.size - 1, min(count, large.size)).round().astype(int))]
        return self.select([int(k) for k in chosen])

    def select(self, chosen: Sequence[int]) -> UsableSections:
        """Return the sections at some indices.

        Parameters
        ----------
        chosen : sequence of int
            Indices, in the order of the result.

        Returns
        -------
        UsableSections
            The sections; `fixed_planes` is renumbered.
        """
        fixed_planes = {i: self.fixed_planes[k] for i, k in enumerate(chosen) if k in self.fixed_planes}
        return UsableSections(
            tuple(self.thumbnails[k] for k in chosen),
            tuple(self.tissues[k] for k in chosen),
            tuple(self.known[k] for k in chosen),
            fixed_planes,
            self.stated,
        )


@dataclass(frozen=True, eq=False)
class ProfilePosition:
    """A position of the series in the reference and a direction, from the area profile.

    Attributes
    ----------
    sign : int
        +1 where section numbers grow along the reference axis, -1 against it.
    mirrored : bool
        Whether the images are mirrored left to right.
    fit : ProfileFit
        Position and scale.
    outline_score : float
        Mean over some sections of the best outline score at any angle, see `Landscape.scores`.
    """

    sign: int
    mirrored: bool
    fit: ProfileFit
    outline_score: float


@dataclass(frozen=True)
class Orientation:
    """An orientation that the series may have.

    Attributes
    ----------
    sign : int
        +1 where section numbers grow along the reference axis, -1 against it.
    mirrored : bool
        Whether the images are mirrored left to right.
    turn_deg : float or None, degrees
        Common rotation of all sections beyond their hints; None where each section has a rotation of its own.
    """

    sign: int
    mirrored: bool
    turn_deg: float | None

    def same_direction(self, place: ProfilePosition) -> bool:
        """Return whether a position has the same direction and mirroring.

        Parameters
        ----------
        place : ProfilePosition
            The position.

        Returns
        -------
        bool
            True where both are the same.
        """
        return (self.sign, self.mirrored) == (place.sign, place.mirrored)

    def describe(self, options: AlignmentOptions) -> str:
        """Describe the orientation in the terms of the manifest's hints.

        Parameters
        ----------
        options : AlignmentOptions
            Plane and hemisphere, which name the directions.

        Returns
        -------
        str
            Such as "caudal_to_rostral, image_up superior".
        """
        order = ORDERS[options.plane_of_section][0 if self.sign == allen_sign(options) else 1]
        if self.turn_deg is None:
            turn = "a separate rotation for every section"
        elif angle_between(self.turn_deg, 0.0) <= HINT_DEG:
            turn = "image_up superior"
        elif angle_between(self.turn_deg, 180.0) <= HINT_DEG:
            turn = "image_up inferior"
        else:
            turn = f"images rotated by {-self.turn_deg:.0f} degrees"
        return f"{order}, {turn}{', mirrored' if self.mirrored else ''}"

    def rotate_text(self) -> str:
        """Return how `rotate_deg` would state the rotation; empty where `image_up` does."""
        if self.turn_deg is None:
            return "rotate_deg in sections.csv would state each"
        if min(angle_between(self.turn_deg, 0.0), angle_between(self.turn_deg, 180.0)) <= HINT_DEG:
            return ""
        return f"rotate_deg: {self.turn_deg % 360.0:.0f} in sections.csv would state it"

    def agrees_with_hints(self, options: AlignmentOptions) -> bool:
        """Return whether the orientation agrees with the manifest's hints.

        Parameters
        ----------
        options : AlignmentOptions
            The hints; one that is None agrees with everything.

        Returns
        -------
        bool
            False also for every mirrored orientation; rotations may differ by 45 degrees.
        """
        if self.mirrored or (options.section_order is not None and self.sign != _hinted_sign(options)):
            return False
        if options.image_up is None:
            return True
        wanted = 180.0 if options.image_up == "inferior" else 0.0
        return self.turn_deg is not None and angle_between(self.turn_deg, wanted) <= HINT_DEG


@dataclass(frozen=True, eq=False)
class CoarseFit:
    """One orientation, fitted coarsely on a subset of the sections.

    Attributes
    ----------
    orientation : Orientation
        The orientation.
    atlas : Atlas
        The labels of the plane and half that were fitted.
    options : AlignmentOptions
        Options with that plane and half.
    volume : (3, 4) float64, um to um
        Fitted map of the volume to the reference.
    dice : float
        Mean Dice coefficient over the sections.
    explained : float
        Share of the stain's variance that labels and gains explain.
    """

    orientation: Orientation
    atlas: Atlas
    options: AlignmentOptions
    volume: Float64
    dice: float
    explained: float

    @property
    def score(self) -> float:
        """Dice plus share explained: outlines separate most orientations, the stain upside down ones.

        A fit at a scale or tilt that no brain has comes after all others: a few sections may fit well so.
        """
        impossible = outside(scales_of(self.volume), POSSIBLE_SCALES)
        return self.dice + self.explained - (_IMPOSSIBLE if impossible else 0.0)

    @property
    def good(self) -> bool:
        """Whether further positions in the same direction are not worth a fit."""
        return self.score > 0 and self.dice >= _GOOD_DICE and self.explained >= _GOOD_STAIN

    @property
    def unambiguous(self) -> bool:
        """Whether the fit is better than any wrong one was on rendered series."""
        return self.dice >= _CERTAIN_DICE and self.explained >= _CERTAIN_STAIN

    def describe(self) -> str:
        """Describe the orientation and how well it fits."""
        orientation = self.orientation.describe(self.options)
        return f"{orientation}: Dice {self.dice:.2f}, stain explained {self.explained:.2f}"


def coarse_sigmas_um(atlas: Atlas) -> tuple[float, ...]:
    """Return the blurs of the coarse outline fit.

    Parameters
    ----------
    atlas : Atlas
        Gives the size of the brain.

    Returns
    -------
    tuple of float, um
        Coarse to fine.
    """
    return tuple(sigma * atlas.size for sigma in _COARSE_SIGMA_UM)


def allen_sign(options: AlignmentOptions) -> int:
    """Return the direction in which Allen numbers its sections.

    Parameters
    ----------
    options : AlignmentOptions
        Plane and hemisphere.

    Returns
    -------
    int
        +1 along the reference axis (P or R), -1 against it. Coronal numbers grow towards rostral; sagittal
        ones from lateral to the midline, or to the right where both halves were cut.
    """
    if options.plane_of_section == "coronal":
        return -1
    return -1 if options.hemisphere == "right" else 1


def _hinted_sign(options: AlignmentOptions) -> int:
    """Return the direction that the manifest's `section_order` gives, Allen's without one."""
    # The first of the two orders is the one that Allen uses.
    allen = allen_sign(options)
    if options.section_order is None:
        return allen
    return allen if options.section_order == ORDERS[options.plane_of_section][0] else -allen


def angle_between(one: float, other: float) -> float:
    """Return the angle between two directions.

    Parameters
    ----------
    one, other : float, degrees
        The directions.

    Returns
    -------
    float, degrees
        0 to 180.
    """
    return abs((one - other + 180.0) % 360.0 - 180.0)


def fit_orientations(atlas: Atlas, usable: UsableSections, options: AlignmentOptions) -> list[CoarseFit]:
    """Fit candidate orientations coarsely on a subset; stop at the first unambiguous one.

    Only an orientation that agrees with the hints ends the search.

    Parameters
    ----------
    atlas : Atlas
        Labels of the plane and half.
    usable : UsableSections
        The sections of one series.
    options : AlignmentOptions
        Hints and threads.

    Returns
    -------
    list of CoarseFit
        The candidates that were fitted, in the order of fitting.
    """
    some = usable.subset(_COARSE_FIT_SECTIONS)
    candidates: list[CoarseFit] = []
    places = _profile_positions(atlas, usable, options)
    if options.section_order is not None:
        # Stable sort: the hinted direction first, by outline score within it.
        places.sort(key=lambda place: (place.sign != _hinted_sign(options), place.mirrored))
    for place in places:
        if any(one.good and one.orientation.same_direction(place) for one in candidates):
            continue
        state = TransformState(some.nominal(place.mirrored), some.z_um, first_volume(atlas, place.fit))
        found = _landscape(atlas, some, state, options.threads)
        for turn in _common_rotations(found, options):
            orientation = Orientation(place.sign, place.mirrored, turn)
            candidates.append(_coarse_fit(orientation, atlas, some, (found, state), options))
            if orientation.agrees_with_hints(options) and candidates[-1].unambiguous:
                return candidates
    return candidates


def _profile_positions(
    atlas: Atlas, usable: UsableSections, options: AlignmentOptions
) -> list[ProfilePosition]:
    """Return the positions worth a fit: the best of every direction, and others hardly worse."""
    areas = np.array([t.area_um2 for t in usable.tissues])
    some, span = usable.subset(_SCREENING_SECTIONS), middle_span_um(atlas, options.hemisphere)
    found = []
    for sign in (_hinted_sign(options),) if options.trusted_order else (-1, 1):
        # Mirroring shows in sagittal sections only: the halves of a coronal one look alike.
        fits = fit_profile(atlas, usable.z_um, areas, sign, span, usable.stated)[:_POSITIONS_A_PROFILE]
        for mirrored in (False, True) if options.plane_of_section == "sagittal" else (False,):
            for fit in fits:
                state = TransformState(some.nominal(mirrored), some.z_um, first_volume(atlas, fit))
                land = _landscape(atlas, some, state, options.threads)
                found.append(ProfilePosition(sign, mirrored, fit, float(land.scores.max(axis=1).mean())))
    found.sort(key=lambda place: -place.outline_score)
    kept: list[ProfilePosition] = []
    for place in found:
        # The best of a direction is kept if it is near or hinted; others only if near and few were kept.
        first = all((place.sign, place.mirrored) != (k.sign, k.mirrored) for k in kept)
        hinted = place.sign == _hinted_sign(options) and not place.mirrored
        near = place.outline_score > found[0].outline_score - _SCORE_MARGIN
        if (first and (near or hinted)) or (near and len(kept) < _MOST_POSITIONS):
            kept.append(place)
    return kept


def _landscape(atlas: Atlas, usable: UsableSections, state: TransformState, threads: int) -> Landscape:
    """Return the outline scores of every section at all angles."""
    masks = [t.mask.astype(np.float32) for t in usable.tissues]
    search = PoseSearch(atlas, [atlas.outline_table()] * len(masks), threads)
    return search.landscape(masks, state.sections, state, ANGLES_DEG)


def _common_rotations(found: Landscape, options: AlignmentOptions) -> list[float | None]:
    """Return the common rotations worth a fit; None stands for a rotation of each section by itself."""
    # The angles go round: `_COMMON_DEG` from the other end on either side.
    reach = _COMMON_STEPS
    ring = np.concatenate([found.scores[:, -reach:], found.scores, found.scores[:, :reach]], axis=1)
    near = np.max([ring[:, s : s + found.scores.shape[1]] for s in range(2 * reach + 1)], axis=0)
    mean = near.mean(axis=0)
    fine = found.scores.mean(axis=0)
    turns: list[float | None] = []
    # The fine term breaks ties between neighbouring angles, whose maxima nearby are often equal.
    order = np.argsort(-(mean + _TIE_WEIGHT * fine), kind="stable")
    wanted = 180.0 if options.image_up == "inferior" else 0.0
    for a in order:
        angle = float(found.angles_deg[a])
        if options.trusted_up:  # the best angle that agrees with the hint, and no other
            if angle_between(angle, wanted) <= HINT_DEG:
                return [angle]
            continue
        if all(angle_between(angle, t) > _PEAK_DEG for t in turns if t is not None):
            turns.append(angle)
        if len(turns) == _MOST_ROTATIONS:
            break
    if options.image_up is not None and all(
        angle_between(wanted, t) > HINT_DEG for t in turns if t is not None
    ):
        turns.append(wanted)
    # How much better sections fit when each has its best angle, beyond scatter about a common one.
    own = found.scores.max(axis=1).mean() - mean.max()
    if own > _OWN_ROTATION_GAIN:
        turns.insert(0 if own > _LARGE_OWN_ROTATION_GAIN else len(turns), None)
    return turns


def _coarse_fit(
    orientation: Orientation,
    atlas: Atlas,
    some: UsableSections,
    start: tuple[Landscape, TransformState],
    options: AlignmentOptions,
) -> CoarseFit:
    """Fit one orientation to blurred outlines and score it."""
    found, state = start
    count = len(some.tissues)
    nominal = some.nominal(orientation.mirrored, orientation.turn_deg or 0.0)
    problem = FitProblem(
        atlas, some.tissues, nominal, some.known, options, fixed_planes=some.fixed_planes, stated=some.stated
    )
    if orientation.turn_deg is None:
        poses = turned_together(problem, state, found, None, np.full((count, 1), 180.0))
    else:
        reach = max(_COMMON_DEG, options.rotation_range_deg)
        poses, _ = found.poses(np.full(count, orientation.turn_deg), reach)
    state = fit_outlines(problem, state.replaced(poses), coarse_sigmas_um(atlas)).state
    dice = float(np.mean([o.dice for o in overlaps(atlas, state, some.tissues, options.threads)]))
    return CoarseFit(orientation, atlas, options, state.volume, dice, stain_explained(problem, state))


def choose(candidates: Sequence[CoarseFit]) -> tuple[CoarseFit, tuple[str, ...]]:
    """Return the best fit and the notes on the choice.

    Among fits that score alike (`_TIED_SCORES`), a common rotation comes before individual rotations, and
    Allen's direction before the opposite. A fit that agrees with the hints is taken unless it is worse by
    `_CONTRADICTION`.

    Parameters
    ----------
    candidates : sequence of CoarseFit
        The candidates, at least one.

    Returns
    -------
    best : CoarseFit
        The chosen one.
    notes : tuple of str
        What the images decided, or which hint they contradict; empty where both hints were confirmed.
    """
    options = candidates[0].options
    best = max(candidates, key=lambda one: one.score)
    usual = [one for one in candidates if one.score > best.score - _TIED_SCORES]
    # False sorts before True: common rotation, then Allen's direction, then score.
    usual.sort(
        key=lambda one: (
            one.orientation.turn_deg is None,
            one.orientation.sign != allen_sign(options),
            -one.score,
        )
    )
    best = usual[0]
    hinted = [one for one in candidates if one.orientation.agrees_with_hints(options)]
    kept = max(hinted, key=lambda one: one.score) if hinted else None
    if options.section_order is None and options.image_up is None:
        return best, _choice_note(best, candidates)
    # The hints hold; what they leave open was decided by the images, which a note reports.
    if kept is not None and kept.score > best.score - _CONTRADICTION:
        if options.hinted:
            return kept, ()
        return kept, _choice_note(kept, candidates)
    if kept is not None and options.hinted and kept.dice >= ACCEPTABLE_DICE and not best.good:
        seen = f"the images rather show {best.describe()} (as hinted: {kept.describe()})"
        return kept, (f"the manifest's section_order and image_up are kept, though {seen}",)
    hints = ", ".join(
        f"{name} {value}"
        for name, value in (("section_order", options.section_order), ("image_up", options.image_up))
        if value is not None
    )
    against = f" (as hinted: Dice {kept.dice:.2f}, stain explained {kept.explained:.2f})" if kept else ""
    contradiction = f"the images contradict the manifest's {hints}"
    return best, (f"{contradiction}: aligned as {best.describe()}{against}; check the manifest",)


def _choice_note(best: CoarseFit, candidates: Sequence[CoarseFit]) -> tuple[str, ...]:
    """Return the note on what the images decided, with the scores of the best three other orientations."""
    others: dict[str, CoarseFit] = {}
    for one in sorted(candidates, key=lambda one: -one.score):
        if one.orientation.describe(one.options) != best.orientation.describe(best.options):
            others.setdefault(one.orientation.describe(one.options), one)
    text = "; ".join(one.describe() for one in list(others.values())[:_MOST_ALTERNATIVES])
    turned = best.orientation.rotate_text()
    note = f"orientation from the images: {best.describe()}{f'; {turned}' if turned else ''}"
    return (note + (f" (alternatives: {text})" if text else ""),)


def convention_notes(orientation: Orientation, options: AlignmentOptions) -> tuple[str, ...]:
    """Return a note on what images cannot decide in a reference with mirror-symmetric halves.

    Parameters
    ----------
    orientation : Orientation
        The chosen orientation.
    options : AlignmentOptions
        Plane and hemisphere.

    Returns
    -------
    tuple of str
        What was assumed, and on what grounds; one note.
    """
    if options.plane_of_section == "coronal":
        return (
            (
                "assumed: with the cortex up, the left of the image is the left of the brain; a mirror image"
                " fits equally well: where images are mirrored, set `flip` in the manifest"
            ),
        )
    if options.hemisphere == "both":
        return (
            (
                "assumed: sections of one half are from the left hemisphere, and numbers that cross the"
                " midline rise towards the right, as Allen's do; the opposite fits equally well"
            ),
        )
    shown = " The images are mirrored." if orientation.mirrored else ""
    return (
        (
            f"assumed: the {options.hemisphere} hemisphere, as the manifest says; images cannot distinguish"
            f" the two.{shown} The lateral end was inferred from the tissue areas"
        ),
    )


def rotation_notes(turned: Sequence[tuple[SectionThumbnail, float]]) -> tuple[str, ...]:
    """Return a note on sections whose rotation contradicts the manifest's `rotate_deg`.

    Parameters
    ----------
    turned : sequence of (SectionThumbnail, float)
        Sections and their fitted rotation beyond the hint, degrees.

    Returns
    -------
    tuple of str
        One note that names a few sections; empty where none is off by more than 30 degrees. Sections
        without a `rotate_deg` are not named.
    """
    off = []
    for one, turn in turned:
        # To -180 .. 180 degrees.
        beyond = (turn + 180.0) % 360.0 - 180.0
        if one.rotate_deg and abs(beyond) > _ROUGH_HINT_DEG:
            # The rotation that would have been right, rounded to 10 degrees in the note.
            right = (one.rotate_deg + beyond + 180.0) % 360.0 - 180.0
            off.append(
                f"section {one.section_number}: {one.rotate_deg:g}, found about {10 * round(right / 10)}"
            )
    if not off:
        return ()
    more = f" and {len(off) - _MOST_NAMED} more" if len(off) > _MOST_NAMED else ""
    named = "; ".join(off[:_MOST_NAMED])
    return (f"the images contradict the manifest's rotate_deg ({named}{more}): check the manifest",)
