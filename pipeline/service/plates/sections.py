"""Structures on a section photo, through the section's own placement: outlines, and what lies at a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import Alignment2d, Float64, UInt32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry import affine
from pipeline.geometry.deformation import displacement_at
from pipeline.geometry.sync import SyncGeometry
from pipeline.service.content.catalogue import ServedExperiment, ServedSection
from pipeline.service.http.answers import RequestError
from pipeline.service.plates.cracks import Rings, cut
from pipeline.service.plates.drawing import drawn_labels
from pipeline.service.plates.smooth import smooth

MOST_SIDE = 1000  # pixels of the label image along the longer side of a section


@dataclass(frozen=True, eq=False)
class SectionLabels:
    """The annotation seen through a section's placement.

    Attributes
    ----------
    labels : (h, w) uint32
        Structure ids, 0 outside. Pixel (x, y) covers section pixels `spacing_px` x (x..x+1, y..y+1) and shows
        the structure at its centre.
    spacing_px : float, px
        Section pixels per pixel of `labels`.
    """

    labels: UInt32
    spacing_px: float


def placed(experiment: ServedExperiment, section: ServedSection) -> SyncGeometry:
    """Return the geometry of an experiment that places a section.

    Parameters
    ----------
    experiment : ServedExperiment
        Experiment of the section.
    section : ServedSection
        The section.

    Returns
    -------
    SyncGeometry
        Alignment with deformations.

    Raises
    ------
    RequestError
        With 404 where the section has no placement; the message names sections that have one.
    """
    geometry = experiment.geometry
    number = section.image.section_number
    if geometry is None:
        raise RequestError(
            f"SectionImage {section.id}: SectionDataSet {experiment.id} has no alignment", status=404
        )
    if not any(alignment.section_number == number for alignment in geometry.alignments2d):
        numbers = sorted((a.section_number for a in geometry.alignments2d), key=lambda n: abs(n - number))
        raise RequestError(
            f"SectionImage {section.id}: section {number} has no alignment; the nearest that have one are"
            f" {', '.join(map(str, sorted(numbers[:3])))}",
            status=404,
        )
    return geometry


def structures_at(
    reference: ReferenceSpace, geometry: SyncGeometry, section_number: int, points: npt.ArrayLike
) -> UInt32:
    """Return the structures at pixels of a section: the nearest voxel of the annotation.

    Parameters
    ----------
    reference : ReferenceSpace
        Annotation and ontology. It is looked up at the coordinates of the series' own space, 9 or 10, as runs
        do.
    geometry : SyncGeometry
        Placement of the series, deformations included.
    section_number : int
        Number of a section that has an alignment.
    points : (n, 2) float64, px
        Pixel centres, (x, y), in the manifest's frame.

    Returns
    -------
    (n,) uint32
        Structure ids of the ontology, 0 outside the brain.
    """
    at = np.ascontiguousarray(np.atleast_2d(points), np.float64)
    alignment, bend = geometry.of(section_number), geometry.deformations.get(section_number)
    z_um = section_number * geometry.section_thickness_um
    volume = np.vstack([alignment.section_to_volume, [0.0, 0.0, z_um]])  # of (x, y, 1)
    to_voxels = geometry.alignment3d.volume_to_reference / reference.annotation_um
    flat = affine.compose(to_voxels, volume)
    bent = np.zeros((0, 3)) if bend is None else displacement_at(bend, at)
    found = _nearest(reference.annotation, at, flat, bent, np.ascontiguousarray(to_voxels[:, :3]))
    return drawn_labels(found, reference.ontology)


def section_labels(
    reference: ReferenceSpace, geometry: SyncGeometry, section_number: int, size_px: tuple[int, int]
) -> SectionLabels:
    """Sample the annotation over a section.

    Parameters
    ----------
    reference : ReferenceSpace
        Annotation and ontology.
    geometry : SyncGeometry
        Placement of the series.
    section_number : int
        Number of a section that has an alignment.
    size_px : (int, int), px
        Width and height of the manifest's frame.

    Returns
    -------
    SectionLabels
        Sampled once a voxel, or so that the longer side has `MOST_SIDE` pixels where that is coarser.
    """
    width, height = size_px
    voxel_px = reference.annotation_um / pixel_um(geometry.of(section_number))
    spacing = max(voxel_px, max(width, height) / MOST_SIDE, 1.0)
    columns, rows = (max(math.ceil(n / spacing), 1) for n in (width, height))
    x, y = ((np.arange(n) + 0.5) * spacing - 0.5 for n in (columns, rows))
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    labels = structures_at(reference, geometry, section_number, points)
    return SectionLabels(labels.reshape(rows, columns), spacing)


def pixel_um(alignment: Alignment2d) -> float:
    """Return the size of a section's pixels as its alignment has it.

    Parameters
    ----------
    alignment : Alignment2d
        Alignment of the section.

    Returns
    -------
    float, um
        Square root of the area of a pixel in the volume.
    """
    return math.sqrt(abs(float(np.linalg.det(alignment.section_to_volume[:, :2]))))


def section_size(section: ServedSection) -> tuple[int, int]:
    """Return the size of a section's frame.

    Parameters
    ----------
    section : ServedSection
        The section.

    Returns
    -------
    (int, int), px
        Width and height.

    Raises
    ------
    RequestError
        With 404 where the size is not known, since the image was never read.
    """
    width, height = section.image.width_px, section.image.height_px
    if min(width, height) < 1:
        raise RequestError(
            f"SectionImage {section.id}: its size is not known, since it was never read", status=404
        )
    return width, height


def section_rings(labels: SectionLabels) -> Rings:
    """Return the rounded outlines of structures on a section.

    Parameters
    ----------
    labels : SectionLabels
        The annotation over the section.

    Returns
    -------
    Rings
        In pixels of `labels`.
    """
    return smooth(cut(labels.labels))


@kernel
def _nearest(annotation: UInt32, points: Float64, flat: Float64, bent: Float64, linear: Float64) -> UInt32:
    """Return the label of the voxel nearest to each pixel, 0 outside the annotation.

    `flat` takes (x, y, 1) to voxels, and `linear` displacements in the volume. A kernel, since products of
    many points with small matrices would start threads of the BLAS beside those of the server.
    """
    found = np.zeros(len(points), np.uint32)
    voxel = np.empty(3)
    for n in range(len(points)):
        inside = True
        for c in range(3):
            v = flat[c, 0] * points[n, 0] + flat[c, 1] * points[n, 1] + flat[c, 2]
            if len(bent):
                v += linear[c, 0] * bent[n, 0] + linear[c, 1] * bent[n, 1] + linear[c, 2] * bent[n, 2]
            voxel[c] = np.rint(v)
            inside = inside and 0.0 <= voxel[c] < annotation.shape[c]
        if inside:
            found[n] = annotation[int(voxel[0]), int(voxel[1]), int(voxel[2])]
    return found
