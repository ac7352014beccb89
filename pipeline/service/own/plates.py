"""Planes of the atlas along all three axes, as drawings and pictures."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from starlette.responses import Response

from pipeline.core.model import UInt8
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.meshes import surface
from pipeline.service.http.answers import RequestError
from pipeline.service.kept import Kept
from pipeline.service.own.endpoint import Endpoint, Parameter, Values
from pipeline.service.own.places import BINARY, SVG
from pipeline.service.own.schemas import FLAG, INTEGER, NUMBER, TEXT, record
from pipeline.service.plates.atlases import AXES, AtlasImage, annotated_planes, plane_image
from pipeline.service.plates.drawing import Sheet, svg
from pipeline.service.plates.drawings import drawn_plate
from pipeline.service.plates.pictures import coloured, grey, jpeg, view_of
from pipeline.service.served import Serving

KEPT_BYTES = 64_000_000  # of finished drawings and pictures
QUALITY = 88
HULL_UM = 200.0  # voxels whose surface is the hull: enough for an outline to turn
CACHED = {"Cache-Control": "private, max-age=600"}


def plates(serving: Serving, values: Values) -> dict[str, Any]:
    """Return how the planes along an axis lie."""
    reference, plane = serving.reference, values["plane"]
    there = np.flatnonzero(annotated_planes(reference, plane))
    image = plane_image(reference, plane, 0)
    first, last = (int(there[0]), int(there[-1])) if there.size else (0, 0)
    return {
        "plane": plane,
        "planes": int(reference.annotation.shape[AXES[plane][0]]),
        "spacing_um": reference.annotation_um,
        "first_um": first * reference.annotation_um,
        "last_um": last * reference.annotation_um,
        "width_px": image.width,
        "height_px": image.height,
        "zoom": image.zoom,
        "has_template": reference.template is not None,
    }


def drawing(serving: Serving, values: Values) -> Response:
    """Return a plane as outlines."""
    reference = serving.reference
    image = _asked(reference, values)

    def make() -> bytes:
        drawn = drawn_plate(reference, image)
        return svg(drawn.rings, reference.ontology, Sheet(image.width, image.height, drawn.unit_px))

    content = _kept(serving).get(("svg", image.plane, image.section_number), make)
    return Response(content, media_type=SVG, headers=CACHED)


def picture(serving: Serving, values: Values) -> Response:
    """Return a plane as a picture: the template, or structures in their colours."""
    reference = serving.reference
    image = _asked(reference, values)
    template = not values["annotation"] and reference.template is not None
    view = view_of((image.width, image.height), values["downsample"])

    def pixels() -> UInt8:
        if template:
            return grey(reference, image, view)
        drawn = drawn_plate(reference, image)
        return coloured(drawn.rings, reference.ontology, drawn.unit_px, view)

    key = ("jpg", template, image.plane, image.section_number, values["downsample"])
    content = _kept(serving).get(key, lambda: jpeg(pixels(), QUALITY))
    return Response(content, media_type="image/jpeg", headers=CACHED)


def _asked(reference: ReferenceSpace, values: Values) -> AtlasImage:
    plane, um = values["plane"], values["at_um"]
    count = reference.annotation.shape[AXES[plane][0]]
    number = round(um / reference.annotation_um)
    if not 0 <= number < count:
        raise RequestError(
            f"at_um: expected 0 to {(count - 1) * reference.annotation_um:g} um for a {plane} plane,"
            f" got {um:g}"
        )
    return plane_image(reference, plane, number)


@lru_cache(maxsize=4)
def _kept(serving: Serving) -> Kept[bytes]:
    return Kept(KEPT_BYTES, len)


_PLANE = Parameter("plane", "string", "plane that is looked at", "path", words=tuple(AXES))
_AT = Parameter("at_um", "number", "position along the normal, um", default=0.0, least=0, most=1e6)


def hull(serving: Serving, values: Values) -> Response:
    """Return the surface of the brain: counts of vertices and triangles, vertices with normals, triangles."""
    reference = serving.reference

    def make() -> bytes:
        step = max(1, round(HULL_UM / reference.annotation_um))
        inside = reference.annotation[::step, ::step, ::step] > 0
        mesh = surface(inside.astype(np.uint8), step * reference.annotation_um)
        counts = [len(mesh.vertices), len(mesh.faces)]
        parts = (counts, np.hstack([mesh.vertices, mesh.normals]).ravel(), mesh.faces.ravel())
        return np.concatenate(parts).astype("<f4").tobytes()

    content = _kept(serving).get(("hull",), make)
    return Response(content, media_type=BINARY, headers=CACHED)


ENDPOINTS = (
    Endpoint(
        "/hull",
        "The surface of the brain as float32: the numbers of vertices and of triangles; P, I, R um and the"
        " outward normal of each vertex; three indices of vertices a triangle, anticlockwise from outside.",
        hull,
        (),
        BINARY,
    ),
    Endpoint(
        "/plates/{plane}",
        "How the planes of the annotation lie along an axis; zoom is px per voxel.",
        plates,
        (_PLANE,),
        record(
            plane=TEXT,
            planes=INTEGER,
            spacing_um=NUMBER,
            first_um=NUMBER,
            last_um=NUMBER,
            width_px=INTEGER,
            height_px=INTEGER,
            zoom=INTEGER,
            has_template=FLAG,
        ),
    ),
    Endpoint(
        "/plates/{plane}/drawing",
        "The plane of the annotation nearest to a position, as SVG.",
        drawing,
        (_PLANE, _AT),
        SVG,
    ),
    Endpoint(
        "/plates/{plane}/picture",
        "The same as a picture of the template, or of the structures in their colours.",
        picture,
        (
            _PLANE,
            _AT,
            Parameter("annotation", "boolean", "structures instead of the template", default=False),
            Parameter("downsample", "integer", "halvings", default=1, least=0, most=6),
        ),
        "image/jpeg",
    ),
)
