"""Random queries on random small databases, held against an evaluation over Python dicts.

The oracle knows the schema's associations and what a query means, and nothing of SQL: it filters, follows and
sorts lists of dicts.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.service.rma.answer import answer
from pipeline.service.rma.database import close_connections
from pipeline.service.rma.parse import query_of
from pipeline.service.rma.schema import JOIN_TABLES, MODELS, Association, Model

USED = """Gene Chromosome Organism SectionDataSet AtlasDataSet Specimen Donor Age Probe Product PlaneOfSection
Structure StructureSet StructureUnionize Hemisphere Alignment3d SectionImage Atlas"""
MODELS_USED = USED.split()
TEXTS = ("Ace", "ace", "Pdyn", "P_n", "P%n", "a*b", "it's", "", "x,y", "[z]", "\\", "é")
OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "in", "li", "il", "is", "")

Record = dict[str, Any]
Tables = dict[str, list[Record]]


@dataclass
class Node:
    """A node of a random query: what is written, and what it means."""

    model: Model
    way: Association | None = None
    filters: list[tuple[str, str, list[Any]]] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)


# ---- the random database


def random_tables(chance: random.Random) -> Tables:
    tables: Tables = {}
    for name in MODELS_USED:
        model = MODELS[name]
        if model.table == "projection_structure_unionizes":
            continue
        used = {record["id"] for record in tables.get(model.table, [])}
        for _ in range(chance.randint(1, 9)):
            number = next(n for n in range(1, 99) if n not in used)
            used.add(number)
            record = {one.name: random_value(chance, one.type) for one in model.fields.values()}
            record["id"] = number
            if model.scope:
                record[model.scope[0]] = model.scope[1]
            if name == "Alignment3d":
                record["aligned_type"] = chance.choice(["DataSet", "Specimen", None])
            tables.setdefault(model.table, []).append(record)
    for table, (one, two) in JOIN_TABLES.items():
        if table not in {model.table for model in MODELS.values()}:
            pairs = {(chance.randint(1, 6), chance.randint(1, 6)) for _ in range(chance.randint(3, 12))}
            tables[table] = [{one: left, two: right} for left, right in sorted(pairs)]
    tables["structure_sets_structures"] = [
        {"id": n, "structure_id": chance.randint(1, 6), "structure_set_id": chance.randint(1, 3)}
        for n in range(1, chance.randint(4, 12))
    ]
    return tables


def random_value(chance: random.Random, kind: str) -> Any:
    if chance.random() < 0.12:
        return None
    if kind == "integer":
        return chance.randint(0, 5)
    if kind == "float":
        return chance.choice([0.0, 0.5, 1.0, 25.0, -1.5])
    if kind == "boolean":
        return chance.randint(0, 1)
    return chance.choice(TEXTS)


# ---- the random query


def random_node(chance: random.Random, model: Model, depth: int) -> Node:
    node = Node(model)
    for _ in range(chance.choice([0, 0, 0, 1, 1, 2])):
        node.filters.append(random_filter(chance, model))
    ways = [way for way in model.associations.values() if way.model in MODELS_USED]
    for way in chance.sample(ways, min(len(ways), chance.choice([0, 1, 1, 2]) if depth else 0)):
        child = random_node(chance, MODELS[way.model], depth - 1)
        child.way = way
        node.children.append(child)
    return node


def random_filter(chance: random.Random, model: Model) -> tuple[str, str, list[Any]]:
    name = chance.choice(["id", *model.fields])
    kind = model.fields[name].type
    text = kind not in {"integer", "float", "boolean"}
    operator = chance.choice(OPERATORS)
    while operator in {"li", "il"} and not text:
        operator = chance.choice(OPERATORS)
    if not operator:
        return name, operator, []
    if operator in {"li", "il"}:
        pattern = chance.choice(TEXTS)
        return name, operator, [chance.choice([pattern, f"*{pattern[1:]}", f"{pattern[:1]}*", "*"])]
    values = []
    for _ in range(chance.randint(1, 3) if operator == "in" else 1):
        value = random_value(chance, kind)
        values.append(1 if value is None and operator not in {"eq", "ne", "in", "is"} else value)
    if text:
        values = ["Ace" if value == 1 else value for value in values]
    return name, operator, values


def written(node: Node, chance: random.Random) -> str:
    """Return a node's filters and children as RMA."""
    text = "".join(bracket(one, node, chance) for one in node.filters)
    if node.children:
        below = [f"{child.way.name}{written(child, chance)}" for child in node.children if child.way]
        text += f"/{below[0]}" if len(below) == 1 and chance.random() < 0.2 else f"({','.join(below)})"
    return text


