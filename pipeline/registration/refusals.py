"""Refusals: what cannot be aligned is named before or after the fit, never aligned in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.core.errors import AlignmentError
from pipeline.core.model import Float64
from pipeline.registration.initial.pose_search import area_profile
from pipeline.registration.model.painted_atlas import Atlas
from pipeline.registration.options import AlignmentOptions
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.sections.thumbnail_tissue import TissueImage, background_luma

POOR_DICE = 0.80
_HALF_BRAIN = 0.6  # a series of one hemisphere may run a little over the midline
_SMALLEST_SCALE, _LARGEST_SCALE = 0.6, 1.6
_MOST_STRANGERS = 0.4


def check_numbers(thumbnails: Sequence[SectionThumbnail]) -> None:
    numbers = [t.section_number for t in thumbnails]
    twice = sorted({n for n in numbers if numbers.count(n) > 1})
    if twice:
        raise AlignmentError(f"alignment: section numbers must differ, got {twice[:5]} twice")


def check_background(thumbnails: Sequence[SectionThumbnail]) -> None:
    """Refuse sections on a dark background: whatever is read from them would be read upside down."""
    levels = [level for t in thumbnails if (level := background_luma(t)) is not None]
    if 2 * len(levels) > len(thumbnails):
        raise AlignmentError(
            f"alignment: the background is dark (grey level {np.median(levels):.0f} of 255) in {len(levels)}"
            f" of {len(thumbnails)} sections: fluorescence, an inverted stain, or black around the scan; only"
            " stained sections on a bright background are read: export them so, or invert them"
        )


def check_usable(
    thumbnails: Sequence[SectionThumbnail],
    tissues: Sequence[TissueImage],
    usable: Sequence[int],
    options: AlignmentOptions,
) -> None:
    if len(usable) >= options.minimum_sections:
        return
    failed = [t.section_number for t in thumbnails if t.failed]
    blank = [t.section_number for t, i in zip(thumbnails, tissues, strict=True) if i.blank and not t.failed]
    if thumbnails and len(blank) == len(thumbnails):
        raise AlignmentError(
            f"alignment: no tissue was seen in any of the {len(thumbnails)} sections; are these images of"
            " stained sections on a bright background?"
        )
    raise AlignmentError(
        f"alignment: {len(usable)} usable sections, needs at least {options.minimum_sections};"
        f" failed: {_listed(failed)}; without tissue: {_listed(blank)}"
    )


def _listed(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return (", ".join(str(n) for n in numbers[:8]) + more) or "none"


def check_extent(
    atlas: Atlas,
    thumbnails: Sequence[SectionThumbnail],
    tissues: Sequence[TissueImage],
    hemisphere: str,
) -> None:
    """Refuse tissue that no admitted scale could fit into the reference."""
    positions, profile = area_profile(atlas)
    occupied = positions[profile > 0]
    if occupied.size == 0:
        raise AlignmentError("alignment: the annotation of the reference is empty")
    largest = float(np.percentile([t.area_um2 for t in tissues], 90))
    if largest > profile.max() * _LARGEST_SCALE**2:
        raise AlignmentError(
            f"alignment: sections of {largest * 1e-6:.1f} mm2 of tissue cannot lie in the reference, whose"
            f" largest {atlas.plane} plane has {profile.max() * 1e-6:.1f} mm2; check resolution_um and the"
            " reference"
        )
    length = thumbnails[-1].z_um - thumbnails[0].z_um
    room = float(np.ptp(occupied))
    if atlas.plane == "sagittal" and hemisphere != "both":
        room *= _HALF_BRAIN
    if length > room * _LARGEST_SCALE:
        raise AlignmentError(
            f"alignment: the series is {length:.0f} um long, the reference {room:.0f} um across the"
            f" {atlas.plane} plane; check section_thickness_um, plane_of_section and the reference"
        )


def check_fit(atlas: Atlas, dice: Sequence[float], volume: Float64, name: str) -> None:
    """Refuse a series whose outlines fit nowhere, or only at a scale no brain has."""
    typical = float(np.median(dice))
    scales = np.linalg.norm(volume[:, :3], axis=0)
    text = " x ".join(f"{s:.2f}" for s in scales)
    if typical < POOR_DICE or (scales < _SMALLEST_SCALE).any() or (scales > _LARGEST_SCALE).any():
        raise AlignmentError(
            f"alignment: the outlines of {len(dice)} sections do not fit the {atlas.plane} planes of {name}:"
            f" median Dice {typical:.2f} (expected above {POOR_DICE:.2f}), scales {text}; check"
            " plane_of_section, section_order, image_up, resolution_um and section_thickness_um"
        )


def check_one_brain(foreign: Mapping[int, str], count: int) -> None:
    """Refuse a series too many of whose sections, given by number and why, are not of the others' brain."""
    if len(foreign) <= _MOST_STRANGERS * count:
        return
    numbers = sorted(foreign)
    raise AlignmentError(
        f"alignment: {len(numbers)} of {count} sections ({_listed(numbers)}) do not belong to the others'"
        f" brain; section {numbers[0]}: {foreign[numbers[0]]}; a series must be cut from one brain, in one"
        " plane, with one stain: give each part as a series of its own"
    )
