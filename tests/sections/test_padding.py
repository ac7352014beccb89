"""Padding of scanners and of turned pictures, told from glass and from tissue."""

from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.sections.padding import MARGIN_PX, enlarged, find_padding
from pipeline.sections.scan import check_background

HEIGHT, WIDTH = 300, 400


def scan(noise: float = 1.5, glass: int = 238) -> np.ndarray:
    """A pale ellipse on glass."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    rng = np.random.default_rng(0)
    tissue = (x / 0.7) ** 2 + (y / 0.65) ** 2 < 1
    luma = np.where(tissue, 190 + rng.normal(0, 6, x.shape), glass + rng.normal(0, noise, x.shape))
    return np.repeat(np.clip(np.rint(luma), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def stored(pixels: np.ndarray, quality: int | None) -> np.ndarray:
    if quality is None:
        return pixels
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def check(pixels: np.ndarray, truth: np.ndarray, quality: int | None) -> None:
    """All padding is found, and nothing beyond its margin and the blocks of a JPEG."""
    found = find_padding(stored(pixels, quality))
    inner = cv2.erode(truth.astype(np.uint8), np.ones((3, 3))) > 0
    reach = 2 * (MARGIN_PX + 2) + 1
    wide = cv2.dilate(truth.astype(np.uint8), np.ones((reach, reach))) > 0
    assert found[inner].mean() > 0.98
    assert (found & ~wide).mean() < 0.002


@pytest.mark.parametrize("quality", [None, 90])
@pytest.mark.parametrize("fill", [0, 128, 200, 255])
@pytest.mark.parametrize("angle", [5, 15, 45, -30])
def test_corners_of_a_turned_picture(angle: int, fill: int, quality: int | None) -> None:
    turned = Image.fromarray(scan()).rotate(angle, Image.Resampling.BICUBIC, True, fillcolor=(fill,) * 3)
    inside = Image.new("L", (WIDTH, HEIGHT)).rotate(angle, expand=True, fillcolor=255)
    check(np.asarray(turned), np.asarray(inside) > 0, quality)


@pytest.mark.parametrize("quality", [None, 90])
@pytest.mark.parametrize("fill", [0, 128, 255])
@pytest.mark.parametrize("side", range(4))
def test_strips_at_each_side(side: int, fill: int, quality: int | None) -> None:
    turned = np.rot90(scan(), side).copy()
    truth = np.zeros(turned.shape[:2], bool)
    truth[:, : turned.shape[1] // 8] = True
    turned[truth] = fill
    pixels, where = (np.ascontiguousarray(np.rot90(a, -side)) for a in (turned, truth))
    check(pixels, where, quality)


@pytest.mark.parametrize("fill", [0, 255])
def test_tiles_that_were_not_scanned(fill: int) -> None:
    pixels, truth = scan(), np.zeros((HEIGHT, WIDTH), bool)
    truth[120:180, 200:260] = truth[60:90, 90:120] = True
    pixels[truth] = fill
    check(pixels, truth, None)


def test_glass_is_no_padding() -> None:
    for whole in (scan(), scan(noise=0.0), scan(noise=0.0, glass=255), 255 - scan(noise=0.0)):
        assert not find_padding(whole).any()
        assert not find_padding(whole[..., 0]).any()
    box = np.full((HEIGHT, WIDTH), 255, np.uint8)
    box[80:220, 100:300] = 180
    assert not find_padding(box).any(), "a box of tissue on white glass"
    for value in (0, 240, 255):
        assert not find_padding(np.full((40, 50), value, np.uint8)).any()


def test_a_black_frame_is_no_dark_background() -> None:
    framed = np.pad(scan(), ((40, 40), (60, 60), (0, 0)))
    check_background(framed, find_padding(framed))
    dark = 255 - scan()
    with pytest.raises(DataError, match="dark background"):
        check_background(dark, find_padding(dark))


def test_a_mask_at_the_size_of_its_image() -> None:
    mask = np.array([[True, False], [False, True]])
    whole = enlarged(mask, 3, (5, 7))
    assert whole.shape == (5, 7)
    assert whole[:3, :3].all()
    assert whole[3:, 3:6].all()
    assert whole.sum() == 9 + 6
    assert enlarged(mask, 1, (2, 2)) is mask


@pytest.mark.parametrize("side", range(4))
@pytest.mark.parametrize("level", [0, 254])
def test_a_strip_of_two_rows_is_padding_even_after_jpeg(side: int, level: int) -> None:
    rng = np.random.default_rng(side)
    scan = rng.normal(235.0, 1.5, (120, 150)) - 0.05 * np.arange(150)  # light falls off slowly
    cv2.circle(scan, (75, 60), 40, 180.0, -1)
    scan = np.rot90(scan, side).copy()
    scan[:2] = level + rng.normal(0.0, 0.5, scan[:2].shape)
    scan[2] = 0.15 * level + 0.85 * scan[2]
    pixels = np.rot90(np.clip(scan, 0, 255).astype(np.uint8), -side)
    found = np.rot90(find_padding(np.ascontiguousarray(pixels)), side)
    assert found[:2].all()
    assert not found[6:].any()


def test_light_that_falls_off_and_tissue_at_a_side_are_no_strip() -> None:
    scan = np.full((120, 150), 235.0) + np.random.default_rng(1).normal(0.0, 1.5, (120, 150))
    scan -= np.clip(12.0 - np.arange(120), 0.0, None)[:, None]
    scan[-3:, 30:120] -= 60.0
    assert not find_padding(np.clip(scan, 0, 255).astype(np.uint8)).any()
