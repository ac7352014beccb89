"""Where things lie: points between sections and the reference, many at once, and structures at points."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

from pipeline.core.errors import DataError
from pipeline.core.model import Float64
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry import affine, sync
from pipeline.service.http.answers import RequestError
from pipeline.service.own.endpoint import JSON, REQUIRED, Endpoint, Parameter, Values
from pipeline.service.own.experiments import EXPERIMENT_ID, SECTION_ID
from pipeline.service.own.schemas import INTEGER, NUMBER, TEXT, array, maybe, record
from pipeline.service.plates.drawing import drawn_labels
from pipeline.service.plates.drawings import drawings_of
from pipeline.service.served import Serving
from pipeline.service.sync_verbs import geometry_of

BINARY, SVG = "application/octet-stream", "image/svg+xml"
MOST_POINTS = 2_000_000
SPACES = (9, 10)
OF_NUMBERS = b"0123456789+-.eE,[] \t\r\n"  # characters of lists of numbers in JSON
STRUCTURE = {"id": INTEGER, "acronym": TEXT, "name": TEXT, "structure_id_path": array(INTEGER)}


def section_to_reference(serving: Serving, values: Values) -> Any:
    """Map pixels of a section to the reference."""
    section = serving.catalogue.section(values["id"])
    series = geometry_of(serving.catalogue.experiment(section.experiment_id))
    points = _points(values, 2)
    try:
        found = sync.image_to_reference(series, section.image.section_number, points)
    except DataError as error:
        raise RequestError(f"SectionImage {section.id}: {error}") from None
    if values["content_type"] == BINARY:
        return Response(found.tobytes(), media_type=BINARY)
    return {"reference_space_id": series.alignment3d.reference_space_id, "points_um": found}


def reference_to_sections(serving: Serving, values: Values) -> Any:
    """Map reference points to the nearest sections of an experiment."""
    experiment = serving.catalogue.experiment(values["id"])
    series = geometry_of(experiment)
    points = _points(values, 3)
    space = values["reference_space_id"] or series.alignment3d.reference_space_id
    points = affine.apply(affine.between_spaces(space, series.alignment3d.reference_space_id), points)
    numbers, pixels = sync.reference_to_image(series, points)
    if values["content_type"] == BINARY:
        return Response(np.column_stack([numbers, pixels]).tobytes(), media_type=BINARY)
    return {
        "section_numbers": numbers,
        "section_image_ids": [experiment.sections[n].id for n in numbers.tolist()],
        "points_px": pixels,
    }


def _points(values: Values, dimensions: int) -> Float64:
    """Return the points of a body: JSON `{"points": [[x, y], …]}`, or float64, little-endian, row by row."""
    body = values["body"]
    if values["content_type"] == BINARY:
        if len(body) % (8 * dimensions):
            raise RequestError(f"body: expected rows of {dimensions} float64, got {len(body)} bytes")
        points = np.frombuffer(body, "<f8").reshape(-1, dimensions)
    else:
        points = _json_points(body, dimensions)
    if len(points) > MOST_POINTS:
        raise RequestError(f"points: expected at most {MOST_POINTS}, got {len(points)}; send them in parts")
    if not (np.abs(points) <= 1e9).all():
        raise RequestError("points: expected numbers between -1e9 and 1e9, got others")
    return points


def _json_points(body: bytes, dimensions: int) -> Float64:
    expected = f'body: expected {{"points": [[{", ".join("xyz"[:dimensions])}], …]}}'
    # Counted before it is parsed: 64 MB of JSON become 2 GB of lists.
    if body.count(b"[") > MOST_POINTS + 1 or body.count(b",") > dimensions * MOST_POINTS:
        raise RequestError(f"points: expected at most {MOST_POINTS}, got more; send them in parts")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"{expected}, got damaged JSON: {error}") from None
    # One look at the bytes tells that there are numbers only, which takes much longer value by value.
    if body.translate(None, OF_NUMBERS) != b'{"points":}':
        raise RequestError(f"{expected}, got something else")
    rows = document["points"]
    try:
        if set(map(len, rows)) - {dimensions}:
            raise TypeError
        points = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * dimensions)
    except (TypeError, ValueError):
        raise RequestError(f"{expected}, got something else under points") from None
    return points.reshape(-1, dimensions)


def structure_at_reference(serving: Serving, values: Values) -> dict[str, Any]:
    """Return the structure at a reference point."""
    return structure_at(serving.reference, np.array([[values["p"], values["i"], values["r"]]]))


def structure_at_section(serving: Serving, values: Values) -> dict[str, Any]:
    """Return the structure under a pixel of a section, through the section's own placement."""
    section = serving.catalogue.section(values["id"])
    series = geometry_of(serving.catalogue.experiment(section.experiment_id))
    try:
        point = sync.image_to_reference(series, section.image.section_number, [[values["x"], values["y"]]])
    except DataError as error:
        raise RequestError(f"SectionImage {section.id}: {error}") from None
    return structure_at(serving.reference, point)


