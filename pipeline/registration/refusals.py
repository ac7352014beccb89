"""Checks before and after the fit: a series that cannot be aligned is refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.core.errors import AlignmentError
from pipeline.core.model import Float64
from pipeline.geometry.scales import POSSIBLE_SCALES, outside, scales_of, scales_text, spacing_text
from pipeline.registration.model.painted_atlas import Atlas, area_profile
from pipeline.registration.options import AlignmentOptions
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.sections.thumbnail_tissue import TissueImage, background_luma

POOR_DICE = 0.80  # median Dice below which a series is taken as not fitted
_HALF_BRAIN = 0.6  # share of the width that a series of one half may span: a little over the midline
_LARGE_PERCENTILE = 90  # of the tissue areas: a single smear on the glass does not count
_MOST_LISTED = 8  # section numbers in a message
_LEAST_FOR_FAR = 5  # sections needed to tell a number that is far off
# Share of a series that may have such a number, and the gap before it, in units of the usual distance.
_MOST_FAR, _WIDE_GAP = 0.1, 3.0
_MOST_OUTLIERS = 0.4  # share of outlier sections above which the series is a mixture of brains


def check_numbers(thumbnails: Sequence[SectionThumbnail]) -> None:
    """Refuse a series in which two sections have one number.

    Parameters
    ----------
    thumbnails : sequence of SectionThumbnail
        All sections.

    Raises
    ------
    AlignmentError
        Where a section number occurs twice.
    """
    numbers = [t.section_number for t in thumbnails]
    twice = sorted({n for n in numbers if numbers.count(n) > 1})
    if twice:
        raise AlignmentError(f"alignment: section numbers must be unique, got {_listed(twice)} twice")


def check_background(thumbnails: Sequence[SectionThumbnail]) -> None:
    """Refuse sections on a dark background, since darkness would not mean stain there.

    Parameters
    ----------
    thumbnails : sequence of SectionThumbnail
        All sections.

    Raises
    ------
    AlignmentError
        Where more than half of the sections have a dark background.
    """
    levels = [level for t in thumbnails if (level := background_luma(t)) is not None]
    if 2 * len(levels) > len(thumbnails):  # single dark scans do not make a dark series
        raise AlignmentError(
            f"alignment: the background is dark (grey level {np.median(levels):.0f} of 255) in {len(levels)}"
            f" of {len(thumbnails)} sections (fluorescence, an inverted image, or black padding); expected"
            " stained sections on a bright background: invert the images, or export them with white padding"
        )


def check_usable(
    thumbnails: Sequence[SectionThumbnail],
    tissues: Sequence[TissueImage],
    usable: Sequence[int],
    options: AlignmentOptions,
) -> None:
    """Refuse a series in which too few sections show tissue.

    Parameters
    ----------
    thumbnails : sequence of SectionThumbnail
        All sections.
    tissues : sequence of TissueImage
        Tissue mask of each.
    usable : sequence of int
        Indices of the sections that show tissue and are not flagged.
    options : AlignmentOptions
        Gives `minimum_sections`.

    Raises
    ------
    AlignmentError
        Where fewer than `minimum_sections` are usable; the message lists the failed and the blank ones.
    """
    if len(usable) >= options.minimum_sections:
        return
    failed = [t.section_number for t in thumbnails if t.failed]
    blank = [t.section_number for t, i in zip(thumbnails, tissues, strict=True) if i.blank and not t.failed]
    if thumbnails and len(blank) == len(thumbnails):
        raise AlignmentError(
            f"alignment: no tissue found in any of the {len(thumbnails)} sections; expected images of stained"
            " sections on a bright background"
        )
    raise AlignmentError(
        f"alignment: {len(usable)} usable sections, needs at least {options.minimum_sections};"
        f" failed: {_listed(failed)}; without tissue: {_listed(blank)}; set"
        " alignment.configuration.minimum_sections to try so few, or alignment.name=given with a placement"
        " made by hand (QuickNII, DeepSlice)"
    )


def _listed(numbers: Sequence[int]) -> str:
    """Return section numbers for a message, `_MOST_LISTED` at most."""
    more = f" and {len(numbers) - _MOST_LISTED} more" if len(numbers) > _MOST_LISTED else ""
    return (", ".join(str(n) for n in numbers[:_MOST_LISTED]) + more) or "none"


def check_positions(atlas: Atlas, thumbnails: Sequence[SectionThumbnail]) -> None:
    """Refuse stated positions where the reference has no brain.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference.
    thumbnails : sequence of SectionThumbnail
        The sections.

    Raises
    ------
    AlignmentError
        Where a position lies beyond the brain; the message names the section.
    """
    positions, profile = area_profile(atlas)
    first, last = positions[profile > 0][[0, -1]]
    for one in thumbnails:
        if one.position_um is not None and not first <= one.position_um <= last:
            raise AlignmentError(
                f"alignment: section {one.section_number}: expected section_position_um (or an anchor) from"
                f" {first:.0f} to {last:.0f}, where the reference has a brain, got {one.position_um:g}"
            )


def check_extent(
    atlas: Atlas,
    thumbnails: Sequence[SectionThumbnail],
    tissues: Sequence[TissueImage],
    hemisphere: str,
) -> None:
    """Refuse tissue that fits into the reference at no admitted scale.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference.
    thumbnails : sequence of SectionThumbnail
        Usable sections in ascending z.
    tissues : sequence of TissueImage
        Tissue mask of each.
    hemisphere : {"left", "right", "both"}
        Half that the series shows; a sagittal series of one half has less room along z.

    Raises
    ------
    AlignmentError
        Where the annotation is empty, the sections are larger than its largest plane, or the series is
        longer than the annotation.
    """
    positions, profile = area_profile(atlas)
    occupied = positions[profile > 0]
    if occupied.size == 0:
        raise AlignmentError("alignment: the annotation of the reference is empty")
    largest_scale = POSSIBLE_SCALES[1]
    largest = float(np.percentile([t.area_um2 for t in tissues], _LARGE_PERCENTILE))  # um2
    if largest > profile.max() * largest_scale**2:  # areas grow with the square of the scale
        raise AlignmentError(
            f"alignment: {largest * 1e-6:.1f} mm2 of tissue in a section do not fit the reference, whose"
            f" largest {atlas.plane} plane has {profile.max() * 1e-6:.1f} mm2; check resolution_um and the"
            " reference"
        )
    length = thumbnails[-1].z_um - thumbnails[0].z_um
    room = _room_um(atlas, hemisphere)
    if length > room * largest_scale:
        raise AlignmentError(
            f"alignment: the series is {length:.0f} um long, but the reference only {room:.0f} um across the"
            f" {atlas.plane} plane; check section_thickness_um, plane_of_section and the reference"
        )


def _room_um(atlas: Atlas, hemisphere: str) -> float:
    """Return the length of the annotation along the cutting axis that a series may span, um."""
    positions, profile = area_profile(atlas)
    room = float(np.ptp(positions[profile > 0])) if (profile > 0).any() else 0.0
    return room * _HALF_BRAIN if atlas.plane == "sagittal" and hemisphere != "both" else room


def far_numbers(atlas: Atlas, thumbnails: Sequence[SectionThumbnail], hemisphere: str) -> set[int]:
    """Return the few numbers at the ends of a series that alone make it too long for the reference.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference.
    thumbnails : sequence of SectionThumbnail
        Usable sections in ascending z.
    hemisphere : {"left", "right", "both"}
        Half that the series shows.

    Returns
    -------
    set of int
        Section numbers that cannot be right; empty where the series fits, or where more than a tenth of it
        would have to go.
    """
    z_um = np.array([t.z_um for t in thumbnails])
    limit = _room_um(atlas, hemisphere) * POSSIBLE_SCALES[1]
    if len(z_um) < _LEAST_FOR_FAR or np.ptp(z_um) <= limit:
        return set()
    most = max(1, round(_MOST_FAR * len(z_um)))
    wide = _WIDE_GAP * float(np.median(np.diff(z_um)))
    for dropped in range(1, most + 1):
        for start in range(dropped + 1):
            end = len(z_um) - (dropped - start)
            gaps = np.diff(z_um)
            apart = (start == 0 or gaps[start - 1] > wide) and (end == len(z_um) or gaps[end - 1] > wide)
            if apart and z_um[end - 1] - z_um[start] <= limit:
                return {t.section_number for t in (*thumbnails[:start], *thumbnails[end:])}
    return set()


def check_fit(atlas: Atlas, dice: Sequence[float], volume: Float64, name: str) -> None:
    """Refuse a series whose outlines do not fit, or fit only at a scale that no brain has.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference; names the plane in the message.
    dice : sequence of float
        Dice coefficient of every fitted section.
    volume : (3, 4) float64, um -> um
        Volume to reference.
    name : str
        Name of the reference, for the message.

    Raises
    ------
    AlignmentError
        Where the median Dice is below `POOR_DICE`, or a scale lies outside `POSSIBLE_SCALES`.
    """
    typical = float(np.median(dice))
    scales = scales_of(volume)
    if typical < POOR_DICE or outside(scales, POSSIBLE_SCALES):
        raise AlignmentError(
            f"alignment: the outlines of {len(dice)} sections do not fit the {atlas.plane} planes of {name}:"
            f" median Dice {typical:.2f} (expected at least {POOR_DICE:.2f}), scales {scales_text(scales)}"
            f" (expected {POSSIBLE_SCALES[0]:.1f} to {POSSIBLE_SCALES[1]:.1f}); {_advice(typical, scales)}"
        )


def _advice(dice: float, scales: Float64) -> str:
    """Return what to check where outlines do not fit: the spacing alone where the rest does."""
    spacing = spacing_text(scales)
    if spacing and dice >= POOR_DICE:
        return spacing
    return (
        "check plane_of_section, hemisphere, section_order, image_up, rotate_deg, resolution_um and"
        f" section_thickness_um{f' ({spacing})' if spacing else ''}"
    )


def check_one_brain(outliers: Mapping[int, str], count: int) -> None:
    """Refuse a series of which too many sections are outliers: it is cut from more than one brain.

    Parameters
    ----------
    outliers : mapping of int to str
        Why each outlier section was left out, by section number.
    count : int
        Number of usable sections, outliers included.

    Raises
    ------
    AlignmentError
        Where more than `_MOST_OUTLIERS` of the sections are outliers.
    """
    if len(outliers) <= _MOST_OUTLIERS * count:
        return
    numbers = sorted(outliers)
    raise AlignmentError(
        f"alignment: {len(numbers)} of {count} sections ({_listed(numbers)}) do not match the rest of the"
        f" series; section {numbers[0]}: {outliers[numbers[0]]}; expected one brain, one plane and one stain:"
        " split the series"
    )
