"""Positions and frames of the sections of a rendered series; the geometry of a real data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.core.model import (
    Alignment2d,
    Alignment3d,
    Float64,
    SectionDataSet,
    SectionImage,
    SeriesAlignment,
)
from pipeline.geometry import affine

FRAME_TOLERANCE = 0.01  # relative error of a resolution that still counts as a power of two
OPPOSITE = {
    "caudal_to_rostral": "rostral_to_caudal",
    "rostral_to_caudal": "caudal_to_rostral",
    "lateral_to_medial": "medial_to_lateral",
    "medial_to_lateral": "lateral_to_medial",
}


@dataclass(frozen=True, eq=False)
class SeriesGeometry:
    """A series before it has pixels: its manifest, its known alignment and the resolution to draw at.

    Attributes
    ----------
    data_set : SectionDataSet
        The manifest.
    alignment : SeriesAlignment
        The known alignment, in the pixels of the manifest.
    factor : int
        Manifest pixels per drawn pixel, along one axis.
    """

    data_set: SectionDataSet
    alignment: SeriesAlignment
    factor: int = 1

    def size_px(self, image: SectionImage) -> tuple[int, int]:
        """Return the size of the image to draw.

        Parameters
        ----------
        image : SectionImage
            The section in the manifest.

        Returns
        -------
        (int, int), px
            Width and height in drawn pixels.
        """
        return image.width_px // self.factor, image.height_px // self.factor

    def resolution_um(self, image: SectionImage) -> float:
        """Return the size of a drawn pixel.

        Parameters
        ----------
        image : SectionImage
            The section in the manifest.

        Returns
        -------
        float, um
            Size of a drawn pixel.
        """
        return image.resolution_um * self.factor

    def drawn_to_volume(self, image: SectionImage) -> Float64:
        """Return the known map from drawn pixels to the volume.

        Parameters
        ----------
        image : SectionImage
            The section in the manifest.

        Returns
        -------
        (2, 3) float64
            Affine matrix, drawn px to um.

        Raises
        ------
        ConfigError
            Where the section has no Alignment2d.
        """
        section = self.alignment.of(image.section_number)
        if section is None:
            raise ConfigError(f"phantom: section {image.section_number} of the geometry has no Alignment2d")
        return affine.compose(
            section.alignment2d.section_to_volume, affine.scaling((self.factor, self.factor))
        )


def geometry_from(
    data_set: SectionDataSet, alignment: SeriesAlignment, resolution_um: float
) -> SeriesGeometry:
    """Take the geometry of an aligned data set, to be drawn at about `resolution_um`.

    Where that is a power of two times the manifest's resolution (within 1 %), the manifest is kept and
    images are stored reduced. Otherwise manifest and alignment are rescaled to exactly `resolution_um`,
    tissue boxes and dark polygons with them. Sections without an alignment are left out.

    Parameters
    ----------
    data_set : SectionDataSet
        Manifest of the series.
    alignment : SeriesAlignment
        Its alignment, in pixels of the manifest.
    resolution_um : float, um
        Wanted size of a drawn pixel.

    Returns
    -------
    SeriesGeometry
        The aligned sections.

    Raises
    ------
    ConfigError
        Where no section has an Alignment2d.
    """
    images = tuple(i for i in data_set.section_images if alignment.of(i.section_number) is not None)
    if not images:
        raise ConfigError("phantom: expected a data set with aligned sections, got none with an Alignment2d")
    kept = replace(data_set, section_images=images)
    factor = 2 ** round(np.log2(resolution_um / images[0].resolution_um))
    off = abs(factor * images[0].resolution_um / resolution_um - 1)
    if factor >= 1 and off <= FRAME_TOLERANCE:
        return SeriesGeometry(kept, alignment, int(factor))
    return _rescaled(kept, alignment, resolution_um)


def drawn(geometry: SeriesGeometry) -> SeriesGeometry:
    """Return the same series with the frame of the drawn images as its manifest.

    Parameters
    ----------
    geometry : SeriesGeometry
        A series that may be drawn reduced.

    Returns
    -------
    SeriesGeometry
        The series with `factor` 1.
    """
    if geometry.factor == 1:
        return geometry
    first = geometry.data_set.section_images[0]
    return _rescaled(geometry.data_set, geometry.alignment, geometry.resolution_um(first))


def _rescaled(data_set: SectionDataSet, alignment: SeriesAlignment, resolution_um: float) -> SeriesGeometry:
    """Rescale manifest, matrices, tissue boxes and dark polygons to a resolution."""

    def frame(image: SectionImage) -> tuple[Float64, tuple[int, int]]:
        f = resolution_um / image.resolution_um
        return affine.scaling((f, f)), (int(image.width_px / f), int(image.height_px / f))

    moved = _moved(SeriesGeometry(data_set, alignment), frame)
    images = tuple(replace(i, resolution_um=resolution_um, path=None) for i in moved.data_set.section_images)
    return replace(moved, data_set=replace(moved.data_set, section_images=images))


def with_margin(geometry: SeriesGeometry, margin_um: float) -> SeriesGeometry:
    """Return the geometry with more glass around every section, for poses that leave the frame.

    Parameters
    ----------
    geometry : SeriesGeometry
        The series.
    margin_um : float, um
        Width of the glass to add on each side, rounded up to whole manifest pixels.

    Returns
    -------
    SeriesGeometry
        The series with larger images; Alignment2d, tissue boxes and dark polygons are shifted.
    """

    def frame(image: SectionImage) -> tuple[Float64, tuple[int, int]]:
        pad = int(np.ceil(margin_um / image.resolution_um))
        back = np.array([[1.0, 0.0, -pad], [0.0, 1.0, -pad]])
        return back, (image.width_px + 2 * pad, image.height_px + 2 * pad)

    return _moved(geometry, frame)


def reversed_numbers(geometry: SeriesGeometry) -> SeriesGeometry:
    """Return the series numbered in the opposite order: the same images, a negated z in Alignment3d.

    Parameters
    ----------
    geometry : SeriesGeometry
        The series.

    Returns
    -------
    SeriesGeometry
        The renumbered series, with the opposite section order.
    """
    images, thickness = geometry.data_set.section_images, geometry.data_set.section_thickness_um
    ends = images[0].section_number + images[-1].section_number
    flip = affine.identity(3)
    flip[2] = (0.0, 0.0, -1.0, ends * thickness)
    volume = geometry.alignment.alignment3d
    sections = [
        replace(
            section,
            alignment2d=Alignment2d(
                ends - section.alignment2d.section_number, section.alignment2d.section_to_volume
            ),
        )
        for section in reversed(geometry.alignment.sections)
    ]
    renumbered = [replace(image, section_number=ends - image.section_number) for image in reversed(images)]
    order = OPPOSITE.get(str(geometry.data_set.section_order))
    return replace(
        geometry,
        data_set=replace(geometry.data_set, section_images=tuple(renumbered), section_order=order),
        alignment=SeriesAlignment(
            Alignment3d(volume.reference_space_id, affine.compose(volume.volume_to_reference, flip)),
            tuple(sections),
        ),
    )


def turned(geometry: SeriesGeometry, quarter_turns: int = 0, *, mirrored: bool = False) -> SeriesGeometry:
    """Return the series scanned in another orientation: mirrored left to right, then rotated clockwise.

    Alignment, tissue boxes and dark polygons follow. A mirrored series has Alignment2d of negative
    determinant. The hints (`rotate_deg`, `flip`, `image_up`) stay as the manifest states them.

    Parameters
    ----------
    geometry : SeriesGeometry
        The series.
    quarter_turns : int
        Clockwise rotations by 90 degrees.
    mirrored : bool
        Mirror the images first.

    Returns
    -------
    SeriesGeometry
        The series with reoriented images.
    """

    def frame(image: SectionImage) -> tuple[Float64, tuple[int, int]]:
        size = (image.width_px, image.height_px)
        back = affine.identity(2)
        if mirrored:
            back = np.array([[-1.0, 0.0, size[0] - 1.0], [0.0, 1.0, 0.0]])
        for _ in range(quarter_turns % 4):
            back = affine.compose(back, np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, size[1] - 1.0]]))
            size = size[::-1]
        return back, size

    return _moved(geometry, frame)


def _moved(
    geometry: SeriesGeometry, frame: Callable[[SectionImage], tuple[Float64, tuple[int, int]]]
) -> SeriesGeometry:
    """Return the series in other frames: `frame` gives the map of new pixels to old ones and the new size."""
    images, sections = [], []
    for image in geometry.data_set.section_images:
        back, size = frame(image)
        images.append(_image_in(image, affine.invert(back), size))
        found = geometry.alignment.of(image.section_number)
        if found is not None:
            matrix = affine.compose(found.alignment2d.section_to_volume, back)
            sections.append(replace(found, alignment2d=Alignment2d(image.section_number, matrix)))
    return replace(
        geometry,
        data_set=replace(geometry.data_set, section_images=tuple(images)),
        alignment=replace(geometry.alignment, sections=tuple(sections)),
    )


def _image_in(image: SectionImage, to_new: Float64, size: tuple[int, int]) -> SectionImage:
    """Return a section in another frame, with its tissue box, cut to the frame, and its polygons."""
    box = image.tissue_box_px
    if box is not None:
        # The edges of a box lie between pixels, whose centres lie at integers.
        corners = np.array([box[:2], (box[0] + box[2], box[1] + box[3])]) - 0.5
        low, high = np.clip(np.sort(affine.apply(to_new, corners) + 0.5, axis=0), 0.0, size)
        low, high = np.rint(low * 16) / 16, np.rint(high * 16) / 16  # so that left + width is exact
        box = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
    dark, missing = (
        tuple(tuple((float(x), float(y)) for x, y in affine.apply(to_new, ring)) for ring in polygons)
        for polygons in (image.dark_polygons_px, image.missing_polygons_px)
    )
    return replace(
        image,
        width_px=size[0],
        height_px=size[1],
        tissue_box_px=box,
        dark_polygons_px=dark,
        missing_polygons_px=missing,
    )
