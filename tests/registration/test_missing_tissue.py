"""Missing tissue: holes, torn and lost parts are found; whole tissue, ventricles and misfits are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.model import Alignment2d, Alignment3d, Bool, SectionAlignment, Structure
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace
from pipeline.registration.missing_tissue import (
    MissingTissue,
    PlacedThumbnail,
    find_missing,
    missing_flags,
    outlines_px,
)
from pipeline.sections.scan import valid_region
from pipeline.sections.thumbnail import SectionThumbnail

UM, SIZE = 25.0, (200, 280)  # of a thumbnail: px, (rows, columns)
THICKNESS_UM, NUMBERS = 25.0, range(40, 73, 8)
REFERENCE_UM = 50.0
Shape = Callable[[np.ndarray, np.ndarray], Bool]


def ellipse(x_um: float, y_um: float, a_um: float, b_um: float) -> Shape:
    return lambda x, y: ((x - x_um) / a_um) ** 2 + ((y - y_um) / b_um) ** 2 < 1


BRAIN = ellipse(3500, 2500, 2800, 2000)
VENTRICLE = ellipse(2700, 2100, 250, 400)


def both(shape: Shape) -> Shape:
    """A shape and its mirror image."""
    return lambda x, y: shape(x, y) | shape(7000 - x, y)


@pytest.fixture(scope="module")
def reference() -> ReferenceSpace:
    y, x = np.mgrid[:100, :140] * REFERENCE_UM
    plane = np.where(both(VENTRICLE)(x, y), 73, np.where(BRAIN(x, y), 10, 0)).astype(np.uint32)
    root, tissue = Structure(997, "root", "root", None, 0, ""), Structure(10, "T", "tissue", 997, 1, "")
    ontology = Ontology((root, tissue, Structure(73, "VS", "ventricular systems", 997, 2, "")))
    return ReferenceSpace(9, "drawn", np.repeat(plane[None], 60, axis=0), REFERENCE_UM, ontology)


def places() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] * UM
    return x, y


def section(
    number: int,
    hole: Shape | None = None,
    *,
    brain: Shape = BRAIN,
    ventricle: Shape = VENTRICLE,
    pale: Shape | None = None,
) -> PlacedThumbnail:
    x, y = places()
    density = np.where(brain(x, y) & ~both(ventricle)(x, y), 0.15, 0.0)
    if pale is not None:
        density[pale(x, y) & (density > 0)] = 0.03
    if hole is not None:
        density[hole(x, y)] = 0.0
    grain = np.random.default_rng(number).normal(0, 0.003, x.shape)
    pixels = np.clip(np.rint(240 * 10 ** -(density + grain)), 0, 255).astype(np.uint8)
    to_section = np.eye(2, 3)
    thumbnail = SectionThumbnail(number, number * THICKNESS_UM, pixels, UM, to_section)
    to_volume = np.array([[UM, 0.0, 0.0], [0.0, UM, 0.0]])
    return PlacedThumbnail(thumbnail, SectionAlignment(Alignment2d(number, to_volume)))


# x, y, z of the volume to (P, I, R)
SPACE = Alignment3d(9, np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]]))


def series(changed: dict[int, PlacedThumbnail]) -> list[PlacedThumbnail]:
    return [changed.get(number) or section(number) for number in NUMBERS]


def check(found: MissingTissue, hole: Shape, brain: Shape = BRAIN) -> None:
    x, y = places()
    tissue = brain(x, y) & ~both(VENTRICLE)(x, y)
    truth = hole(x, y) & tissue
    assert (found.mask & truth).sum() > 0.9 * truth.sum()
    assert (found.mask & ~hole(x, y)).sum() < 0.005 * tissue.sum()
    assert found.share == pytest.approx(truth.sum() / tissue.sum(), rel=0.1)


HOLES = {
    "0.5 mm": ellipse(4800, 2600, 250, 250),
    "1 mm": ellipse(4600, 3000, 500, 500),
    "3 mm": ellipse(3500, 2600, 1500, 1200),
    "torn quadrant": lambda x, y: (x > 3500) & (y < 2500),
    "lost half": lambda x, y: x > 3500,
    "corner": lambda x, y: x + y > 7200,
}


@pytest.mark.parametrize("name", HOLES)
def test_what_one_section_lacks_is_found(reference: ReferenceSpace, name: str) -> None:
    found = find_missing(series({56: section(56, HOLES[name])}), SPACE, reference)
    assert found.keys() == {56}
    check(found[56], HOLES[name])


def test_a_hole_in_every_section_is_told_by_the_other_half(reference: ReferenceSpace) -> None:
    hole = ellipse(5000, 2600, 600, 600)
    found = find_missing([section(n, hole) for n in NUMBERS], SPACE, reference)
    assert found.keys() == set(NUMBERS)
    check(found[56], hole)


def test_a_small_hole_in_a_doubtful_section_is_found_where_tissue_encloses_it(
    reference: ReferenceSpace,
) -> None:
    hole = ellipse(3500, 4000, 250, 250)
    placed = section(56, hole)
    doubtful = replace(placed.alignment, measures={"estimated_error_um": 330.0})
    found = find_missing(series({56: replace(placed, alignment=doubtful)}), SPACE, reference)
    assert found.keys() == {56}
    check(found[56], hole)


def test_debris_in_a_hole_is_missing_tissue_too(reference: ReferenceSpace) -> None:
    hole, specks = HOLES["0.5 mm"], [ellipse(4750, y, 40, 40) for y in (2450.0, 2600.0, 2750.0)]
    placed = section(56, lambda x, y: hole(x, y) & ~np.any([speck(x, y) for speck in specks], axis=0))
    check(find_missing(series({56: placed}), SPACE, reference)[56], hole)


def test_glass_that_is_due_in_the_neighbours_does_not_hide_a_hole(reference: ReferenceSpace) -> None:
    shape = ellipse(4600, 3300, 400, 300)
    y, x = np.mgrid[:100, :140] * REFERENCE_UM
    annotation = reference.annotation.copy()
    annotation[:27, both(shape)(x, y)] = annotation[30:, both(shape)(x, y)] = 73  # section 56: plane 28
    varied = replace(reference, annotation=annotation)
    whole = {n: section(n, both(shape)) for n in NUMBERS if n != 56}
    assert find_missing(series(whole), SPACE, varied) == {}
    found = find_missing(series(whole | {56: section(56, shape)}), SPACE, varied)
    assert found.keys() == {56}
    check(found[56], shape)


def test_what_neighbours_show_beyond_the_outline_of_the_reference_is_missing(
    reference: ReferenceSpace,
) -> None:
    large = ellipse(3500, 2500, 3000, 2200)
    sections = [section(n, HOLES["corner"] if n == 56 else None, brain=large) for n in NUMBERS]
    found = find_missing(sections, SPACE, reference)
    assert found.keys() == {56}
    x, y = places()
    truth = HOLES["corner"](x, y) & large(x, y) & ~both(VENTRICLE)(x, y)
    assert (found[56].mask & truth).sum() > 0.9 * truth.sum()


def test_whole_tissue_lacks_nothing(reference: ReferenceSpace) -> None:
    wide = both(ellipse(2700, 2100, 700, 700))  # wider than in the reference, in every section
    small = ellipse(3500, 2500, 2550, 1800)  # a misfit of 200 to 250 um all around
    white = ellipse(3500, 3000, 900, 500)
    whole: dict[str, list[PlacedThumbnail]] = {
        "whole": series({}),
        "ventricles": [section(n, wide) for n in NUMBERS],
        "small": series({56: section(56, brain=small)}),
        "moved ventricles": series({56: section(56, ventricle=ellipse(2850, 2300, 250, 400))}),
        "pale in one": series({56: section(56, pale=white)}),
        "pale in all": [section(n, pale=white) for n in NUMBERS],
    }
    for name, sections in whole.items():
        assert find_missing(sections, SPACE, reference) == {}, name


def test_a_misplaced_section_lacks_nothing_near_its_edges(reference: ReferenceSpace) -> None:
    small = ellipse(3500, 2500, 2200, 1500)
    placed = section(56, brain=small)
    doubtful = replace(placed.alignment, measures={"estimated_error_um": 330.0})
    assert 56 in find_missing(series({56: placed}), SPACE, reference)
    assert not find_missing(series({56: replace(placed, alignment=doubtful)}), SPACE, reference)


def test_of_the_half_that_a_series_does_not_show_nothing_is_missing(reference: ReferenceSpace) -> None:
    left = [section(n, lambda x, y: x > 3500) for n in NUMBERS]
    assert find_missing(left, SPACE, reference, "left") == {}
    hole = ellipse(2000, 3000, 400, 400)
    torn = [section(n, lambda x, y, k=n: (x > 3500) | ((k == 56) & hole(x, y))) for n in NUMBERS]
    assert find_missing(torn, SPACE, reference, "left").keys() == {56}


def test_outlines_hold_what_is_missing(reference: ReferenceSpace) -> None:
    found = find_missing(series({56: section(56, HOLES["1 mm"])}), SPACE, reference)[56]
    thumbnail = section(56).thumbnail
    drawn = ~valid_region(SIZE, None, outlines_px(found, thumbnail), None)
    assert (drawn ^ found.mask).sum() < 0.05 * found.mask.sum()


def test_flags_name_the_share() -> None:
    assert missing_flags(0.004) == ()
    (flag,) = missing_flags(0.1234)
    assert flag.startswith("missing_tissue: 12.3 % of the section")
