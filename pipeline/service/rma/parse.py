"""URL parameters to a query: the stages of its text, and options in brackets or as parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from pipeline.core.did_you_mean import hint
from pipeline.service.http.answers import RequestError
from pipeline.service.rma.grammar import check_size, items
from pipeline.service.rma.syntax import (
    Column,
    Filter,
    Item,
    ModelStage,
    Options,
    Path,
    PipeStage,
    Query,
    ServiceStage,
    Stage,
    Step,
    Value,
    Variable,
)
from pipeline.service.served import LIMITS

OPTIONS = ("only", "except", "tabular", "order", "num_rows", "start_row", "count", "debug")
PARAMETERS = ("criteria", "q", "include", "id", *OPTIONS)
IGNORED = {"_", "token"}  # against caches of browsers; the server's own
CLAUSES = ("criteria", "include", "options")
MOST_STAGES = 16
MOST_COLUMNS = 256
MOST_SORTED = 16
FAR = 2**53  # rows: beyond any table, within what SQLite counts

_COLUMN = re.compile(
    r"""(?:distinct\s+)?(?:(?P<table>\w+)\.)?(?P<name>\w+)
    (?:\s+as\s+(?P<title>[\w .-]+)|[\s$]+(?P<way>asc|desc))?""",
    re.IGNORECASE | re.VERBOSE,
)


def query_of(parameters: Mapping[str, str], model: str = "") -> Query:
    """Return the query that the parameters of a URL or form ask.

    Parameters
    ----------
    parameters : mapping of str to str
        criteria or q, include, id, and options.
    model : str
        Model that the path names; empty where the text does.

    Returns
    -------
    Query
        Its stages.

    Raises
    ------
    RequestError
        With 414 where they are too long, else 400.

    Examples
    --------
    >>> query_of({"criteria": "products[id$eq1]", "only": "id"}, "Gene").stages[0].options.only
    (Column(name='id', table='', title='', descending=False),)
    """
    for name in parameters:
        if name not in PARAMETERS and name not in IGNORED:
            raise RequestError(f"parameter {name!r} is not known; {hint(name, PARAMETERS)}")
    check_size(",".join(parameters.values()))
    given = tuple((name, parameters[name]) for name in PARAMETERS if parameters.get(name, "").strip())
    return _query(given, model)


@lru_cache(512)
def _query(given: tuple[tuple[str, str], ...], model: str) -> Query:
    drafts = [_Draft(model, implied=True)] if model else []
    for name, text in given:
        if name in {"criteria", "q", "include"}:
            _read(items(text), "include" if name == "include" else "criteria", drafts)
    if not drafts:
        raise RequestError(
            "an RMA query starts with a model: criteria=model::Gene, or /api/v2/data/Gene/query.json"
        )
    last = drafts[-1]
    for name, text in given:
        if name == "id":
            last.filters.append(Filter("id", "eq", (text,)))
        elif name in OPTIONS:
            last.set_option(name, (text,))
    stages = tuple(draft.stage() for draft in drafts)
    _check_order(stages)
    return Query(stages)


@dataclass
class _Draft:
    """A stage while its items are read."""

    name: str
    axis: str = "model"
    filters: list[Filter] = field(default_factory=list)
    criteria: list[Path] = field(default_factory=list)
    include: list[Path] = field(default_factory=list)
    options: Options = field(default_factory=Options)
    implied: bool = False  # by the path of the URL, and nothing has been added to it

    def set_option(self, name: str, values: tuple[Value, ...]) -> None:
        if self.axis != "model":
            raise RequestError(f"option {name}: {self.axis}::{self.name} takes none")
        self.options = _with_option(self.options, name, ",".join(map(str, values)))

    def stage(self) -> Stage:
        if self.axis == "service":
            return ServiceStage(self.name, tuple((one.name, one.values) for one in self.filters))
        if self.axis == "pipe":
            return _pipe(self.name, self.filters)
        parts = (tuple(self.filters), tuple(self.criteria), tuple(self.include))
        return ModelStage(self.name, *parts, self.options)


def _read(found: tuple[Item, ...], clause: str, drafts: list[_Draft]) -> None:
    """Hand items to the stages that they belong to."""
    for item in found:
        if isinstance(item, Step) and item.axis != "rma":
            _start(item, drafts)
            clause = "criteria"
            continue
        if isinstance(item, Step):
            if item.name not in CLAUSES:
                raise RequestError(f"rma::{item.name} does not exist; {hint(item.name, CLAUSES)}")
            clause, item = item.name, item.filters
        if not drafts:
            raise RequestError("an RMA query starts with a model, such as model::Gene")
        _add(item, clause, drafts[-1])


def _start(step: Step, drafts: list[_Draft]) -> None:
    if step.axis not in {"model", "service", "pipe"}:
        axes = ("model", "service", "pipe", "rma")
        raise RequestError(f"{step.axis}:: is no axis; {hint(step.axis, axes)}")
    if len(drafts) >= MOST_STAGES:
        raise RequestError(f"RMA query: at most {MOST_STAGES} stages")
    if drafts and drafts[-1] == _Draft(drafts[-1].name, implied=True):
        implied = drafts.pop()
        if (step.axis, step.name) != ("model", implied.name):
            raise RequestError(f"the path asks for {implied.name}, the query for {step.axis}::{step.name}")
    drafts.append(_Draft(step.name, step.axis, list(step.filters)))


def _add(item: Path | tuple[Filter, ...], clause: str, draft: _Draft) -> None:
    if isinstance(item, Path):
        if draft.axis != "model":
            raise RequestError(f"{draft.axis}::{draft.name} has no associations, got {item.name!r}")
        if clause == "options":
            raise RequestError(f"rma::options: expected [name$eqvalue], got {item.name!r}")
        (draft.criteria if clause == "criteria" else draft.include).append(item)
    elif clause == "options":
        for one in item:
            if one.operator != "eq":
                raise RequestError(f"option {one.name}: expected $eq and a value")
            draft.set_option(one.name, one.values)
    else:  # in rma::include, too, filters without a path are those of the model
        draft.filters.extend(item)


def _pipe(kind: str, filters: list[Filter]) -> PipeStage:
    if kind != "list":
        raise RequestError(f"pipe::{kind} does not exist; known: list")
    if len(filters) != 1 or filters[0].operator not in {"is", "eq"} or len(filters[0].values) != 1:
        raise RequestError("pipe::list: expected [name$is'path']")
    value = filters[0].values[0]
    if not isinstance(value, str):
        raise RequestError("pipe::list: expected a path such as 'id' or 'data_sets/*/id'")
    return PipeStage(filters[0].name, value)


def _check_order(stages: tuple[Stage, ...]) -> None:
    """Hold that pipes stand between two other stages, and two other stages have a pipe between them."""
    for here, after in zip(stages, (*stages[1:], None), strict=True):
        pipes = isinstance(here, PipeStage)
        if pipes and (here is stages[0] or after is None):
            raise RequestError("pipe::list stands between two stages: it takes from one what the next needs")
        if not pipes and after is not None and not isinstance(after, PipeStage):
            raise RequestError("two models in one query without a pipe between them: send a query for each")
    known = {stage.variable for stage in stages if isinstance(stage, PipeStage)}
    for name in _variables(stages):
        if name not in known:
            raise RequestError(
                f"variable ${name} has no value; {hint(name, known) if known else 'no pipe sets one'}"
            )


def _variables(stages: tuple[Stage, ...]) -> set[str]:
    values: list[Value] = []
    paths: list[Path] = []
    for stage in stages:
        if isinstance(stage, ServiceStage):
            values += [value for _, some in stage.parameters for value in some]
        elif isinstance(stage, ModelStage):
            paths += [Path("", stage.filters, (*stage.criteria, *stage.include))]
    while paths:
        path = paths.pop()
        values += [value for one in path.filters for value in one.values]
        paths += path.paths
    return {value.name for value in values if isinstance(value, Variable)}


def _with_option(options: Options, name: str, text: str) -> Options:
    text = text.strip().strip("'").strip()
    if name in {"only", "except", "tabular", "order"}:
        parts: dict[str, Any] = {"without" if name == "except" else name: _columns(name, text)}
        return replace(options, **parts)
    if name == "num_rows":
        every = text.lower() == "all"
        return replace(options, num_rows=None if every else _number(name, text, LIMITS.rows))
    if name == "start_row":
        return replace(options, start_row=_number(name, text, FAR))
    if name == "count":
        return replace(options, count=truth(name, text))
    if name == "debug":
        return options  # what is answered does not depend on it
    raise RequestError(f"option {name!r} does not exist; {hint(name, OPTIONS)}")


def _columns(option: str, text: str) -> tuple[Column, ...]:
    words = [word.strip().strip("'").replace("+", " ").strip() for word in text.split(",")]
    most = MOST_SORTED if option == "order" else MOST_COLUMNS
    if len(words) > most:
        raise RequestError(f"option {option}: at most {most} attributes, got {len(words)}")
    found = []
    for word in words:
        match = _COLUMN.fullmatch(word)
        if match is None:
            raise RequestError(f"option {option}: expected attributes such as id,genes.acronym; got {word!r}")
        descending = (match["way"] or "").lower() == "desc"
        found.append(Column(match["name"], match["table"] or "", match["title"] or "", descending))
    return tuple(found)


def _number(name: str, text: str, most: int) -> int:
    if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) is None:
        raise RequestError(f"option {name}: expected a whole number from 0, got {text[:20]!r}")
    if int(text) > most:
        raise RequestError(f"option {name}: at most {most}, got {text}; ask page by page with start_row")
    return int(text)


def truth(name: str, text: str) -> bool:
    """Return what a word for true or false says.

    Parameters
    ----------
    name : str
        What it is the value of, for the message.
    text : str
        true, t, yes, 1 or their opposites, in small or capital letters.

    Returns
    -------
    bool
        The truth.

    Raises
    ------
    RequestError
        Where it is another word.

    Examples
    --------
    >>> truth("failed", "False"), truth("failed", "t")
    (False, True)
    """
    word = text.strip().lower()
    if word in {"true", "t", "yes", "1"}:
        return True
    if word in {"false", "f", "no", "0"}:
        return False
    raise RequestError(f"{name}: expected true or false, got {text[:20]!r}")
