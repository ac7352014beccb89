"""Drawings: the form that clients take apart, and that the drawing says what the labels say."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from service.plates.filling import fill

from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.plates.atlases import plate_labels, plates_of
from pipeline.service.plates.cracks import Rings, cut
from pipeline.service.plates.drawing import Sheet, drawn_labels, svg
from pipeline.service.plates.smooth import smooth

POINT = r"-?\d+(?:\.\d+)?,-?\d+(?:\.\d+)?"
SUBPATH = rf"M {POINT}(?: L {POINT})+ Z"
PATH = re.compile(
    r'path id="\d+" structure_id="\d+" parent_id="\d+" order="\d+"'
    rf' style="stroke:black;fill:#[0-9a-f]{{6}}" d="{SUBPATH}(?: {SUBPATH})*"/'
)


def read_back(document: bytes, unit: float) -> Rings:
    """Return the rings that a drawing shows, read as XML."""
    points: list[list[float]] = []
    starts, labels, parts = [0], [], []
    for part, path in enumerate(ElementTree.fromstring(document).iter("{http://www.w3.org/2000/svg}path")):
        for subpath in path.attrib["d"].removesuffix(" Z").split(" Z "):
            ring = [list(map(float, p.split(","))) for p in subpath.removeprefix("M ").split(" L ")]
            points += ring
            starts.append(starts[-1] + len(ring))
            labels.append(int(path.attrib["structure_id"]))
            parts.append(part)
    return Rings(np.array(points) / unit, np.array(starts), np.array(labels, np.uint32), np.array(parts))


def drawn(reference: ReferenceSpace, labels: np.ndarray[Any, Any], sheet: Sheet) -> bytes:
    return svg(smooth(cut(drawn_labels(labels, reference.ontology))), reference.ontology, sheet)


@pytest.mark.parametrize("unit", [32.0, 1.0, 0.125, 7.3])
def test_a_drawing_shows_the_labels(phantom: ReferenceSpace, unit: float) -> None:
    image = plates_of(phantom, "coronal", 0.0)[60]
    labels = plate_labels(phantom, image)
    sheet = Sheet(labels.shape[1] * unit, labels.shape[0] * unit, unit)
    assert np.array_equal(fill(read_back(drawn(phantom, labels, sheet), unit), labels.shape), labels)


def test_the_form_that_clients_split(phantom: ReferenceSpace) -> None:
    labels = plate_labels(phantom, plates_of(phantom, "sagittal", 0.0)[30])
    text = drawn(phantom, labels, Sheet(100, 60, 1.0, first_id=500)).decode()
    assert "\n" not in text
    assert "> <" not in text
    head, group, *paths, group_end, end = text.split("><")
    assert head.startswith('<svg xmlns="http://www.w3.org/2000/svg" width="100" height="60"')
    assert 'fill-rule="evenodd"' in head
    assert group == 'g graphic_group_label_id="28" graphic_group_label="Atlas - Adult Mouse"'
    assert (group_end, end) == ("/g", "/svg>")
    assert paths
    assert all(PATH.fullmatch(path) for path in paths)


def test_attributes_follow_the_ontology(phantom: ReferenceSpace) -> None:
    labels = plate_labels(phantom, plates_of(phantom, "coronal", 0.0)[40])
    root = ElementTree.fromstring(drawn(phantom, labels, Sheet(100, 60, 1.0, first_id=500)))
    paths = [path.attrib for path in root[0]]
    assert {int(p["structure_id"]) for p in paths} == set(np.unique(labels).tolist()) - {0}
    for path in paths:
        structure = phantom.ontology.by_id[int(path["structure_id"])]
        assert path["style"] == f"stroke:black;fill:#{structure.color.lower()}"
        assert int(path["order"]) == structure.graph_order
    assert [int(p["id"]) for p in paths] == list(range(501, 501 + len(paths)))
    assert {p["parent_id"] for p in paths} == {"500"}
    assert [int(p["order"]) for p in paths] == sorted(int(p["order"]) for p in paths)


def test_labels_that_the_ontology_lacks_count_under_its_root(blocks: ReferenceSpace) -> None:
    labels = np.array([[99, 2], [0, 7]], np.uint32)
    assert drawn_labels(labels, blocks.ontology).tolist() == [[1, 2], [0, 7]]
    assert drawn_labels(np.array([4_294_967_295], np.uint32), blocks.ontology).tolist() == [1]
    known = np.array([[7, 2]], np.uint32)
    assert drawn_labels(known, blocks.ontology) is known


def test_nothing_to_draw(blocks: ReferenceSpace) -> None:
    root = ElementTree.fromstring(drawn(blocks, np.zeros((4, 4), np.uint32), Sheet(4, 4, 1.0)))
    assert len(root) == 1
    assert len(root[0]) == 0


@pytest.mark.parametrize("value", [0.0, -0.5, 12.25, 1e5, 0.05, -3.0])
def test_numbers_are_written_as_they_are(blocks: ReferenceSpace, value: float) -> None:
    points = np.array([[value, 0.0], [value + 1, 0.0], [value, 1.0]])
    rings = Rings(points, np.array([0, 3]), np.array([2], np.uint32), np.array([0]))
    found = read_back(svg(rings, blocks.ontology, Sheet(1, 1, 1.0)), 1.0).points
    assert found == pytest.approx(points, abs=0.0051)
