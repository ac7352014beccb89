"""Sections placed: on an anchor, or freely in a frame of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.atlas_building.reconstruction.anchored_fit import refine_on_anchor
from pipeline.atlas_building.reconstruction.anchors import Anchor, check_box
from pipeline.atlas_building.reconstruction.brain_sections import BrainSections, check_enough, coarser
from pipeline.atlas_building.reconstruction.free_fit import fit_free
from pipeline.atlas_building.reconstruction.free_sections import FreeSections
from pipeline.atlas_building.reconstruction.neighbour_matches import neighbour_matches, without_outliers
from pipeline.atlas_building.reconstruction.own_bends import own_bends, usual_bend
from pipeline.atlas_building.reconstruction.placed import PlacedSection, moved
from pipeline.core.errors import AlignmentError, DataError
from pipeline.core.model import (
    Alignment2d,
    Alignment3d,
    Float64,
    SectionAlignment,
    SeriesAlignment,
    Status,
)
from pipeline.geometry import affine
from pipeline.registration import AlignmentOptions, Series, align_specimen
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.sections.thumbnail_tissue import TissueImage, tissue_image
from pipeline.system.threads import each

MARGIN_UM = 500.0  # around the tissue of a brain in its own frame
ALIGNED_UM = 50.0  # pixel at which sections are compared, at most
THREADS = 2


@dataclass(frozen=True, eq=False)
class Placement:
    """All sections that were read, in place.

    Attributes
    ----------
    sections : tuple of PlacedSection
        In ascending z.
    box_um : (3,) float, um
        Box of the frame.
    midline_um : float, um, or None
        R of the midline, where it is known.
    notes : tuple of str
        Remarks of the alignment.
    measures : dict of str to float
        What was measured.
    cannot_know : tuple of str
        Sentences.
    """

    sections: tuple[PlacedSection, ...]
    box_um: tuple[float, float, float]
    midline_um: float | None
    notes: tuple[str, ...]
    measures: dict[str, float]
    cannot_know: tuple[str, ...] = ()


def tissue_extent(tissues: Sequence[TissueImage]) -> tuple[float, float]:
    """Return the usual largest height and width of tissue on a section.

    Parameters
    ----------
    tissues : sequence of TissueImage
        At least one that is not blank.

    Returns
    -------
    (float, float), um
        90th percentiles.
    """
    sides = []
    for tissue in tissues:
        if not tissue.blank:
            rows, columns = np.nonzero(tissue.mask)
            sides.append([np.ptp(rows) + 1.0, np.ptp(columns) + 1.0] * np.array([tissue.pixel_um] * 2))
    height, width = np.percentile(np.array(sides), 90, axis=0)
    return float(height), float(width)


def look(brain: BrainSections) -> tuple[list[SectionThumbnail], list[TissueImage]]:
    """Return the sections at the pixel that they are compared at, and their tissue.

    Parameters
    ----------
    brain : BrainSections
        As read.

    Returns
    -------
    thumbnails : list of SectionThumbnail
        Reduced.
    tissues : list of TissueImage
        Of each.

    Raises
    ------
    DataError
        Where fewer than six show tissue.
    """
    thumbnails = [coarser(one, ALIGNED_UM) for one in brain.thumbnails]
    tissues = each(tissue_image, thumbnails, THREADS)
    there = sum(not (t.blank or one.failed) for one, t in zip(thumbnails, tissues, strict=True))
    check_enough(brain, there, blank=sum(t.blank for t in tissues))
    return thumbnails, tissues


def place_on_anchor(brain: BrainSections, anchor: Anchor) -> Placement:
    """Place the sections on an anchor: as a run aligns and deforms them, then jointly with their neighbours.

    Parameters
    ----------
    brain : BrainSections
        As read.
    anchor : Anchor
        What they are placed on.

    Returns
    -------
    Placement
        In the anchor's frame.

    Raises
    ------
    DataError
        Where the anchor is of another size, or the series fits nowhere.
    """
    thumbnails, tissues = look(brain)
    check_size(brain, anchor, thumbnails, tissues)
    outcomes = _aligned(brain, thumbnails, anchor)
    placed, notes = [], []
    by_number = {one.section_number: one for one in thumbnails}
    for source, outcome in zip(brain.sources, outcomes, strict=True):
        if isinstance(outcome, AlignmentError):
            raise DataError(f"{source}: cannot be placed on {anchor.path}: {outcome}") from outcome
        notes += list(outcome.notes)
        placed += [
            PlacedSection(by_number[s.alignment2d.section_number], s, outcome.alignment3d)
            for s in outcome.sections
        ]
    placed.sort(key=lambda one: one.thumbnail.z_um)
    refined, measures = refine_on_anchor(placed, tissues, anchor.space, brain.first.plane_of_section)
    return Placement(tuple(refined), anchor.box_um, anchor.midline_um, tuple(dict.fromkeys(notes)), measures)


def check_size(
    brain: BrainSections,
    anchor: Anchor,
    thumbnails: Sequence[SectionThumbnail],
    tissues: Sequence[TissueImage],
) -> None:
    """Refuse an anchor of another size than the series.

    Parameters
    ----------
    brain : BrainSections
        As read.
    anchor : Anchor
        What it is placed on.
    thumbnails, tissues : sequence
        As `look` returns them.

    Raises
    ------
    DataError
        As `check_box`.
    """
    seen = [t for t, one in zip(tissues, thumbnails, strict=True) if not one.failed]
    length = thumbnails[-1].z_um - thumbnails[0].z_um + brain.spacing_um
    check_box(anchor, tissue_extent(seen), length, brain.first.plane_of_section)


def _aligned(
    brain: BrainSections, thumbnails: Sequence[SectionThumbnail], anchor: Anchor
) -> list[SeriesAlignment | AlignmentError]:
    """Align all series as a run does."""
    members = []
    for number, data_set in enumerate(brain.data_sets):
        options = AlignmentOptions(
            plane_of_section=data_set.plane_of_section,
            hemisphere=data_set.hemisphere,
            section_order=data_set.section_order,  # type: ignore[arg-type]
            image_up=data_set.image_up,
            deformable="volume",
            threads=THREADS,
        )
        own = [one for one in thumbnails if one.series == number]
        members.append(Series.of(own, options, number=number))
    return align_specimen(members, anchor.space)


def place_freely(brain: BrainSections) -> Placement:
    """Place the sections in the brain's own frame.

    Parameters
    ----------
    brain : BrainSections
        As read.

    Returns
    -------
    Placement
        500 um around the tissue; sections moved rigidly, and bent by what is their own.

    Raises
    ------
    DataError
        Where too few sections show tissue.
    """
    thumbnails, tissues = look(brain)
    chosen = [k for k, t in enumerate(tissues) if not (t.blank or thumbnails[k].failed)]
    up = 180.0 if brain.first.image_up == "inferior" else 0.0
    series = _free_series(brain, [thumbnails[k] for k in chosen], [tissues[k] for k in chosen], up)
    poses, measures = fit_free(series)
    matches = neighbour_matches(series, poses)
    good = without_outliers(matches)
    own = dict(zip(chosen, range(len(chosen)), strict=True))
    low, high = _extent(series, poses, good)
    space, box, midline = _own_frame(brain, low, high, series)
    sections = []
    for k, thumbnail in enumerate(thumbnails):
        n = own.get(k)
        near = n if n is not None else int(np.argmin(np.abs(series.z_um - thumbnail.z_um)))
        nominal = series.nominal[n] if n is not None else thumbnail.hinted(up)
        to_volume = affine.compose(poses[near], nominal, affine.invert(thumbnail.thumbnail_to_section))
        sections.append(
            PlacedSection(thumbnail, _judged(thumbnail, tissues[k], n, to_volume, matches, good), space)
        )
    kept = [int(k) for k in np.flatnonzero(good)]
    bends, nodes, corner = own_bends(series.part(kept), poses[kept])
    plane = brain.first.plane_of_section
    first = affine.apply(space.volume_to_reference, [[*corner, 0.0]])[0]
    for k, bend in zip([chosen[m] for m in kept], bends, strict=True):
        sections[k] = moved(sections[k], bend, nodes, plane, first)
    measures["usual bend of a section of its own, um"] = usual_bend(bends)
    return Placement(tuple(sections), box, midline, (), measures, _unknown(brain, series))


def _free_series(
    brain: BrainSections, thumbnails: Sequence[SectionThumbnail], tissues: Sequence[TissueImage], up: float
) -> FreeSections:
    """Return the sections that show tissue, as they are fitted; `up` turns the hinted images."""
    first = brain.first
    return FreeSections(
        tissues=tuple(tissues),
        nominal=np.stack([one.hinted(up) for one in thumbnails]),
        z_um=np.array([one.z_um for one in thumbnails]),
        is_symmetric=first.plane_of_section == "coronal" and first.hemisphere == "both",
        one_frame=len({one.pixels.shape[:2] for one in thumbnails}) == 1,
    )


def _judged(
    thumbnail: SectionThumbnail,
    tissue: TissueImage,
    n: int | None,
    to_volume: Float64,
    matches: Float64,
    good: np.ndarray,
) -> SectionAlignment:
    """Return a section of the own frame with its verdict."""
    alignment = Alignment2d(thumbnail.section_number, to_volume)
    if n is None:
        reason = "the manifest marks it as failed" if thumbnail.failed else "no tissue found"
        return SectionAlignment(alignment, Status.FAIL, {}, reason=reason)
    measures = {"neighbour_correlation": round(float(matches[n]), 4)}
    if not good[n]:
        return SectionAlignment(alignment, Status.FAIL, measures, reason="does not match its neighbours")
    return SectionAlignment(alignment, Status.PASS, measures)


def _extent(series: FreeSections, poses: Float64, good: np.ndarray) -> tuple[Float64, Float64]:
    """Return lower and upper corner of the tissue on the common plane, (x, y) um."""
    points = []
    for k in np.flatnonzero(good):
        rows, columns = np.nonzero(series.tissues[k].mask[::4, ::4])
        matrix = affine.compose(poses[k], series.nominal[k])
        points.append(affine.apply(matrix, 4 * np.stack([columns, rows], axis=1)))
    every = np.concatenate(points)
    return np.percentile(every, 0.05, axis=0), np.percentile(every, 99.95, axis=0)


def _own_frame(
    brain: BrainSections, low: Float64, high: Float64, series: FreeSections
) -> tuple[Alignment3d, tuple[float, float, float], float | None]:
    """Return the map from the volume to the frame, its box, and R of the midline."""
    first = brain.first
    z = series.z_um.min(), series.z_um.max()
    order = (
        first.section_order
        or {"coronal": "caudal_to_rostral", "sagittal": "lateral_to_medial"}[first.plane_of_section]
    )
    # left half: lateral sections have the lower R
    rising = order in ("rostral_to_caudal",) or (
        (order == "lateral_to_medial") == (first.hemisphere != "right") and "lateral" in order
    )
    sign = 1.0 if rising else -1.0
    along = np.array([0.0, 0.0, sign, MARGIN_UM - (z[0] if rising else -z[1])])
    rows = np.array([0.0, 1.0, 0.0, MARGIN_UM - low[1]])
    columns = np.array([1.0, 0.0, 0.0, MARGIN_UM - low[0]])
    length, height, width = z[1] - z[0] + 2 * MARGIN_UM, *(high - low)[::-1] + 2 * MARGIN_UM
    if first.plane_of_section == "coronal":
        half = max(-low[0], high[0]) + MARGIN_UM if series.is_symmetric else 0.0
        if series.is_symmetric:  # the midline in the middle of the box
            columns[3], width = half, 2 * half
        matrix = np.stack([along, rows, columns])
        box = (float(length), float(height), float(width))
        return Alignment3d(first.reference_space_id, matrix), box, half or None
    matrix = np.stack([columns, rows, along])
    return Alignment3d(first.reference_space_id, matrix), (float(width), float(height), float(length)), None


def _unknown(brain: BrainSections, series: FreeSections) -> tuple[str, ...]:
    """Return what cannot be known of a brain in its own frame."""
    first, found = brain.first, []
    if first.section_order is None:
        order = "caudal to rostral" if first.plane_of_section == "coronal" else "lateral to medial"
        found.append(f"The manifest states no section_order: section numbers are taken to rise from {order}.")
    if first.image_up is None:
        found.append("The manifest states no image_up: the upper edge of the images is taken as superior.")
    found.append(
        "A slow bend and shear of the brain through the sections cannot be told from that of the stack: it is"
        " assumed away."
    )
    if series.is_symmetric:
        found.append("The brain is taken as symmetric: the midline of every section lies in one plane.")
    if series.one_frame:
        found.append(
            "The sections are taken to lie in the frames of their slides, on average over neighbours."
        )
    else:
        found.append("The line through the middles of tissue is taken to run along the cutting axis.")
    return tuple(found)


def with_status(one: PlacedSection, status: Status, reason: str, **measures: float) -> PlacedSection:
    """Return a section with another verdict.

    Parameters
    ----------
    one : PlacedSection
        The section.
    status : Status
        New status.
    reason : str
        Why.
    **measures : float
        Added to its measures.

    Returns
    -------
    PlacedSection
        The same place.
    """
    section = one.section
    return replace(
        one,
        section=replace(section, status=status, reason=reason, measures={**section.measures, **measures}),
    )
