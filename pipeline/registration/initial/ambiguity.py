"""Whether the images decide where a series lies, or another orientation or part of the brain fits as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.registration.initial.orientation import HINT_DEG, CoarseFit, UsableSections, angle_between
from pipeline.registration.model.painted_atlas import NORMAL_AXIS, Atlas, area_profile

FEWEST_SECTIONS = 6  # fewer do not show by themselves where they lie
_FEWEST_IN_PART = 8  # likewise, of a series of less than `_PART` of the brain
_PART = 0.45
# Of `CoarseFit.score`. Right orientations of windows of ten sections of a real brain mostly lead by 0.13 or
# more, wrong ones by less.
_CLEAR_LEAD = 0.12
_SAME_PLACE_UM = 1000.0  # um; coarse fits of one place differ by less


def ambiguity(best: CoarseFit, candidates: Sequence[CoarseFit], usable: UsableSections) -> str:
    """Say what about the orientation of a series its images leave undecided.

    Parameters
    ----------
    best : CoarseFit
        The chosen fit.
    candidates : sequence of CoarseFit
        All that were fitted.
    usable : UsableSections
        The sections; those that a person placed decide the orientation.

    Returns
    -------
    str
        The reason why no section should pass; empty where nothing is in doubt.
    """
    if len(usable.fixed_planes) >= 2:  # two placed by hand give order, place and turn
        return ""
    fewest = _FEWEST_IN_PART if _is_part(best.atlas, usable) else FEWEST_SECTIONS
    if len(usable.thumbnails) < fewest and not len(usable.stated):
        return (
            f"fewer than {fewest} sections do not show where along the normal they lie:"
            " add sections, state section_position_um, or place two by hand (corrections)"
        )
    if best.options.hinted:  # order and turn are stated; other places along the normal compete alone
        candidates = [one for one in candidates if one.orientation.agrees_with_hints(best.options)]
    middle = np.array([0.0, 0.0, float(np.mean(usable.z_um)), 1.0])
    rivals = [one for one in candidates if _elsewhere(one, best, middle)]
    if not rivals:
        return ""
    rival = max(rivals, key=lambda one: one.score)
    if rival.score <= best.score - _CLEAR_LEAD:
        return ""
    return (
        f"the images do not decide where the series lies: {rival.describe()}, fits about as well as"
        f" {best.describe()}: state section_order and image_up, or place two sections by hand (corrections)"
    )


def _is_part(atlas: Atlas, usable: UsableSections) -> bool:
    """Whether a series is so short that it may lie at many places of the brain."""
    along, areas = area_profile(atlas)
    return bool(np.ptp(usable.z_um) < _PART * np.ptp(along[areas > 0]))


def _elsewhere(one: CoarseFit, best: CoarseFit, middle: np.ndarray) -> bool:
    """Whether a fit has another direction, another rotation, or another place along the normal."""
    ours, theirs = best.orientation, one.orientation
    if (ours.sign, ours.mirrored) != (theirs.sign, theirs.mirrored):
        return True
    one_turn, other_turn = ours.turn_deg, theirs.turn_deg  # None: each section has its own
    if one_turn is not None and other_turn is not None and angle_between(one_turn, other_turn) > HINT_DEG:
        return True
    along = NORMAL_AXIS[best.atlas.plane]
    places = [float(fit.volume[along] @ middle) for fit in (one, best)]
    return abs(places[0] - places[1]) > _SAME_PLACE_UM
