"""Queries answered from SQLite: stages one after another, records with their associations, tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.core.did_you_mean import hint
from pipeline.service.http.answers import RequestError
from pipeline.service.rma.compile import Plan, Shape, Statement, plan_of
from pipeline.service.rma.database import reading, run, start_clock
from pipeline.service.rma.schema import model_named
from pipeline.service.rma.syntax import ModelStage, PipeStage, Query, ServiceStage, Variable
from pipeline.service.rma.tree import tree_of
from pipeline.service.rma.values import Scalar, Values, json_list
from pipeline.service.served import LIMITS

Record: TypeAlias = dict[str, Any]
MOST_RECORDS = 200_000  # of an answer, included ones counted: some 200 MB, written in seconds


@dataclass(frozen=True)
class Answer:
    """Rows and where they lie in all that the query finds.

    Attributes
    ----------
    rows : list of dict
        Records, associations by name: a list, a record or None; of a table, values by title.
    start_row : int
        Rows before the first.
    total_rows : int
        Rows in all; where they were not to be counted, up to the last of these.
    shape : Shape or None
        Attributes with their types; None for the rows of a service.
    tabular : bool
        Whether the rows are those of a table.
    """

    rows: list[Record]
    start_row: int = 0
    total_rows: int = 0
    shape: Shape | None = None
    tabular: bool = False


Service: TypeAlias = Callable[[dict[str, str]], "list[Record] | Answer"]
Services: TypeAlias = Mapping[str, Service]


def answer(database: Path, query: Query, *, services: Services | None = None) -> Answer:
    """Answer a query.

    Parameters
    ----------
    database : Path
        SQLite file with the tables of `schema.create_tables`; it is opened for reading only, once a thread.
    query : Query
        What to ask.
    services : mapping of str to callable, optional
        Connected services by name: from parameters to rows.

    Returns
    -------
    Answer
        The rows of the last stage.

    Raises
    ------
    RequestError
        With 400 where the query is wrong or too expensive, 503 where the database cannot be read.
    """
    known: dict[str, tuple[Scalar, ...]] = {}
    last = Answer([])
    with reading(database) as connection:
        for stage in query.stages:
            if isinstance(stage, PipeStage):
                known[stage.variable] = _collect(last, stage.path)
            elif isinstance(stage, ServiceStage):
                last = _serve(stage, known, services or {})
                start_clock()  # a service has limits of its own
            else:
                last = ask(connection, stage, known)
    return last


def ask(connection: sqlite3.Connection, stage: ModelStage, known: Values) -> Answer:
    """Answer a query of one model.

    Parameters
    ----------
    connection : sqlite3.Connection
        From `reading`.
    stage : ModelStage
        The query.
    known : mapping of str to tuple of Scalar
        Values of variables.

    Returns
    -------
    Answer
        Its rows.

    Raises
    ------
    RequestError
        With 400 where the query is wrong or too expensive.
    """
    plan = _plan(stage) if not known else plan_of(tree_of(stage, known), stage.options)
    options = stage.options
    limit = LIMITS.rows + 1 if options.num_rows is None else options.num_rows
    found = run(connection, plan.shape.statement, (limit, options.start_row))
    if len(found) > LIMITS.rows:
        raise RequestError(f"num_rows=all: more than {LIMITS.rows} rows; ask page by page with start_row")
    total = options.start_row + len(found)
    known_end = len(found) < limit and (found or not options.start_row)
    if options.count and not known_end:
        total = run(connection, plan.total)[0][0]
    rows, _ = _Reader(connection).records(plan.shape, found, 0)
    return Answer(rows, options.start_row, total, plan.shape, bool(options.tabular))


@lru_cache(512)
def _plan(stage: ModelStage) -> Plan:
    return plan_of(tree_of(stage, {}), stage.options)


class _Reader:
    """Turns rows into records and fetches what they include, an association at a time.

    A record that several parents include is read once and written for each of them, with all that it includes
    in turn. So records are counted as they are written: a few associations back and forth, as sets of
    structures and structures of sets, multiply to more than any memory holds.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._left = MOST_RECORDS  # to be read

    def records(self, shape: Shape, rows: list[tuple[Any, ...]], skip: int) -> tuple[list[Record], list[int]]:
        """Return records of rows whose first `skip` columns are keys, and how many are written for each."""
        names = [one.name for one in shape.fields]
        truths = [one.name for one in shape.fields if one.type == "boolean"]
        records = [dict(zip(names, row[skip:] if skip else row, strict=False)) for row in rows]
        counts = [1] * len(rows)
        for name in truths:
            for record in records:
                if record[name] is not None:
                    record[name] = bool(record[name])
        for place, child in enumerate(shape.children, skip + len(names)):
            shown, below = self._of_parents(child, {row[place] for row in rows} - {None})
            for at, (record, row) in enumerate(zip(records, rows, strict=True)):
                found = shown.get(row[place], _NOTHING)
                record[child.name] = found if child.many else found[0] if found else None
                counts[at] += below.get(row[place], 0)
        included = sum(counts) if skip else sum(counts) - len(counts)
        if included > MOST_RECORDS:
            raise _too_many(shape)
        return records, counts

    def _of_parents(
        self, shape: Shape, keys: set[Scalar]
    ) -> tuple[dict[Scalar, list[Record]], dict[Scalar, int]]:
        """Return the records of an association by their parents' keys, and how many are written for each."""
        shown: dict[Scalar, list[Record]] = {}
        below: dict[Scalar, int] = {}
        if not keys:
            return shown, below
        given = Statement(shape.statement.sql, (json_list(tuple(keys)), *shape.statement.values))
        rows = run(self._connection, given, (self._left + 1,))
        self._left -= len(rows)
        if self._left < 0:
            raise _too_many(shape)
        for row, record, count in zip(rows, *self.records(shape, rows, 1), strict=True):
            shown.setdefault(row[0], []).append(record)
            below[row[0]] = below.get(row[0], 0) + count
        return shown, below


