"""Image synchronisation as the original's six verbs, over the alignments of the served experiments.

The answers are those of `geometry.sync`: the nearest section answers, also for a point beyond the series, and
spaces 9 and 10 are joined by their flip where a point crosses between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.model import PLANE_SPACES, Float64
from pipeline.geometry import affine, deformation, sync
from pipeline.geometry.sync import SyncGeometry
from pipeline.service.content.catalogue import Catalogue, ServedExperiment, ServedSection
from pipeline.service.http.answers import RequestError

ImageSync = dict[str, dict[str, int | float]]
Centre = Callable[[int], Float64]  # (P, I, R) um of a structure, by its id
NearestPlate = Callable[[int, Float64], tuple[int, int, float, float]]  # of an atlas, to (P, I, R) um


def image_to_reference(catalogue: Catalogue, section_image_id: int, x: float, y: float) -> dict[str, Any]:
    """Map a pixel of a section to its reference space.

    Parameters
    ----------
    catalogue : Catalogue
        What is served.
    section_image_id : int
        Section.
    x, y : float, px
        Pixel in the manifest's frame.

    Returns
    -------
    dict
        `image_to_reference` with x, y, z: P, I, R um of the experiment's own space.

    Raises
    ------
    RequestError
        Where the section is not served or has no alignment.
    """
    section, series = _section(catalogue, section_image_id)
    p, i, r = _to_reference(section, series, x, y)
    return {"image_to_reference": {"x": p, "y": i, "z": r}}


def reference_to_image(
    catalogue: Catalogue, space_id: int, point_um: Sequence[float], experiment_ids: Sequence[int]
) -> list[ImageSync]:
    """Map a reference point to the nearest section of each experiment.

    Parameters
    ----------
    catalogue : Catalogue
        What is served.
    space_id : int
        Reference space of the point, 9 or 10.
    point_um : sequence of 3 floats, um
        (P, I, R).
    experiment_ids : sequence of int
        Experiments, answered in this order.

    Returns
    -------
    list of dict
        `image_sync` of each experiment.

    Raises
    ------
    RequestError
        Where the space is unknown, or an experiment is not served or has no alignment.
    """
    if space_id not in PLANE_SPACES.values():
        raise RequestError(
            f"ReferenceSpace {space_id}: not served here; served are 9 (P56 Brain) and 10 (P56 Brain, L/R"
            " Flipped)",
            status=404,
        )
    return [_found(catalogue, one, space_id, point_um) for one in experiment_ids]


def image_to_image(
    catalogue: Catalogue, section_image_id: int, x: float, y: float, experiment_ids: Sequence[int]
) -> list[ImageSync]:
    """Map a pixel of a section to the nearest section of each experiment.

    Parameters
    ----------
    catalogue : Catalogue
        What is served.
    section_image_id : int
        Section that the pixel belongs to.
    x, y : float, px
        Pixel in the manifest's frame.
    experiment_ids : sequence of int
        Experiments, answered in this order.

    Returns
    -------
    list of dict
        `image_sync` of each experiment.

    Raises
    ------
    RequestError
        Where a section or experiment is not served or has no alignment.
    """
    section, series = _section(catalogue, section_image_id)
    point = _to_reference(section, series, x, y)
    space = series.alignment3d.reference_space_id
    return [_found(catalogue, one, space, point) for one in experiment_ids]


def image_to_image_2d(
    catalogue: Catalogue, section_image_id: int, x: float, y: float, section_image_ids: Sequence[int]
) -> list[ImageSync]:
    """Map a pixel of a section to given sections, without a search for the nearest.

    Parameters
    ----------
    catalogue : Catalogue
        What is served.
    section_image_id : int
        Section that the pixel belongs to.
    x, y : float, px
        Pixel in the manifest's frame.
    section_image_ids : sequence of int
        Sections, answered in this order.

    Returns
    -------
    list of dict
        `image_sync` of each section: where the point lies when it is moved along the section's normal.

    Raises
    ------
    RequestError
        Where a section is not served or has no alignment.
    """
    section, series = _section(catalogue, section_image_id)
    point = _to_reference(section, series, x, y)
    return [_onto(_section(catalogue, one), series, point) for one in section_image_ids]


def structure_to_image(
    catalogue: Catalogue, experiment_id: int, structure_ids: Sequence[int], centre: Centre
) -> list[ImageSync]:
    """Map the centres of structures to the nearest sections of an experiment.

    Parameters
    ----------
    catalogue : Catalogue
        What is served.
    experiment_id : int
        Experiment.
    structure_ids : sequence of int
        Structures, answered in this order.
    centre : callable
        Returns the centre of a structure, (P, I, R) um; raises DataError where it has none.

    Returns
    -------
    list of dict
        `image_sync` of each structure.

    Raises
    ------
    RequestError
        Where the experiment is not served or has no alignment, or a structure is unknown or has no voxels.
    """
    experiment = catalogue.experiment(experiment_id)
    series = geometry_of(experiment)
    try:
        points = np.array([centre(one) for one in structure_ids])
    except DataError as error:
        raise RequestError(str(error), status=404) from None
    return [
        _image_sync(experiment, *found)
        for found in zip(*sync.reference_to_image(series, points), strict=True)
    ]


def image_to_atlas(
    catalogue: Catalogue,
    section_image_id: int,
    x: float,
    y: float,
    atlas_id: int,
    nearest_plate: NearestPlate,
) -> ImageSync:
    """Map a pixel of a section to the nearest plate of an atlas.

    Parameters
    ----------
    catalogue : Catalogue
        What is served.
    section_image_id : int
        Section.
    x, y : float, px
        Pixel in the manifest's frame.
    atlas_id : int
        Atlas.
    nearest_plate : callable
        Returns id and section number of the nearest plate of an atlas, and (x, y) px there.

    Returns
    -------
    dict
        `image_sync` with section_image_id (an AtlasImage), section_number, x and y.

    Raises
    ------
    RequestError
        Where section or atlas are not served, or the section has no alignment.
    """
    section, series = _section(catalogue, section_image_id)
    point = np.array(_to_reference(section, series, x, y))
    plate_id, section_number, plate_x, plate_y = nearest_plate(atlas_id, point)
    return {
        "image_sync": {
            "section_image_id": plate_id,
            "section_number": section_number,
            "x": plate_x,
            "y": plate_y,
        }
    }


def geometry_of(experiment: ServedExperiment) -> SyncGeometry:
    """Return the alignment of an experiment.

    Parameters
    ----------
    experiment : ServedExperiment
        The experiment.

    Returns
    -------
    SyncGeometry
        Its geometry.

    Raises
    ------
    RequestError
        Where it was not aligned.
    """
    if experiment.geometry is None:
        raise RequestError(
            f"SectionDataSet {experiment.id}: was not aligned, it has no place in the reference"
        )
    return experiment.geometry


def _section(catalogue: Catalogue, section_image_id: int) -> tuple[ServedSection, SyncGeometry]:
    section = catalogue.section(section_image_id)
    series = geometry_of(catalogue.experiment(section.experiment_id))
    try:
        series.of(section.image.section_number)
    except DataError as error:
        raise RequestError(f"SectionImage {section_image_id}: {error}") from None
    return section, series


def _to_reference(section: ServedSection, series: SyncGeometry, x: float, y: float) -> list[float]:
    found: list[float] = sync.image_to_reference(series, section.image.section_number, [[x, y]])[0].tolist()
    return found


def _between(source_id: int, series: SyncGeometry, point_um: Sequence[float]) -> Float64:
    """Return a point of one space in the space of a series."""
    target_id = series.alignment3d.reference_space_id
    if source_id == target_id:
        return np.asarray([point_um], dtype=np.float64)
    return affine.apply(affine.between_spaces(source_id, target_id), [point_um])


def _found(catalogue: Catalogue, experiment_id: int, space_id: int, point_um: Sequence[float]) -> ImageSync:
    experiment = catalogue.experiment(experiment_id)
    series = geometry_of(experiment)
    numbers, points = sync.reference_to_image(series, _between(space_id, series, point_um))
    return _image_sync(experiment, numbers[0], points[0])


def _onto(
    target: tuple[ServedSection, SyncGeometry], source: SyncGeometry, point_um: Sequence[float]
) -> ImageSync:
    section, series = target
    point = _between(source.alignment3d.reference_space_id, series, point_um)
    volume = affine.apply(series.alignment3d.reference_to_volume, point)
    number = section.image.section_number
    placed = series.placed(series.of(number))
    points, _ = deformation.volume_to_section(placed, volume, number * series.section_thickness_um)
    return _sync(section, points[0])


def _image_sync(experiment: ServedExperiment, number: Any, point: Float64) -> ImageSync:
    return _sync(experiment.sections[int(number)], point)


def _sync(section: ServedSection, point: Float64) -> ImageSync:
    x, y = point.tolist()
    return {
        "image_sync": {
            "section_data_set_id": section.experiment_id,
            "section_image_id": section.id,
            "section_number": section.image.section_number,
            "x": x,
            "y": y,
        }
    }
