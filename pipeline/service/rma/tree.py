"""A model query as one tree of associations, from its criteria and its includes together.

A record of a node is valid where the node's conditions hold and every required child has a valid record. A
node is required where criteria name it, or where an include with a filter in or below it does; it is shown
where an include names it. So criteria filter what an include of the same association shows, and a filtered
include selects its parents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.core.did_you_mean import hint
from pipeline.service.http.answers import RequestError
from pipeline.service.rma.schema import ALIASES, BOTH_HEMISPHERES, Association, Field, Model, model_named
from pipeline.service.rma.syntax import Column, Filter, ModelStage, Path
from pipeline.service.rma.values import Condition, Values, condition, unknown_attribute

MOST_NODES = 48  # associations of a query
MOST_FILTERS = 256  # of a query; SQLite nests expressions up to 1,000 deep
_SPLIT_BY_HEMISPHERE = "StructureUnionize"


@dataclass(eq=False)
class Node:
    """One model in a query, and what follows from it.

    Attributes
    ----------
    name : str
        Association's name; the table of the first.
    model : Model
        The model.
    way : Association or None
        How it is reached from its parent.
    conditions : list of Condition
        What its records fulfil.
    children : dict of str to Node
        Associations by name.
    shown, required : bool
        Whether its records are in the answer, and whether a parent must have one.
    """

    name: str
    model: Model
    way: Association | None = None
    conditions: list[Condition] = field(default_factory=list)
    children: dict[str, Node] = field(default_factory=dict)
    shown: bool = False
    required: bool = False

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, parents first.

        Yields
        ------
        Node
            The next node.
        """
        yield self
        for child in self.children.values():
            yield from child.walk()

    def child(self, name: str) -> Node:
        """Return the node of an association, made where it is not there yet.

        Parameters
        ----------
        name : str
            Name of the association.

        Returns
        -------
        Node
            The child.

        Raises
        ------
        RequestError
            Where the model has no such association.
        """
        if name not in self.children:
            way = self.model.associations.get(name)
            if way is None:
                known = self.model.associations
                raise RequestError(f"{self.model.name} has no association {name!r}; {hint(name, known)}")
            self.children[name] = Node(name, model_named(way.model), way)
        return self.children[name]

    def is_called(self, table: str) -> bool:
        """Say whether a name before a dot means this node.

        Parameters
        ----------
        table : str
            A table's, association's or model's name in small letters.

        Returns
        -------
        bool
            Whether it does.
        """
        return table in {self.name, self.model.table, self.model.words, f"{self.model.words}s"}


def tree_of(stage: ModelStage, known: Values) -> Node:
    """Return the tree of a model query.

    Parameters
    ----------
    stage : ModelStage
        The query.
    known : mapping of str to tuple of Scalar
        Values of variables.

    Returns
    -------
    Node
        The root, shown and required.

    Raises
    ------
    RequestError
        Where a model, association, attribute, operator or value is wrong, or there are too many.
    """
    model = model_named(stage.model)
    _check_count(stage)
    root = Node(model.table, model, shown=True, required=True)
    for one in stage.filters:
        _add_filter(root, one, known)
    for path in stage.criteria:
        _grow(root, path, known, shown=False)
    for path in stage.include:
        _grow(root, path, known, shown=True)
    nodes = sum(1 for _ in root.walk()) - 1
    if nodes > MOST_NODES:  # filters may join more than the paths do
        raise RequestError(f"RMA query: at most {MOST_NODES} associations, got {nodes}")
    options = stage.options
    named = {column.name for column in (*options.only, *options.tabular, *options.order)}
    for node in root.walk():
        _scope(node, named)
    return root


def find(root: Node, column: Column, option: str) -> tuple[Node, Field]:
    """Return the node and attribute that an option names.

    Parameters
    ----------
    root : Node
        The tree.
    column : Column
        Attribute, perhaps with a table's or association's name; without one the root's comes first.
    option : str
        Name of the option, for the message.

    Returns
    -------
    (Node, Field)
        The first in the order of the query.

    Raises
    ------
    RequestError
        Where there is none; the message names what is joined.
    """
    nodes = [node for node in root.walk() if not column.table or node.is_called(column.table)]
    for node in nodes:
        if column.name in node.model.fields:
            return node, node.model.fields[column.name]
    if not nodes:
        joined = list(dict.fromkeys(node.model.table for node in root.walk()))
        raise RequestError(
            f"option {option}: {column.table!r} is not part of the query; {hint(column.table, joined)}"
        )
    if len(nodes) == 1 or not column.table:
        raise unknown_attribute(column.name, nodes[0].model.name, nodes[0].model.fields)
    known = {name: one for node in nodes for name, one in node.model.fields.items()}
    raise unknown_attribute(column.name, column.table, known)


def _grow(parent: Node, path: Path, known: Values, *, shown: bool) -> bool:
    """Add a path; return whether a filter is in it."""
    node = parent.child(path.name)
    for one in path.filters:
        _add_filter(node, one, known)
    below = [_grow(node, further, known, shown=shown) for further in path.paths]
    filtered = bool(path.filters) or any(below)
    node.shown |= shown
    node.required |= filtered or not shown
    return filtered


def _add_filter(node: Node, one: Filter, known: Values) -> None:
    """Put a filter on the node that its attribute is of: this one, or a child that the filter joins."""
    *tables, name = one.name.split(".")
    if len(tables) > 1:
        raise RequestError(f"attribute {one.name!r}: expected attribute or table.attribute")
    if tables and not node.is_called(tables[0]):
        if tables[0] not in node.model.associations:
            names = [node.model.table, *node.model.associations]
            raise RequestError(
                f"attribute {one.name!r}: {tables[0]!r} is not joined here; {hint(tables[0], names)}"
            )
        node = node.child(tables[0])
        node.required = True
    if (node.model.name, name) in ALIASES:
        association, name = ALIASES[node.model.name, name]
        node = node.child(association)
        node.required = True
    if name not in node.model.fields:
        raise unknown_attribute(name, node.model.name, node.model.fields)
    node.conditions.append(condition(one, node.model.fields[name], known))


def _scope(node: Node, named: set[str]) -> None:
    """Add what holds for all records of a model: its type; both hemispheres unless a query mentions them."""
    if node.model.scope:
        column, value = node.model.scope
        node.conditions.append(Condition(column, "= ?", (value,)))
    if node.model.name == _SPLIT_BY_HEMISPHERE:
        mentioned = {one.column for one in node.conditions} | set(node.children) | named
        if not mentioned & {"hemisphere_id", "hemisphere"}:
            node.conditions.append(Condition("hemisphere_id", "= ?", (BOTH_HEMISPHERES,)))


def _check_count(stage: ModelStage) -> None:
    nodes, filters = 0, len(stage.filters)
    paths = [*stage.criteria, *stage.include]
    while paths:
        path = paths.pop()
        nodes += 1
        filters += len(path.filters)
        paths += path.paths
    if nodes > MOST_NODES or filters > MOST_FILTERS:
        most = f"at most {MOST_NODES} associations and {MOST_FILTERS} filters"
        raise RequestError(f"RMA query: {most}, got {nodes} and {filters}")
