"""Sets of structures of which none lies inside another, so that no tissue is tested twice."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from pipeline.core.ontology import Ontology

LEAST_MM3 = 0.1  # both hemispheres: 13 voxels of 200 um; smaller ones err by a third and more
_LAYER = re.compile(r"\b(layer|stratum)\b", re.IGNORECASE)


def leaves(ontology: Ontology, present: Collection[int]) -> tuple[int, ...]:
    """Return the structures that have data and hold no other that has.

    Parameters
    ----------
    ontology : Ontology
        The hierarchy.
    present : collection of int
        Structures with data.

    Returns
    -------
    tuple of int
        Ids in graph order.
    """
    there = set(present)
    above = {a for s in there & ontology.by_id.keys() for a in ontology.path(s)[:-1]}
    return _in_order(ontology, there - above)


def summary(ontology: Ontology, volumes_mm3: Mapping[int, float]) -> tuple[int, ...]:
    """Return the finest structures that are no layers and hold enough tissue for a number of their own.

    A structure gives way to its children where most of its volume lies in children that are no layers and of
    at least .1 mm3. Children below that are left out; so is tissue that only the parent holds.

    Parameters
    ----------
    ontology : Ontology
        The hierarchy.
    volumes_mm3 : mapping of int to float, mm3
        Volume of each structure with all that is inside it, both hemispheres.

    Returns
    -------
    tuple of int
        Ids in graph order; none lies inside another.
    """
    chosen, waiting = set(), [s.id for s in ontology.roots]
    while waiting:
        parent = waiting.pop()
        split = [
            c
            for c in ontology.children[parent]
            if volumes_mm3.get(c, 0.0) >= LEAST_MM3 and not _LAYER.search(ontology.by_id[c].name)
        ]
        if split and sum(volumes_mm3[c] for c in split) >= 0.5 * volumes_mm3.get(parent, 0.0):
            waiting += split
        elif volumes_mm3.get(parent, 0.0) >= LEAST_MM3:
            chosen.add(parent)
    return _in_order(ontology, chosen)


def nested(ontology: Ontology, ids: Iterable[int]) -> list[tuple[int, int]]:
    """Return the pairs of structures of which one lies inside the other.

    Parameters
    ----------
    ontology : Ontology
        The hierarchy.
    ids : iterable of int
        Structures; those that the ontology lacks are in no pair.

    Returns
    -------
    list of (int, int)
        Inner and outer structure.
    """
    chosen = set(ids)
    return [
        (inner, outer)
        for inner in sorted(chosen & ontology.by_id.keys())
        for outer in ontology.path(inner)[:-1]
        if outer in chosen
    ]


def _in_order(ontology: Ontology, ids: Iterable[int]) -> tuple[int, ...]:
    order = {s.id: s.graph_order for s in ontology.structures}
    return tuple(sorted((i for i in ids if i in order), key=lambda i: (order[i], i)))
