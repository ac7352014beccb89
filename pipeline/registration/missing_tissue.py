"""Missing tissue: where a section shows glass, the reference has tissue, and so have its neighbours.

A hole, a torn quadrant or a lost half is no tissue without expression. It is told from a ventricle that is
wider than the reference's, and from pale tissue, by the same place in the sections beside it and in the other
half of the brain: a ventricle is seen there too, a hole is not. Glass there tells nothing where the reference
has no tissue there. Gaps at the outline that misplacement may explain are left alone; a hole that tissue
encloses on all sides is none of them, however small. Debris on the glass goes with the hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from pipeline.core.model import (
    Alignment3d,
    Bool,
    Float32,
    Float64,
    Int32,
    Int64,
    Polygon,
    SectionAlignment,
    UInt8,
    UInt32,
)
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry import affine
from pipeline.geometry.deformation import section_to_volume, volume_to_section
from pipeline.sections.medians import MAD_TO_SIGMA
from pipeline.sections.objects_labelled import AREA, connected_objects
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.sections.thumbnail_tissue import tissue_image
from pipeline.sections.tissue import LEAST_OD
from pipeline.system.threads import each

# the largest of: OD, of the glass's noise, of the tissue
EMPTY_OD, EMPTY_NOISES, EMPTY_SHARE = 0.008, 3.0, 0.08
GLASS_OD, GLASS_NOISES, GLASS_SHARE = 0.005, 1.5, 0.05  # likewise for the median of a piece
EDGE_SHARE = 0.5  # of the density of the tissue around: where the edge of a hole lies
EDGE_UM = 100.0  # sigma of the Gaussian over that tissue
VOTE_SIGMA_UM = 50.0  # of the Gaussian over a neighbour's tissue
ERRORS_UM = 150.0, 500.0  # least and largest error of placement that is allowed for
ERROR_FACTOR = 1.5  # times the estimated error
RADIUS_UM = 120.0  # a disc of so much that is empty, beyond the error of placement
LEAST_UM2 = 9e4  # smaller pieces are left alone
FAR_PX = 1e5  # where there is no rest
DEBRIS_UM2 = 2e4  # specks of at most so much that lie on glass are no tissue
CRACK_UM = 60.0  # half the width of a crack that does not join a hole to the outside
TISSUE_SHARE = 0.85  # of a hole, in the tissue of the reference
HALF = 0.5  # of an enclosed piece of glass is missing: then all of it is
NEAR_UM = 1000.0  # along z: farther sections do not tell what a section should show
NEIGHBOURS = 4  # sections that are asked about a place
APART_UM = 400.0  # from outline and ventricles: there the other half, or the reference, may be right alone
LEAST_SHARE = 0.005  # of a section's tissue: less is not flagged

UNKNOWN, GLASS, TISSUE, VENTRICLE = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class PlacedThumbnail:
    """A reduced section and where it lies.

    Attributes
    ----------
    thumbnail : SectionThumbnail
        The section.
    alignment : SectionAlignment
        Its place in the volume.
    """

    thumbnail: SectionThumbnail
    alignment: SectionAlignment


@dataclass(frozen=True, eq=False)
class MissingTissue:
    """What a section lacks, with ventricles that it encloses.

    Attributes
    ----------
    mask : (h, w) bool
        Missing tissue, px of the thumbnail.
    share : float, 0-1
        Of the tissue that the section should show.
    """

    mask: Bool
    share: float


@dataclass(frozen=True, eq=False)
class _Section:
    """What one section shows, and what it should show: all maps are of the thumbnail, (h, w)."""

    placed: PlacedThumbnail
    stain: Float32
    valid: Bool
    empty: Bool
    least: float  # OD of tissue
    glass_od: float  # at most the median of a piece of glass
    shown: UInt8
    expected: UInt8  # of the reference

    @property
    def z_um(self) -> float:
        return self.placed.thumbnail.z_um

    @property
    def tissue(self) -> Bool:
        """Of the reference, without ventricles."""
        return np.asarray(self.valid & (self.expected == TISSUE))


@dataclass(frozen=True, eq=False)
class _Gaps:
    """A closer look at a section that shows glass where tissue is due: maps of the thumbnail, (h, w)."""

    empty: Bool
    pale: Bool
    depth_um: Float32  # within the tissue of the reference
    away_um: Float32  # from its ventricles

    @classmethod
    def of(cls, one: _Section, um: float) -> _Gaps:
        pale = one.stain < np.maximum(one.least, EDGE_SHARE * _around(one.stain, ~one.empty, um))
        depth, away = _distance(one.expected == TISSUE, um), _distance(one.expected != VENTRICLE, um)
        return cls(_swept(one.empty, um) & one.valid, one.valid & pale, depth, away)


def find_missing(
    placed: Sequence[PlacedThumbnail],
    alignment3d: Alignment3d,
    reference: ReferenceSpace,
    hemisphere: str = "both",
    threads: int = 1,
) -> dict[int, MissingTissue]:
    """Find the tissue that sections lack.

    Parameters
    ----------
    placed : sequence of PlacedThumbnail
        The placed sections of a series, in any order.
    alignment3d : Alignment3d
        Volume to reference.
    reference : ReferenceSpace
        Annotation and ontology.
    hemisphere : {"left", "right", "both"}
        Half of the brain that the series shows: of the other nothing is missing.
    threads : int
        Threads that share the sections.

    Returns
    -------
    dict of int to MissingTissue
        By section number; sections that lack nothing are left out.
    """
    fluid = np.array(sorted(reference.ontology.fluid), np.uint32)

    def look(one: PlacedThumbnail) -> _Section:
        return _section(one, _expected(one, alignment3d, reference, fluid, hemisphere))

    sections = each(look, placed, threads)
    middle_um = reference.middle_um
    masks = each(lambda one: _missing(one, sections, alignment3d, middle_um), sections, threads)
    found = {}
    for one, mask in zip(sections, masks, strict=True):
        if mask.any():
            share = float(np.count_nonzero(mask & one.tissue) / np.count_nonzero(one.tissue))
            found[one.placed.thumbnail.section_number] = MissingTissue(mask, share)
    return found


def _section(placed: PlacedThumbnail, here: UInt8) -> _Section:
    """Return what a section shows beside what is expected there."""
    thumbnail = placed.thumbnail
    seen = tissue_image(thumbnail)
    um = thumbnail.pixel_um
    around = seen.valid & ~cv2.dilate(seen.mask.view(np.uint8), np.ones((5, 5), np.uint8)).view(np.bool_)
    noise = MAD_TO_SIGMA * float(np.median(np.abs(seen.stain[around]))) if around.any() else 0.0
    stained = seen.stain[seen.mask & (seen.stain > LEAST_OD)]
    level = float(np.median(stained)) if stained.size else 0.0
    least = max(EMPTY_OD, EMPTY_NOISES * noise, EMPTY_SHARE * level)
    glass_od = max(GLASS_OD, GLASS_NOISES * noise, GLASS_SHARE * level)
    dense = (seen.valid & (seen.stain >= least)).astype(np.float32)
    known = seen.valid.astype(np.float32)
    sigma = VOTE_SIGMA_UM / um
    share = cv2.GaussianBlur(dense, (0, 0), sigma) / np.maximum(cv2.GaussianBlur(known, (0, 0), sigma), 1e-3)
    glass = np.where(here == TISSUE, GLASS, UNKNOWN)  # where glass is due, it tells nothing of another place
    shown = np.where(seen.valid, np.where(share >= 0.5, TISSUE, glass), UNKNOWN).astype(np.uint8)
    clear = np.minimum(seen.stain, cv2.medianBlur(seen.stain, 3))  # without the grain of the glass
    empty = seen.valid & (clear < least) & (not seen.blank)
    return _Section(placed, seen.stain, seen.valid, empty, least, glass_od, shown, here)


def _distance(region: Bool, um: float) -> Float32:
    """Return how far the pixels of a region lie from the rest, um; it goes on beyond the image."""
    away = cv2.distanceTransform(np.pad(region, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(np.minimum(away[1:-1, 1:-1], np.float32(FAR_PX)) * np.float32(um))


def _around(stain: Float32, tissue: Bool, um: float) -> Float32:
    """Return the mean density of the tissue around each pixel, (h, w), 0 far from it."""
    sigma, part = EDGE_UM / um, tissue.astype(np.float32)
    share = cv2.GaussianBlur(part, (0, 0), sigma)
    return np.asarray(cv2.GaussianBlur(stain * part, (0, 0), sigma) / np.maximum(share, np.float32(1e-3)))


def _swept(empty: Bool, um: float) -> Bool:
    """Add the specks that lie on empty glass: they are debris."""
    pieces, boxes = connected_objects((~empty).view(np.uint8), 8)
    small = boxes[:, AREA] * um * um <= DEBRIS_UM2
    small[0] = True
    return np.asarray(np.take(small, pieces))


def _expected(
    placed: PlacedThumbnail,
    alignment3d: Alignment3d,
    reference: ReferenceSpace,
    fluid: UInt32,
    hemisphere: str,
) -> UInt8:
    """Return what is expected at the pixels of a thumbnail, (h, w), in blocks below a voxel.

    That is tissue or ventricle; glass beyond the brain, and in the half that the series does not show.
    """
    annotation, spacing_um = reference.annotation, reference.annotation_um
    h, w = placed.thumbnail.pixels.shape[:2]
    step = max(1, int(spacing_um / placed.thumbnail.pixel_um))
    y, x = np.mgrid[:h:step, :w:step] + (step - 1) / 2
    points = _to_volume(placed, np.stack([x.ravel(), y.ravel()], axis=1))
    at = np.rint(affine.apply(alignment3d.volume_to_reference, points) / spacing_um)
    first, last = [0, 0, 0], list(annotation.shape)
    if hemisphere == "left":
        last[2] = int(reference.middle_um // spacing_um)
    elif hemisphere == "right":
        first[2] = int(reference.middle_um // spacing_um)
    inside = ((at >= first) & (at < last)).all(axis=1)
    labels = np.zeros(len(at), np.uint32)
    labels[inside] = annotation[tuple(at[inside].astype(np.intp).T)]
    here = np.where(np.isin(labels, fluid), VENTRICLE, np.where(labels > 0, TISSUE, GLASS)).astype(np.uint8)
    return np.asarray(np.kron(here.reshape(x.shape), np.ones((step, step), np.uint8))[:h, :w], np.uint8)


def _to_volume(placed: PlacedThumbnail, pixels: Int64 | Float64) -> Float64:
    """Return the places of pixels (x, y) of a thumbnail in the volume, (n, 3) um."""
    thumbnail = placed.thumbnail
    in_section = affine.apply(thumbnail.thumbnail_to_section, pixels)
    return section_to_volume(placed.alignment, in_section, thumbnail.z_um)


def _missing(one: _Section, sections: Sequence[_Section], alignment3d: Alignment3d, middle_um: float) -> Bool:
    """Return what a section lacks, (h, w)."""
    um = one.placed.thumbnail.pixel_um
    estimated_um = one.placed.alignment.measures.get("estimated_error_um", 0.0)
    error_um = float(np.clip(ERROR_FACTOR * estimated_um, *ERRORS_UM))
    tissue = one.tissue
    if np.count_nonzero(one.empty & tissue) * um * um < LEAST_UM2 / 2:  # specks on glass may be the rest
        return np.zeros_like(tissue)
    gaps = _Gaps.of(one, um)
    empty = gaps.empty & tissue
    pieces, areas = _enclosed(gaps.empty | ~one.valid, um)
    enclosed = _mostly(tissue, pieces, areas, TISSUE_SHARE)
    inner = (gaps.depth_um > error_um) | enclosed & (gaps.away_um > error_um)
    core = _opened(empty & inner, um)
    reach = round((error_um + 2 * RADIUS_UM) / um)
    if not core.any():
        return core
    near = ndimage.binary_dilation(core, iterations=reach, mask=gaps.empty & (gaps.away_um > 0))
    rows, columns = np.nonzero(near)
    lacking, around = np.zeros((2, *empty.shape), np.bool_)
    apart = ((gaps.depth_um > APART_UM) | enclosed & inner)[rows, columns]
    points = _to_volume(one.placed, np.stack([columns, rows], axis=1))
    told, likely = _told(one, sections, alignment3d, middle_um, points, apart)
    lacking[rows, columns] = told
    outer = gaps.depth_um < gaps.away_um  # nearer to the outline than to a ventricle
    around[rows, columns] = told | (likely | outer[rows, columns]) & tissue[rows, columns]
    seeds = _opened(lacking & inner & empty, um)
    seeds = _clear(seeds, one, um)
    whole = ndimage.binary_dilation(seeds, iterations=reach, mask=around) if seeds.any() else seeds
    whole |= _mostly(whole, pieces, areas, HALF) & (gaps.away_um > 0)
    whole |= ndimage.binary_dilation(whole, np.ones((3, 3), np.bool_), mask=gaps.pale & tissue)
    return np.asarray(whole | ndimage.binary_fill_holes(whole) & gaps.empty)


def _clear(seeds: Bool, one: _Section, um: float) -> Bool:
    """Return the large pieces of a region, (h, w), that are as clear as glass."""
    pieces, count = ndimage.label(seeds)
    large = np.bincount(pieces.ravel(), minlength=count + 1) * um * um >= LEAST_UM2
    clear = [n for n in range(1, count + 1) if large[n] and np.median(one.stain[pieces == n]) <= one.glass_od]
    return np.asarray(seeds & np.isin(pieces, np.array(clear, np.int64)))


def _enclosed(empty: Bool, um: float) -> tuple[Int32, Int64]:
    """Return the pieces of glass that tissue encloses, numbered, (h, w), and the area of each, px.

    No shift of the outline makes such a gap. Cracks to the outside are closed; number 0 is the rest.
    """
    glass = _opened(empty, um, CRACK_UM)
    pieces, _ = connected_objects(glass.view(np.uint8), 8)
    outside = np.unique(np.concatenate((pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1])))
    pieces[np.isin(pieces, outside)] = 0
    return pieces, np.bincount(pieces.ravel(), minlength=int(pieces.max()) + 1)


def _mostly(region: Bool, pieces: Int32, areas: Int64, share: float) -> Bool:
    """Return the pieces, (h, w), of which a region fills at least a share."""
    filled = np.bincount(pieces[region], minlength=len(areas)) >= share * areas
    filled[0] = False
    return np.asarray(np.take(filled, pieces))


def _opened(region: Bool, um: float, radius_um: float = RADIUS_UM) -> Bool:
    """Return the parts of a region that a disc fits into."""
    away = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1] * um
    inner = np.asarray(away >= radius_um)
    if not inner.any():
        return inner
    beyond = cv2.distanceTransform((~inner).astype(np.uint8), cv2.DIST_L2, 5) * um
    return np.asarray(region & (beyond <= radius_um))


def _told(
    one: _Section,
    sections: Sequence[_Section],
    alignment3d: Alignment3d,
    middle_um: float,
    points: Float64,
    apart: Bool,
) -> tuple[Bool, Bool]:
    """Return at which volume points other sections, or the other half, show that there was tissue.

    Returns
    -------
    told : (n,) bool
        Where that is told; `apart`, deep inside the tissue of the reference, the other half tells it alone.
    likely : (n,) bool
        Where the other half shows tissue, or no section knows.
    """
    mirrored = affine.apply(alignment3d.volume_to_reference, points)
    mirrored[:, 2] = 2 * middle_um - mirrored[:, 2]
    across = affine.apply(alignment3d.reference_to_volume, mirrored)
    own = _asked([s for s in sections if s is not one], points)
    other = _asked(sections, across)
    same = np.sign(own[TISSUE] - own[GLASS])  # 1 tissue, -1 glass, 0 no one knows
    half = np.sign(other[TISSUE] - other[GLASS])
    nobody = (own[TISSUE] + own[GLASS] + other[TISSUE] + other[GLASS]) == 0
    told = (same > 0) | ((same == 0) & (half > 0)) | (apart & (half > 0)) | (apart & nobody)
    return np.asarray(told), np.asarray((half > 0) | nobody)


def _asked(sections: Sequence[_Section], points: Float64) -> Int64:
    """Return how many of the sections nearest along z know nothing, show glass and show tissue, (3, n)."""
    votes = np.zeros((3, len(points)), np.int64)
    if not len(points):
        return votes
    z_um = float(np.median(points[:, 2]))
    nearest = sorted(sections, key=lambda s: abs(s.z_um - z_um))[:NEIGHBOURS]
    for section in nearest:
        if abs(section.z_um - z_um) > NEAR_UM:
            continue
        pixels, _ = volume_to_section(section.placed.alignment, points, section.z_um)
        to_thumbnail = affine.invert(section.placed.thumbnail.thumbnail_to_section)
        x, y = np.rint(affine.apply(to_thumbnail, pixels)).astype(np.int64).T
        h, w = section.shown.shape
        inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
        shown = np.where(inside, section.shown[y.clip(0, h - 1), x.clip(0, w - 1)], UNKNOWN)
        for kind in (UNKNOWN, GLASS, TISSUE):
            votes[kind] += shown == kind
    return votes


def outlines_px(found: MissingTissue, thumbnail: SectionThumbnail) -> tuple[Polygon, ...]:
    """Return the outlines of missing tissue.

    Parameters
    ----------
    found : MissingTissue
        What the section lacks.
    thumbnail : SectionThumbnail
        The section.

    Returns
    -------
    tuple of polygons, px
        Corners (x, y) in the manifest's frame, as `missing_tissue` of a manifest has them.
    """
    twice = np.kron(found.mask, np.ones((2, 2), np.uint8)).astype(np.uint8)
    contours, _ = cv2.findContours(twice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    rings = [cv2.approxPolyDP(contour, 1.5, closed=True)[:, 0] / 2 - 0.25 for contour in contours]
    placed = (affine.apply(thumbnail.thumbnail_to_section, ring) for ring in rings if len(ring) > 2)
    return tuple(tuple((round(float(x), 1), round(float(y), 1)) for x, y in ring) for ring in placed)


def missing_flags(share: float) -> tuple[str, ...]:
    """Return the flag of a section that lacks tissue.

    Parameters
    ----------
    share : float, 0-1
        Of the tissue that the section should show.

    Returns
    -------
    tuple of str
        One line, or none where next to nothing is missing.
    """
    if share < LEAST_SHARE:
        return ()
    return (f"missing_tissue: {100 * share:.1f} % of the section, left out of every sum and of coverage",)
