"""Pictures: colours that mean what the legend says, and bytes that keep to their budget."""

from __future__ import annotations

import base64
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from pipeline.report import pictures


def decoded(uri: str) -> np.ndarray:  # type: ignore[type-arg]
    head, _, text = uri.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    data = base64.b64decode(text, validate=True)
    decode = imagecodecs.png_decode if "png" in head else imagecodecs.jpeg8_decode
    return np.asarray(decode(data))


def picture(uri: str, mode: str) -> np.ndarray:  # type: ignore[type-arg]
    data = base64.b64decode(uri.partition(",")[2], validate=True)
    return np.asarray(Image.open(BytesIO(data)).convert(mode))


def test_intensity_runs_from_blue_over_green_to_red() -> None:
    colours = pictures.intensity_table()[[0, 1, 50, 120, 190, 255]].astype(int)
    assert colours[0].tolist() == [0, 0, 0]
    assert [int(c.argmax()) for c in colours[1:]] == [2, 2, 1, 0, 0]
    hue = pictures.intensity_table()[50:191].astype(int)
    assert (np.diff(hue[:, 0] - hue[:, 2]) >= -60).all(), "no step back from red towards blue"


@pytest.mark.parametrize("shape", [(300, 400, 3), (300, 400), (1, 1), (3, 900, 3)])
def test_jpeg_keeps_to_its_budget(shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for budget in (200_000, 12_000):
        uri = pictures.jpeg_uri(noise, budget)
        assert len(base64.b64decode(uri.partition(",")[2])) <= budget
    assert decoded(pictures.jpeg_uri(noise, 10**6)).shape[:2] == shape[:2]


def test_masks_are_exact_where_bytes_allow() -> None:
    mask = np.eye(50, dtype=np.uint8) * 99
    colours = pictures.intensity_table()[mask]
    np.testing.assert_array_equal(picture(pictures.intensity_uri(mask, 10_000), "RGB"), colours)
    shown = picture(pictures.data_uri(pictures.intensity_png(mask), "png"), "RGBA")
    np.testing.assert_array_equal(shown[..., 3], np.where(mask > 0, 255, 0))
    np.testing.assert_array_equal(shown[mask > 0, :3], colours[mask > 0])
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    assert pictures.intensity_uri(noise, 10_000).startswith("data:image/jpeg")


def test_values_without_data_are_transparent() -> None:
    values = np.array([[-1.0, 0.0, 2.0, 9.0]], np.float32)
    colours = pictures.magma_rgba(values, values >= 0, 4.0)
    assert colours[0, :, 3].tolist() == [0, 255, 255, 255]
    lightness = colours[0, 1:, :3].astype(int).sum(axis=-1)
    assert lightness[0] < lightness[1] < lightness[2]
    assert (pictures.magma_rgba(values, values >= 0, 0.0)[..., 3] == colours[..., 3]).all()


def test_stops_span_the_table() -> None:
    stops = pictures.stops(pictures.magma_table())
    assert (stops[0], stops[-1]) == ((0, "000004"), (100, "fcfdbf"))
