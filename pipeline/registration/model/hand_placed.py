"""Sections placed by hand: they stay where they are, and the rest is solved around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.core.model import Float64, SeriesAlignment
from pipeline.geometry import affine
from pipeline.geometry.hand_placement import BY_HAND, Correction, in_volume, placed
from pipeline.registration.model.state import TransformState
from pipeline.sections.thumbnail import SectionThumbnail


def with_fixed_planes(state: TransformState, planes: Mapping[int, Float64]) -> TransformState:
    """Return the state with the sections placed by hand on their planes, as far as that is in-plane.

    Parameters
    ----------
    state : TransformState
        Current transforms.
    planes : mapping of int to (3, 3) float64
        (x, y, 1) thumbnail px to (P, I, R) um, by index of the section.

    Returns
    -------
    TransformState
        The same volume; each of these sections has the in-plane part of its plane.
    """
    if not planes:
        return state
    # Planes are given in the reference, poses are kept in the volume, which moves during the fit.
    back = affine.invert(state.volume)
    sections = state.sections.copy()
    for k, plane in planes.items():
        # The row of z is dropped: a section stays in its plane of the volume during the fit.
        sections[k] = in_volume(back, plane)[:2]
    return state.replaced(sections)


def fixed_planes_of(
    corrections: Mapping[int, Correction], thumbnails: Sequence[SectionThumbnail]
) -> dict[int, Float64]:
    """Return the planes of the corrected sections among thumbnails.

    Parameters
    ----------
    corrections : mapping of int to Correction
        By section number.
    thumbnails : sequence of SectionThumbnail
        The sections that are fitted.

    Returns
    -------
    dict of int to (3, 3) float64
        (x, y, 1) thumbnail px to (P, I, R) um, by index into `thumbnails`.
    """
    found = {}
    for k, thumbnail in enumerate(thumbnails):
        correction = corrections.get(thumbnail.section_number)
        if correction is not None:
            lift = np.vstack([thumbnail.thumbnail_to_section, [0.0, 0.0, 1.0]])
            found[k] = correction.to_reference @ lift
    return found


def with_corrections(
    alignment: SeriesAlignment, corrections: Mapping[int, Correction], z_um: Mapping[int, float]
) -> SeriesAlignment:
    """Return the alignment with every corrected section exactly where it was placed.

    Parameters
    ----------
    alignment : SeriesAlignment
        Result of the fit.
    corrections : mapping of int to Correction
        By section number.
    z_um : mapping of int to float
        Position of each section in the volume, um, by section number.

    Returns
    -------
    SeriesAlignment
        The alignment; `deformable` is `by_hand` where only corrections deform sections.
    """
    sections = []
    for section in alignment.sections:
        number = section.alignment2d.section_number
        if number in corrections:
            section = placed(number, corrections[number], alignment.alignment3d, z_um[number])
        sections.append(section)
    deformed = any(s.deformation is not None for s in sections)
    deformable = BY_HAND if deformed and alignment.deformable == "none" else alignment.deformable
    return replace(alignment, sections=tuple(sections), deformable=deformable)
