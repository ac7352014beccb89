"""One card per section: image, outlines, expression, box and polygons, cell-scale view, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.errors import MissingResultError
from pipeline.core.model import Float64, Status
from pipeline.report.coarse_atlas import OUTSIDE, CoarseAtlas
from pipeline.report.contents import Panel, Polygons, RunContents, Section, attempt
from pipeline.report.crops import Crop, Window, choose_sources, choose_windows, crop
from pipeline.report.frames import Thumbnail, read_thumbnail, reference_points
from pipeline.report.outlines import Outline, mask_path, outlines
from pipeline.report.pictures import data_uri, intensity_png, jpeg_uri
from pipeline.report.text import figure
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.sections.thumbnail_tissue import tissue_image
from pipeline.store.masks import level_count
from pipeline.system.threads import each

PAGE_BYTES = 13_000_000  # of pictures, before base64 adds a third
SECTION_BYTES = 240_000  # at most, of the pictures of one section
SHARES = {"thumbnail": 0.45, "overlay": 0.25, "crop": 0.3}  # of a section's bytes
SHARPNESS = 0.6  # standard deviation of the rounding of outlines, in voxels of the annotation
MEASURES = {  # texts of the alignment's measures; others keep their name
    "dice": "Dice with annotation",
    "boundary_um": "outline distance, µm",
    "covered": "tissue on annotation",
    "pose_deviation_um": "deviation from neighbours, µm",
    "stain_residual": "stain residual",
    "estimated_error_um": "expected error, µm",
    "local_shift_um": "residual displacement in plane, µm",
    "plane_shift_um": "residual displacement along the normal, µm",
    "uncertainty_um": "uncertainty of the displacement in plane, µm",
    "deformation_um": "deformation, r.m.s., µm",
    "least_jacobian": "least local area, deformed ÷ affine",
    "by_hand": "placed by hand",
    "beyond_plane_um": "largest displacement out of plane, µm",
}


@dataclass(frozen=True, eq=False)
class Overlay:
    """The expression mask over a section: a picture and its extent in picture coordinates."""

    uri: str
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Picture:
    """A section image with everything that is drawn over it; lengths are in thumbnail pixels."""

    width: int
    height: int
    uri: str
    mm: float
    outlines: Panel[tuple[Outline, ...]]  # of the reference; of the tissue where there is no alignment
    overlay: Panel[Overlay]
    box: tuple[float, ...]  # x, y, width, height; empty where the manifest gives none
    dark_polygons: tuple[str, ...]
    missing: tuple[str, ...]  # tissue, found or marked in the manifest
    artifacts: tuple[str, ...]
    frame: tuple[float, ...]  # where the cell-scale view lies: x, y, width, height

    @property
    def width_um(self) -> float:
        """Width of the section image, um; 0 where the run does not state it."""
        return 1000.0 * self.width / self.mm if self.mm else 0.0


@dataclass(frozen=True, eq=False)
class Card:
    """Everything that the page shows of one section."""

    section: Section
    picture: Panel[Picture]
    crop: Panel[Crop]
    figures: tuple[tuple[str, str], ...]


def cards(contents: RunContents, atlas: CoarseAtlas | None, threads: int = 1) -> list[Card]:
    """Return one card per section: flagged ones first, each group in ascending order of section number.

    Parameters
    ----------
    contents : RunContents
        The run.
    atlas : CoarseAtlas or None
        Gives the outlines of the reference.
    threads : int
        Threads that share the sections.

    Returns
    -------
    list of Card
        The cards.
    """
    budget = int(min(PAGE_BYTES / max(len(contents.sections), 1), SECTION_BYTES))
    windows = choose_windows(contents)
    sources = choose_sources(contents, windows)

    def one(section: Section) -> Card:
        window = windows.get(section.number, Panel(None))
        return _card(contents, section, atlas, window, budget, with_source=section.number in sources)

    return each(one, sorted(contents.sections, key=lambda s: (not s.flagged, s.number)), threads)


def _card(
    contents: RunContents,
    section: Section,
    atlas: CoarseAtlas | None,
    window: Panel[Window],
    budget: int,
    *,
    with_source: bool,
) -> Card:
    """Return the card of one section."""
    picture: Panel[Picture] = Panel(None, "; ".join(section.flags) or "no image was read")
    close: Panel[Crop] = Panel(None, window.reason)
    place = window.content
    if section.measured:
        picture = attempt(lambda: _picture(contents, section, atlas, place, budget))
    if place is not None:
        share = int(budget * SHARES["crop"])
        close = attempt(lambda: crop(contents, section, place, share, with_source=with_source))
    return Card(section, picture, close, figures(section))


def _picture(
    contents: RunContents, section: Section, atlas: CoarseAtlas | None, frame: Window | None, budget: int
) -> Picture:
    """Return the section image with its outlines, overlay, box, polygons, artifacts and frame."""
    thumbnail = read_thumbnail(contents, section)
    h, w = thumbnail.pixels.shape[:2]
    drawn: Panel[Overlay] = Panel(None, "the step “detect” has no mask of this section")
    if section.detected:
        drawn = attempt(lambda: _overlay(contents, section, thumbnail, int(budget * SHARES["overlay"])))
    return Picture(
        width=w,
        height=h,
        uri=jpeg_uri(thumbnail.pixels, int(budget * SHARES["thumbnail"])),
        mm=1000.0 / thumbnail.pixel_um if thumbnail.pixel_um else 0.0,
        outlines=attempt(lambda: _outlines(contents, section, thumbnail, atlas)),
        overlay=drawn,
        box=_box(section.document.get("tissue_box_px"), thumbnail),
        dark_polygons=_rings(section.document.get("dark_polygons_px"), thumbnail),
        missing=_rings([*(section.document.get("missing_polygons_px") or ()), *section.missing], thumbnail),
        artifacts=_artifacts(section, thumbnail),
        frame=() if frame is None else _frame(frame, thumbnail),
    )


def _outlines(
    contents: RunContents, section: Section, thumbnail: Thumbnail, atlas: CoarseAtlas | None
) -> tuple[Outline, ...]:
    """Return the outlines of the reference; of the tissue where the section has no alignment."""
    alignment = contents.alignment.content
    if alignment is None or section.alignment is None:
        return tissue_outline(thumbnail)
    if atlas is None:
        raise MissingResultError("the reference of the run is not available")
    z_um = section.number * float(contents.data_set["section_thickness_um"])
    points = reference_points(thumbnail, section.alignment, alignment.alignment3d, z_um)
    return outlines(atlas.at(points), rounding_px(atlas.reference.annotation_um, thumbnail.pixel_um))


def tissue_outline(thumbnail: Thumbnail) -> tuple[Outline, ...]:
    """Return the outline of the tissue as an aligner sees it; it may explain why a section was not placed.

    Parameters
    ----------
    thumbnail : Thumbnail
        The reduced image of the section.

    Returns
    -------
    tuple of Outline
        One outline.

    Raises
    ------
    MissingResultError
        Where no tissue is seen.
    """
    to_section = np.eye(2, 3) * thumbnail.factor * thumbnail.reduce
    seen = SectionThumbnail(0, 0.0, thumbnail.pixels, thumbnail.resolution_um, to_section, thumbnail.valid)
    mask = tissue_image(seen).mask
    if not mask.any():
        raise MissingResultError("no tissue found")
    return (Outline(OUTSIDE, mask_path(mask)),)


def rounding_px(annotation_um: float, pixel_um: float) -> float:
    """Return the standard deviation of the Gaussian that hides the voxels of an annotation.

    Parameters
    ----------
    annotation_um : float, um
        Voxel size of the annotation.
    pixel_um : float, um
        Pixel size of the picture; 0 where it is not known.

    Returns
    -------
    float, px
        From 0.5 to 3 pixels.
    """
    return float(np.clip(SHARPNESS * annotation_um / (pixel_um or annotation_um), 0.5, 3.0))


def _overlay(contents: RunContents, section: Section, thumbnail: Thumbnail, budget: int) -> Overlay:
    """Colour the first pyramid level, from that nearest above the thumbnail on, that fits the budget."""
    levels = level_count(contents.run.path / "expression.zarr" / str(section.number))
    for level in range(min(int(np.log2(thumbnail.reduce)), levels - 1), levels):
        expression = contents.run.read_expression(section.number, level)
        data = intensity_png(expression)
        if len(data) <= budget:
            break
    step = 2**level / thumbnail.reduce
    h, w = expression.shape
    return Overlay(data_uri(data, "png"), w * step, h * step)


def _box(box: Sequence[float] | None, thumbnail: Thumbnail) -> tuple[float, ...]:
    """Return the tissue box in picture coordinates, empty where there is none."""
    scale = thumbnail.factor * thumbnail.reduce
    return tuple(float(v) / scale for v in box) if box else ()


def _rings(polygons: Polygons | None, thumbnail: Thumbnail) -> tuple[str, ...]:
    """Return polygons of the manifest's frame as SVG polygons."""
    return tuple(polygon(thumbnail.picture_points(np.array(ring, float))) for ring in polygons or ())


