"""The volume of placed sections: evened, damage left out, stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.reconstruction.brain_sections import BrainSections, read_thumbnail
from pipeline.atlas_building.reconstruction.evening import (
    MOST_LOST,
    darkness_of,
    gains_of,
    lost_share,
    lost_tissue,
)
from pipeline.atlas_building.reconstruction.place import with_status
from pipeline.atlas_building.reconstruction.placed import PlacedSection, used
from pipeline.atlas_building.reconstruction.stacking import BRIDGED, FROM_SECTIONS, Stack
from pipeline.atlas_building.reconstruction.surfaces import Raster, Surface, drawn_on, surface
from pipeline.core.errors import DataError
from pipeline.core.model import Bool, Float32, Float64, Status, UInt8
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.sections.thumbnail_tissue import TissueImage, tissue_image
from pipeline.system.threads import each

COARSE_UM = 50.0  # raster on which sections are compared
THREADS = 2
LEAST_USED = 6


@dataclass(frozen=True, eq=False)
class BuiltVolume:
    """A volume, and the sections as they went into it.

    Attributes
    ----------
    values : (P, I, R) float32
        Darkness, 0-255.
    coverage : (P, I, R) uint8
        0 outside, 1 from sections, 2 bridged.
    sections : tuple of PlacedSection
        With final statuses.
    quality : dict
        What was measured.
    """

    values: Float32
    coverage: UInt8
    sections: tuple[PlacedSection, ...]
    quality: dict[str, object]


def build_volume(
    brain: BrainSections,
    sections: Sequence[PlacedSection],
    box_um: tuple[float, float, float],
    spacing_um: float,
) -> BuiltVolume:
    """Return the volume of placed sections.

    Parameters
    ----------
    brain : BrainSections
        As read.
    sections : sequence of PlacedSection
        In place; those that failed are left out.
    box_um : (3,) float, um
        Box of the frame.
    spacing_um : float, um
        Voxel size.

    Returns
    -------
    BuiltVolume
        Evened and stacked.

    Raises
    ------
    DataError
        Where fewer than six sections can be used.
    """
    chosen = used(sections)
    _check_left(brain, chosen)
    plane = brain.first.plane_of_section
    coarse = Raster.over(plane, box_um, max(COARSE_UM, spacing_um))
    compared = _compare([sections[k] for k in chosen], coarse)
    result = list(sections)
    for n, k in enumerate(chosen):
        result[k] = compared.judged(n, result[k])
    kept = [int(n) for n in np.argsort(compared.heights_um, kind="stable") if result[chosen[n]].is_used]
    _check_left(brain, kept)
    raster = Raster.over(plane, box_um, spacing_um)
    away = float(np.median(np.diff(compared.heights_um[kept])))
    stack = Stack(raster, max(2, round(box_um[raster.normal] / spacing_um)), away)
    read = {one.section_number: one for one in brain.thumbnails}
    for n in kept:
        one = result[chosen[n]]
        stain, on = _fine(brain, one, read[one.number], raster)
        if compared.lost[n].any():
            gone = ndimage.zoom(compared.lost[n].astype(np.float32), coarse.um / raster.um, order=1)
            stain[_fitted(gone, raster.shape) > 0.5] = np.nan
        stack.add(darkness_of(stain / np.float32(compared.gains[n])), on.height_um)
    values, coverage = stack.finish()
    return BuiltVolume(values, coverage, tuple(result), _quality(brain, result, compared, coverage))


@dataclass(frozen=True, eq=False)
class _Compared:
    """Sections held against their neighbours: heights, gains, evened stain, and what they lack."""

    heights_um: Float64
    gains: Float64
    evened: Sequence[Float32]
    lost: Sequence[Bool]
    shares: Sequence[float]

    def judged(self, n: int, one: PlacedSection) -> PlacedSection:
        """Return a section with its gain and what it lacks; not used where that is most of it."""
        measures = {"gain": round(float(self.gains[n]), 4)}
        if self.lost[n].any():
            measures["lost_share"] = round(self.shares[n], 4)
        if self.shares[n] > MOST_LOST:
            reason = f"{100 * self.shares[n]:.0f} % of its tissue is lost"
            return with_status(one, Status.FAIL, reason, **measures)
        return with_status(one, one.section.status, one.section.reason, **measures)


def _compare(sections: Sequence[PlacedSection], raster: Raster) -> _Compared:
    """Hold sections against their neighbours along the normal."""
    drawn = each(lambda one: _drawn(one, tissue_image(one.thumbnail), raster), sections, THREADS)
    heights = np.array([float(np.median(on.height_um)) for _, on in drawn])
    order = np.argsort(heights, kind="stable")
    gains = np.ones(len(sections))
    gains[order] = gains_of([drawn[n][0] for n in order])
    even = [np.asarray(stain / np.float32(g), np.float32) for (stain, _), g in zip(drawn, gains, strict=True)]
    along = [even[n] for n in order]
    found = lost_tissue(along, raster.um)
    back = np.argsort(order)
    lost = [found[m] for m in back]
    shares = [lost_share(found[m], along, int(m)) for m in back]
    return _Compared(heights, gains, along, lost, shares)


def _check_left(brain: BrainSections, kept: Sequence[int]) -> None:
    if len(kept) < LEAST_USED:
        raise DataError(
            f"{brain.sources[0]}: expected at least {LEAST_USED} sections that can be placed, got {len(kept)}"
            f" of {len(brain.thumbnails)}; see their images"
        )


def _drawn(one: PlacedSection, tissue: TissueImage, raster: Raster) -> tuple[Float32, Surface]:
    """Return the stain of a section on a raster, NaN where it shows nothing, and its surface."""
    on = surface(one.section, one.space, one.thumbnail.z_um, raster)
    image = np.where(tissue.valid, tissue.stain, np.nan).astype(np.float32)
    return drawn_on(image, one.thumbnail.thumbnail_to_section, on), on


def _fine(
    brain: BrainSections, one: PlacedSection, read: SectionThumbnail, raster: Raster
) -> tuple[Float32, Surface]:
    """Return the stain of a section at the voxel size, from its file where that is finer."""
    thumbnail = read
    if raster.um < 0.9 * read.pixel_um:
        data_set = brain.data_sets[read.series]
        image = next(s for s in data_set.section_images if s.section_number == one.number)
        thumbnail = read_thumbnail(image, read.z_um, raster.um)
    return _drawn(replace(one, thumbnail=thumbnail), tissue_image(thumbnail), raster)


def _fitted(image: Float32, shape: tuple[int, int]) -> Float32:
    """Return an image cut or continued to a shape."""
    rows, columns = (min(a, b) for a, b in zip(image.shape, shape, strict=True))
    found = np.zeros(shape, np.float32)
    found[:rows, :columns] = image[:rows, :columns]
    return found


def _quality(
    brain: BrainSections,
    sections: Sequence[PlacedSection],
    compared: _Compared,
    coverage: UInt8,
) -> dict[str, object]:
    counts = {s.value: sum(one.section.status is s for one in sections) for s in Status}
    covered = coverage > 0
    return {
        "sections": {
            "read": len(sections),
            "used": len(used(sections)),
            "failed": counts["fail"],
            "without an image": len(brain.missing),
            "not readable": len(brain.unread),
        },
        "distance of the sections, um": brain.spacing_um,
        "spread of the sections' stain before evening": float(np.log(compared.gains).std()),
        "correlation of neighbouring sections": neighbour_correlation(compared.evened),
        "share of the volume that is bridged": float((coverage == BRIDGED).sum() / max(covered.sum(), 1)),
        "share of the box that is covered": float((coverage >= FROM_SECTIONS).mean()),
    }


def neighbour_correlation(stains: Sequence[Float32]) -> float:
    """Return the median correlation of neighbouring sections over the tissue of either.

    Parameters
    ----------
    stains : sequence of (rows, columns) float32
        Optical density over common planes, NaN where unknown.

    Returns
    -------
    float
        Pearson's r; NaN where no two share tissue.
    """
    found = []
    for one, other in pairwise(stains):
        both: Bool = np.isfinite(one) & np.isfinite(other)
        both &= np.where(both, np.maximum(one, other), 0) > 0.02
        if both.sum() > 20:
            found.append(float(np.corrcoef(one[both], other[both])[0, 1]))
    return float(np.median(found)) if found else float("nan")
