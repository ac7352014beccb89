"""Wrong section numbers are named with the number that the image suggests, and move nothing."""

from dataclasses import replace

import numpy as np
import pytest
from registration.test_align import CORONAL, errors_um, rendered

from pipeline.core.model import Status
from pipeline.core.reference_space import ReferenceSpace
from pipeline.phantom import Scene, phantom_reference
from pipeline.registration import AlignmentOptions, SectionThumbnail, align_series
from pipeline.registration.model.painted_atlas import atlas_of
from pipeline.registration.model.state import TransformState
from pipeline.registration.quality.misnumbered import Comparison, _positions, number_at, numbered_rightly
from pipeline.registration.refusals import far_numbers


@pytest.fixture(scope="module")
def reference() -> ReferenceSpace:
    return phantom_reference(100.0)


@pytest.fixture(scope="module")
def coronal(reference: ReferenceSpace) -> tuple[Scene, list[SectionThumbnail]]:
    return rendered(reference, "coronal", 14)


def numbered(picture: SectionThumbnail, number: int) -> SectionThumbnail:
    thickness = picture.z_um / picture.section_number
    return replace(picture, section_number=number, z_um=number * thickness)


def test_the_number_of_a_position_continues_the_spacing_where_it_is_free() -> None:
    right = [n for n in range(20, 640, 20) if n != 180]
    assert number_at(183.0 * 25.0, 25.0, right) == 180
    assert number_at(171.0 * 25.0, 25.0, right) == 180  # 160 is nearer to taken than to free
    assert number_at(655.0 * 25.0, 25.0, right) == 660  # behind the last
    assert number_at(7.0 * 25.0, 25.0, right) == 0
    assert number_at(404.0 * 25.0, 25.0, right) == 404  # no free number is near: what the image says
    assert number_at(40.4 * 25.0, 25.0, [1, 2, 4, 9]) == 40


def test_a_section_is_cleared_where_no_other_place_fits_better() -> None:
    assert numbered_rightly(Comparison(0.05, 0.06, 1000.0))
    assert not numbered_rightly(Comparison(0.12, 0.06, 1000.0))


def test_numbers_far_beyond_the_brain_are_told_from_a_wrong_thickness(
    reference: ReferenceSpace, coronal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    drawn = coronal[1]
    atlas = atlas_of(reference, "coronal", "both")
    assert far_numbers(atlas, drawn, "both") == set()
    assert far_numbers(atlas, [*drawn[:-1], numbered(drawn[-1], 5000)], "both") == {5000}
    assert far_numbers(atlas, [numbered(t, 10 * t.section_number) for t in drawn], "both") == set()


def test_a_number_with_a_digit_too_many_names_its_section(
    reference: ReferenceSpace, coronal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    _, drawn = coronal
    right = drawn[5].section_number
    found = align_series([numbered(t, 10 * right) if t is drawn[5] else t for t in drawn], reference, CORONAL)
    (wrong,) = (s for s in found.sections if s.status is Status.FAIL)
    assert wrong.alignment2d.section_number == 10 * right
    assert f"section {10 * right} lies where section {right} would lie" in wrong.reason
    assert any(
        note.startswith(f"section {10 * right} left out: its number seems wrong") for note in found.notes
    )


def test_two_sections_exchanged_name_each_other_and_move_nothing(
    reference: ReferenceSpace, coronal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    scene, drawn = coronal
    one, other = drawn[3].section_number, drawn[9].section_number
    exchange = {one: other, other: one}
    mixed = [numbered(t, exchange.get(t.section_number, t.section_number)) for t in drawn]
    found = align_series(mixed, reference, AlignmentOptions())
    failed = {s.alignment2d.section_number: s.reason for s in found.sections if s.status is Status.FAIL}
    assert failed.keys() == {one, other}
    for number, meant in exchange.items():
        assert f"section {number} lies where section {meant} would lie" in failed[number]
    right = [k for k in range(len(drawn)) if k not in (3, 9)]
    assert np.median(errors_um(scene, found).reshape(len(drawn), -1)[right]) < 60.0


def test_of_a_right_series_no_section_is_named(
    reference: ReferenceSpace, coronal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    found = align_series(coronal[1], reference, CORONAL)
    assert not any(s.reason for s in found.sections)


def test_a_series_of_one_half_is_not_looked_for_in_the_other(reference: ReferenceSpace) -> None:
    """Every sagittal section finds its mirror image there, which says nothing of its number."""
    atlas = atlas_of(reference, "sagittal", "left")
    volume = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 500.0]])
    state = TransformState(np.tile(np.eye(2, 3), (3, 1, 1)), np.array([500.0, 1500.0, 2500.0]), volume)
    middle_um = 0.5 * atlas.extent_um[2] - 500.0  # in the volume
    assert _positions(atlas, state, "both").max() > middle_um + 2000.0
    assert middle_um - 200.0 < _positions(atlas, state, "left").max() < middle_um + 400.0
    assert middle_um - 400.0 < _positions(atlas, state, "right").min() < middle_um + 200.0
