"""Trees to SQL: one statement for the rows, one that counts them, one for each association that is shown.

Identifiers come from the schema only; every value is bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from pipeline.core.did_you_mean import hint
from pipeline.service.http.answers import RequestError
from pipeline.service.rma.joins import Names, key_of, link, part_of, way_of
from pipeline.service.rma.schema import HIDDEN, Field
from pipeline.service.rma.syntax import Column, Options
from pipeline.service.rma.tree import Node, find
from pipeline.service.rma.values import Scalar


@dataclass(frozen=True)
class Statement:
    """SQL with its values.

    Attributes
    ----------
    sql : str
        Text with question marks.
    values : tuple of Scalar
        What is bound to them.
    """

    sql: str
    values: tuple[Scalar, ...] = ()


@dataclass(frozen=True)
class Shape:
    """How rows of a statement become records.

    Attributes
    ----------
    name : str
        Association's name in the parent's record.
    model : str
        The model, for its element in XML.
    many : bool
        Whether the parent shows a list.
    fields : tuple of Field
        Attributes shown, in the order of the columns.
    children : tuple of Shape
        Associations shown.
    statement : Statement
        Rows of the parents whose keys are bound first, as a JSON list; the first column is the key. Of the
        root, all rows, without a key.
    """

    name: str
    model: str
    many: bool
    fields: tuple[Field, ...]
    children: tuple[Shape, ...]
    statement: Statement


@dataclass(frozen=True)
class Plan:
    """All that a model query runs.

    Attributes
    ----------
    shape : Shape
        The rows, without limits. Of a table its fields are the titles.
    total : Statement
        Counts the rows.
    """

    shape: Shape
    total: Statement


def plan_of(root: Node, options: Options) -> Plan:
    """Return the SQL of a model query.

    Parameters
    ----------
    root : Node
        Its tree.
    options : Options
        Its layout.

    Returns
    -------
    Plan
        Statements and how to read their rows.

    Raises
    ------
    RequestError
        Where an option names what is not part of the query.
    """
    _check_columns(root, options)
    names: Names = (f"t{number}" for number in count())
    return _table(root, options, names) if options.tabular else _records(root, options, names)


def _records(root: Node, options: Options, names: Names) -> Plan:
    alias = next(names)
    part = part_of(root, alias, names)
    keep = _Keep(options)
    fields, children = keep.fields(root), _children(root, keep, names)
    columns = _columns(alias, fields, root)
    order = _order(root, options, alias, names)
    table = f"{part.source} WHERE {part.sql}"
    sql = f"SELECT {columns} FROM {table} ORDER BY {order.sql} LIMIT ? OFFSET ?"
    rows = Statement(sql, part.values + order.values)
    shape = Shape(root.name, root.model.name, True, fields, children, rows)
    return Plan(shape, Statement(f"SELECT COUNT(*) FROM {table}", part.values))


def _children(node: Node, keep: _Keep, names: Names) -> tuple[Shape, ...]:
    return tuple(_shown(child, keep, names) for child in node.children.values() if child.shown)


def _shown(node: Node, keep: _Keep, names: Names) -> Shape:
    """Return the statement for all records of an association of many parents at once."""
    way = way_of(node)
    alias, pairs = next(names), next(names)
    part = part_of(node, alias, names, few=True)
    fields, children = keep.fields(node), _children(node, keep, names)
    columns = _columns(alias, fields, node)
    given = "(SELECT value FROM json_each(?))"
    source, key = part.source, f'{alias}."{way.other}"'
    linked = f"{key} IN {given}"
    if way.join:
        table, own, other = way.join
        these = f'SELECT DISTINCT "{own}" AS own, "{other}" AS other FROM "{table}" WHERE "{own}" IN {given}'
        source, key, linked = (
            f"({these}) AS {pairs}, {source}",
            f"{pairs}.own",
            f'{alias}."id" = {pairs}.other',
        )
    where = f"{linked} AND {part.sql}"
    sql = f'SELECT {key}, {columns} FROM {source} WHERE {where} ORDER BY {alias}."id" LIMIT ?'
    return Shape(node.name, node.model.name, way.many, fields, children, Statement(sql, part.values))


def _columns(alias: str, fields: tuple[Field, ...], node: Node) -> str:
    """Return the columns to select: what is shown, then a key for each association that is shown."""
    keys = [key_of(child, alias) for child in node.children.values() if child.shown]
    return ", ".join([*(f'{alias}."{one.name}"' for one in fields), *keys] or ["1"])


def _order(root: Node, options: Options, alias: str, names: Names) -> Statement:
    """Sort by the columns named, those without a value last, then by id: the same order each time."""
    parts = [_sort_key(root, column, alias, names) for column in options.order]
    sql = [f"{part.sql} {_way_of(column)}" for part, column in zip(parts, options.order, strict=True)]
    values = tuple(value for part in parts for value in part.values)
    return Statement(", ".join([*sql, f'{alias}."id"']), values)


def _way_of(column: Column) -> str:
    """Return the direction; as in the original's database an absent value counts as the largest."""
    return "DESC NULLS FIRST" if column.descending else "ASC NULLS LAST"


def _sort_key(root: Node, column: Column, alias: str, names: Names) -> Statement:
    """Return the expression to sort by: of many associated records the first in that direction."""
    node, field = find(root, column, "order")
    if node is root:
        return Statement(f'{alias}."{field.name}"')
    last = alias
    sources: list[str] = []
    links: list[str] = []
    values: list[Scalar] = []
    for step in _route(root, node):
        here = next(names)
        source, linked, more = _join(step, last, here, names)
        sources.append(source)
        links.append(linked)
        values += more
        last = here
    best = "MAX" if column.descending else "MIN"
    sql = f'(SELECT {best}({last}."{field.name}") FROM {", ".join(sources)} WHERE {" AND ".join(links)})'
    return Statement(sql, tuple(values))


