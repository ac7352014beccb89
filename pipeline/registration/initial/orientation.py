"""Which way a series lies: numbered which way, turned how, mirrored, which half, which part of the brain.

Every way is tried on a few sections. Areas along the cutting axis propose places, outlines at all angles
thin them out, and a coarse fit of outlines and stain decides. Hints are preferred, not believed: where the
images say clearly otherwise, they decide and the hint is reported.
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

COARSE_SIGMA_UM = (400.0, 250.0)
ANGLES_DEG = np.arange(-180.0, 180.0, 5.0)
_SCREENED, _TRIED, _PLACES = 10, 16, 3
_LARGE_SHARE = 0.3
_BEHIND, _MOST_PLACES = 0.10, 4
_HINT_DEG, _COMMON_DEG, _PEAK_DEG = 45.0, 20.0, 60.0
_ALIKE, _CONTRADICTION = 0.02, 0.10
_CERTAIN_DICE, _CERTAIN_STAIN = 0.96, 0.42
_GOOD_DICE, _GOOD_STAIN = 0.95, 0.35
_OWN_TURNS = 0.03
_ROUGH_HINT_DEG, _TOLD = 30.0, 5  # a turn given by eye may be so far off; contradicted ones that are told


@dataclass(frozen=True, eq=False)
class Seen:
    """The sections that show tissue, in order of z; `held` are planes that a person has given."""

    thumbnails: tuple[SectionThumbnail, ...]
    tissues: tuple[TissueImage, ...]
    known: tuple[Bool, ...]
    held: Mapping[int, Float64] = field(default_factory=dict)

    @property
    def z_um(self) -> Float64:
        """Where the sections lie in the volume, (n,) um."""
        return np.array([t.z_um for t in self.thumbnails])

    def nominal(self, mirrored: bool, turn_deg: float = 0.0) -> Float64:
        """Return thumbnail px to um about the image centre, (n, 2, 3), hints and `turn_deg` applied."""
        return np.array([t.hinted(turn_deg, mirrored) for t in self.thumbnails])

    def laid(self, ways: Mapping[int, tuple[float, bool]]) -> Float64:
        """Return the same with turn and mirror of its series for each section."""
        return np.array([t.hinted(*ways[t.series]) for t in self.thumbnails])

    def only(self, series: int) -> Seen:
        """Return the sections of one series."""
        return self.at([k for k, t in enumerate(self.thumbnails) if t.series == series])

    def some(self, count: int) -> Seen:
        """Return `count` of the larger sections, spread over the series."""
        areas = np.array([t.area_um2 for t in self.tissues])
        large = np.flatnonzero(areas >= _LARGE_SHARE * np.percentile(areas, 80))
        chosen = large[np.unique(np.linspace(0, large.size - 1, min(count, large.size)).round().astype(int))]
        return self.at([int(k) for k in chosen])

    def at(self, chosen: Sequence[int]) -> Seen:
        """Return the sections of these places."""
        held = {i: self.held[k] for i, k in enumerate(chosen) if k in self.held}
        return Seen(
            tuple(self.thumbnails[k] for k in chosen),
            tuple(self.tissues[k] for k in chosen),
            tuple(self.known[k] for k in chosen),
            held,
        )


@dataclass(frozen=True, eq=False)
class Place:
    """A stretch of the reference and a direction, from the area profile."""

    sign: int
    mirrored: bool
    fit: ProfileFit
    seen: float


@dataclass(frozen=True)
class Way:
    """A way the series may lie.

    Parameters
    ----------
    sign : +1 where section numbers grow along the reference axis, -1 against it
    turn_deg : how all sections are turned from their hints; None: every section in its own way
    """

    sign: int
    mirrored: bool
    turn_deg: float | None

    def goes_as(self, place: Place) -> bool:
        """Whether a place lies in the same direction."""
        return (self.sign, self.mirrored) == (place.sign, place.mirrored)

    def words(self, options: AlignmentOptions) -> str:
        """Say it in the words of the manifest's hints."""
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
        """Whether the manifest's hints say the same, or say nothing."""
        if self.mirrored or (options.section_order is not None and self.sign != _hinted_sign(options)):
            return False
        if options.image_up is None:
            return True
        wanted = 180.0 if options.image_up == "inferior" else 0.0
        return self.turn_deg is not None and _between(self.turn_deg, wanted) <= _HINT_DEG


@dataclass(frozen=True, eq=False)
class Attempt:
    """One way, coarsely fitted on some sections.

    Parameters
    ----------
    dice : mean over the sections
    explained : share of the stain's variance that labels and gains explain
    """

    way: Way
    atlas: Atlas
    options: AlignmentOptions
    volume: Float64
    dice: float
    explained: float

    @property
    def score(self) -> float:
        """Outlines tell most ways apart, the stain tells upside down: both count."""
        return self.dice + self.explained

    @property
    def good(self) -> bool:
        """Whether another place in the same direction is not worth a fit."""
        return self.dice >= _GOOD_DICE and self.explained >= _GOOD_STAIN

    @property
    def beyond_doubt(self) -> bool:
        """Whether the fit is better than any wrong way's has been on rendered series (0.96 and 0.36)."""
        return self.dice >= _CERTAIN_DICE and self.explained >= _CERTAIN_STAIN

    def words(self) -> str:
        """Say what was tried and how it fits."""
        return f"{self.way.words(self.options)}: Dice {self.dice:.2f}, stain explained {self.explained:.2f}"


def sign_of_allen(options: AlignmentOptions) -> int:
    """Which way Allen's own numbering runs: towards rostral, or from the side to the midline."""
    if options.plane_of_section == "coronal":
        return -1
    return -1 if options.hemisphere == "right" else 1


