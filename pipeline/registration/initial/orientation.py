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
from pipeline.registration.fit.joint import Task, fit_outlines, stain_explained
from pipeline.registration.initial.pose_search import (
    Landscape,
    PoseSearch,
    ProfileFit,
    first_volume,
    fit_profile,
    middle_span_um,
)
from pipeline.registration.model.painted_atlas import Atlas
from pipeline.registration.model.state import State
from pipeline.registration.options import ORDERS, AlignmentOptions
from pipeline.registration.quality.measures import overlaps
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.sections.thumbnail_tissue import TissueImage

COARSE_SIGMA_UM = (400.0, 250.0)  # blurs of the coarse outline fit, um
ANGLES_DEG = np.arange(-180.0, 180.0, 5.0)  # rotations of the exhaustive search, clockwise as displayed
# Sections that screen positions, sections of a coarse fit, positions taken from each area profile.
_SCREENED, _TRIED, _PLACES = 10, 16, 3
_LARGE_SHARE = 0.3  # of the 80th percentile of tissue areas: smaller sections are not used here
# Positions are fitted while their outline score is this close to the best, up to so many; see `_places`.
_BEHIND, _MOST_PLACES = 0.10, 4
# Degrees: within which a rotation agrees with a hint, by which sections may deviate from a common rotation,
# and by which two peaks must differ.
_HINT_DEG, _COMMON_DEG, _PEAK_DEG = 45.0, 20.0, 60.0
# Differences of `Attempt.score`: too small to decide; large enough to overrule a hint.
_ALIKE, _CONTRADICTION = 0.02, 0.10
_CERTAIN_DICE, _CERTAIN_STAIN = 0.96, 0.42  # unambiguous from here on
_GOOD_DICE, _GOOD_STAIN = 0.95, 0.35  # no other position in this direction is fitted
_OWN_TURNS = 0.03  # gain in score by individual rotations, above which they are tried first
# A `rotate_deg` given by eye may be off by so many degrees; a note names so many sections at most.
_ROUGH_HINT_DEG, _TOLD = 30.0, 5


@dataclass(frozen=True, eq=False)
class Seen:
    """The sections that show tissue, in order of z.

    Attributes
    ----------
    thumbnails : tuple of SectionThumbnail
        The sections.
    tissues : tuple of TissueImage
        One for each section.
    known : tuple of (h + 2m, w + 2m) bool
        Where each section holds information, see `known_with_margin`.
    held : mapping of int to (3, 3) float64
        Planes of the sections that a person has placed, by index, see `hand_placed.held`.
    """

    thumbnails: tuple[SectionThumbnail, ...]
    tissues: tuple[TissueImage, ...]
    known: tuple[Bool, ...]
    held: Mapping[int, Float64] = field(default_factory=dict)

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

    def laid(self, ways: Mapping[int, tuple[float, bool]]) -> Float64:
        """Return the nominal poses where each series has a rotation and mirroring of its own.

        Parameters
        ----------
        ways : mapping of int to (float, bool)
            Rotation beyond `rotate_deg` (degrees) and mirroring, by series.

        Returns
        -------
        (n, 2, 3) float64, px to um
            Thumbnail px to um about the image centre.
        """
        return np.array([t.hinted(*ways[t.series]) for t in self.thumbnails])

    def only(self, series: int) -> Seen:
        """Return the sections of one series.

        Parameters
        ----------
        series : int
            Number of the series within its specimen.

        Returns
        -------
        Seen
            Its sections.
        """
        return self.at([k for k, t in enumerate(self.thumbnails) if t.series == series])

    def some(self, count: int) -> Seen:
        """Return a subset of the larger sections, evenly spread over the series.

        Parameters
        ----------
        count : int
            Number of sections; fewer where fewer are large.

        Returns
        -------
        Seen
            Sections of at least 0.3 of the 80th percentile of the tissue areas.
        """
        areas = np.array([t.area_um2 for t in self.tissues])
        large = np.flatnonzero(areas >= _LARGE_SHARE * np.percentile(areas, 80))
        chosen = large[np.unique(np.linspace(0, large.size - 1, min(count, large.size)).round().astype(int))]
        return self.at([int(k) for k in chosen])

    def at(self, chosen: Sequence[int]) -> Seen:
        """Return the sections at some indices.

        Parameters
        ----------
        chosen : sequence of int
            Indices, in the order of the result.

        Returns
        -------
        Seen
            The sections; `held` is renumbered.
        """
        held = {i: self.held[k] for i, k in enumerate(chosen) if k in self.held}
        return Seen(
            tuple(self.thumbnails[k] for k in chosen),
            tuple(self.tissues[k] for k in chosen),
            tuple(self.known[k] for k in chosen),
            held,
        )