def _frame(window: Window, thumbnail: Thumbnail) -> tuple[float, ...]:
    """Return the rectangle of the cell-scale view in picture coordinates."""
    return tuple(v / thumbnail.reduce for v in (window.x, window.y, window.width, window.height))


def _artifacts(section: Section, thumbnail: Thumbnail) -> tuple[str, ...]:
    """Return the outlines of the artifacts as SVG polygons."""
    found = (section.quality.get("context") or {}).get("artifacts") or ()
    rings = [np.array(a["outline_um"], float) for a in found if a.get("outline_um")]
    return tuple(polygon(thumbnail.from_um(ring)) for ring in rings if thumbnail.pixel_um)


def polygon(points: Float64) -> str:
    """Return points in the form of an SVG polygon.

    Parameters
    ----------
    points : (n, 2) float64
        Picture coordinates, (x, y).

    Returns
    -------
    str
        Pairs "x,y" with one decimal.

    Examples
    --------
    >>> polygon(np.array([[0.0, 1.0], [2.5, 3.0]]))
    '0.0,1.0 2.5,3.0'
    """
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points.tolist())


def figures(section: Section) -> tuple[tuple[str, str], ...]:
    """Return the figures of a section.

    Parameters
    ----------
    section : Section
        The section.

    Returns
    -------
    tuple of (str, str)
        Name and text: share of expressing pixels, their mean intensity, measures of the alignment.
    """
    quality = section.quality
    found: list[tuple[str, str]] = []
    pixels, expressing = quality.get("sum_pixels"), quality.get("sum_expressing_pixels")
    if pixels:
        found.append(("expressing", f"{100 * float(expressing or 0) / float(pixels):.2f} %"))
    if expressing:
        mean = float(quality.get("sum_expressing_pixel_intensity") or 0) / float(expressing)
        found.append(("mean intensity", f"{mean:.0f}"))
    if quality.get("missing_tissue_share"):
        found.append(("missing tissue", f"{100 * float(quality['missing_tissue_share']):.1f} %"))
    measures: Mapping[str, Any] = section.alignment.measures if section.alignment else {}
    found += [(MEASURES.get(name, name), figure(value)) for name, value in measures.items()]
    return tuple(found)


def is_used(section: Section) -> bool:
    """Return whether the section counts in the grid: detected, aligned and not failed.

    Parameters
    ----------
    section : Section
        The section.

    Returns
    -------
    bool
        Whether it counts.
    """
    return section.detected and section.alignment is not None and section.alignment.status != Status.FAIL
