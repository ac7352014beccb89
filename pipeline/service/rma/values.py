"""Filters to SQL conditions: values take the type of their field and are bound, never written into the text.

An attribute without a value (NULL) fulfils no comparison, `ne` included, as in the original's database.
`null` without quotes asks for it, the test without an operator for any value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.core.did_you_mean import hint
from pipeline.service.http.answers import RequestError
from pipeline.service.rma.grammar import OPERATORS
from pipeline.service.rma.parse import truth
from pipeline.service.rma.schema import Field
from pipeline.service.rma.syntax import Filter, Variable
from pipeline.service.served import LIMITS

Scalar: TypeAlias = int | float | str
Values: TypeAlias = Mapping[str, tuple[Scalar, ...]]
COMPARE = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
WRITTEN_OUT = 8  # values of a list that are bound one by one; more go as one JSON text
LARGEST = 2**63 - 1  # of SQLite's integers
_TRUTHS = {"true", "false", "t", "f"}


@dataclass(frozen=True)
class Condition:
    """A condition on one column.

    Attributes
    ----------
    column : str
        Its name, from the schema.
    test : str
        SQL that follows the column, with question marks; a second column stands where it holds {column}.
    values : tuple of Scalar
        What is bound.
    """

    column: str
    test: str
    values: tuple[Scalar, ...] = ()


def condition(one: Filter, of: Field, known: Values) -> Condition:
    """Return the condition that a filter means.

    Parameters
    ----------
    one : Filter
        Operator and values.
    of : Field
        The attribute that it is about.
    known : mapping of str to tuple of Scalar
        Values of variables.

    Returns
    -------
    Condition
        What its column is tested for.

    Raises
    ------
    RequestError
        Where the operator does not exist or a value is not of the field's type.
    """
    if not one.operator:
        return Condition(of.name, "IS NOT NULL")
    if one.operator not in OPERATORS:
        raise RequestError(f"operator ${one.operator} does not exist; known: {', '.join(OPERATORS)}")
    listed = one.operator == "in" or any(isinstance(value, Variable) for value in one.values)
    if not listed and len(one.values) != 1:
        raise RequestError(
            f"[{one.name}${one.operator}…]: expected one value, got {len(one.values)}; use $in or quotes"
        )
    if one.operator in {"li", "il"}:
        return _like(one, of, known)
    empty, values = _values(one, of, known)
    if one.operator in {"eq", "in", "is"}:
        return _among(of.name, values, empty=empty)
    if one.operator == "ne":
        return _not_among(of.name, values)
    if empty or len(values) != 1:
        raise RequestError(f"[{one.name}${one.operator}…]: expected one value that is not null")
    return Condition(of.name, f"{COMPARE[one.operator]} ?", values)


def json_list(values: tuple[Scalar, ...]) -> str:
    """Return values as the JSON text that `json_each` reads.

    Parameters
    ----------
    values : tuple of Scalar
        Finite numbers and texts.

    Returns
    -------
    str
        A JSON array.
    """
    return json.dumps(values, separators=(",", ":"))


def _among(column: str, values: tuple[Scalar, ...], *, empty: bool) -> Condition:
    if not values:
        return Condition(column, "IS NULL" if empty else "IN (NULL)")
    test, bound = _list(values)
    return Condition(column, f"{test} OR {{column}} IS NULL" if empty else test, bound)


def _not_among(column: str, values: tuple[Scalar, ...]) -> Condition:
    if not values:
        return Condition(column, "IS NOT NULL")
    test, bound = _list(values)
    return Condition(column, f"NOT {test}" if test.startswith("IN") else "<> ?", bound)


def _list(values: tuple[Scalar, ...]) -> tuple[str, tuple[Scalar, ...]]:
    if len(values) == 1:
        return "= ?", values
    if len(values) <= WRITTEN_OUT:
        return f"IN ({', '.join('?' * len(values))})", values
    return "IN (SELECT value FROM json_each(?))", (json_list(values),)


def _like(one: Filter, of: Field, known: Values) -> Condition:
    """Compare with a pattern whose only wildcard is the asterisk: GLOB minds capitals, LIKE does not."""
    if of.type not in {"string", "text", "datetime"}:
        raise RequestError(f"[{one.name}${one.operator}…]: {of.name} is no text but {of.type}; use $eq")
    empty, values = _values(one, of, known)
    if empty or not values:
        raise RequestError(f"[{one.name}${one.operator}…]: expected a text such as 'Pd*'")
    if len(values) > 1:
        raise RequestError(f"[{one.name}${one.operator}…]: expected one pattern, got {len(values)}")
    text = re.sub(r"\*+", "*", str(values[0]))
    if one.operator == "li":
        return Condition(of.name, "GLOB ?", (re.sub(r"[?\[]", r"[\g<0>]", text),))
    return Condition(of.name, r"LIKE ? ESCAPE '\'", (re.sub(r"[%_\\]", r"\\\g<0>", text).replace("*", "%"),))


def _values(one: Filter, of: Field, known: Values) -> tuple[bool, tuple[Scalar, ...]]:
    """Return whether null is among a filter's values, and the others in their type."""
    if len(one.values) > LIMITS.ids:
        raise RequestError(f"[{one.name}$in…]: at most {LIMITS.ids} values, got {len(one.values)}")
    found: list[Scalar] = []
    for value in one.values:
        if isinstance(value, Variable):
            if value.name not in known:
                raise RequestError(f"variable ${value.name} is used before the pipe that sets it")
            found += [typed(str(item), of) for item in known[value.name]]
        elif value is not None:
            found.append(typed(value, of))
    return None in one.values, tuple(dict.fromkeys(found))


def typed(text: str, of: Field) -> Scalar:
    """Return a value in the type of its field.

    Parameters
    ----------
    text : str
        As written.
    of : Field
        The attribute that it is compared with.

    Returns
    -------
    Scalar
        An integer for a boolean too, as it is stored.

    Raises
    ------
    RequestError
        Where it is no value of that type; the message says what is.

    Examples
    --------
    >>> typed("1", Field("id", "integer")), typed("1", Field("name", "string"))
    (1, '1')
    """
    if of.type == "boolean":
        return int(truth(of.name, text))
    if of.type == "integer" and re.fullmatch(r"-?[0-9]+", text.strip()):
        return max(-LARGEST, min(LARGEST, int(text.strip()[:40])))
    if of.type == "float":
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
    if of.type in {"integer", "float"}:
        raise RequestError(f"attribute {of.name} takes {_A[of.type]}, got {text[:20]!r}")
    return text


_A = {"integer": "an integer", "float": "a finite number"}


def unknown_attribute(name: str, model: str, fields: Mapping[str, Field]) -> RequestError:
    """Return the error about an attribute that a model lacks.

    Parameters
    ----------
    name : str
        What was asked for.
    model : str
        The model.
    fields : mapping of str to Field
        What it has.

    Returns
    -------
    RequestError
        With the nearest name.
    """
    return RequestError(f"{model} has no attribute {name!r}; {hint(name, fields)}")
