"""Gains that are known are found; what is lost is found, what ends is not."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.atlas_building.reconstruction.evening import (
    darkness_of,
    gains_of,
    lost_share,
    lost_tissue,
    usual_stain,
)


def sections(count: int = 20) -> list[np.ndarray]:
    """Return a growing disc of texture that runs on along the series."""
    y, x = np.meshgrid(np.arange(80) - 40, np.arange(100) - 50, indexing="ij")
    found = []
    for k in range(count):
        tissue = np.hypot(y, x) < 20 + k
        texture = 0.3 + 0.08 * np.sin(y / 5 + k / 10) * np.cos(x / 7)
        found.append(np.where(tissue, texture, 0.0).astype(np.float32))
    return found


def test_gains_of_the_sections_are_found() -> None:
    true = np.exp(np.random.default_rng(1).normal(0, 0.25, 20))
    stained = [np.asarray(s * g, np.float32) for s, g in zip(sections(), true, strict=True)]
    found = gains_of(stained)
    assert np.std(np.log(found / true)) < 0.02
    assert np.log(found).mean() == pytest.approx(0.0, abs=1e-9)


def test_a_section_without_tissue_has_its_prior() -> None:
    stained = sections(8)
    stained[3] = np.zeros_like(stained[3])
    assert np.isfinite(gains_of(stained)).all()


def test_lost_tissue_is_found_and_an_outline_that_grows_is_not() -> None:
    stained = sections()
    stained[10][30:45, 40:60] = 0.0
    lost = lost_tissue(stained, 50.0)
    assert lost[10][32:43, 42:58].all()
    assert not any(part.any() for k, part in enumerate(lost) if k != 10)
    assert 0.05 < lost_share(lost[10], stained, 10) < 0.3


def test_what_is_not_known_is_not_lost() -> None:
    stained = sections()
    stained[10][30:45, 40:60] = np.nan
    assert not lost_tissue(stained, 50.0)[10].any()


def test_darkness_is_that_of_the_light_that_is_left() -> None:
    assert darkness_of(np.array([0.0, -0.1, 1.0], np.float32)) == pytest.approx([0.0, 0.0, 229.5])
    assert usual_stain(sections()) == pytest.approx(0.3, abs=0.03)