def bracket(one: tuple[str, str, list[Any]], node: Node, chance: random.Random) -> str:
    name, operator, values = one
    full = f"{node.model.table}.{name}" if chance.random() < 0.2 else name
    space = chance.choice(["", "", " ", "\n"])
    if not operator:
        return f"[{space}{full}{space}]"
    kind = node.model.fields[name].type
    return (
        f"[{full}{space}${operator}{space}{f'{space},'.join(spelt(value, kind, chance) for value in values)}]"
    )


def spelt(value: Any, kind: str, chance: random.Random) -> str:
    if value is None:
        return "null"
    if kind == "boolean":
        return chance.choice(["'{}'", "{}"]).format(
            chance.choice([["false", "f", "False"], ["true", "t", "1"]][value])
        )
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", chance.choice(["''", "\\'"])) + "'"
    return chance.choice(["{}", "'{}'"]).format(value)


# ---- what it means


@dataclass
class Meaning:
    """Criteria and includes in one tree."""

    model: Model
    way: Association | None = None
    filters: list[tuple[str, str, list[Any]]] = field(default_factory=list)
    children: dict[str, Meaning] = field(default_factory=dict)
    shown: bool = False
    required: bool = False


def merge(meaning: Meaning, node: Node, *, shown: bool) -> bool:
    meaning.filters += node.filters
    filtered = bool(node.filters)
    for child in node.children:
        assert child.way is not None
        below = meaning.children.setdefault(child.way.name, Meaning(child.model, child.way))
        has_filter = merge(below, child, shown=shown)
        below.shown |= shown
        below.required |= has_filter or not shown
        filtered |= has_filter
    return filtered


@dataclass
class Named:
    """A column of an option: what is written, the way to its node, its field and direction."""

    text: str
    route: list[Meaning]
    name: str
    kind: str
    descending: bool = False


