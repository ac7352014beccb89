"""Folds, drawn as optical densities: what is denser than the tissue around, and hardly redder."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.sections.folds import find_folds
from pipeline.sections.scan import fill_polygons
from pipeline.sections.statistics import Artifact

UM, TYPICAL = 8.0, 0.06
SHAPE = 250, 374  # no multiples of a block


def usual(dense: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Return the red share of stain by its density: it rises by 0.02 a doubling, up to a third."""
    return np.minimum(0.27 + 0.02 * np.log2(np.maximum(dense, 0.1)), 0.33)


def tissue() -> np.ndarray:  # type: ignore[type-arg]
    """Draw how dense an oval of tissue is, its right half twice as dense, with cells on all of it; (h, w)."""
    rng = np.random.default_rng(5)
    dense = np.zeros(SHAPE)
    cv2.ellipse(dense, (187, 125), (170, 110), 0, 0, 360, 1.0, -1)
    dense[:, 187:] *= 2
    rows, columns = (rng.integers(0, n, 1500) for n in SHAPE)
    dense[rows, columns] *= rng.uniform(2, 6, rows.size)
    return dense * rng.normal(1, 0.03, SHAPE)


def line() -> np.ndarray:  # type: ignore[type-arg]
    """Draw a line across both halves, 120 um wide; (h, w) bool."""
    mask = np.zeros(SHAPE, np.uint8)
    cv2.line(mask, (80, 100), (300, 150), 1, 15)
    return mask > 0


def coloured(dense: np.ndarray, share: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Return the OD of red, green and blue, (h, w, 3)."""
    other = (1 - share) / 2
    return 3 * TYPICAL * dense[..., None] * np.stack([share, other, other], axis=-1)


def found(density: np.ndarray) -> tuple[list[Artifact], np.ndarray]:  # type: ignore[type-arg]
    """Return the folds, and which pixels lie in one."""
    planes = np.moveaxis(density, -1, 0).astype(np.float32)
    folds = find_folds(planes, TYPICAL, np.ones(SHAPE, np.bool_), UM)
    canvas = np.zeros(SHAPE, np.uint8)
    fill_polygons(canvas, [tuple((x / UM - 0.5, y / UM - 0.5) for x, y in f.outline_um) for f in folds], 1)
    return folds, canvas > 0


@pytest.mark.parametrize("layers", [2, 3])
def test_layers_of_pale_and_of_dark_tissue_are_a_fold(layers: int) -> None:
    dense, where = tissue(), line()
    folds, inside = found(coloured(np.where(where, layers * dense, dense), usual(dense)))
    assert {fold.kind for fold in folds} == {"fold"}
    assert inside[where].mean() > 0.9
    assert not inside[cv2.dilate(where.astype(np.uint8), np.ones((9, 9))) == 0].any()


@pytest.mark.parametrize("times", [2, 3, 5])
def test_what_is_as_much_redder_as_it_is_denser_is_none(times: int) -> None:
    dense = np.where(line(), times * tissue(), tissue())
    assert found(coloured(dense, usual(dense)))[0] == []


def test_a_band_less_red_than_usual_is_none_where_the_tissue_around_is_too() -> None:
    dense, where = tissue(), line()
    dense = np.where(where, 4 * dense, dense)
    near = cv2.dilate(where.astype(np.uint8), np.ones((61, 61))) > 0
    assert found(coloured(dense, usual(dense) - 0.02 * near))[0] == []


def test_a_usual_structure_is_none_in_tissue_redder_than_usual() -> None:
    dense, where = tissue(), line()
    near = cv2.dilate(where.astype(np.uint8), np.ones((61, 61))) > 0
    dense = np.where(where, 2.5 * dense, dense)
    assert found(coloured(dense, usual(dense) + 0.04 * (near & ~where)))[0] == []


def test_nothing_is_a_fold_where_stain_has_the_colour_of_tissue() -> None:
    dense = np.where(line(), 3 * tissue(), tissue())
    assert found(coloured(dense, np.full(SHAPE, 0.3)))[0] == []


@pytest.mark.parametrize("shape", [(3, 90), (1, 1), (20, 20)])
def test_an_image_with_little_or_no_tissue_has_none(shape: tuple[int, int]) -> None:
    for level in (0.0, TYPICAL):
        planes = np.full((3, *shape), level, np.float32)
        assert find_folds(planes, TYPICAL, np.ones(shape, np.bool_), UM) == []
