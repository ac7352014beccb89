"""Ontology and reference space: hierarchy, masks, the labels of the 200 um grid."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.model import CORONAL_SPACE, GRID_200, SAGITTAL_SPACE, Structure
from pipeline.core.ontology import Ontology, from_structure_graph
from pipeline.core.reference_space import ReferenceSpace, hemispheres, reference_space_id

GRAPH = {
    "msg": [
        {
            "id": 997, "acronym": "root", "name": "root", "graph_order": 0, "color_hex_triplet": "FFFFFF",
            "children": [
                {"id": 8, "acronym": "grey", "name": "Grey", "graph_order": 1, "children": [
                    {"id": 549, "acronym": "TH", "name": "Thalamus", "graph_order": 2, "children": []}]},
                {"id": 73, "acronym": "VS", "name": "Ventricles", "graph_order": 3, "children": []},
            ],
        }
    ]
}  # fmt: skip
ONTOLOGY = from_structure_graph(GRAPH)


def _reference(annotation: np.ndarray, spacing: float, **more: object) -> ReferenceSpace:  # type: ignore[type-arg]
    return ReferenceSpace(9, "test", annotation, spacing, ONTOLOGY, **more)  # type: ignore[arg-type]


def test_the_tree() -> None:
    assert ONTOLOGY.path(549) == (997, 8, 549)
    assert ONTOLOGY.descendants(8) == {8, 549}
    assert ONTOLOGY.find("th").id == ONTOLOGY.find("549").id == ONTOLOGY.find(549).id == 549
    assert ONTOLOGY.unknown([0, 8, 12345]) == (12345,)
    with pytest.raises(DataError, match="'THX': not an id or acronym of this ontology; nearest: TH"):
        ONTOLOGY.find("THX")
    with pytest.raises(DataError, match=r"nearest: TH \(Thalamus\)"):
        ONTOLOGY.find("thalamus")


def test_an_acronym_of_several_structures_is_refused_when_asked_for() -> None:
    rows = [(1, "root", None), (2, "L1", 1), (3, "L1", 1), (4, "ipf", 1), (5, "IPf", 1), (6, "²", 1)]
    ontology = Ontology(
        tuple(Structure(i, name, f"number {i}", up, at, "") for at, (i, name, up) in enumerate(rows))
    )
    expected = (
        r"structure 'L1': expected one.*, could be 2 \(L1, number 2\) or 3 \(L1, number 3\); give the id"
    )
    with pytest.raises(DataError, match=expected):
        ontology.find("L1")
    with pytest.raises(DataError, match=r"could be 2 .* or 3 "):
        ontology.find("l1")
    with pytest.raises(DataError, match=r"could be 4 \(ipf, .* or 5 \(IPf, "):
        ontology.find("IPF")
    assert [ontology.find(name).id for name in ("ipf", "IPf", 3, "2", "²", "ROOT")] == [4, 5, 3, 2, 6, 1]
    assert [ontology.label(i) for i in (1, 2, 3, 4, 5)] == ["root", "L1-2", "L1-3", "ipf", "IPf"]
    with pytest.raises(DataError, match="not an id or acronym"):
        ontology.find("9" * 5000)


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        ((), "at least one"),
        ((Structure(1, "a", "a", None, 0, ""), Structure(1, "b", "b", None, 1, "")), "duplicates"),
        ((Structure(1, "a", "a", 5, 0, ""),), "parents are missing"),
        ((Structure(1, "a", "a", None, 0, ""), Structure(2, "b", "b", None, 1, "")), "expected one root"),
        (
            (
                Structure(1, "a", "a", None, 0, ""), Structure(2, "b", "b", 3, 1, ""),
                Structure(3, "c", "c", 2, 2, ""),
            ),
            "circle",
        ),
    ],
)  # fmt: skip
def test_broken_trees_are_refused(structures: tuple[Structure, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Ontology(structures)


def test_a_structure_is_itself_and_all_inside_it() -> None:
    annotation = np.zeros((132, 80, 114), np.uint32)
    annotation[10, 10, 10], annotation[20, 10, 10], annotation[30, 10, 10] = 8, 549, 73
    reference = _reference(annotation, 100.0)
    assert [reference.mask([s]).sum() for s in ("root", "grey", "TH", "VS")] == [3, 2, 1, 1]
    assert reference.mask(["TH", "VS"]).sum() == 2


def test_grid_labels_lie_at_multiples_of_200_um() -> None:
    rng = np.random.default_rng(0)
    annotation = rng.choice(np.array([0, 8, 549], np.uint32), (132, 80, 114))
    reference = _reference(annotation, 100.0)
    labels = reference.grid_labels()
    assert reference.grid == GRID_200
    assert labels.shape == (67, 41, 58)
    np.testing.assert_array_equal(labels[:66, :40, :57], annotation[::2, ::2, ::2])
    assert labels[66].max() == labels[:, 40].max() == labels[:, :, 57].max() == 0
    with pytest.raises(DataError, match="no gridAnnotation"):
        reference.grid_labels(served=True)


def test_unequal_boxes_are_refused() -> None:
    annotation = np.zeros((132, 80, 114), np.uint32)
    with pytest.raises(DataError, match="both must show one box"):
        _reference(annotation, 100.0, template=np.zeros((132, 80, 100), np.float32), template_um=100.0)
    with pytest.raises(DataError, match="grid annotation of shape"):
        _reference(annotation, 100.0, grid_annotation=np.zeros((5, 5, 5), np.uint32))


def test_the_reference_space_of_a_plane() -> None:
    assert (reference_space_id("coronal"), reference_space_id("sagittal")) == (CORONAL_SPACE, SAGITTAL_SPACE)
    assert (CORONAL_SPACE, SAGITTAL_SPACE) == (9, 10)
    with pytest.raises(KeyError):
        reference_space_id("horizontal")


def test_left_is_below_the_midline() -> None:
    side = hemispheres(GRID_200)
    assert side[28] == 1
    assert side[29] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"msg": [True]}, "expected a node with id"),
        ({"msg": ["root"]}, "expected a node with id"),
        ({"msg": [{"id": [1], "acronym": "a", "name": "b"}]}, "expected a whole number from 0"),
        ({"msg": [{"id": True, "acronym": "a", "name": "b"}]}, "expected a whole number from 0"),
        ({"msg": [{"id": -1, "acronym": "a", "name": "b"}]}, "expected a whole number from 0"),
        ({"msg": [{"id": 2**70, "acronym": "a", "name": "b"}]}, "expected a whole number from 0"),
        ({"msg": [{"id": 1, "acronym": "a", "name": "b", "children": True}]}, "expected a list of children"),
        ({"msg": [{"id": 1, "acronym": "a", "name": "b", "children": {"id": 2}}]}, "a list of children"),
        ({"msg": [{"id": 1, "acronym": "a", "name": "b", "graph_order": {}}]}, "as graph_order"),
    ],
)
def test_structure_graphs_of_other_kinds(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_structure_graph(change)
