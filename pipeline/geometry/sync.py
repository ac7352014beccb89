"""Image synchronisation: from section pixels to the reference space and back.

Modelled on the recorded answers of Allen's image-sync service. The nearest existing section answers, so a
point outside the series lands on the first or last section; x and y may lie outside the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.model import (
    Alignment2d,
    Alignment3d,
    Deformation,
    Float64,
    Int64,
    SectionAlignment,
    SeriesAlignment,
)
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry import affine, deformation


@dataclass(frozen=True, eq=False)
class SyncGeometry:
    """What synchronisation needs of a series: its alignment and where its sections lie along z.

    Attributes
    ----------
    section_data_set_id : int
        Number of the series, for messages.
    section_thickness_um : float, um
        z of a section is section_number * section_thickness_um.
    alignment3d : Alignment3d
        Volume to reference space.
    alignments2d : tuple of Alignment2d
        Sections to volume, in ascending section number.
    deformations : mapping of int to Deformation
        Displacement fields by section number, where there are any.
    """

    section_data_set_id: int
    section_thickness_um: float
    alignment3d: Alignment3d
    alignments2d: tuple[Alignment2d, ...]
    deformations: Mapping[int, Deformation] = field(default_factory=dict)  # by section number

    @cached_property
    def numbers(self) -> Int64:
        """Section numbers, (m,), ascending."""
        return np.array([a.section_number for a in self.alignments2d], dtype=np.int64)

    @cached_property
    def z_um(self) -> Float64:
        """Positions of the sections along z, (m,), um."""
        return self.section_thickness_um * self.numbers.astype(np.float64)

    @cached_property
    def borders_um(self) -> Float64:
        """Positions half way between neighbouring sections, (m - 1,), um."""
        return (self.z_um[1:] + self.z_um[:-1]) / 2

    @cached_property
    def volume_to_sections(self) -> Float64:
        """Matrices of all sections, volume um to px, (m, 2, 3)."""
        return np.stack([a.volume_to_section for a in self.alignments2d])

    @cached_property
    def sections(self) -> tuple[SectionAlignment, ...]:
        """All sections with their deformations."""
        return tuple(self.placed(alignment) for alignment in self.alignments2d)

    @cached_property
    def most_z_um(self) -> float:
        """How far the pixels of any section leave its plane at most, um."""
        return max(map(deformation.largest_z_um, self.sections))

    def placed(self, alignment: Alignment2d) -> SectionAlignment:
        """Return an Alignment2d together with the deformation of its section.

        Parameters
        ----------
        alignment : Alignment2d
            One of `alignments2d`.

        Returns
        -------
        SectionAlignment
            Both in one.
        """
        return SectionAlignment(alignment, deformation=self.deformations.get(alignment.section_number))

    def of(self, section_number: int) -> Alignment2d:
        """Return the Alignment2d of a section.

        Parameters
        ----------
        section_number : int
            Number of the section.

        Returns
        -------
        Alignment2d
            Its map to the volume.

        Raises
        ------
        DataError
            Where the section has no alignment; the message names the three nearest that have.
        """
        at = int(np.searchsorted(self.numbers, section_number))
        if at < len(self.numbers) and self.numbers[at] == section_number:
            return self.alignments2d[at]
        numbers = sorted(self.numbers.tolist(), key=lambda n: abs(n - section_number))
        raise DataError(
            f"series {self.section_data_set_id}: section {section_number} has no alignment; nearest:"
            f" {', '.join(map(str, sorted(numbers[:3])))}"
        )


def geometry_of(
    section_data_set_id: int, section_thickness_um: float, alignment: SeriesAlignment
) -> SyncGeometry:
    """Return the synchronisation geometry of a series, sections in ascending order.

    Parameters
    ----------
    section_data_set_id : int
        Number of the series.
    section_thickness_um : float, um
        Thickness of a section.
    alignment : SeriesAlignment
        Alignment of the series.

    Returns
    -------
    SyncGeometry
        All sections that have an alignment.

    Raises
    ------
    DataError
        Where no section has one.
    """
    found = sorted((s.alignment2d for s in alignment.sections), key=lambda a: a.section_number)
    if not found:
        raise DataError(f"series {section_data_set_id}: no section has an alignment")
    deformed = {s.alignment2d.section_number: s.deformation for s in alignment.sections if s.deformation}
    return SyncGeometry(
        section_data_set_id, section_thickness_um, alignment.alignment3d, tuple(found), deformed
    )


def pixel_to_reference(
    points: npt.ArrayLike, section: SectionAlignment, alignment3d: Alignment3d, z_um: float
) -> Float64:
    """Map section pixels to the reference space, deformation included.

    Parameters
    ----------
    points : (n, 2) float64, px
        Pixel centres, (x, y), in the manifest's frame.
    section : SectionAlignment
        Alignment2d of the section and its deformation, if any.
    alignment3d : Alignment3d
        Volume to reference space.
    z_um : float, um
        Position of the section, section_number * section_thickness_um.

    Returns
    -------
    (n, 3) float64, um
        (P, I, R).
    """
    volume = deformation.section_to_volume(section, points, z_um)
    return affine.apply(alignment3d.volume_to_reference, volume)


def image_to_reference(series: SyncGeometry, section_number: int, points: npt.ArrayLike) -> Float64:
    """Map pixels of one section to the reference space.

    Parameters
    ----------
    series : SyncGeometry
        Geometry of the series.
    section_number : int
        Number of a section that has an alignment.
    points : (n, 2) float64, px
        Pixel centres, (x, y), in the manifest's frame.

    Returns
    -------
    (n, 3) float64, um
        (P, I, R) of the series' own reference space.
    """
    z_um = section_number * series.section_thickness_um
    section = series.placed(series.of(section_number))
    return pixel_to_reference(points, section, series.alignment3d, z_um)


def reference_to_image(series: SyncGeometry, points_um: npt.ArrayLike) -> tuple[Int64, Float64]:
    """Map reference points to the nearest section.

    Parameters
    ----------
    series : SyncGeometry
        Geometry of the series.
    points_um : (n, 3) float64, um
        (P, I, R) of the series' own reference space.

    Returns
    -------
    section_number : (n,) int64
        Number of an existing section.
    points : (n, 2) float64, px
        Pixels in that section; may lie outside the image.
    """
    volume = affine.apply(series.alignment3d.reference_to_volume, np.atleast_2d(points_um))
    if series.deformations:
        index, points = deformation.nearest_section(series.sections, series.z_um, volume, series.most_z_um)
    else:
        index = np.searchsorted(series.borders_um, volume[:, 2])  # half way, the lower section answers
        matrices = series.volume_to_sections[index]
        points = np.einsum("nij,nj->ni", matrices[:, :, :2], volume[:, :2]) + matrices[:, :, 2]
    return series.numbers[index], points


def image_to_image(
    source: SyncGeometry, target: SyncGeometry, section_number: int, points: npt.ArrayLike
) -> tuple[Int64, Float64]:
    """Map pixels of a section of one series to the nearest section of another.

    Reference spaces 9 and 10 are joined by their flip.

    Parameters
    ----------
    source : SyncGeometry
        Series that the pixels belong to.
    target : SyncGeometry
        Series to find them in.
    section_number : int
        Number of the section in `source`.
    points : (n, 2) float64, px
        Pixel centres, (x, y), in the manifest's frame.

    Returns
    -------
    section_number : (n,) int64
        Number of a section of `target` for each point.
    points : (n, 2) float64, px
        Pixels in that section; may lie outside the image.
    """
    between = affine.between_spaces(
        source.alignment3d.reference_space_id, target.alignment3d.reference_space_id
    )
    reference = image_to_reference(source, section_number, points)
    return reference_to_image(target, affine.apply(between, reference))


def structure_centre(reference: ReferenceSpace, structure: str | int, hemisphere: str = "left") -> Float64:
    """Return a point inside a structure: its voxel nearest to the centroid in one hemisphere.

    Parameters
    ----------
    reference : ReferenceSpace
        Annotation and ontology.
    structure : str or int
        Acronym or id; its descendants are included.
    hemisphere : {"left", "right"}
        Side of the midline.

    Returns
    -------
    (3,) float64, um
        (P, I, R).

    Raises
    ------
    DataError
        Where the structure is unknown or has no voxel on that side.
    """
    voxels = np.argwhere(reference.mask([structure]))
    left = voxels[:, 2] * reference.annotation_um < reference.midline_um
    voxels = voxels[left if hemisphere == "left" else ~left]
    if not len(voxels):
        acronym = reference.ontology.find(structure).acronym
        raise DataError(f"structure {acronym}: no voxel in the {hemisphere} hemisphere of {reference.name}")
    # Orders voxels v as |v - S / n| does, in whole numbers: of equal ones no rounding decides.
    apart = len(voxels) * (voxels**2).sum(axis=1) - 2 * (voxels @ voxels.sum(axis=0))
    return np.asarray(voxels[apart.argmin()] * reference.annotation_um, dtype=np.float64)


def structure_to_image(
    series: SyncGeometry, reference: ReferenceSpace, structures: Sequence[str | int], hemisphere: str
) -> tuple[Int64, Float64]:
    """Map the centres of structures to the nearest sections.

    Parameters
    ----------
    series : SyncGeometry
        Geometry of the series.
    reference : ReferenceSpace
        Annotation and ontology.
    structures : sequence of str or int
        Structures, see `structure_centre`.
    hemisphere : {"left", "right"}
        Side of the midline.

    Returns
    -------
    section_number : (n,) int64
        Number of a section for each structure.
    points : (n, 2) float64, px
        Pixels in that section; may lie outside the image.
    """
    centres = np.array([structure_centre(reference, name, hemisphere) for name in structures])
    return reference_to_image(series, centres)
