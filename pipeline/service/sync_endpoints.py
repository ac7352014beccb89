"""Endpoints of image synchronisation, in the original's two forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.service import sync_verbs as verbs
from pipeline.service.http.answers import RequestError, as_json, envelope
from pipeline.service.http.parameters import id_of, ids, number
from pipeline.service.served import Serving

Parameters = Mapping[str, str]
Verb = Callable[[int, Parameters], Any]
DATA_SETS, IMAGES, STRUCTURES = "SectionDataSets", "SectionImages", "Structures"


def routes(serving: Serving) -> list[Route]:
    """Return the endpoints of the six verbs.

    Parameters
    ----------
    serving : Serving
        The server.

    Returns
    -------
    list of Route
        `/api/v2/<verb>/<id>`, with `.json` (default) or `.xml`.
    """
    table: dict[str, Verb] = {
        "image_to_reference": lambda one, p: verbs.image_to_reference(serving.catalogue, one, *_xy(p)),
        "reference_to_image": lambda one, p: verbs.reference_to_image(
            serving.catalogue, one, [*_xy(p), number(p, "z")], ids(p, "section_data_set_ids", DATA_SETS)
        ),
        "image_to_image": lambda one, p: verbs.image_to_image(
            serving.catalogue, one, *_xy(p), ids(p, "section_data_set_ids", DATA_SETS)
        ),
        "image_to_image_2d": lambda one, p: verbs.image_to_image_2d(
            serving.catalogue, one, *_xy(p), ids(p, "section_image_ids", IMAGES)
        ),
        "structure_to_image": lambda one, p: verbs.structure_to_image(
            serving.catalogue, one, ids(p, "structure_ids", STRUCTURES), serving.centre
        ),
        "image_to_atlas": lambda one, p: verbs.image_to_atlas(
            serving.catalogue, one, *_xy(p), id_of(p.get("atlas_id", ""), "atlas_id"), serving.nearest_plate
        ),
    }
    return [Route(f"/api/v2/{name}/{{id}}", _endpoint(name, verb, serving)) for name, verb in table.items()]


SLOW = frozenset({"structure_to_image", "image_to_atlas"})  # the first may have to read the reference
LIST, ITEM = "image-sync-helper-image-syncs", "images-sync-helper-images-syncs"  # as clients in R read them


def _endpoint(name: str, verb: Verb, serving: Serving) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        text, dot, form = request.path_params["id"].partition(".")
        if dot and form not in ("json", "xml"):
            raise RequestError(f"{name}: expected .json or .xml, got .{form[:20]}", status=404)
        one, parameters = id_of(text, name), request.query_params
        if name in SLOW:
            found = await serving.pool.run(verb, one, parameters)
        else:
            found = verb(one, parameters)
        if form == "xml":
            return Response(as_xml(found), media_type="application/xml")
        return Response(as_json(envelope(found)), media_type="application/json")

    return answer


def as_xml(found: Mapping[str, Any] | Sequence[verbs.ImageSync]) -> bytes:
    """Return an answer of a verb as XML: names hyphenated, fields plain.

    Parameters
    ----------
    found : mapping, or list of dict
        Answer of one of the verbs.

    Returns
    -------
    bytes
        `<Response>` around `<image-sync-helper-image-syncs>`, `<image-sync>` or `<image-to-reference>`.
    """
    rows = 1 if isinstance(found, Mapping) else len(found)
    counts = {"start_row": "0", "num_rows": str(rows), "total_rows": str(rows)}
    root = Element("Response", {"success": "true", **counts})
    if isinstance(found, Mapping):
        for name, record in found.items():
            _add(SubElement(root, name.replace("_", "-")), record)
    else:
        listed = SubElement(root, LIST)
        for one in found:
            _add(SubElement(listed, ITEM), one["image_sync"])
    return bytes(tostring(root, encoding="UTF-8", xml_declaration=True))


def _add(element: Element, record: Mapping[str, int | float]) -> None:
    for name, value in record.items():
        SubElement(element, name.replace("_", "-")).text = repr(value)


def _xy(parameters: Parameters) -> tuple[float, float]:
    return number(parameters, "x"), number(parameters, "y")
