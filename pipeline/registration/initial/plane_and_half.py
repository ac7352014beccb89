"""Which half and which plane a series shows, held against what the manifest says."""

from __future__ import annotations

from dataclasses import replace

from pipeline.core.errors import AlignmentError
from pipeline.core.model import Plane
from pipeline.core.reference_space import ReferenceSpace
from pipeline.registration.initial.orientation import Attempt, Seen, attempts, choose
from pipeline.registration.model.painted_atlas import Atlas, atlas_of
from pipeline.registration.options import AlignmentOptions, Hemisphere
from pipeline.registration.refusals import POOR_DICE

_DOUBTFUL_DICE, _DOUBTFUL_STAIN = 0.95, 0.30
_LEAST_DICE, _HALF_DICE, _CLEARLY = 0.62, 0.93, 0.05
_HALVES = {"left": "a left half", "right": "a right half", "both": "both halves"}


def choose_way(
    reference: ReferenceSpace, atlas: Atlas, seen: Seen, options: AlignmentOptions
) -> tuple[Attempt, tuple[str, ...]]:
    """Find how the series lies; coronal sections that do not fill the brain may be halves."""
    best, notes = choose(attempts(atlas, seen, options))
    if options.plane_of_section == "sagittal" or not _LEAST_DICE < best.dice <= _HALF_DICE:
        return best, notes
    sides: tuple[Hemisphere, ...] = ("left", "right", "both")
    for side in sides:
        if side == options.hemisphere:
            continue
        other = replace(options, hemisphere=side)
        one, said = choose(attempts(atlas_of(reference, "coronal", side), seen, other))
        if one.score > best.score + _CLEARLY:
            dice = f"Dice {one.dice:.2f}, as declared {best.dice:.2f}"
            shown = f"the images show sections of {_HALVES[side]} ({dice})"
            best, notes = one, (*said, f"{shown}, the manifest says hemisphere: {options.hemisphere}")
    return best, notes


def check_plane(reference: ReferenceSpace, seen: Seen, chosen: Attempt) -> None:
    """Where the fit is doubtful, refuse a series that the other plane fits better."""
    if chosen.dice >= _DOUBTFUL_DICE and chosen.explained >= _DOUBTFUL_STAIN:
        return
    options = chosen.options
    plane: Plane = "sagittal" if options.plane_of_section == "coronal" else "coronal"
    hemisphere: Hemisphere = "left" if plane == "sagittal" else "both"
    other = AlignmentOptions(plane_of_section=plane, hemisphere=hemisphere, threads=options.threads)
    best = max(attempts(atlas_of(reference, plane, hemisphere), seen, other), key=lambda one: one.score)
    if best.score > chosen.score and best.dice > POOR_DICE:
        raise AlignmentError(
            f"alignment: declared {options.plane_of_section}, but the {plane} planes of {reference.name} fit"
            f" better ({best.words()}; as declared, {chosen.words()}); check plane_of_section"
        )
