"""JSON schemas of the answers of /ish/v1, in a short form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}


def maybe(schema: Mapping[str, Any]) -> Schema:
    """Return the schema of a value that may be null.

    Parameters
    ----------
    schema : mapping
        Schema of the value.

    Returns
    -------
    dict
        Its schema.
    """
    return {**schema, "type": [schema["type"], "null"]}


def array(schema: Mapping[str, Any]) -> Schema:
    """Return the schema of an array.

    Parameters
    ----------
    schema : mapping
        Schema of its items.

    Returns
    -------
    dict
        Its schema.
    """
    return {"type": "array", "items": dict(schema)}


def record(**members: Mapping[str, Any]) -> Schema:
    """Return the schema of an object that has exactly these members.

    Parameters
    ----------
    **members : mapping
        Schemas by name.

    Returns
    -------
    dict
        Its schema.
    """
    return {
        "type": "object",
        "properties": {name: dict(schema) for name, schema in members.items()},
        "required": list(members),
        "additionalProperties": False,
    }
