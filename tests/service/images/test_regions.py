"""Regions of images against block means of the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service.images.conftest import picture, sparse

from pipeline.core.blocks import block_mean
from pipeline.service.http.answers import RequestError
from pipeline.service.images.regions import check_out, clipped, level_for, reduction, region
from pipeline.service.images.sources import ArrayPixels, Layers
from pipeline.service.served import LIMITS

PICTURE = picture(611, 1003)
MASK = sparse(611, 1003)
SOURCE = ArrayPixels(PICTURE)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 7, 8, 16, 64])
def test_a_whole_image_is_its_block_mean(factor: int) -> None:
    out = math.ceil(1003 / factor), math.ceil(611 / factor)
    got = region(SOURCE, (0, 0, 1003, 611), out)
    off = np.abs(got.astype(int) - block_mean(PICTURE, factor))
    # Each level is rounded; blocks of 3 or 5 px share pixels of the level that is read; partial blocks at the
    # far edges count as whole ones in the next level.
    assert off[:-1, :-1].max() <= {1: 0, 2: 0, 4: 1, 8: 2, 16: 3, 64: 5}.get(factor, 8)
    assert off.max() <= 16
    assert off.mean() < 1.5


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_tiles_make_up_the_whole(factor: int) -> None:
    whole = region(SOURCE, (0, 0, 1003, 611), (math.ceil(1003 / factor), math.ceil(611 / factor)))
    side = 96
    for top in range(0, 611, side * factor):
        for left in range(0, 1003, side * factor):
            width, height = min(side * factor, 1003 - left), min(side * factor, 611 - top)
            tile = region(
                SOURCE, (left, top, width, height), (math.ceil(width / factor), math.ceil(height / factor))
            )
            y, x = top // factor, left // factor
            assert np.array_equal(tile, whole[y : y + side, x : x + side])


@given(st.data())
@settings(max_examples=60)
def test_any_region_has_the_asked_size_and_the_mean_of_its_pixels(data: st.DataObject) -> None:
    left, top = data.draw(st.integers(0, 990)), data.draw(st.integers(0, 600))
    width = data.draw(st.integers(1, 1003 - left))
    height = data.draw(st.integers(1, 611 - top))
    out = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    got = region(SOURCE, (left, top, width, height), out)
    assert got.shape == (out[1], out[0], 3)
    part = PICTURE[top : top + height, left : left + width]
    if width % out[0] == 0 and height % out[1] == 0:
        expected = part.reshape(out[1], height // out[1], out[0], width // out[0], 3).mean(axis=(1, 3))
        # a level that is read may begin and end within the outermost pixels
        inner = got[1:-1, 1:-1], expected[1:-1, 1:-1]
        assert inner[0].size == 0 or np.abs(inner[0] - inner[1]).max() <= 4


def test_a_single_cell_stays_visible_in_a_mask() -> None:
    source = ArrayPixels(MASK, is_mask=True)
    got = region(source, (0, 0, 1003, 611), (51, 31))
    for y, x in zip(*np.nonzero(MASK), strict=True):
        assert got[y * 31 // 620, x * 51 // 1020] >= MASK[y, x]
    assert region(source, (0, 0, 1003, 611), (1, 1))[0, 0] == MASK.max()


def test_an_image_stored_at_a_quarter_is_enlarged() -> None:
    source = ArrayPixels(block_mean(PICTURE, 4), (1003, 611), 4)
    assert source.levels[0].scale == 4
    got = region(source, (100, 100, 400, 300), (400, 300))
    assert got.shape == (300, 400, 3)
    assert np.abs(got.astype(int) - PICTURE[100:400, 100:500]).mean() < 3
    stored = region(source, (100, 100, 400, 300), (100, 75))
    assert np.array_equal(stored, block_mean(PICTURE, 4)[25:100, 25:125])


def test_beyond_the_stored_pixels_is_white_or_nothing() -> None:
    small = ArrayPixels(np.zeros((10, 10), np.uint8), (20, 12))
    got = region(small, (0, 0, 20, 12), (20, 12))
    assert (got[:10, :10] == 0).all()
    assert (got[:, 10:] == 255).all()
    assert (got[10:] == 255).all()
    assert (region(small, (12, 0, 8, 12), (8, 12)) == 255).all()
    mask = ArrayPixels(np.full((10, 10), 9, np.uint8), (20, 12), is_mask=True)
    assert region(mask, (0, 0, 20, 12), (10, 6))[:, 5:].max() == 0


def test_levels_of_several_sources_are_one_image() -> None:
    coarse = ArrayPixels(block_mean(PICTURE, 4), (1003, 611), 4)
    layers = Layers((1003, 611), [(SOURCE, 0), *((coarse, i) for i in range(len(coarse.levels)))])
    assert [level.scale for level in layers.levels] == [1, 4]
    assert level_for(layers, 3.9) == 0
    assert level_for(layers, 4) == 1
    assert np.array_equal(region(layers, (0, 0, 1003, 611), (251, 153)), block_mean(PICTURE, 4))
    assert layers.stored_tile(0, 0, 0) is None


def test_a_tile_at_the_edge_keeps_the_scale_of_the_others() -> None:
    assert reduction((1003, 611), (768, 512, 235, 99), (118, 50)) == 2
    assert reduction((1003, 611), (700, 512, 235, 99), (118, 50)) == pytest.approx(235 / 118)


@pytest.mark.parametrize(
    "box",
    [
        (math.nan, 0, 1, 1), (0, math.inf, 1, 1), (0, 0, 1e308, 1), (0, 0, -3, 5), (0, 0, 0, 5),
        (1003, 0, 5, 5), (0, 700, 5, 5), (-9, 0, 9, 5),
    ],
)  # fmt: skip
def test_what_is_no_region_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(RequestError, match="expected a region") as caught:
        clipped((1003, 611), box)
    assert caught.value.status == 400


def test_too_many_pixels_are_refused() -> None:
    with pytest.raises(RequestError, match="at most 64000000"):
        check_out((8001, 8001))
    with pytest.raises(RequestError, match="a side"):
        check_out((65_501, 1))
    with pytest.raises(RequestError, match="with pixels"):
        region(SOURCE, (0, 0, 10, 10), (0, 5))


def test_too_many_decoded_pixels_are_refused() -> None:
    class Huge(ArrayPixels):
        def read(self, level: int, rows: slice, columns: slice) -> np.ndarray:
            raise AssertionError("was read")

    huge = Huge(np.zeros((10, 10), np.uint8))
    side = math.isqrt(LIMITS.decoded_px) + 1000
    huge.size = (side, side)
    huge.levels = [type(huge.levels[0])(side, side, 1)]
    with pytest.raises(RequestError, match="to decode"):
        region(huge, (0, 0, side, side), (100, 100))