def _join(step: Node, parent: str, alias: str, names: Names) -> tuple[str, str, tuple[Scalar, ...]]:
    """Return the tables of one step, the conditions that leave its valid records, and their values."""
    way, pairs = way_of(step), next(names)
    part = part_of(step, alias, names, few=True)
    if way.join is None:
        return part.source, f"{link(step, parent, alias)} AND {part.sql}", part.values
    linked = f'{link(step, parent, pairs)} AND {alias}."id" = {pairs}."{way.join[2]}"'
    return f'"{way.join[0]}" AS {pairs}, {part.source}', f"{linked} AND {part.sql}", part.values


def _route(root: Node, node: Node) -> list[Node]:
    """Return the nodes from below the root down to a node."""
    if node is root:
        return []
    for child in root.children.values():
        if any(below is node for below in child.walk()):
            return [child, *_route(child, node)]
    raise AssertionError(node.name)


def _table(root: Node, options: Options, names: Names) -> Plan:
    """Distinct rows of named columns; associations that only an include names may be absent from a row."""
    found = [find(root, column, "tabular") for column in options.tabular]
    sorted_by = [find(root, column, "order") for column in options.order]
    aliases, table, values = _joined(root, [node for node, _ in (*found, *sorted_by)], names)
    columns = [f'{aliases[node]}."{one.name}"' for node, one in found]
    order = [
        f'{"MAX" if column.descending else "MIN"}({aliases[node]}."{one.name}") {_way_of(column)}'
        for column, (node, one) in zip(options.order, sorted_by, strict=True)
    ]
    order += [f"{column} NULLS LAST" for column in columns]
    grouped = f"{table} GROUP BY {', '.join(columns)}"
    sql = f"SELECT {', '.join(columns)} FROM {grouped} ORDER BY {', '.join(order)} LIMIT ? OFFSET ?"
    titles = _titles(options.tabular, [one for _, one in found])
    shape = Shape(root.name, root.model.name, True, titles, (), Statement(sql, values))
    return Plan(shape, Statement(f"SELECT COUNT(*) FROM (SELECT 1 FROM {grouped})", values))


def _joined(root: Node, nodes: list[Node], names: Names) -> tuple[dict[Node, str], str, tuple[Scalar, ...]]:
    """Return aliases of nodes, the tables and conditions that join them, and the values of these."""
    alias = next(names)
    aliases = {root: alias}
    part = part_of(root, alias, names)
    inner, tests, values = [part.source], [part.sql], list(part.values)
    outer: list[str] = []
    outer_values: list[Scalar] = []
    for node in nodes:
        last = root
        for step in _route(root, node):
            if step not in aliases:
                aliases[step] = next(names)
                source, linked, more = _join(step, aliases[last], aliases[step], names)
                if step.required:
                    inner.append(source)
                    tests.append(linked)
                    values += more
                else:
                    outer.append(f" LEFT JOIN {f'({source})' if ',' in source else source} ON {linked}")
                    outer_values += more
            last = step
    table = f"{', '.join(inner)}{''.join(outer)} WHERE {' AND '.join(tests)}"
    return aliases, table, (*outer_values, *values)


def _titles(columns: tuple[Column, ...], fields: list[Field]) -> tuple[Field, ...]:
    """Return what columns are called: by their attribute, with its table where two are called alike."""
    short = [column.title or column.name for column in columns]
    titles = [
        title if column.title or short.count(title) == 1 else str(column)
        for title, column in zip(short, columns, strict=True)
    ]
    if len(set(titles)) < len(titles):
        raise RequestError(
            f"option tabular: two columns are called alike among {', '.join(titles)}; use 'a as b'"
        )
    return tuple(Field(title, field.type) for title, field in zip(titles, fields, strict=True))


class _Keep:
    """Which attributes `only` and `except` leave in records."""

    def __init__(self, options: Options) -> None:
        self.only, self.without = options.only, options.without

    def fields(self, node: Node) -> tuple[Field, ...]:
        hidden = (node.model.fields[HIDDEN],) if _lists(self.only, node, HIDDEN) else ()
        return tuple(one for one in (*node.model.shown, *hidden) if self._keeps(node, one.name))

    def _keeps(self, node: Node, name: str) -> bool:
        if _lists(self.without, node, name):
            return False
        return not self.only or _lists(self.only, node, name) or self._whole(node)

    def _whole(self, node: Node) -> bool:
        """Say whether `only` names a node itself and none of its attributes."""
        named = any(
            not one.table and one.name not in node.model.fields and node.is_called(one.name)
            for one in self.only
        )
        return named and not any(one.table and node.is_called(one.table) for one in self.only)


def _lists(columns: tuple[Column, ...], node: Node, name: str) -> bool:
    if name not in node.model.fields:
        return False
    return any(one.name == name and (not one.table or node.is_called(one.table)) for one in columns)


def _check_columns(root: Node, options: Options) -> None:
    nodes = list(root.walk())
    for option, columns in (("only", options.only), ("except", options.without)):
        for column in columns:
            if column.table:
                find(root, column, option)
            elif not any(column.name in node.model.fields or node.is_called(column.name) for node in nodes):
                known = list(
                    dict.fromkeys(name for node in nodes for name in (*node.model.fields, node.name))
                )
                raise RequestError(
                    f"option {option}: {column.name!r} is not part of the query; {hint(column.name, known)}"
                )
