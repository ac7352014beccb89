from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.intensity import darkness, expression, optical_density, to_uint8


def exact(pixels: np.ndarray) -> np.ndarray:
    r, g, b = (pixels[..., k].astype(np.int64) for k in range(3))
    return (255 - (299 * r + 587 * g + 114 * b + 500) // 1000).astype(np.uint8)


def test_darkness_is_exact_for_every_red_and_green_at_all_blues_with_ties() -> None:
    red, green = np.meshgrid(np.arange(256), np.arange(256))
    for blue in (0, 1, 50, 127, 128, 250, 255):
        pixels = np.stack([red, green, np.full_like(red, blue)], axis=-1).astype(np.uint8)
        assert (darkness(pixels) == exact(pixels)).all()


def test_darkness_of_random_and_of_strided_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (301, 407, 3), np.uint8)
    assert (darkness(pixels) == exact(pixels)).all()
    assert (darkness(pixels[::2, 1::3]) == exact(pixels[::2, 1::3])).all()


def test_grey_and_its_rgb_agree() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (darkness(grey) == 255 - grey).all()
    assert (darkness(np.repeat(grey[..., None], 3, axis=2)) == darkness(grey)).all()


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint16), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)],
)
def test_darkness_refuses_what_is_not_8_bit_grey_or_rgb(pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match="expected uint8"):
        darkness(pixels)


def test_to_uint8_maps_the_stated_range_and_clips() -> None:
    values = np.array([[0, 100, 600, 1100, 65535]], np.uint16)
    assert to_uint8(values, (100, 1100)).tolist() == [[0, 0, 128, 255, 255]]
    assert to_uint8(np.array([[0, 65535]], np.uint16), (0, 65535)).tolist() == [[0, 255]]


@pytest.mark.parametrize("stated", [(5, 5), (9, 3), (-1, 10), (0, 70000)])
def test_to_uint8_refuses_an_impossible_range(stated: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="expected a range"):
        to_uint8(np.zeros((2, 2), np.uint16), stated)


def test_to_uint8_refuses_other_images() -> None:
    with pytest.raises(DataError, match=r"expected \(H, W.*\) uint16"):
        to_uint8(np.zeros((2, 2), np.uint8), (0, 255))  # type: ignore[arg-type]


def test_optical_density_cancels_the_light() -> None:
    assert optical_density(250.0, 5) == pytest.approx(0.0)
    assert optical_density(250.0, 230) == pytest.approx(1.0)
    assert optical_density(125.0, 242.5) == pytest.approx(1.0)
    assert np.isfinite(optical_density(250.0, 255))


def test_expression_is_darkness_where_marked_and_valid_in_the_mask_itself() -> None:
    rng = np.random.default_rng(5)
    dark = rng.integers(0, 256, (37, 41), np.uint8)
    mask, valid = rng.random((2, 37, 41)) < 0.5
    expected = np.where(mask & valid, np.maximum(dark, 1), 0)
    found = expression(dark, mask, valid)
    np.testing.assert_array_equal(found, expected)
    assert np.shares_memory(found, mask)


def test_a_row_that_repeats_counts_like_as_many_rows() -> None:
    rng = np.random.default_rng(6)
    dark, row = rng.integers(0, 256, (37, 41), np.uint8), np.broadcast_to(rng.random(41) < 0.5, (37, 41))
    mask = rng.random((37, 41)) < 0.5
    np.testing.assert_array_equal(expression(dark, mask.copy(), row), expression(dark, mask, row.copy()))
