"""Outlier sections are named and left out, and do not move the others."""

from dataclasses import replace

import numpy as np
import pytest
from registration.test_align import SAGITTAL, errors_um, rendered

from pipeline.core.errors import AlignmentError
from pipeline.core.model import Status
from pipeline.core.reference_space import ReferenceSpace
from pipeline.phantom import Scene, phantom_reference
from pipeline.registration import SectionThumbnail, align_series
from pipeline.registration.quality.outliers import (
    _SHARE_OF_CHECK,
    _SHARE_OF_POOR_OUTLINE,
    StainCorrelation,
    _least_share,
    _stain_correlation,
    _weakly_correlated,
)


@pytest.fixture(scope="module")
def reference() -> ReferenceSpace:
    return phantom_reference(100.0)


@pytest.fixture(scope="module")
def sagittal(reference: ReferenceSpace) -> tuple[Scene, list[SectionThumbnail]]:
    return rendered(reference, "sagittal", 9)


def organ(like: SectionThumbnail, seed: int) -> SectionThumbnail:
    """Something round and grainy, as large as a section of the brain."""
    rng = np.random.default_rng(seed)
    h, w = like.pixels.shape[:2]
    y, x = np.mgrid[:h, :w]
    inside = ((y - h / 2) / (0.40 * h)) ** 2 + ((x - w / 2) / (0.40 * w)) ** 2 < 1.0
    grain = np.kron(rng.uniform(130, 220, (h // 8 + 1, w // 8 + 1)), np.ones((8, 8)))[:h, :w]
    grey = np.where(inside, grain, 240.0) + rng.normal(0.0, 2.0, (h, w))
    return replace(like, pixels=np.clip(grey, 0, 255).astype(np.uint8))


def put(picture: SectionThumbnail, into: SectionThumbnail) -> SectionThumbnail:
    return replace(picture, section_number=into.section_number, z_um=into.z_um)


def test_correlation_is_what_table_and_noise_let_expect() -> None:
    rng = np.random.default_rng(0)
    table = rng.choice([0.2, 0.5, 0.8], 4000)
    one = _stain_correlation(table, table + rng.normal(0.0, 0.3, 4000), 0.3)
    assert one.found == pytest.approx(one.expected, abs=0.02)
    assert one.share == pytest.approx(1.0, abs=0.03)
    assert abs(_stain_correlation(table, rng.permutation(table), 0.3).share) < 0.1
    assert np.isnan(_stain_correlation(table[:50], table[:50], 0.3).share)
    assert np.isnan(
        _stain_correlation(np.full(4000, 0.5), table, 0.3).share
    )  # a plane of one label shows nothing


def test_what_is_far_less_like_the_table_than_the_others_is_found_unless_all_are() -> None:
    correlations = [StainCorrelation(0.7, 0.7)] * 6 + [
        StainCorrelation(0.5, 0.7),
        StainCorrelation(0.35, 0.7),
        StainCorrelation(0.1, 0.7),
    ]
    dice = [0.98] * 9
    found = _weakly_correlated(range(9), correlations, dice)
    assert {k: round(share, 2) for k, (share, _) in found.items()} == {7: 0.5, 8: 0.14}
    assert (
        _weakly_correlated(
            range(9), [StainCorrelation(one.found / 3, one.expected) for one in correlations], dice
        )
        == {}
    )
    assert _least_share(dice, 8) == _SHARE_OF_CHECK
    assert _least_share([*dice[:8], 0.9], 8) == _SHARE_OF_POOR_OUTLINE


def test_other_organ_and_other_plane_are_named_and_move_nothing(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    scene, drawn = sagittal
    other = rendered(reference, "coronal", 5)[1]
    mixed = list(drawn)
    mixed[2], mixed[6] = organ(drawn[2], 1), put(other[2], drawn[6])
    found = align_series(mixed, reference, SAGITTAL)
    assert [s.status is Status.FAIL for s in found.sections] == [k in (2, 6) for k in range(9)]
    for k in (2, 6):
        assert found.sections[k].reason.startswith("does not match this brain at this position")
        named = f"section {drawn[k].section_number} left out: does not match"
        assert any(note.startswith(named) for note in found.notes)
    right = [k for k in range(9) if k not in (2, 6)]
    assert np.median(errors_um(scene, found).reshape(9, -1)[right]) < 45.0  # as without outliers


@pytest.mark.slow
def test_half_a_series_of_another_organ_is_refused(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    mixed = [organ(t, k) if k in (0, 2, 4, 6) else t for k, t in enumerate(sagittal[1])]
    with pytest.raises(AlignmentError, match=r"do not match the rest of the series|fit"):
        align_series(mixed, reference, SAGITTAL)