class Oracle:
    def __init__(self, tables: Tables, mentioned: set[str]) -> None:
        self.tables, self.mentioned = tables, mentioned

    def rows(self, model: Model) -> list[Record]:
        found = self.tables.get(model.table, [])
        return [one for one in found if not model.scope or one[model.scope[0]] == model.scope[1]]

    def others(self, record: Record, way: Association) -> list[Record]:
        if way.own_value and record[way.own_value[0]] != way.own_value[1]:
            return []
        targets = self.rows(MODELS[way.model])
        if way.other_value:
            targets = [one for one in targets if one[way.other_value[0]] == way.other_value[1]]
        if way.join:
            table, own, other = way.join
            ids = {pair[other] for pair in self.tables.get(table, []) if pair[own] == record["id"]}
            found = [one for one in targets if one["id"] in ids]
        else:
            key = record[way.own]
            found = [one for one in targets if key is not None and one[way.other] == key]
        return sorted(found, key=lambda one: int(one["id"]))

    def valid(self, record: Record, node: Meaning) -> bool:
        if not all(holds(record, one, node.model) for one in node.filters):
            return False
        if node.model.name == "StructureUnionize":
            asked = {name for name, _, _ in node.filters} | set(node.children) | self.mentioned
            if not asked & {"hemisphere_id", "hemisphere"} and record["hemisphere_id"] != 3:
                return False
        return all(self.below(record, child) for child in node.children.values() if child.required)

    def below(self, record: Record, child: Meaning) -> list[Record]:
        assert child.way is not None
        return [one for one in self.others(record, child.way) if self.valid(one, child)]

    def shown(self, record: Record, node: Meaning, only: list[str]) -> Record:
        result: Record = {}
        for one in node.model.shown:
            if not only or one.name in only:
                value = record[one.name]
                result[one.name] = bool(value) if one.type == "boolean" and value is not None else value
        for name, child in node.children.items():
            if child.shown and child.way:
                records = [self.shown(one, child, only) for one in self.below(record, child)]
                many = child.way.kind in {"has_many", "has_and_belongs_to_many"}
                result[name] = records if many else records[0] if records else None
        return result

    def sorted(self, records: list[Record], order: list[Named]) -> list[Record]:
        found = sorted(records, key=lambda one: int(one["id"]))
        for column in reversed(order):

            def key(record: Record, column: Named = column) -> tuple[bool, Any]:
                values = [one[column.name] for one in self.along(record, column.route)]
                return sort_key(values, column.descending)

            found = stable(found, key, column.descending)
        return found

    def table(
        self, records: list[Record], node: Meaning, columns: list[Named], order: list[Named]
    ) -> list[Record]:
        """Join the nodes named, record by record; group equal rows; sort groups by their first value."""
        wanted = {id(step): step for one in [*columns, *order] for step in one.route}
        groups: dict[tuple[Any, ...], list[dict[int, Record | None]]] = {}
        for record in records:
            for joined in self.joined({id(node): record}, node, wanted):
                row = tuple(self.value(joined, node, one) for one in columns)
                groups.setdefault(row, []).append(joined)
        found = sorted(groups, key=lambda row: [sort_key([value], False) for value in row])
        for column in reversed(order):

            def key(row: tuple[Any, ...], column: Named = column) -> tuple[bool, Any]:
                values = [self.value(joined, node, column) for joined in groups[row]]
                return sort_key(values, column.descending)

            found = stable(found, key, column.descending)
        return [
            {
                f"c{n}": bool(value) if one.kind == "boolean" and value is not None else value
                for n, (one, value) in enumerate(zip(columns, row, strict=True))
            }
            for row in found
        ]

    def value(self, joined: dict[int, Record | None], node: Meaning, column: Named) -> Any:
        record = joined[id(column.route[-1] if column.route else node)]
        return None if record is None else record[column.name]

    def joined(
        self, joined: dict[int, Record | None], node: Meaning, wanted: dict[int, Meaning]
    ) -> list[dict[int, Record | None]]:
        """Return every combination of the records of the wanted nodes below one."""
        found = [joined]
        for child in node.children.values():
            if id(child) in wanted:
                parent = joined[id(node)]
                records: list[Any] = self.below(parent, child) if parent is not None else []
                if not records and not child.required:
                    records = [None]
                below = [
                    more
                    for record in records
                    for more in self.joined({**joined, id(child): record}, child, wanted)
                ]
                found = [{**one, **two} for one in found for two in below]
        return found

    def along(self, record: Record, route: list[Meaning]) -> list[Record]:
        records = [record]
        for node in route:
            records = [one for parent in records for one in self.below(parent, node)]
        return records


def holds(record: Record, one: tuple[str, str, list[Any]], model: Model) -> bool:
    name, operator, values = one
    value = record[name]
    if not operator:
        return value is not None
    if operator in {"eq", "in", "is"}:
        return value in values
    if operator == "ne":
        return value is not None and value != values[0]
    if value is None:
        return False
    if operator in {"li", "il"}:
        pattern, text = values[0], value
        if operator == "il":
            pattern, text = ascii_lower(pattern), ascii_lower(text)
        return matches(pattern, text)
    other = values[0]
    return {"lt": value < other, "le": value <= other, "gt": value > other, "ge": value >= other}[operator]


