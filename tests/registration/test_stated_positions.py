"""Positions along the normal that the manifest states, and what the volume's prior makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from registration.test_align import places, rendered

from pipeline.core.model import SeriesAlignment, Status
from pipeline.core.reference_space import ReferenceSpace
from pipeline.phantom import phantom_reference, true_alignment
from pipeline.registration import AlignmentOptions, align_series
from pipeline.registration.fit.gauss_newton import VOLUME_CENTRE_UM, moved
from pipeline.registration.fit.volume_prior import volume_prior
from pipeline.registration.model.state import TransformState
from pipeline.registration.model.stated_positions import NOTHING_STATED, StatedPositions
from pipeline.sections.thumbnail import SectionThumbnail


@pytest.fixture(scope="module")
def reference() -> ReferenceSpace:
    return phantom_reference(100.0)


def stated(*pairs: tuple[float, float]) -> StatedPositions:
    z_um, position_um = np.array(pairs).T
    return StatedPositions(z_um, position_um)


def test_two_far_positions_show_the_line() -> None:
    slope, offset = stated((1000.0, 9000.0), (3000.0, 7100.0)).line(slope=1.0)
    assert (slope, offset) == (pytest.approx(-0.95), pytest.approx(9950.0))


@pytest.mark.parametrize("pairs", [((1000.0, 9000.0),), ((1000.0, 9000.0), (1100.0, 9100.0))])
def test_near_positions_do_not_show_the_slope(pairs: tuple[tuple[float, float], ...]) -> None:
    some = stated(*pairs)
    slope, offset = some.line(slope=-1.0)
    assert slope == -1.0
    assert offset == pytest.approx(np.mean([p + z for z, p in pairs]))
    assert some.spreads(1000.0) == (pytest.approx(some.spread_um / len(pairs) ** 0.5), np.inf)


def test_the_line_is_less_certain_beyond_its_positions() -> None:
    some = stated((1000.0, 9000.0), (3000.0, 7000.0))
    simulated = np.random.default_rng(0).normal(some.position_um, some.spread_um, (20000, 2))
    lines = np.polyfit(some.z_um, simulated.T, 1)
    for z_um in (2000.0, 5000.0):
        position, slope = some.spreads(z_um)
        assert position == pytest.approx(float(np.std(lines[0] * z_um + lines[1])), rel=0.03)
        assert slope == pytest.approx(float(np.std(lines[0])), rel=0.03)


def test_positions_of_the_manifest_count_before_anchors() -> None:
    pixels = np.full((20, 30), 230, np.uint8)
    one = SectionThumbnail(1, 100.0, pixels, 50.0, np.eye(2, 3), position_um=7000.0)
    other = replace(one, section_number=2, z_um=200.0, position_um=9000.0, position_spread_um=250.0)
    found = StatedPositions.of([one, other, replace(one, position_um=None)])
    assert (found.position_um.tolist(), found.spread_um) == ([7000.0], 50.0)
    assert StatedPositions.of([other]).spreads(200.0)[0] == 250.0


def test_nothing_stated_expects_nothing() -> None:
    assert NOTHING_STATED.spreads(0.0) == (np.inf, np.inf)
    volume = np.array([[0, 0, -1.0, 9000.0], [0, 1.0, 0, 0], [1.0, 0, 0, 0]])
    state = TransformState(np.zeros((3, 2, 3)), np.array([0.0, 500.0, 1000.0]), volume)
    assert np.isinf(volume_prior(state, "coronal", NOTHING_STATED).spread[3])


@pytest.mark.parametrize("slope", [-1.0, 0.9])
def test_the_expected_step_leads_to_the_stated_positions(slope: float) -> None:
    volume = np.array([[0, 0, slope, 6000.0], [0, 1.0, 0, 0], [1.0, 0, 0, 0]])
    z_um = np.array([0.0, 1000.0, 2000.0])
    state = TransformState(np.tile(np.eye(2, 3), (3, 1, 1)), z_um, volume)
    wanted = volume[0, 2] * 1.05 * z_um + 6300.0
    prior = volume_prior(state, "coronal", stated(*zip(z_um, wanted, strict=True)))
    step = np.where(np.isin(np.arange(7), (3, 6)), prior.target, 0.0)
    after = moved(state, [], np.zeros((0, 3)), step).volume
    at = np.column_stack([np.tile(VOLUME_CENTRE_UM, (3, 1)), z_um, np.ones(3)])
    assert at @ after[0] == pytest.approx(wanted, abs=1e-6)


def test_a_position_places_three_sections(reference: ReferenceSpace) -> None:
    """Three sections alone never pass; with one position they lie where they should."""
    scene, drawn = rendered(reference, "coronal", 12)
    options = AlignmentOptions(
        plane_of_section="coronal",
        section_order="caudal_to_rostral",
        image_up="superior",
        minimum_sections=2,
    )
    truth = true_alignment(scene)
    some = drawn[4:7]
    alone = align_series(some, reference, options)
    assert Status.PASS not in {s.status for s in alone.sections}
    position_um = float(_middle(truth, some[1])[0])
    placed = align_series([some[0], replace(some[1], position_um=position_um), some[2]], reference, options)
    away = [np.linalg.norm(_middle(placed, t) - _middle(truth, t)) for t in some]
    assert max(away) < 150.0
    assert all("place along the normal" not in s.reason for s in placed.sections)


def _middle(alignment: SeriesAlignment, thumbnail: SectionThumbnail) -> np.ndarray:
    """Return where the middle of a section lies in the reference, (3,) um."""
    h, w = thumbnail.pixels.shape[:2]
    point = np.array([[w / 2, h / 2]])
    return places(alignment, thumbnail.section_number, thumbnail.z_um, point)[0]
