"""Answers as JSON, XML and CSV, in the forms that clients of the original read.

XML: `Response` with the numbers of the envelope as attributes, one list element, one element a record.
Fields of the queried model are plain, with nil="true" where they have no value. Numbers and truths of
included records have their type as an attribute; texts and lists have none. Names have hyphens. Records of
a shared table are called by their type, genes `ncbi-gene`, as the original calls them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

from pipeline.service.http.answers import as_json, envelope
from pipeline.service.rma.answer import Answer, Record
from pipeline.service.rma.compile import Shape
from pipeline.service.rma.schema import MODELS, Model

ITEM_NAMES = {"Gene": "ncbi-gene", "DataSet": "section-data-set"}
TYPED = {"integer", "float", "boolean", "datetime"}
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def json_of(found: Answer) -> bytes:
    """Return an answer as JSON.

    Parameters
    ----------
    found : Answer
        The answer.

    Returns
    -------
    bytes
        The envelope around its rows, UTF-8.
    """
    return as_json(envelope(found.rows, start_row=found.start_row, total_rows=found.total_rows))


def xml_of(found: Answer) -> bytes:
    """Return an answer as XML.

    Parameters
    ----------
    found : Answer
        The answer.

    Returns
    -------
    bytes
        The document, UTF-8.
    """
    parts = [_head(found)]
    shape = found.shape
    item = "object" if shape is None else ITEM_NAMES.get(shape.model) or _hyphens(MODELS[shape.model].words)
    several = "objects" if shape is None else _several(MODELS[shape.model], item)
    parts.append(f"<{several}>")
    for row in found.rows:
        parts.append(f"<{item}>")
        parts += _untyped(row) if shape is None or found.tabular else _record(row, shape, typed=False)
        parts.append(f"</{item}>")
    parts.append(f"</{several}></Response>")
    return "".join(parts).encode()


def xml_of_error(message: str) -> bytes:
    """Return a refusal as XML.

    Parameters
    ----------
    message : str
        What was wrong.

    Returns
    -------
    bytes
        The document, UTF-8.
    """
    numbers = 'success="false" id="0" start_row="0" num_rows="0" total_rows="0"'
    return f"{_DECLARATION}<Response {numbers}><msg>{_text(message)}</msg></Response>".encode()


def csv_of(found: Answer) -> bytes:
    """Return an answer as CSV: a header, then a line a row.

    Parameters
    ----------
    found : Answer
        A table, or records, of which it has the attributes without associations.

    Returns
    -------
    bytes
        Text, UTF-8, without byte order mark. Truths are t and f, an absent value is empty.
    """
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    columns = _csv_columns(found)
    writer.writerow(columns)
    writer.writerows([_csv_value(row.get(name)) for name in columns] for row in found.rows)
    return target.getvalue().encode()


FORMS: Mapping[str, tuple[str, Callable[[Answer], bytes]]] = {
    "json": ("application/json", json_of),
    "xml": ("application/xml", xml_of),
    "csv": ("text/csv", csv_of),
}


def described(model: Model) -> dict[str, Any]:
    """Return what a model has, in the form of the original's published schema.

    Parameters
    ----------
    model : Model
        The model.

    Returns
    -------
    dict of str to Any
        One entry: by the model's name its fields, associations and table.
    """
    fields = [
        {
            "name": one.name,
            "type": one.type,
            "nullable": "false" if one.name == "id" else "true",
            "limit": "255" if one.type == "string" else "",
            "scale": "",
            "precision": "",
        }
        for one in model.fields.values()
    ]
    ways = [{"name": way.name, "type": way.kind, "class": way.model} for way in model.associations.values()]
    return {"DataDescription": {model.name: {"fields": fields, "associations": ways, "table": model.table}}}


_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def _head(found: Answer) -> str:
    numbers = f'start_row="{found.start_row}" num_rows="{len(found.rows)}" total_rows="{found.total_rows}"'
    return f'{_DECLARATION}<Response success="true" id="0" {numbers}>'


def _several(model: Model, item: str) -> str:
    shared = model.scope is not None or model.name in ITEM_NAMES
    return f"{item}s" if shared else _hyphens(model.table)


def _record(row: Record, shape: Shape, *, typed: bool) -> Iterator[str]:
    for one in shape.fields:
        kind = f' type="{one.type}"' if typed and one.type in TYPED else ""
        yield _element(_hyphens(one.name), row[one.name], kind)
    for child in shape.children:
        name, value = _hyphens(child.name), row[child.name]
        if child.many:
            one_name = singular(name)
            yield f"<{name}>"
            for record in value:
                yield f"<{one_name}>{''.join(_record(record, child, typed=True))}</{one_name}>"
            yield f"</{name}>"
        elif value is None:
            yield f'<{name} nil="true"/>'
        else:
            yield f"<{name}>{''.join(_record(value, child, typed=True))}</{name}>"


def _untyped(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield elements for a row whose names come from elsewhere: a service's keys, titles of a table."""
    for key, value in row.items():
        name = re.sub(r"[^\w.-]", "-", _hyphens(key))
        name = name if re.match(r"[^\W\d]", name) else f"_{name}"
        if isinstance(value, Mapping):
            yield f"<{name}>{''.join(_untyped(value))}</{name}>"
        else:
            yield _element(name, value, "")


def _element(name: str, value: object, attributes: str) -> str:
    if value is None:
        return f'<{name}{attributes} nil="true"/>'
    text = ("true" if value else "false") if isinstance(value, bool) else _text(str(value))
    return f"<{name}{attributes}>{text}</{name}>"


def _text(value: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", value))


def _hyphens(name: str) -> str:
    return name.replace("_", "-")


def singular(name: str) -> str:
    """Return the name of one of an association's records.

    Parameters
    ----------
    name : str
        Name of the association, a plural.

    Returns
    -------
    str
        The name of an element.

    Examples
    --------
    >>> [singular(name) for name in ("genes", "atlases", "ontologies", "fine-structure-searches", "children")]
    ['gene', 'atlas', 'ontology', 'fine-structure-search', 'child']
    """
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    if name.endswith(("ases", "ches")):
        return name[:-2]
    return name[:-3] if name.endswith("children") else name.removesuffix("s")


def _csv_columns(found: Answer) -> list[str]:
    if found.shape is None:
        return list(found.rows[0]) if found.rows else []
    names = [one.name for one in found.shape.fields]
    if found.tabular:
        return names
    order = list(MODELS[found.shape.model].fields)
    return sorted(names, key=order.index)


def _csv_value(value: object) -> object:
    if isinstance(value, bool):
        return "t" if value else "f"
    return value