def ascii_lower(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def matches(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(matches(pattern[1:], text[cut:]) for cut in range(len(text) + 1))
    return bool(text) and text[0] == pattern[0] and matches(pattern[1:], text[1:])


def sort_key(values: list[Any], descending: bool) -> tuple[bool, Any]:
    """Order by the first in that direction; an absent value counts as the largest."""
    present = [value for value in values if value is not None]
    if not present:
        return (True, 0)
    best = max(present) if descending else min(present)
    return (False, best if isinstance(best, int | float) else str(best).encode())


def stable(rows: list[Any], key: Callable[[Any], tuple[bool, Any]], descending: bool) -> list[Any]:
    return sorted(rows, key=key, reverse=descending)


# ---- the comparison


def routes_of(meaning: Meaning) -> list[list[Meaning]]:
    found: list[list[Meaning]] = [[]]
    for child in meaning.children.values():
        found += [[child, *rest] for rest in routes_of(child)]
    return found


def evaluate(seed: int, write_database: Any) -> int:
    chance = random.Random(seed)
    tables = random_tables(chance)
    model = MODELS[chance.choice(MODELS_USED)]
    criteria, include = random_node(chance, model, 2), random_node(chance, model, 2)
    include.filters = []
    meaning = Meaning(model)
    merge(meaning, criteria, shown=False)
    merge(meaning, include, shown=True)
    only = chance.sample(list(model.fields), 2) if chance.random() < 0.3 else []
    only = [name for name in only if name != "type"]
    order = random_order(chance, meaning)
    start, count = chance.choice([0, 0, 1, 2]), chance.choice([1, 2, 3, None])
    parts = [f"model::{model.name}", *("".join(bracket(one, criteria, chance)) for one in criteria.filters)]
    parts += [f"{child.way.name}{written(child, chance)}" for child in criteria.children if child.way]
    parts += [
        "rma::include",
        *(f"{child.way.name}{written(child, chance)}" for child in include.children if child.way),
    ]
    options = f"[start_row$eq{start}][num_rows$eq{'all' if count is None else count}]"
    options += f"[only$eq{','.join(only)}]" if only else ""
    options += f"[order$eq'{','.join(one.text for one in order)}']" if order else ""
    columns = random_columns(chance, meaning) if chance.random() < 0.3 else []
    options += (
        f"[tabular$eq{','.join(f'{one.text} as c{n}' for n, one in enumerate(columns))}]" if columns else ""
    )
    text = ",".join([*parts, f"rma::options{options}"])

    oracle = Oracle(tables, {*only, *(one.name for one in [*order, *columns])})
    valid = [one for one in oracle.rows(model) if oracle.valid(one, meaning)]
    expected = oracle.table(valid, meaning, columns, order) if columns else oracle.sorted(valid, order)
    page = expected[start:] if count is None else expected[start : start + count]
    with tempfile.TemporaryDirectory() as folder:
        path = write_database(Path(folder) / "a.sqlite", tables)
        found = answer(path, query_of({"criteria": text}, ""))
        close_connections()
    assert found.rows == (page if columns else [oracle.shown(one, meaning, only) for one in page]), text
    assert found.total_rows == len(expected), text
    return len(page)


def random_columns(chance: random.Random, meaning: Meaning) -> list[Named]:
    found = [one for _ in range(chance.randint(1, 3)) if (one := random_name(chance, meaning))]
    return found or [Named(f"{meaning.model.table}.id", [], "id", "integer")]


def random_order(chance: random.Random, meaning: Meaning) -> list[Named]:
    found = [one for _ in range(chance.choice([0, 1, 1, 2])) if (one := random_name(chance, meaning))]
    for one in found:
        one.descending = chance.random() < 0.5
        ways = [" desc", "$desc", "+desc"] if one.descending else ["", " asc", "$asc"]
        one.text += chance.choice(ways)
    return found


def random_name(chance: random.Random, meaning: Meaning) -> Named | None:
    """Name a field of any node by what means that node only."""
    route = chance.choice(routes_of(meaning))
    node = route[-1] if route else meaning
    call = node.way.name if node.way else node.model.table
    name = chance.choice(list(node.model.fields))
    if route and sum(call in names_of(path, meaning) for path in routes_of(meaning)) > 1:
        return None  # the first would be taken
    return Named(f"{call}.{name}", route, name, node.model.fields[name].type)


def names_of(path: list[Meaning], meaning: Meaning) -> set[str]:
    node = path[-1] if path else meaning
    names = {node.model.table, node.model.words, f"{node.model.words}s"}
    return names | ({node.way.name} if node.way else set())


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_a_query_means_what_the_oracle_says(seed: int) -> None:
    evaluate(seed, _conftest().write_database)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_queries_mean_what_the_oracle_says(part: int) -> None:
    for seed in range(part * 300, part * 300 + 300):
        evaluate(seed, _conftest().write_database)


def _conftest() -> Any:
    return import_module("service.rma.conftest")
