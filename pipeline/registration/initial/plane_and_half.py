"""Plane and half of the brain that a series shows, checked against the manifest."""

from __future__ import annotations

from dataclasses import replace

from pipeline.core.errors import AlignmentError
from pipeline.core.model import Plane
from pipeline.core.reference_space import ReferenceSpace
from pipeline.registration.initial.orientation import CoarseFit, UsableSections, choose, fit_orientations
from pipeline.registration.model.painted_atlas import Atlas, atlas_of
from pipeline.registration.options import AlignmentOptions, Hemisphere
from pipeline.registration.refusals import POOR_DICE

_DOUBTFUL_DICE, _DOUBTFUL_STAIN = 0.95, 0.30  # below either the other plane is tried
# Dice between which other halves are tried: below nothing fits, above the declared half does.
_LEAST_DICE, _HALF_DICE = 0.62, 0.93
_LEAST_SCORE_GAIN = 0.05  # by which another half must score better than the declared one
_HALVES = {"left": "the left half", "right": "the right half", "both": "both halves"}


def choose_orientation(
    reference: ReferenceSpace, atlas: Atlas, usable: UsableSections, options: AlignmentOptions
) -> tuple[CoarseFit, tuple[str, ...]]:
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
    """
    best, notes = choose(fit_orientations(atlas, usable, options))
    if options.plane_of_section == "sagittal" or not _LEAST_DICE < best.dice <= _HALF_DICE:
        return best, notes
    sides: tuple[Hemisphere, ...] = ("left", "right", "both")
    for side in sides:
        if side == options.hemisphere:
            continue
        other = replace(options, hemisphere=side)
        one, notes_of_one = choose(fit_orientations(atlas_of(reference, "coronal", side), usable, other))
        if one.score > best.score + _LEAST_SCORE_GAIN:
            dice = f"Dice {one.dice:.2f}, as declared {best.dice:.2f}"
            shown = f"the images show {_HALVES[side]} of the brain ({dice})"
            declared = f"but the manifest says hemisphere: {options.hemisphere}"
            best, notes = one, (*notes_of_one, f"{shown}, {declared}")
    return best, notes


def check_plane(reference: ReferenceSpace, usable: UsableSections, chosen: CoarseFit) -> None:
    """Refuse a series with a doubtful fit that the other plane fits better.

    Parameters
    ----------
    reference : ReferenceSpace
        Annotation, from which the other plane is tried.
    usable : UsableSections
        The sections of one series.
    chosen : CoarseFit
        Orientation under the declared plane.

    Raises
    ------
    AlignmentError
        Where the other plane scores better and its Dice is above 0.80.
    """
    if chosen.dice >= _DOUBTFUL_DICE and chosen.explained >= _DOUBTFUL_STAIN:
        return
    options = chosen.options
    plane: Plane = "sagittal" if options.plane_of_section == "coronal" else "coronal"
    hemisphere: Hemisphere = "left" if plane == "sagittal" else "both"
    # No hints: those of the manifest are in the terms of the declared plane.
    other = AlignmentOptions(plane_of_section=plane, hemisphere=hemisphere, threads=options.threads)
    best = max(
        fit_orientations(atlas_of(reference, plane, hemisphere), usable, other), key=lambda one: one.score
    )
    if best.score > chosen.score and best.dice > POOR_DICE:
        raise AlignmentError(
            f"alignment: declared {options.plane_of_section}, but the {plane} planes of {reference.name} fit"
            f" better ({best.describe()}; as declared, {chosen.describe()}); check plane_of_section"
        )