def _hinted_sign(options: AlignmentOptions) -> int:
    allen = sign_of_allen(options)
    if options.section_order is None:
        return allen
    return allen if options.section_order == ORDERS[options.plane_of_section][0] else -allen


def _between(one: float, other: float) -> float:
    return abs((one - other + 180.0) % 360.0 - 180.0)


def attempts(atlas: Atlas, seen: Seen, options: AlignmentOptions) -> list[Attempt]:
    """Fit the ways that may be coarsely on some of the sections, until one fits beyond doubt."""
    some = seen.some(_TRIED)
    tried: list[Attempt] = []
    places = _places(atlas, seen, options)
    if options.section_order is not None:
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
    """Return the places worth a fit: the best of every direction, and others hardly worse."""
    areas = np.array([t.area_um2 for t in seen.tissues])
    some, span = seen.some(_SCREENED), middle_span_um(atlas, options.hemisphere)
    found = []
    for sign in (-1, 1):
        fits = fit_profile(atlas, seen.z_um, areas, sign, span)[:_PLACES]
        for mirrored in (False, True) if options.plane_of_section == "sagittal" else (False,):
            for fit in fits:
                state = State(some.nominal(mirrored), some.z_um, first_volume(atlas, fit))
                land = _landscape(atlas, some, state, options.threads)
                found.append(Place(sign, mirrored, fit, float(land.scores.max(axis=1).mean())))
    found.sort(key=lambda place: -place.seen)
    kept: list[Place] = []
    for place in found:
        first = all((place.sign, place.mirrored) != (k.sign, k.mirrored) for k in kept)
        hinted = place.sign == _hinted_sign(options) and not place.mirrored
        near = place.seen > found[0].seen - _BEHIND
        if (first and (near or hinted)) or (near and len(kept) < _MOST_PLACES):
            kept.append(place)
    return kept


def _landscape(atlas: Atlas, seen: Seen, state: State, threads: int) -> Landscape:
    masks = [t.mask.astype(np.float32) for t in seen.tissues]
    search = PoseSearch(atlas, [atlas.outline_table()] * len(masks), threads)
    return search.landscape(masks, state.sections, state, ANGLES_DEG)


def _turns(found: Landscape, options: AlignmentOptions) -> list[float | None]:
    """Return the common turns worth a fit, and None where the sections seem to be turned each its own way."""
    ring = np.concatenate([found.scores[:, -4:], found.scores, found.scores[:, :4]], axis=1)
    near = np.max([ring[:, s : s + found.scores.shape[1]] for s in range(9)], axis=0)  # within 20 degrees
    mean = near.mean(axis=0)
    fine = found.scores.mean(axis=0)
    turns: list[float | None] = []
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
    own = found.scores.max(axis=1).mean() - mean.max()
    if own > 0.005:
        turns.insert(0 if own > _OWN_TURNS else len(turns), None)
    return turns


def _coarse(
    way: Way, atlas: Atlas, some: Seen, start: tuple[Landscape, State], options: AlignmentOptions
) -> Attempt:
    found, state = start
    near = None if way.turn_deg is None else np.full(len(some.tissues), way.turn_deg)
    poses, _ = found.poses(near, max(_COMMON_DEG, options.rotation_range_deg))
    nominal = some.nominal(way.mirrored, way.turn_deg or 0.0)
    task = Task(atlas, some.tissues, nominal, some.known, options, held=some.held)
    state = fit_outlines(task, state.replaced(poses), COARSE_SIGMA_UM).state
    dice = float(np.mean([o.dice for o in overlaps(atlas, state, some.tissues, options.threads)]))
    return Attempt(way, atlas, options, state.volume, dice, stain_explained(task, state))


def choose(tried: Sequence[Attempt]) -> tuple[Attempt, tuple[str, ...]]:
    """Return the best attempt and what is to be said of the choice.

    Among ways that are alike, a common turn goes before turns of its own of every section, and Allen's
    order before the other.
    """
    options = tried[0].options
    best = max(tried, key=lambda one: one.score)
    usual = [one for one in tried if one.score > best.score - _ALIKE]
    usual.sort(key=lambda one: (one.way.turn_deg is None, one.way.sign != sign_of_allen(options), -one.score))
    best = usual[0]
    hinted = [one for one in tried if one.way.keeps_to(options)]
    kept = max(hinted, key=lambda one: one.score) if hinted else None
    if options.section_order is None and options.image_up is None:
        return best, _taken(best, tried)
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
    """Say what the images decided, and the best of every other way."""
    others: dict[str, Attempt] = {}
    for one in sorted(tried, key=lambda one: -one.score):
        if one.way.words(one.options) != best.way.words(best.options):
            others.setdefault(one.way.words(one.options), one)
    text = "; ".join(one.words() for one in list(others.values())[:3])
    return (f"taken from the images: {best.words()}" + (f" (against {text})" if text else ""),)


def assumed(way: Way, options: AlignmentOptions) -> tuple[str, ...]:
    """Say what no image can tell in a reference whose halves mirror each other, and what decided."""
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
    """Say which sections' `rotate_deg` is not how they lie, from their turns beyond it, in degrees."""
    off = []
    for one, turn in turned:
        beyond = (turn + 180.0) % 360.0 - 180.0
        if one.rotate_deg and abs(beyond) > _ROUGH_HINT_DEG:
            right = (one.rotate_deg + beyond + 180.0) % 360.0 - 180.0
            off.append(
                f"section {one.section_number}: {one.rotate_deg:g}, found about {10 * round(right / 10)}"
            )
    if not off:
        return ()
    more = f" and {len(off) - _TOLD} more" if len(off) > _TOLD else ""
    told = "; ".join(off[:_TOLD])
    return (f"the images contradict the manifest's rotate_deg ({told}{more}): check the manifest",)
