"""Structures on section photos: the hit test is the annotation, and outlines hold what was hit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from service.plates.filling import fill

from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.content.catalogue import ServedExperiment, ServedSection
from pipeline.service.http.answers import RequestError
from pipeline.service.plates.sections import (
    MOST_SIDE,
    placed,
    section_labels,
    section_rings,
    section_size,
    structures_at,
)

Make = Callable[..., ServedExperiment]
PLACEMENTS = [
    {},
    {"mirrored": True},
    {"bent": True},
    {"mirrored": True, "bent": True, "space": 10},
]


def looked_up(
    reference: ReferenceSpace, experiment: ServedExperiment, number: int, x: float, y: float
) -> int:
    """Return the structure at a pixel, from the matrices and nodes alone."""
    geometry = experiment.geometry
    assert geometry is not None
    alignment = geometry.of(number)
    v = np.append(alignment.section_to_volume @ [x, y, 1.0], number * 50.0)
    bend = geometry.deformations.get(number)
    if bend is not None:
        nodes = bend.displacement_um.astype(float)
        at = [(x - bend.origin_px[0]) / bend.spacing_px, (y - bend.origin_px[1]) / bend.spacing_px]
        at = [min(max(a, 0.0), n - 1.0) for a, n in zip(at, nodes.shape[:0:-1], strict=True)]
        i, j = (min(int(a), n - 2) for a, n in zip(at, nodes.shape[:0:-1], strict=True))
        fx, fy = at[0] - i, at[1] - j
        top = nodes[:, j, i] * (1 - fx) + nodes[:, j, i + 1] * fx
        v += top * (1 - fy) + (nodes[:, j + 1, i] * (1 - fx) + nodes[:, j + 1, i + 1] * fx) * fy
    voxel = np.rint(geometry.alignment3d.volume_to_reference @ np.append(v, 1.0) / reference.annotation_um)
    if (voxel < 0).any() or (voxel >= reference.annotation.shape).any():
        return 0
    found = int(reference.annotation[tuple(voxel.astype(int))])
    return found if found in reference.ontology.by_id or not found else reference.ontology.roots[0].id


@pytest.mark.parametrize("how", PLACEMENTS)
def test_the_hit_test_is_the_annotation(
    blocks: ReferenceSpace, make_experiment: Make, how: dict[str, Any]
) -> None:
    experiment = make_experiment(**how)
    assert experiment.geometry is not None
    points = np.random.default_rng(7).uniform((-60, -60), (380, 300), (400, 2))
    for number in (4, 8, 12):
        expected = [looked_up(blocks, experiment, number, x, y) for x, y in points]
        assert len(set(expected)) >= 4
        assert structures_at(blocks, experiment.geometry, number, points).tolist() == expected


@pytest.mark.parametrize("how", PLACEMENTS)
def test_outlines_hold_what_was_hit(
    blocks: ReferenceSpace, make_experiment: Make, how: dict[str, Any]
) -> None:
    geometry = make_experiment(**how).geometry
    assert geometry is not None
    sampled = section_labels(blocks, geometry, 8, (320, 240))
    assert sampled.spacing_px == pytest.approx(25.0, rel=1e-6)  # a voxel of 100 um in pixels of 4 um
    assert sampled.labels.shape == (10, 13)
    inside = fill(section_rings(sampled), sampled.labels.shape)
    assert np.array_equal(inside, sampled.labels)
    for row, column in np.ndindex(*inside.shape):
        x, y = (n * sampled.spacing_px + (sampled.spacing_px - 1) / 2 for n in (column, row))
        assert inside[row, column] == structures_at(blocks, geometry, 8, [[x, y]])[0]


def test_a_large_section_is_sampled_coarser(blocks: ReferenceSpace, make_experiment: Make) -> None:
    geometry = make_experiment().geometry
    assert geometry is not None
    sampled = section_labels(blocks, geometry, 8, (60_000, 20_000))
    assert sampled.labels.shape == (334, MOST_SIDE)
    assert sampled.spacing_px == 60.0


def test_sections_without_a_place_are_refused(make_experiment: Make) -> None:
    experiment = make_experiment()
    assert placed(experiment, experiment.sections[4]) is experiment.geometry
    with pytest.raises(
        RequestError, match="section 16 has no alignment; the nearest that have one are 4, 8, 12"
    ) as no:
        placed(experiment, experiment.sections[16])
    assert no.value.status == 404


def test_sections_of_unknown_size_are_refused(make_experiment: Make) -> None:
    section = make_experiment().sections[4]
    assert section_size(section) == (320, 240)
    image = type(section.image)(704, 4, None, 0, 0, 0.0)
    with pytest.raises(RequestError, match="SectionImage 704: its size is not known"):
        section_size(ServedSection(704, 55, image))
