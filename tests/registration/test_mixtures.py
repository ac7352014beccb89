"""A series that is of two brains: found by the stain of its parts."""

import numpy as np
import pytest
from registration.test_align import CORONAL, rendered

from pipeline.core.errors import AlignmentError
from pipeline.phantom import phantom_reference
from pipeline.registration import align_series
from pipeline.registration.quality.mixtures import StainSample, split_by_stain, stain_similarity

NEAR = 6


def similarity(kind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sections of one kind are alike, of two not."""
    n = len(kind)
    alike = np.where(kind[:, None] == kind, 0.85, 0.1) + rng.normal(0.0, 0.06, (n, n))
    alike = 0.5 * (alike + alike.T)
    index = np.arange(n)
    far = np.abs(index[:, None] - index) > NEAR
    return np.where(far | np.eye(n, dtype=bool), np.nan, alike)


@pytest.mark.parametrize(
    "kind",
    [np.repeat([0, 1], [12, 12]), np.repeat([0, 1], [18, 6]), np.arange(24) % 2, np.arange(24) % 3 == 0],
    ids=["halves", "a quarter", "in turns", "every third"],
)
@pytest.mark.parametrize("seed", range(5))
def test_two_stains_are_separated_however_the_sections_are_dealt(kind: np.ndarray, seed: int) -> None:
    found = split_by_stain(similarity(kind, np.random.default_rng(seed)))
    assert found is not None
    assert (found[0] == kind).all() or (found[0] != kind).all()


@pytest.mark.parametrize("seed", range(5))
def test_one_stain_is_one_series_also_over_a_gap_and_with_sections_that_are_like_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    alike = similarity(np.zeros(24, int), rng)
    assert split_by_stain(alike) is None
    gap = alike.copy()
    gap[:10, 10:] = gap[10:, :10] = np.nan  # too little is shared to decide
    assert split_by_stain(gap) is None
    torn = alike.copy()
    torn[[3, 15]] = torn[:, [3, 15]] = 0.05
    assert split_by_stain(torn) is None
    assert split_by_stain(np.full((24, 24), np.nan)) is None
    noise = np.where(np.isfinite(alike), rng.normal(0.0, 0.2, alike.shape), np.nan)
    assert split_by_stain(0.5 * (noise + noise.T)) is None


def test_similarity_is_the_weighted_correlation_of_the_means_of_shared_labels() -> None:
    rng = np.random.default_rng(3)
    labels = [rng.integers(0, 20, 3000).astype(np.uint16) for _ in range(3)]
    tables = [rng.uniform(size=20), rng.uniform(size=20)]
    stains = (tables[0], tables[0] + 0.01 * rng.normal(size=20), tables[1])
    samples = [StainSample(s, t[s].astype(np.float32)) for s, t in zip(labels, stains, strict=True)]
    found = stain_similarity(samples, np.array([0.0, 200.0, 400.0]), 20)
    shared = np.minimum(np.bincount(labels[0], minlength=20), np.bincount(labels[2], minlength=20))
    covariance = np.cov(tables[0], tables[1], aweights=shared)
    assert found[0, 2] == pytest.approx(covariance[0, 1] / np.sqrt(np.diag(covariance).prod()), abs=1e-3)
    assert found[0, 1] > 0.99
    assert np.isnan(np.diag(found)).all()
    assert np.isnan(stain_similarity(samples, np.array([0.0, 2000.0, 4000.0]), 20)).all()


@pytest.mark.slow
@pytest.mark.parametrize("dealt", ["halves", "in turns"])
def test_half_a_series_of_another_stain_is_refused_and_named(dealt: str) -> None:
    reference = phantom_reference(100.0)
    one, other = (rendered(reference, "coronal", 16, seed=seed)[1] for seed in (21, 22))
    taken = range(8, 16) if dealt == "halves" else range(0, 16, 2)
    mixed = [other[k] if k in taken else t for k, t in enumerate(one)]
    with pytest.raises(AlignmentError, match=r"do not match the rest of the series.*its stain differs from"):
        align_series(mixed, reference, CORONAL)
    assert len(align_series(one, reference, CORONAL).sections) == 16
