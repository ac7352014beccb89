"""What the ontology says about structures."""

from __future__ import annotations

from pipeline.core.model import Structure
from pipeline.core.ontology import Ontology


def ontology(*nodes: tuple[int, str, int | None]) -> Ontology:
    return Ontology(tuple(Structure(i, name, name, up, at, "") for at, (i, name, up) in enumerate(nodes)))


def test_fluid_is_the_ventricles_and_what_lies_in_them() -> None:
    known = ontology((1, "root", None), (2, "grey", 1), (3, "VS", 1), (4, "VL", 3), (5, "chpl", 4))
    assert known.fluid == {3, 4, 5}


def test_an_ontology_without_ventricles_has_no_fluid() -> None:
    assert ontology((1, "root", None), (2, "VL", 1)).fluid == frozenset()
