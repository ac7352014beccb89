"""What the images leave undecided is in the estimated error: places along the normal, exchanges, mirrors."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.model import SectionAlignment, SeriesAlignment, Status
from pipeline.core.reference_space import ReferenceSpace
from pipeline.phantom import (
    RenderOptions,
    StructureExpression,
    build_scene,
    coronal_geometry,
    phantom_reference,
    render_section,
)
from pipeline.registration import AlignmentOptions, SectionThumbnail, align_series
from pipeline.registration.fit.gauss_newton import LENGTH_UM, VolumePrior
from pipeline.registration.fit.volume_prior import volume_prior
from pipeline.registration.model.state import TransformState
from pipeline.registration.model.stated_positions import NOTHING_STATED
from pipeline.registration.quality.error_model import UNDECIDED, estimated_error_um
from pipeline.registration.quality.measures import Verdict, _held_by_neighbours
from pipeline.registration.quality.undecided import expected_distance, mirrored_probability

PIXEL_UM = 60.0
OPTIONS = AlignmentOptions(section_order="caudal_to_rostral", image_up="superior")


@pytest.fixture(scope="module")
def reference() -> ReferenceSpace:
    return phantom_reference(100.0)


@pytest.fixture(scope="module")
def coronal(reference: ReferenceSpace) -> list[SectionThumbnail]:
    options = RenderOptions(seed=5, texture=0.2, extra_rotation_deg=4.0, extra_shift_um=150.0)
    geometry = coronal_geometry(reference, 14, PIXEL_UM)
    scene = build_scene(reference, geometry, StructureExpression({}), options)
    return [
        SectionThumbnail(
            image.section_number,
            geometry.data_set.z_um(image.section_number),
            render_section(scene, k).pixels,
            PIXEL_UM,
            np.eye(2, 3),
        )
        for k, image in enumerate(scene.images)
    ]


def of(found: SeriesAlignment, number: int) -> SectionAlignment:
    section = found.of(number)
    assert section is not None
    return section


def test_the_distance_to_expect_follows_the_likelihood() -> None:
    shifts = np.array([-200.0, -100.0, 0.0, 100.0, 200.0])
    sure = expected_distance(np.array([400.0, 200.0, 0.0, 200.0, 400.0]), shifts)
    assert sure == (pytest.approx(0.0, abs=1e-3), 0.0)
    assert expected_distance(np.zeros(5), shifts)[0] == pytest.approx(120.0)
    elsewhere = expected_distance(np.array([400.0, 300.0, 200.0, 100.0, 0.0]), shifts)
    assert elsewhere == (pytest.approx(200.0, abs=1e-3), 200.0)


def test_a_section_that_fits_better_mirrored_is_told_from_the_spread_of_the_others() -> None:
    losses = np.array([60.0, 81.0, 47.0, 68.0, 79.0, 32.0, 84.0, 47.0, 46.0, -64.0])
    probability = mirrored_probability(losses)
    assert probability[-1] > 0.99
    assert (probability[:-1] < 0.01).all()
    # where mirroring hardly costs anything, a small gain says nothing
    assert mirrored_probability(np.array([3.0, -2.0, 5.0, 1.0, -4.0, 6.0])).max() < 0.2


def prior_of(volume: np.ndarray) -> VolumePrior:
    state = TransformState(np.tile(np.eye(2, 3), (3, 1, 1)), np.array([0.0, 500.0, 1000.0]), volume)
    return volume_prior(state, "coronal", NOTHING_STATED)


def test_the_prior_of_the_volume_leads_to_the_scales_of_brains() -> None:
    volume = np.array([[0.0, 0.0, -1.25, 9000.0], [0.0, 1.2, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    prior = prior_of(volume)
    assert prior.target[0] == pytest.approx(LENGTH_UM * np.log(1.05))
    assert prior.target[1] == pytest.approx(LENGTH_UM * np.log(1.05 / 1.2))
    assert prior.target[6] == pytest.approx(LENGTH_UM * np.log(0.94 * np.sqrt(1.2) / 1.25))
    assert np.isinf(prior.spread[[2, 3]]).all()
    doubled = volume.copy()
    doubled[0, 2] *= 0.5  # a thickness stated twice too large
    assert prior_of(doubled).spread[6] > 2.0 * prior.spread[6]
    tilted = volume.copy()
    tilted[0, 0] = 0.1  # the plane runs caudally towards the right
    assert prior_of(tilted).target[4] == pytest.approx(LENGTH_UM * 0.1 / 1.25)


def test_doubts_add_to_the_error() -> None:
    measures = {"dice": 0.97, "pose_deviation_um": 30.0, "pose_deviation_usual_um": 30.0, "boundary_um": 40.0}
    base = estimated_error_um(measures)
    doubted = estimated_error_um({**measures, "normal_own_um": 300.0, "normal_common_um": 400.0})
    weighed = [UNDECIDED["normal_own_um"] * 300.0, UNDECIDED["normal_common_um"] * 400.0]
    assert doubted == pytest.approx(np.linalg.norm([base, *weighed]))


def test_exchanged_neighbours_and_a_file_used_twice_do_not_pass(
    reference: ReferenceSpace, coronal: list[SectionThumbnail]
) -> None:
    shown = list(coronal)
    shown[4] = replace(coronal[5], section_number=coronal[4].section_number, z_um=coronal[4].z_um)
    shown[5] = replace(coronal[4], section_number=coronal[5].section_number, z_um=coronal[5].z_um)
    shown[9] = replace(coronal[8], section_number=coronal[9].section_number, z_um=coronal[9].z_um)
    found = align_series(shown, reference, OPTIONS)
    wrong = [coronal[k].section_number for k in (4, 5, 9)]
    for number in wrong:
        section = of(found, number)
        assert section.status is not Status.PASS
        assert "along its normal" in section.reason or section.status is Status.FAIL
        assert any(note.startswith("section") and str(number) in note for note in found.notes)
    spared = (coronal[k].section_number for k in (1, 2, 7, 11, 12))
    assert {of(found, number).status for number in spared} == {Status.PASS}


def test_few_sections_are_less_sure_of_their_place(
    reference: ReferenceSpace, coronal: list[SectionThumbnail]
) -> None:
    whole = align_series(coronal, reference, OPTIONS)
    few = align_series(coronal[5:8], reference, replace(OPTIONS, minimum_sections=3))
    for section in few.sections:
        number = section.alignment2d.section_number
        assert section.measures["normal_common_um"] > 2.0 * of(whole, number).measures["normal_common_um"]
        assert section.measures["estimated_error_um"] > section.measures["normal_common_um"]


def test_no_section_is_much_surer_than_those_around_it() -> None:
    judged = [
        Verdict({"dice": 0.97, "estimated_error_um": float(um)}, Status.PASS)
        for um in (320, 300, 100, 310, 40)
    ]
    judged += [Verdict({"dice": 0.97, "estimated_error_um": 30.0}, Status.PASS) for _ in range(8)]
    held = _held_by_neighbours(judged, 0.6)
    assert held[2].measures["estimated_error_um"] == 150.0  # three quarters of the median, 200
    assert held[0].measures["estimated_error_um"] == 320.0
    assert [one.measures["estimated_error_um"] for one in held[8:]] == [30.0] * 5
    surer = _held_by_neighbours([*judged[:2], judged[4], judged[3]], 0.6)
    assert (surer[2].status, surer[2].reason) == (Status.CHECK, "the sections around it are not well placed")
