"""The structure graph in the form of the atlas: nested, or as rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from pipeline.core.errors import DataError
from pipeline.core.model import BOTH
from pipeline.core.ontology import Ontology
from pipeline.formats.volumes.reference_folder import ONTOLOGY
from pipeline.service.http.answers import RequestError, as_json, envelope
from pipeline.system.files import read_json_value

GRAPH_ID = 1
FIELDS = (
    "id", "atlas_id", "ontology_id", "acronym", "name", "color_hex_triplet", "graph_order", "st_level",
    "hemisphere_id", "parent_structure_id",
)  # fmt: skip
KEPT = ("atlas_id", "ontology_id", "st_level", "hemisphere_id")  # what an Ontology does not hold
FORMS = {"json": "application/json", "xml": "text/xml", "csv": "text/csv"}

Node = dict[str, Any]


def kept_fields(directory: Path | None) -> dict[int, Node]:
    """Read the fields of structures that an ontology does not hold.

    Parameters
    ----------
    directory : Path or None
        Reference folder; None for the phantom.

    Returns
    -------
    dict of int to dict
        atlas_id, ontology_id, st_level and hemisphere_id by structure id; empty where the folder has no
        structure graph.
    """
    path = directory / ONTOLOGY if directory is not None else None
    if path is None or not path.is_file():
        return {}
    try:
        document = read_json_value(path, "the ontology")
    except DataError:
        return {}  # the ontology was read at the start; what it lacks is not worth an error
    stack = list(document.get("msg", [])) if isinstance(document, dict) else []
    found: dict[int, Node] = {}
    while stack:
        node = stack.pop()
        found[int(node["id"])] = {name: node.get(name) for name in KEPT}
        stack.extend(node.get("children") or [])
    return found


def nested(ontology: Ontology, kept: Mapping[int, Node]) -> Node:
    """Return the structures as one nested record.

    Parameters
    ----------
    ontology : Ontology
        The structures.
    kept : mapping of int to dict
        As of `kept_fields`. Structures that it lacks have atlas_id null, ontology 1, both hemispheres, and
        their depth in the tree as level.

    Returns
    -------
    dict of str to Any
        The root; children in graph order, inside their parents.
    """
    nodes: dict[int, Node] = {}
    for s in ontology.structures:
        own = kept.get(s.id) or {
            "atlas_id": None,
            "ontology_id": 1,
            "st_level": len(ontology.path(s.id)) - 1,
            "hemisphere_id": BOTH,
        }
        values = {
            "id": s.id,
            "acronym": s.acronym,
            "name": s.name,
            "color_hex_triplet": s.color,
            "graph_order": s.graph_order,
            "parent_structure_id": s.parent_id,
            **own,
        }
        nodes[s.id] = {**{name: values[name] for name in FIELDS}, "children": []}
    for parent, children in ontology.children.items():
        nodes[parent]["children"] = [nodes[child] for child in children]
    return nodes[ontology.roots[0].id]


def structure_graph(ontology: Ontology, kept: Mapping[int, Node], form: str) -> bytes:
    """Return the structure graph as a document.

    Parameters
    ----------
    ontology : Ontology
        The structures.
    kept : mapping of int to dict
        As of `kept_fields`.
    form : str
        "json", "xml" or "csv".

    Returns
    -------
    bytes
        UTF-8. JSON and XML are nested; CSV has a header and a row a structure, in graph order.

    Raises
    ------
    RequestError
        Where the form is another.
    """
    root = nested(ontology, kept)
    if form == "json":
        return as_json(envelope([root]))
    if form == "xml":
        body = "".join(_xml(root))
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Response success="true" start_row="0" num_rows="1"'
            f' total_rows="1">{body}</Response>'
        ).encode()
    if form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(
            text, (*FIELDS, "structure_id_path"), extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(_rows(root, "/"))
        return text.getvalue().encode()
    raise RequestError(f"structure graph: expected {', '.join(FORMS)}, got {form[:20]!r}")


def _rows(node: Node, above: str) -> Iterator[Node]:
    path = f"{above}{node['id']}/"
    yield {**node, "structure_id_path": path}
    for child in node["children"]:
        yield from _rows(child, path)


def _xml(node: Node) -> Iterator[str]:
    yield "<structure>"
    for name in FIELDS:
        tag, value = name.replace("_", "-"), node[name]
        yield f'<{tag} nil="true"/>' if value is None else f"<{tag}>{escape(str(value))}</{tag}>"
    yield "<children>"
    for child in node["children"]:
        yield from _xml(child)
    yield "</children></structure>"
