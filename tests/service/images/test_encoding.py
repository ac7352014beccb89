"""PNG and JPEG as other libraries read them, and the colours of masks."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from service.images.conftest import close_to, picture, shown

from pipeline.service.images.colour_maps import NAMES, colour_map, coloured, gain, window
from pipeline.service.images.encoding import as_jpeg, as_png

RGB = picture(61, 103)


@pytest.mark.parametrize("pixels", [RGB, RGB[..., 0], RGB[:1], RGB[:, :1], RGB[:1, :1, 0]], ids=str)
def test_a_png_is_lossless(pixels: np.ndarray) -> None:
    assert np.array_equal(shown(as_png(pixels)), pixels)


def test_a_palette_is_seen_through_where_nothing_expresses() -> None:
    index = np.arange(256, dtype=np.uint8).reshape(8, 32)
    content = as_png(index, colour_map(4))
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), index)
    rgba = shown(content, "RGBA")
    assert np.array_equal(rgba[..., :3], coloured(index, 4))
    assert rgba[0, 0, 3] == 0
    assert (rgba[..., 3].ravel()[1:] == 255).all()


def test_a_jpeg_is_nearly_so() -> None:
    assert close_to(shown(as_jpeg(RGB, 95, fine=True)), RGB)
    assert close_to(shown(as_jpeg(RGB[..., 0])), RGB[..., 0])
    assert close_to(shown(as_jpeg(RGB[3:40, 5:9])), RGB[3:40, 5:9], mean=4)
    assert len(as_jpeg(RGB, 10)) < len(as_jpeg(RGB, 95))


def test_expression_goes_from_blue_over_green_to_red() -> None:
    table = colour_map(4).astype(int)
    assert table[0].tolist() == [0, 0, 0]
    assert [int(table[v].argmax()) for v in (1, 30, 128, 230, 255)] == [2, 2, 1, 0, 0]
    assert (np.diff(table[1:, 0]) >= 0).all()
    assert (np.diff(table[1:, 2]) <= 0).all()


def test_every_map_of_the_original_has_colours() -> None:
    for number in NAMES:
        assert colour_map(number).shape == (256, 3)
        assert len(np.unique(colour_map(number), axis=0)) > 100
    assert (colour_map(0)[:, 0] == np.arange(256)).all()
    with pytest.raises(KeyError):
        colour_map(12)


def test_tables_of_values() -> None:
    assert np.array_equal(window(0, 255), np.arange(256))
    assert np.array_equal(gain(1), np.arange(256))
    assert gain(2)[[10, 200]].tolist() == [20, 255]
