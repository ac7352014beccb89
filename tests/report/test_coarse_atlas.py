"""The coarse structures: chosen by rule, looked up right."""

from __future__ import annotations

import numpy as np
import pytest
from report.test_report_runs import CENTRE_UM, ball_reference

from pipeline.core.model import Structure
from pipeline.core.ontology import Ontology
from pipeline.report.coarse_atlas import (
    ALLEN_COARSE,
    FIRST,
    OUTSIDE,
    UNNAMED,
    CoarseAtlas,
    coarse_atlas,
    coarse_structures,
    line_colour,
)


def _ontology(edges: dict[int, int | None], names: dict[int, str] | None = None) -> Ontology:
    names = names or {}
    return Ontology(
        tuple(
            Structure(i, names.get(i, f"s{i}"), f"structure {i}", parent, i, "70FF71")
            for i, parent in edges.items()
        )
    )


def test_allens_own_coarse_structures_where_the_ontology_has_them() -> None:
    names = dict(enumerate(ALLEN_COARSE[:9], start=2))
    ontology = _ontology({1: None} | dict.fromkeys(names, 1) | {50: 1}, names)
    assert [s.acronym for s in coarse_structures(ontology)] == list(ALLEN_COARSE[:9])


def test_of_allens_acronyms_one_that_several_have_is_left_out() -> None:
    names = dict(enumerate(ALLEN_COARSE[:9], start=2)) | {50: ALLEN_COARSE[0]}
    ontology = _ontology({1: None} | dict.fromkeys(names, 1), names)
    assert [s.acronym for s in coarse_structures(ontology)] == list(ALLEN_COARSE[1:9])


def test_another_tree_is_cut_where_it_has_not_too_many_branches() -> None:
    edges: dict[int, int | None] = {1: None, 2: 1, 3: 1, 4: 1}
    edges |= {10 + n: 2 for n in range(6)} | {20 + n: 3 for n in range(6)}
    edges |= {100 + n: 10 for n in range(20)}
    chosen = {s.id for s in coarse_structures(_ontology(edges))}
    assert chosen == {*range(10, 16), *range(20, 26), 4}, "4 ends early and stays"
    assert [s.id for s in coarse_structures(_ontology({1: None}))] == [1]


def test_codes_agree_with_walking_up_the_tree() -> None:
    reference = ball_reference()
    atlas = CoarseAtlas(reference, (reference.ontology.find("Isocortex"), reference.ontology.find("TH")))
    labels = np.array([[0, 68, 315], [549, 997, 4_000_000_000]], np.uint32)

    def walk(label: int) -> int:
        if label == 0:
            return OUTSIDE
        path = reference.ontology.path(label) if label in reference.ontology.by_id else ()
        found = [FIRST + n for n, s in enumerate(atlas.structures) if s.id in path]
        return found[0] if found else UNNAMED

    expected = [[walk(int(v)) for v in row] for row in labels]
    np.testing.assert_array_equal(atlas.codes_of(labels), expected)


def test_points_are_looked_up_at_the_nearest_voxel() -> None:
    atlas = coarse_atlas(ball_reference())
    thalamus = FIRST + [s.acronym for s in atlas.structures].index("TH")
    cortex = CENTRE_UM + np.array([0, 0, 2000])
    points = np.array([CENTRE_UM, cortex, [-60.0, 4000, 5700], [13_140, 4000, 5700]])
    assert atlas.at(points).tolist() == [thalamus, 5 - thalamus, OUTSIDE, OUTSIDE]
    assert atlas.at(points.reshape(2, 2, 3)).shape == (2, 2)


@pytest.mark.parametrize("colour", ["70FF71", "FFFFFF", "000000", "red;}</style>", "12345"])
def test_lines_are_dark_enough_and_never_anything_but_a_colour(colour: str) -> None:
    line = line_colour(colour)
    assert len(line) == 6
    red, green, blue = (int(line[n : n + 2], 16) for n in (0, 2, 4))
    assert min(red, green, blue) + max(red, green, blue) <= 2 * 0.41 * 255
