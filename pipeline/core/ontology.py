"""The hierarchy of structures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.core.did_you_mean import nearest
from pipeline.core.errors import DataError
from pipeline.core.model import Structure

MOST_ID = 2**32 - 1  # labels are uint32
MOST_NAME = 300  # characters of a name or acronym; Allen's longest name has 97
MOST_SHOWN = 4  # structures of one acronym that a message names
VENTRICLES = "VS"  # acronym of the ventricles in Allen's ontology
COLOUR = re.compile(r"[0-9a-fA-F]{6}")  # hex triplet without '#'


@dataclass(frozen=True)
class Ontology:
    """A tree of structures; `graph_order` puts parents before children."""

    structures: tuple[Structure, ...]

    def __post_init__(self) -> None:
        if not self.structures:
            raise DataError("ontology: expected at least one structure, got none")
        if len(self.by_id) != len(self.structures):
            raise DataError("ontology: expected unique structure ids, got duplicates")
        orphans = [s.id for s in self.structures if s.parent_id is not None and s.parent_id not in self.by_id]
        if orphans:
            raise DataError(f"ontology: parents are missing for structures {orphans[:5]}")
        if len(self.roots) != 1:
            raise DataError(f"ontology: expected one root, got {[s.id for s in self.roots]}")
        if any(len(self.path(s.id)) > len(self.structures) for s in self.structures):
            raise DataError("ontology: the parents run in a circle")

    @cached_property
    def by_id(self) -> dict[int, Structure]:
        """Structures by their id."""
        return {s.id: s for s in self.structures}

    @cached_property
    def by_acronym(self) -> dict[str, tuple[Structure, ...]]:
        """Structures by their acronym; some atlases give one acronym to several."""
        found: dict[str, list[Structure]] = {}
        for s in self.structures:
            found.setdefault(s.acronym, []).append(s)
        return {acronym: tuple(named) for acronym, named in found.items()}

    @cached_property
    def fluid(self) -> frozenset[int]:
        """Ids of the ventricles and of what lies in them; empty where the ontology has none."""
        roots = self.by_acronym.get(VENTRICLES, ())
        return frozenset(i for root in roots for i in self.descendants(root.id))

    @cached_property
    def roots(self) -> tuple[Structure, ...]:
        """Structures without a parent."""
        return tuple(s for s in self.structures if s.parent_id is None)

    @cached_property
    def children(self) -> dict[int, tuple[int, ...]]:
        """Ids of the direct children of each structure, in graph order."""
        found: dict[int, list[int]] = {s.id: [] for s in self.structures}
        for s in sorted(self.structures, key=lambda s: s.graph_order):
            if s.parent_id is not None:
                found[s.parent_id].append(s.id)
        return {parent: tuple(ids) for parent, ids in found.items()}

    def path(self, structure_id: int) -> tuple[int, ...]:
        """Return the ids from the root down to a structure.

        Parameters
        ----------
        structure_id : int
            Id of a structure of this ontology.

        Returns
        -------
        tuple of int
            The root first, the structure itself last.
        """
        path = [structure_id]
        parent = self.by_id[structure_id].parent_id
        while parent is not None and len(path) <= len(self.structures):
            path.append(parent)
            parent = self.by_id[parent].parent_id
        return tuple(reversed(path))

    def descendants(self, structure_id: int) -> frozenset[int]:
        """Return a structure and everything inside it.

        Parameters
        ----------
        structure_id : int
            Id of a structure of this ontology.

        Returns
        -------
        frozenset of int
            Ids, that of the structure included.
        """
        found, stack = set(), [structure_id]
        while stack:
            current = stack.pop()
            found.add(current)
            stack.extend(self.children[current])
        return frozenset(found)

    def find(self, name: str | int) -> Structure:
        """Find a structure by id or acronym.

        Case is ignored where nothing has exactly this acronym (`SIM` and `Sim` may both exist).

        Parameters
        ----------
        name : str or int
            Id or acronym; a number that is an id is taken as the id.

        Returns
        -------
        Structure
            The match.

        Raises
        ------
        DataError
            Where nothing matches; the message offers the nearest acronyms. Where several match; the message
            names the id of each.
        """
        text = str(name).strip()
        if text.isdecimal() and len(text) <= len(str(MOST_ID)) and int(text) in self.by_id:
            return self.by_id[int(text)]
        folded = text.casefold()
        named = self.by_acronym.get(text) or [s for s in self.structures if s.acronym.casefold() == folded]
        if len(named) == 1:
            return named[0]
        if named:
            several = " or ".join(f"{s.id} ({s.acronym}, {s.name})" for s in named[:MOST_SHOWN])
            more = f" or {len(named) - MOST_SHOWN} more" if len(named) > MOST_SHOWN else ""
            raise DataError(
                f"structure {text!r}: expected one structure, could be {several}{more}; give the id"
            )
        near = self._nearest(text)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise DataError(f"structure {text!r}: not an id or acronym of this ontology{hint}")

    def label(self, structure_id: int) -> str:
        """Return the acronym of a structure, with its id where others have the same acronym.

        Parameters
        ----------
        structure_id : int
            Id of a structure of this ontology.

        Returns
        -------
        str
            A name that no other structure has, such as TH or L1-27.
        """
        acronym = self.by_id[structure_id].acronym
        return acronym if len(self.by_acronym[acronym]) == 1 else f"{acronym}-{structure_id}"

    def _nearest(self, text: str, most: int = 3) -> list[str]:
        """Return acronyms similar to a text, those first whose full name is similar."""
        named = {s.name.lower(): f"{s.acronym} ({s.name})" for s in self.structures if s.name != s.acronym}
        found = [named[n] for n in nearest(text.lower(), named, most, 0.75)]
        return [*found, *nearest(text, self.by_acronym, most, 0.4)][:most]

    def unknown(self, ids: Iterable[int]) -> tuple[int, ...]:
        """Return the labels that the ontology lacks.

        Parameters
        ----------
        ids : iterable of int
            Labels; 0 (outside) is ignored.

        Returns
        -------
        tuple of int
            Sorted.
        """
        return tuple(sorted({int(i) for i in ids} - self.by_id.keys() - {0}))


def from_structure_graph(document: Mapping[str, Any]) -> Ontology:
    """Read Allen's structure graph: nested nodes under `msg`, children inside their parents.

    Parameters
    ----------
    document : mapping
        Content of structure_graph_1.json.

    Returns
    -------
    Ontology
        All structures of the graph; without `graph_order` they are numbered in the order of the file.

    Raises
    ------
    DataError
        Where `msg` or a node's id, acronym or name is missing or of another type.
    """
    message = document.get("msg")
    if not isinstance(message, list) or not message:
        raise DataError(
            "structure graph: expected a list of nodes under 'msg'; is it structure_graph_1.json?"
        )
    structures: list[Structure] = []
    stack: list[tuple[Any, int | None]] = [(node, None) for node in reversed(message)]
    while stack:
        node, parent_id = stack.pop()
        structures.append(_structure(node, parent_id, len(structures)))
        children = node.get("children") or []
        if not isinstance(children, list):
            raise DataError(f"structure graph: expected a list of children, got {str(children)[:60]}")
        stack.extend((child, structures[-1].id) for child in reversed(children))
    return Ontology(tuple(structures))


def _structure(node: Mapping[str, Any], parent_id: int | None, order: int) -> Structure:
    if not isinstance(node, Mapping):
        raise DataError(f"structure graph: expected a node with id, acronym and name, got {str(node)[:60]}")
    missing = {"id", "acronym", "name"} - node.keys()
    if missing:
        raise DataError(f"structure graph: a node lacks {sorted(missing)}: {str(node)[:80]}")
    colour = str(node.get("color_hex_triplet") or "AAAAAA")
    return Structure(
        id=structure_number(node, "id"),
        acronym=str(node["acronym"])[:MOST_NAME],
        name=str(node["name"])[:MOST_NAME],
        parent_id=parent_id,
        graph_order=structure_number(node, "graph_order") if node.get("graph_order") is not None else order,
        color=colour if COLOUR.fullmatch(colour) else "AAAAAA",
    )


def structure_number(node: Mapping[str, Any], key: str) -> int:
    """Return a non-negative whole number of a structure, which some files write as text.

    Parameters
    ----------
    node : mapping
        A structure as its file describes it.
    key : str
        Key of the number.

    Returns
    -------
    int
        From 0 to 2**32 - 1.

    Raises
    ------
    DataError
        Where the value is anything else.
    """
    value = node[key]
    text = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not text.isascii() or not text.isdigit() or len(text) > len(str(MOST_ID)) or int(text) > MOST_ID:
        raise DataError(
            f"structures: expected a whole number from 0 to {MOST_ID} as {key}, got {str(value)[:40]!r}"
        )
    return int(text)
