"""The same place in many experiments: where each shows a point, and how its pixels lie there."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.model import MIDLINE_UM, Float64
from pipeline.geometry import affine, sync
from pipeline.geometry.sync import SyncGeometry
from pipeline.service.content.catalogue import Catalogue, ServedExperiment, ServedSection
from pipeline.service.http.answers import RequestError
from pipeline.service.own.endpoint import REQUIRED, Endpoint, Parameter, Values
from pipeline.service.own.experiments import SECTION_ID
from pipeline.service.own.schemas import FLAG, INTEGER, NUMBER, TEXT, array, maybe, record
from pipeline.service.served import Serving

MOST = 24  # experiments of one request
STEP_PX = 32.0  # of the difference that gives the axes: small against deformations, large against rounding
SPACES = (9, 10)
MIRROR = affine.between_spaces(*SPACES)  # what joins the two spaces is the reflection at the midline
HALVES = ("left", "right")


def from_section(serving: Serving, values: Values) -> dict[str, Any]:
    """Return the place of a pixel, and the same place in other experiments."""
    catalogue = serving.catalogue
    section = catalogue.section(values["id"])
    experiment = catalogue.experiment(section.experiment_id)
    series = experiment.geometry
    if series is None:
        raise RequestError(
            f"SectionDataSet {experiment.id}: was not aligned, it has no place in the reference"
        )
    space = values["reference_space_id"] or series.alignment3d.reference_space_id
    pixel = np.array([[values["x"], values["y"]]])
    try:
        own = _place(experiment, series, section, pixel[0], space)
    except DataError as error:
        raise RequestError(f"SectionImage {section.id}: {error}") from None
    return {"place": own, "places": _places(catalogue, values["experiments"], own["point_um"], space)}


def from_reference(serving: Serving, values: Values) -> list[dict[str, Any]]:
    """Return where experiments show a reference point."""
    point = np.array([values["p"], values["i"], values["r"]])
    return _places(serving.catalogue, values["experiments"], point, values["reference_space_id"])


def structure_centre(serving: Serving, values: Values) -> dict[str, Any]:
    """Return the centre of a structure."""
    structure = serving.structure(values["structure"])
    try:
        return {"structure_id": structure.id, "point_um": serving.centre(structure.id)}
    except DataError as error:
        raise RequestError(str(error), status=404) from None


def _places(catalogue: Catalogue, words: str | None, point: Float64, space: int) -> list[dict[str, Any]]:
    return [_found(catalogue, one, point, space) for one in _ids(words)]


def _ids(words: str | None) -> list[int]:
    given = [word.strip() for word in words.split(",")] if words else []
    if len(given) > MOST or not all(word.isascii() and word.isdigit() for word in given):
        raise RequestError(
            f"experiments: expected at most {MOST} ids, separated by commas, got {words!r:.60}"
        )
    return [int(word) for word in given]


def _found(catalogue: Catalogue, experiment_id: int, point: Float64, space: int) -> dict[str, Any]:
    """Return the place in one experiment; an experiment without one says why and spares the others."""
    try:
        experiment = catalogue.experiment(experiment_id)
        series = experiment.geometry
        if series is None or not series.alignments2d:
            raise RequestError("was not aligned, it has no place in the reference")
        there = affine.apply(affine.between_spaces(space, series.alignment3d.reference_space_id), point[None])
        mirrored = _is_beyond(experiment, float(there[0, 2]))
        if mirrored:
            there = affine.apply(MIRROR, there)
        numbers, pixels = sync.reference_to_image(series, there)
        section = experiment.sections[int(numbers[0])]
        return _place(experiment, series, section, pixels[0], space, mirrored=mirrored)
    except (RequestError, DataError) as error:
        return {"experiment_id": experiment_id, **dict.fromkeys(PLACE_MEMBERS), "message": str(error)}


def _is_beyond(experiment: ServedExperiment, r_um: float) -> bool:
    """Tell whether a point lies in the hemisphere that a series of one hemisphere does not have."""
    side = experiment.data_set.hemisphere
    return side in HALVES and (r_um < MIDLINE_UM) != (side == "left")


def _place(
    experiment: ServedExperiment,
    series: SyncGeometry,
    section: ServedSection,
    pixel: Float64,
    space: int,
    *,
    mirrored: bool = False,
) -> dict[str, Any]:
    """Return a pixel of a section with its point and the directions of rows and columns there.

    Of a mirrored place, these are the mirror images, so that they compare with the point that was asked for.
    """
    number = section.image.section_number
    around = pixel + STEP_PX * np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    points = sync.image_to_reference(series, number, around)
    points = affine.apply(affine.between_spaces(series.alignment3d.reference_space_id, space), points)
    if mirrored:
        points = affine.apply(MIRROR, points)
    axes = np.stack([points[1] - points[2], points[3] - points[4]]) / (2 * STEP_PX)
    return {
        "experiment_id": experiment.id,
        "section_image_id": section.id,
        "section_number": number,
        "x": float(pixel[0]),
        "y": float(pixel[1]),
        "point_um": points[0],
        "axes_um": axes,
        "estimated_error_um": section.estimated_error_um,
        "mirrored": mirrored,
        "message": None,
    }


PLACE_MEMBERS = (
    "section_image_id", "section_number", "x", "y", "point_um", "axes_um", "estimated_error_um",
    "mirrored",
)  # fmt: skip
PLACE = record(
    experiment_id=INTEGER,
    section_image_id=maybe(INTEGER),
    section_number=maybe(INTEGER),
    x=maybe(NUMBER),
    y=maybe(NUMBER),
    point_um=maybe(array(NUMBER)),
    axes_um=maybe(array(array(NUMBER))),
    estimated_error_um=maybe(NUMBER),
    mirrored=maybe(FLAG),
    message=maybe(TEXT),
)
_EXPERIMENTS = Parameter(
    "experiments",
    "string",
    f"ids of at most {MOST} experiments, separated by commas",
    pattern=f"^[0-9]{{1,15}}(,[0-9]{{1,15}}){{0,{MOST - 1}}}$",
)


def _space(default: int | None) -> Parameter:
    return Parameter(
        "reference_space_id",
        "integer",
        "space of all points, 9 or 10" + ("" if default else "; default the section's"),
        default=default,
        least=SPACES[0],
        most=SPACES[1],
    )


def _coordinate(name: str, about: str) -> Parameter:
    return Parameter(name, "number", about, default=REQUIRED, least=-1e9, most=1e9)


ENDPOINTS = (
    Endpoint(
        "/sections/{id}/places",
        "The place of a pixel, and the nearest section and pixel of other experiments; axes_um are the steps"
        " in the reference per pixel along x and y.",
        from_section,
        (
            SECTION_ID,
            _coordinate("x", "pixel of the section's frame"),
            _coordinate("y", "pixel likewise"),
            _EXPERIMENTS,
            _space(None),
        ),
        record(place=PLACE, places=array(PLACE)),
    ),
    Endpoint(
        "/places",
        "The nearest section and pixel of experiments to a reference point; mirrored: of its mirror image,"
        " where a series has only the other hemisphere.",
        from_reference,
        (
            *(_coordinate(name, f"position along {name.upper()}, um") for name in "pir"),
            _EXPERIMENTS,
            _space(9),
        ),
        array(PLACE),
    ),
    Endpoint(
        "/structure_centre",
        "The centre of a structure in the left hemisphere.",
        structure_centre,
        (Parameter("structure", "string", "acronym or id", default=REQUIRED),),
        record(structure_id=INTEGER, point_um=array(NUMBER)),
    ),
)
