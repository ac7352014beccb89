"""Plane and half of the brain that a series shows, checked against the manifest."""

from __future__ import annotations

from dataclasses import replace

from pipeline.core.errors import AlignmentError
from pipeline.core.model import Plane
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry.scales import USUAL_SCALES, outside, scales_of
from pipeline.registration.initial.ambiguity import ambiguity
from pipeline.registration.initial.orientation import (
    ACCEPTABLE_DICE,
    CoarseFit,
    UsableSections,
    choose,
    fit_orientations,
)
from pipeline.registration.model.painted_atlas import Atlas, atlas_of
from pipeline.registration.options import AlignmentOptions, Hemisphere
from pipeline.registration.refusals import POOR_DICE

_DOUBTFUL_DICE, _DOUBTFUL_STAIN = 0.95, 0.30  # below either the other plane is tried
_BETTER_DICE = 0.02  # by which the outlines must fit the other plane better
# Dice between which other halves are tried: below nothing fits, above the declared half does.
_LEAST_DICE, _HALF_DICE = 0.62, 0.93
_LEAST_SCORE_GAIN = 0.05  # by which another half must score better than the declared one
_HALVES = {"left": "the left half", "right": "the right half", "both": "both halves"}


def choose_orientation(
    reference: ReferenceSpace, atlas: Atlas, usable: UsableSections, options: AlignmentOptions
) -> tuple[CoarseFit, tuple[str, ...], str]:
    """Find the orientation of a series; coronal sections that do not fill the brain may be halves.

    Parameters
    ----------
    reference : ReferenceSpace
        Annotation, from which other halves are tried.
    atlas : Atlas
        Labels of the plane and half that the manifest declares.
    usable : UsableSections
        The sections of one series.
    options : AlignmentOptions
        Hints of the manifest.

    Returns
    -------
    best : CoarseFit
        The chosen orientation; its atlas and options have the half that was found.
    notes : tuple of str
        Notes on the choice.
    doubt : str
        What the images leave undecided, see `ambiguity`.
    """
    candidates = fit_orientations(atlas, usable, options)
    best, notes = choose(candidates)
    doubt = ambiguity(best, candidates, usable)
    # a half that is taken for a whole brain is fitted far too large
    doubtful = _LEAST_DICE < best.dice <= _HALF_DICE or _misshapen(best)
    if options.plane_of_section == "sagittal" or not doubtful:
        return best, notes, doubt
    sides: tuple[Hemisphere, ...] = ("left", "right", "both")
    for side in sides:
        if side == options.hemisphere:
            continue
        other = replace(options, hemisphere=side)
        others = fit_orientations(atlas_of(reference, "coronal", side), usable, other)
        one, notes_of_one = choose(others)
        fits = one.dice >= _DOUBTFUL_DICE and not _misshapen(one)
        if one.score > best.score + _LEAST_SCORE_GAIN or (fits and _misshapen(best)):
            dice = f"Dice {one.dice:.2f}, as declared {best.dice:.2f}"
            shown = f"the images show {_HALVES[side]} of the brain ({dice})"
            declared = f"but the manifest says hemisphere: {options.hemisphere}"
            best, notes = one, (*notes_of_one, f"{shown}, {declared}")
            doubt = ambiguity(one, others, usable)
    return best, notes, doubt


def _misshapen(fit: CoarseFit) -> bool:
    """Return whether a fit has scales that hardly any brain has."""
    return outside(scales_of(fit.volume), USUAL_SCALES)


def check_plane(reference: ReferenceSpace, usable: UsableSections, chosen: CoarseFit) -> tuple[str, ...]:
    """Refuse a series with a doubtful fit that the other plane fits better; keep one whose outlines fit.

    Parameters
    ----------
    reference : ReferenceSpace
        Annotation, from which the other plane is tried.
    usable : UsableSections
        The sections of one series.
    chosen : CoarseFit
        Orientation under the declared plane.

    Returns
    -------
    tuple of str
        A note where the declared plane is kept though the other scores better.

    Raises
    ------
    AlignmentError
        Where the other plane scores better, and the outlines fit it clearly better or do not fit the declared
        plane.
    """
    options = chosen.options
    certain = chosen.dice >= _DOUBTFUL_DICE and chosen.explained >= _DOUBTFUL_STAIN
    if certain or "plane" in options.trust:
        return ()
    plane: Plane = "sagittal" if options.plane_of_section == "coronal" else "coronal"
    hemisphere: Hemisphere = "left" if plane == "sagittal" else "both"
    # No hints: those of the manifest are in the terms of the declared plane.
    atlas = atlas_of(reference, plane, hemisphere)
    other = AlignmentOptions(plane_of_section=plane, hemisphere=hemisphere, threads=options.threads)
    tried = fit_orientations(atlas, usable, other.scaled(atlas.size))
    best = max(tried, key=lambda one: one.score)
    if best.score <= chosen.score or best.dice <= POOR_DICE:
        return ()
    seen = f"the {plane} planes of {reference.name} fit better ({best.describe()}; as declared,"
    seen += f" {chosen.describe()})"
    if chosen.dice >= ACCEPTABLE_DICE and best.dice < chosen.dice + _BETTER_DICE:
        note = f"kept as declared, {options.plane_of_section}, since the outlines fit, though {seen}"
        return (f"{note}; check plane_of_section, and hemisphere where the sections are of half brains",)
    raise AlignmentError(
        f"alignment: declared {options.plane_of_section}, but {seen}; check plane_of_section, or set"
        " alignment.configuration.trust=plane to keep it"
    )