@dataclass(frozen=True, eq=False)
class Place:
    """A position of the series in the reference and a direction, from the area profile.

    Attributes
    ----------
    sign : int
        +1 where section numbers grow along the reference axis, -1 against it.
    mirrored : bool
        Whether the images are mirrored left to right.
    fit : ProfileFit
        Position and scale.
    seen : float
        Mean over some sections of the best outline score at any angle, see `Landscape.scores`.
    """

    sign: int
    mirrored: bool
    fit: ProfileFit
    seen: float


@dataclass(frozen=True)
class Way:
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

    def goes_as(self, place: Place) -> bool:
        """Return whether a position has the same direction and mirroring.

        Parameters
        ----------
        place : Place
            The position.

        Returns
        -------
        bool
            True where both are the same.
        """
        return (self.sign, self.mirrored) == (place.sign, place.mirrored)

    def words(self, options: AlignmentOptions) -> str:
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
        order = ORDERS[options.plane_of_section][0 if self.sign == sign_of_allen(options) else 1]
        if self.turn_deg is None:
            turn = "every section turned its own way"
        elif _between(self.turn_deg, 0.0) <= _HINT_DEG:
            turn = "image_up superior"
        elif _between(self.turn_deg, 180.0) <= _HINT_DEG:
            turn = "image_up inferior"
        else:
            turn = f"images turned by {-self.turn_deg:.0f} degrees"
        return f"{order}, {turn}{', mirrored' if self.mirrored else ''}"

    def keeps_to(self, options: AlignmentOptions) -> bool:
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
        return self.turn_deg is not None and _between(self.turn_deg, wanted) <= _HINT_DEG