def structure_at(reference: ReferenceSpace, point_um: Float64) -> dict[str, Any]:
    """Return the structure at a point.

    Parameters
    ----------
    reference : ReferenceSpace
        Annotation and ontology.
    point_um : (1, 3) float64, um
        (P, I, R).

    Returns
    -------
    dict of str to Any
        The point and the structure of the nearest voxel; None outside the brain. As in drawings, a label that
        the ontology lacks counts as the root.
    """
    index = np.rint(point_um[0] / reference.annotation_um)
    inside = bool((index >= 0).all() and (index < reference.annotation.shape).all())
    voxel = reference.annotation[tuple(index.astype(np.int64))] if inside else 0
    label = int(drawn_labels(np.asarray(voxel, np.uint32), reference.ontology))
    structure = reference.ontology.by_id.get(label)
    found = None
    if structure is not None:
        path = list(reference.ontology.path(label))
        found = {
            "id": structure.id,
            "acronym": structure.acronym,
            "name": structure.name,
            "structure_id_path": path,
        }
    return {"point_um": point_um[0], "structure": found}


def outlines(serving: Serving, values: Values) -> Response:
    """Return the outlines of structures on a section, through its own placement."""
    drawings, catalogue = drawings_of(serving), serving.catalogue
    content = drawings.svg(catalogue, catalogue.section(values["id"]).id, values["downsample"])
    return Response(content, media_type=SVG)


def _coordinate(name: str, about: str) -> Parameter:
    return Parameter(name, "number", about, default=REQUIRED, least=-1e9, most=1e9)


def _body(about: str, dimensions: int) -> dict[str, Any]:
    row = {"type": "array", "items": {"type": "number"}, "minItems": dimensions, "maxItems": dimensions}
    points = {"type": "array", "items": row, "description": about}
    schema = {
        "type": "object",
        "properties": {"points": points},
        "required": ["points"],
        "additionalProperties": False,
    }
    binary = {"type": "string", "format": "binary"}
    return {JSON: {"schema": schema}, BINARY: {"schema": binary}}


FOUND = record(point_um=array(NUMBER), structure=maybe(record(**STRUCTURE)))
ENDPOINTS = (
    Endpoint(
        "/sections/{id}/to_reference",
        "Map pixels of a section to the reference; a binary body is answered with (n, 3) float64.",
        section_to_reference,
        (SECTION_ID,),
        record(reference_space_id=INTEGER, points_um=array(array(NUMBER))),
        method="POST",
        body=_body("pixels (x, y) of the section's frame", 2),
        also=(BINARY,),
    ),
    Endpoint(
        "/experiments/{id}/to_sections",
        "Map reference points to the nearest sections; a binary body is answered with (n, 3) float64:"
        " section number, x, y.",
        reference_to_sections,
        (
            EXPERIMENT_ID,
            Parameter(
                "reference_space_id",
                "integer",
                "space of the points, 9 or 10; default the experiment's",
                least=9,
                most=10,
            ),
        ),
        record(
            section_numbers=array(INTEGER), section_image_ids=array(INTEGER), points_px=array(array(NUMBER))
        ),
        method="POST",
        body=_body("(P, I, R) um", 3),
        also=(BINARY,),
    ),
    Endpoint(
        "/sections/{id}/outlines",
        "Outlines of structures on a section, through its own placement, as SVG in pixels of a tier.",
        outlines,
        (
            SECTION_ID,
            Parameter("downsample", "integer", "halvings of the frame", default=0, least=0, most=12),
        ),
        SVG,
    ),
    Endpoint(
        "/structure_at",
        "The structure at a reference point.",
        structure_at_reference,
        tuple(_coordinate(name, f"position along {name.upper()}, um") for name in "pir"),
        FOUND,
    ),
    Endpoint(
        "/sections/{id}/structure_at",
        "The structure under a pixel of a section, through the section's own placement.",
        structure_at_section,
        (SECTION_ID, _coordinate("x", "pixel of the section's frame"), _coordinate("y", "pixel likewise")),
        FOUND,
    ),
)
