"""Conditions on associations, as SQL.

A condition selects parents and never repeats them. An association with one record is joined, so that SQLite
starts from whichever end is smaller. One with many is a semi-join: a correlated EXISTS, which looks at a
parent's own records only, or for at most one of them an IN, which SQLite can start from. That one is the
narrowest as far as its filters tell: SQLite takes all lists behind an IN to be short, and would start from
that of a product that nearly every record has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.service.rma.schema import HIDDEN, Association
from pipeline.service.rma.tree import Node
from pipeline.service.rma.values import Condition, Scalar

Names = Iterator[str]

# How few records a filter leaves: one by its id, some by what is indexed, others by any filter, or most.
BY_ID, BY_KEY, BY_OTHER, MOST = range(4)
# Models of few records, each shared by many records of others.
_WIDE = """Age Atlas Chromosome Hemisphere Ontology Organism Orientation PlaneOfSection Product
ReferenceSpace StructureGraph StructureSet Treatment WellKnownFileType"""
_WIDE_KEYS = """age_id chromosome_id graph_id hemisphere_id ontology_id organism_id orientation_id
plane_of_section_id product_id reference_space_id structure_graph_id structure_set_id treatment_id"""
WIDE, WIDE_KEYS = frozenset(_WIDE.split()), frozenset(_WIDE_KEYS.split())


@dataclass(frozen=True)
class Part:
    """What goes behind FROM and WHERE.

    Attributes
    ----------
    tables : tuple of str
        Tables with their aliases.
    sql : str
        Conditions.
    values : tuple of Scalar
        What is bound to them.
    """

    tables: tuple[str, ...]
    sql: str
    values: tuple[Scalar, ...]

    @property
    def source(self) -> str:
        """The tables, as FROM takes them."""
        return ", ".join(self.tables)


def part_of(node: Node, alias: str, names: Names, *, few: bool = False) -> Part:
    """Return the tables and conditions that leave a node's valid records, each once.

    Parameters
    ----------
    node : Node
        The node.
    alias : str
        What its table is called.
    names : iterator of str
        Aliases for others.
    few : bool
        Whether few of its records are looked at anyway, so that no association is worth to start from.

    Returns
    -------
    Part
        Its table first.
    """
    return _part(node, alias, names, None if few else _driver(node))


def _part(node: Node, alias: str, names: Names, driver: Node | None) -> Part:
    tables = [f'"{node.model.table}" AS {alias}']
    tests: list[tuple[str, tuple[Scalar, ...]]] = [_test(one, alias) for one in node.conditions]
    if node.way and node.way.other_value:
        column, value = node.way.other_value
        tests.append(_test(Condition(column, "= ?", (value,)), alias))
    for child in node.children.values():
        if child.required and is_one(child):
            below = next(names)
            part = _part(child, below, names, driver)
            tables += part.tables
            tests.append((f"{link(child, alias, below)} AND {part.sql}", part.values))
        elif child.required:
            tests.append(_semijoin(child, alias, names, starts=child is driver))
    values = tuple(value for _, some in tests for value in some)
    return Part(tuple(tables), " AND ".join(sql for sql, _ in tests) or "1", values)


def is_one(node: Node) -> bool:
    """Say whether a parent has at most one record of an association.

    Parameters
    ----------
    node : Node
        Not the root.

    Returns
    -------
    bool
        Whether it is reached by its id.
    """
    way = way_of(node)
    return way.join is None and way.other == "id"


def link(node: Node, parent: str, alias: str) -> str:
    """Return the condition that joins a node to its parent; with a join table, that table to its parent.

    Parameters
    ----------
    node : Node
        Not the root.
    parent : str
        Alias of the parent's table.
    alias : str
        Alias of the node's own table, or of the join table.

    Returns
    -------
    str
        SQL without values.
    """
    way = way_of(node)
    other = way.join[1] if way.join else way.other
    sql = f'{alias}."{other}" = {parent}."{way.own}"'
    return f"{sql} AND {_own_value(way, parent)}" if way.own_value else sql


def way_of(node: Node) -> Association:
    """Return the association that leads to a node.

    Parameters
    ----------
    node : Node
        Not the root.

    Returns
    -------
    Association
        The way from its parent.
    """
    assert node.way is not None  # of all but the root
    return node.way


def key_of(node: Node, parent: str) -> str:
    """Return the parent's side of a join, NULL where the association does not hold for the parent.

    Parameters
    ----------
    node : Node
        Not the root.
    parent : str
        Alias of the parent's table.

    Returns
    -------
    str
        SQL without values.
    """
    way = way_of(node)
    column = f'{parent}."{way.own}"'
    return f"CASE WHEN {_own_value(way, parent)} THEN {column} END" if way.own_value else column


def _own_value(way: Association, parent: str) -> str:
    assert way.own_value is not None
    return f"{parent}.\"{way.own_value[0]}\" = '{way.own_value[1]}'"  # both from the schema


def _test(one: Condition, alias: str) -> tuple[str, tuple[Scalar, ...]]:
    column = f'{alias}."{one.column}"'
    return f"({column} {one.test.replace('{column}', column)})", one.values


def _semijoin(node: Node, parent: str, names: Names, *, starts: bool) -> tuple[str, tuple[Scalar, ...]]:
    way = way_of(node)
    alias, pairs = next(names), next(names)
    part = part_of(node, alias, names, few=not starts)
    source, own, where = part.source, f'{alias}."{way.other}"', part.sql
    if way.join:
        table, mine, theirs = way.join
        source = f'"{table}" AS {pairs}, {source}'
        own = f'{pairs}."{mine}"'
        where = f'{alias}."id" = {pairs}."{theirs}" AND {where}'
    if starts:
        sql = f"{key_of(node, parent)} IN (SELECT {own} FROM {source} WHERE {where})"
    else:
        linked = link(node, parent, pairs if way.join else alias)
        sql = f"EXISTS (SELECT 1 FROM {source} WHERE {linked} AND {where})"
    return sql, part.values


def _driver(node: Node) -> Node | None:
    """Return the association with many records to start from; None where the joined tables are narrower."""
    cluster = list(_joined(node))
    own = min(_narrow(one) for one in cluster)
    many = [
        child for one in cluster for child in one.children.values() if child.required and not is_one(child)
    ]
    best = min(many, key=_narrowest, default=None)
    return best if best is not None and _narrowest(best) < own else None


def _joined(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children.values():
        if child.required and is_one(child):
            yield from _joined(child)


def _narrowest(node: Node) -> int:
    below = (_narrowest(child) for child in node.children.values() if child.required)
    return min([_narrow(node), *below])


def _narrow(node: Node) -> int:
    """Say how few records a node's own filters leave."""
    if node.model.name in WIDE:
        return MOST
    return min((_narrow_by(node, one) for one in node.conditions), default=MOST)


def _narrow_by(node: Node, one: Condition) -> int:
    equal = one.test.startswith(("= ", "IN ("))
    if one.column == HIDDEN or one.column in WIDE_KEYS or node.model.fields[one.column].type == "boolean":
        return MOST
    if equal and one.column == "id":
        return BY_ID
    if equal and (one.column.endswith("_id") or one.column in {"acronym", "entrez_id"}):
        return BY_KEY
    return BY_OTHER if one.values else MOST