@dataclass(frozen=True, eq=False)
class Attempt:
    """One orientation, fitted coarsely on a subset of the sections.

    Attributes
    ----------
    way : Way
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

    way: Way
    atlas: Atlas
    options: AlignmentOptions
    volume: Float64
    dice: float
    explained: float

    @property
    def score(self) -> float:
        """Dice plus share explained: outlines tell most orientations apart, the stain tells upside down."""
        return self.dice + self.explained

    @property
    def good(self) -> bool:
        """Whether further positions in the same direction are not worth a fit."""
        return self.dice >= _GOOD_DICE and self.explained >= _GOOD_STAIN

    @property
    def beyond_doubt(self) -> bool:
        """Whether the fit is unambiguous: better than any wrong one on rendered series (0.96 and 0.36)."""
        return self.dice >= _CERTAIN_DICE and self.explained >= _CERTAIN_STAIN

    def words(self) -> str:
        """Describe the orientation and how well it fits."""
        return f"{self.way.words(self.options)}: Dice {self.dice:.2f}, stain explained {self.explained:.2f}"


def sign_of_allen(options: AlignmentOptions) -> int:
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
    allen = sign_of_allen(options)
    if options.section_order is None:
        return allen
    return allen if options.section_order == ORDERS[options.plane_of_section][0] else -allen


def _between(one: float, other: float) -> float:
    """Return the angle between two directions, 0 to 180 degrees."""
    return abs((one - other + 180.0) % 360.0 - 180.0)


def attempts(atlas: Atlas, seen: Seen, options: AlignmentOptions) -> list[Attempt]:
    """Fit candidate orientations coarsely on a subset; stop at the first unambiguous one.

    Only an orientation that agrees with the hints ends the search.

    Parameters
    ----------
    atlas : Atlas
        Labels of the plane and half.
    seen : Seen
        The sections of one series.
    options : AlignmentOptions
        Hints and threads.

    Returns
    -------
    list of Attempt
        The candidates that were fitted, in the order of fitting.
    """
    some = seen.some(_TRIED)
    tried: list[Attempt] = []
    places = _places(atlas, seen, options)
    if options.section_order is not None:
        # Stable sort: the hinted direction first, by outline score within it.
        places.sort(key=lambda place: (place.sign != _hinted_sign(options), place.mirrored))
    for place in places:
        if any(one.good and one.way.goes_as(place) for one in tried):
            continue
        state = State(some.nominal(place.mirrored), some.z_um, first_volume(atlas, place.fit))
        found = _landscape(atlas, some, state, options.threads)
        for turn in _turns(found, options):
            way = Way(place.sign, place.mirrored, turn)
            tried.append(_coarse(way, atlas, some, (found, state), options))
            if way.keeps_to(options) and tried[-1].beyond_doubt:
                return tried
    return tried


def _places(atlas: Atlas, seen: Seen, options: AlignmentOptions) -> list[Place]:
    """Return the positions worth a fit: the best of every direction, and others hardly worse."""
    areas = np.array([t.area_um2 for t in seen.tissues])
    some, span = seen.some(_SCREENED), middle_span_um(atlas, options.hemisphere)
    found = []
    for sign in (-1, 1):
        # Mirroring shows in sagittal sections only: the halves of a coronal one look alike.
        fits = fit_profile(atlas, seen.z_um, areas, sign, span)[:_PLACES]
        for mirrored in (False, True) if options.plane_of_section == "sagittal" else (False,):
            for fit in fits:
                state = State(some.nominal(mirrored), some.z_um, first_volume(atlas, fit))
                land = _landscape(atlas, some, state, options.threads)
                found.append(Place(sign, mirrored, fit, float(land.scores.max(axis=1).mean())))
    found.sort(key=lambda place: -place.seen)
    kept: list[Place] = []
    for place in found:
        # The best of a direction is kept if it is near or hinted; others only if near and few were kept.
        first = all((place.sign, place.mirrored) != (k.sign, k.mirrored) for k in kept)
        hinted = place.sign == _hinted_sign(options) and not place.mirrored
        near = place.seen > found[0].seen - _BEHIND
        if (first and (near or hinted)) or (near and len(kept) < _MOST_PLACES):
            kept.append(place)
    return kept


def _landscape(atlas: Atlas, seen: Seen, state: State, threads: int) -> Landscape:
    """Return the outline scores of every section at all angles."""
    masks = [t.mask.astype(np.float32) for t in seen.tissues]
    search = PoseSearch(atlas, [atlas.outline_table()] * len(masks), threads)
    return search.landscape(masks, state.sections, state, ANGLES_DEG)


def _turns(found: Landscape, options: AlignmentOptions) -> list[float | None]:
    """Return the common rotations worth a fit; None stands for a rotation of each section by itself."""
    # The angles go round: four steps of 5 degrees from the other end on either side.
    ring = np.concatenate([found.scores[:, -4:], found.scores, found.scores[:, :4]], axis=1)
    near = np.max([ring[:, s : s + found.scores.shape[1]] for s in range(9)], axis=0)  # within 20 degrees
    mean = near.mean(axis=0)
    fine = found.scores.mean(axis=0)
    turns: list[float | None] = []
    # The fine term breaks ties between neighbouring angles, whose maxima within 20 degrees are often equal.
    order = np.argsort(-(mean + 0.1 * fine), kind="stable")
    for a in order:
        angle = float(found.angles_deg[a])
        if all(_between(angle, t) > _PEAK_DEG for t in turns if t is not None):
            turns.append(angle)
        if len(turns) == 2:
            break
    if options.image_up is not None:
        hinted = 180.0 if options.image_up == "inferior" else 0.0
        if all(_between(hinted, t) > _HINT_DEG for t in turns if t is not None):
            turns.append(hinted)
    # How much better sections fit when each has its best angle, beyond scatter about a common one.
    own = found.scores.max(axis=1).mean() - mean.max()
    if own > 0.005:
        turns.insert(0 if own > _OWN_TURNS else len(turns), None)
    return turns


def _coarse(
    way: Way, atlas: Atlas, some: Seen, start: tuple[Landscape, State], options: AlignmentOptions
) -> Attempt:
    """Fit one orientation to outlines of 400 and 250 um blur and rate it."""
    found, state = start
    near = None if way.turn_deg is None else np.full(len(some.tissues), way.turn_deg)
    poses, _ = found.poses(near, max(_COMMON_DEG, options.rotation_range_deg))
    nominal = some.nominal(way.mirrored, way.turn_deg or 0.0)
    task = Task(atlas, some.tissues, nominal, some.known, options, held=some.held)
    state = fit_outlines(task, state.replaced(poses), COARSE_SIGMA_UM).state
    dice = float(np.mean([o.dice for o in overlaps(atlas, state, some.tissues, options.threads)]))
    return Attempt(way, atlas, options, state.volume, dice, stain_explained(task, state))


def choose(tried: Sequence[Attempt]) -> tuple[Attempt, tuple[str, ...]]:
    """Return the best attempt and the notes on the choice.

    Among attempts that score alike (within 0.02), a common rotation comes before individual
    rotations, and Allen's direction before the opposite. An attempt that agrees with the hints is taken
    unless it is worse by 0.10.

    Parameters
    ----------
    tried : sequence of Attempt
        The candidates, at least one.

    Returns
    -------
    best : Attempt
        The chosen one.
    notes : tuple of str
        What the images decided, or that they contradict a hint; empty where full hints were confirmed.
    """
    options = tried[0].options
    best = max(tried, key=lambda one: one.score)
    usual = [one for one in tried if one.score > best.score - _ALIKE]
    # False sorts before True: common rotation, then Allen's direction, then score.
    usual.sort(key=lambda one: (one.way.turn_deg is None, one.way.sign != sign_of_allen(options), -one.score))
    best = usual[0]
    hinted = [one for one in tried if one.way.keeps_to(options)]
    kept = max(hinted, key=lambda one: one.score) if hinted else None
    if options.section_order is None and options.image_up is None:
        return best, _taken(best, tried)
    # The hints hold; what they leave open was decided by the images, which a note reports.
    if kept is not None and kept.score > best.score - _CONTRADICTION:
        if options.hinted:
            return kept, ()
        return kept, _taken(kept, tried)
    said = ", ".join(
        f"{name} {value}"
        for name, value in (("section_order", options.section_order), ("image_up", options.image_up))
        if value is not None
    )
    against = f" (as hinted: Dice {kept.dice:.2f}, stain explained {kept.explained:.2f})" if kept else ""
    return best, (
        f"the images contradict the manifest's {said}: taken as {best.words()}{against}; check the manifest",
    )


def _taken(best: Attempt, tried: Sequence[Attempt]) -> tuple[str, ...]:
    """Return the note on what the images decided, with the scores of the best three other orientations."""
    others: dict[str, Attempt] = {}
    for one in sorted(tried, key=lambda one: -one.score):
        if one.way.words(one.options) != best.way.words(best.options):
            others.setdefault(one.way.words(one.options), one)
    text = "; ".join(one.words() for one in list(others.values())[:3])
    return (f"taken from the images: {best.words()}" + (f" (against {text})" if text else ""),)


def assumed(way: Way, options: AlignmentOptions) -> tuple[str, ...]:
    """Return a note on what no image can tell in a reference with mirror-symmetric halves.

    Parameters
    ----------
    way : Way
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
                "assumed: with the cortex up, image left is the left of the brain; a mirror image fits"
                " alike, only `flip` in the manifest can tell it"
            ),
        )
    if options.hemisphere == "both":
        return (
            (
                "assumed: sections of one half lie left, and where numbers cross the midline they rise"
                " towards the right, as Allen's do; the opposite fits alike"
            ),
        )
    shown = " The pictures show its mirror image." if way.mirrored else ""
    return (
        (
            f"assumed: the {options.hemisphere} hemisphere, from the manifest; the other half looks the same,"
            f" so that no image contradicts it.{shown} Which numbers lie lateral was seen in the areas"
        ),
    )


def turned_otherwise(turned: Sequence[tuple[SectionThumbnail, float]]) -> tuple[str, ...]:
    """Return a note on sections whose rotation contradicts the manifest's `rotate_deg`.

    Parameters
    ----------
    turned : sequence of (SectionThumbnail, float)
        Sections and their fitted rotation beyond the hint, degrees.

    Returns
    -------
    tuple of str
        One note that names up to five sections; empty where none is off by more than 30 degrees. Sections
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
    more = f" and {len(off) - _TOLD} more" if len(off) > _TOLD else ""
    told = "; ".join(off[:_TOLD])
    return (f"the images contradict the manifest's rotate_deg ({told}{more}): check the manifest",)