def _too_many(shape: Shape) -> RequestError:
    too_many = f"more than {MOST_RECORDS} records in one answer"
    return RequestError(f"include {shape.name}: {too_many}; ask for fewer rows at once, or include less")


_NOTHING: list[Record] = []


def _serve(stage: ServiceStage, known: Values, services: Services) -> Answer:
    service = services.get(stage.name)
    if service is None:
        known_ones = hint(stage.name, services) if services else "there are none here"
        raise RequestError(f"service::{stage.name} does not exist; {known_ones}")
    parameters = {}
    for name, values in stage.parameters:
        parts: list[str] = []
        for value in values:
            if isinstance(value, Variable):
                parts += map(str, known.get(value.name, ()))
            else:
                parts.append("null" if value is None else value)
        parameters[name] = ",".join(parts)
    found = service(parameters)
    if isinstance(found, Answer):
        return found
    start = parameters.get("start_row", "")
    before = int(start) if start.isascii() and start.isdigit() and len(start) < 10 else 0
    return Answer(found, before, before + len(found))


def _collect(last: Answer, path: str) -> tuple[Scalar, ...]:
    """Return the values at a path of an answer, each once.

    The path starts at a row, or as in XML with the elements around it; `*` stands for each of a list.
    """
    steps = [step.strip().replace("-", "_") for step in path.split("/") if step.strip()]
    found: list[Any] = list(last.rows)
    around = _around(last)
    while len(steps) > 1 and steps[0] in around:
        del steps[0]
    for place, step in enumerate(steps):
        found = list(_flat(found))
        named = [one for one in found if isinstance(one, dict)]
        if step == "*" or (place and step in _singulars(steps[place - 1])):
            continue
        keys = {key.replace("-", "_") for one in named[:1] for key in one}
        if named and step not in keys:
            raise RequestError(f"pipe::list: {step!r} is not in the answer; {hint(step, keys)}")
        found = [value for one in named for key, value in one.items() if key.replace("-", "_") == step]
    values = (one for one in _flat(found) if isinstance(one, int | float | str))
    return tuple(dict.fromkeys(values))


def _around(last: Answer) -> set[str]:
    if last.shape is None:
        return {"msg", "objects", "object"}
    model = model_named(last.shape.model)
    return {"msg", model.table, model.words, f"{model.words}s", *_singulars(model.table)}


def _singulars(name: str) -> set[str]:
    return {name.removesuffix("s"), name.removesuffix("es"), f"{name.removesuffix('ies')}y"} - {name}


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value
