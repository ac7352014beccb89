"""A part of an image is what the whole image shows there."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.core.intensity import darkness
from pipeline.core.model import SectionImage
from pipeline.detection import scan_rectangle
from pipeline.formats.images import parts
from pipeline.formats.images.files import read_image
from pipeline.formats.images.parts import read_luma, read_part
from pipeline.inputs.pixels import load_dark

RGB = np.random.default_rng(3).integers(0, 256, (300, 421, 3)).astype(np.uint8)
TILED = {
    "raw": {},
    "deflate": {"compression": "zlib", "predictor": True},
    "jpeg": {"compression": "jpeg", "subsampling": (2, 2)},
    "grey": {},
}


@pytest.mark.parametrize("form", TILED)
@pytest.mark.parametrize(
    "part", [(0, 300, 0, 421), (70, 133, 200, 421), (299, 300, 0, 1), (64, 128, 64, 128)]
)
def test_tiles_are_read_alone(
    form: str, part: tuple[int, int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    pixels = RGB[..., 0] if form == "grey" else RGB
    tifffile.imwrite(path, pixels, tile=(64, 64), **TILED[form])
    rows, columns = slice(*part[:2]), slice(*part[2:])
    expected = read_image(path)[rows, columns]
    monkeypatch.setattr(parts, "read_image", lambda path: pytest.fail("read whole"))
    np.testing.assert_array_equal(read_part(path, rows, columns), expected)


def test_other_forms_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(RGB))
    np.testing.assert_array_equal(read_part(path, slice(3, 9), slice(5, 8)), RGB[3:9, 5:8])


@pytest.mark.parametrize("form", [form for form in TILED if form != "jpeg"])
def test_tiles_make_up_the_image(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB[..., 0] if form == "grey" else RGB, tile=(64, 64), **TILED[form])
    expected = read_image(path)
    monkeypatch.setattr(parts, "read_image", lambda path: pytest.fail("read whole"))
    found = np.zeros_like(expected)
    count = 0
    for y, x, tile in read_luma(path):
        found[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
        count += 1
    np.testing.assert_array_equal(found, expected)
    assert count == 5 * 7


def _soft() -> np.ndarray:  # type: ignore[type-arg]
    y, x = np.mgrid[:300, :421]
    soft = np.stack([130 + 80 * np.sin(x / 90), 120 + 60 * np.cos(y / 70), 150 + (x + y) / 20], axis=-1)
    return np.rint(soft + RGB / 25).astype(np.uint8)


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
@pytest.mark.parametrize("form", ["tiles", "plain"])
def test_luma_of_jpeg_is_that_of_its_colours(subsampling: tuple[int, int], form: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    if form == "plain":
        sampling = {(1, 1): "444", (2, 2): "420"}[subsampling]
        path.write_bytes(imagecodecs.jpeg8_encode(_soft(), level=95, subsampling=sampling))
    else:
        tifffile.imwrite(
            path,
            _soft(),
            tile=(64, 64),
            photometric="rgb",
            compression="jpeg",
            subsampling=subsampling,
        )
    luma = np.zeros((300, 421), np.uint8)
    for top, left, tile in read_luma(path):
        assert tile.ndim == 2
        luma[top : top + len(tile), left : left + tile.shape[1]] = tile
    away = luma.astype(int) - (255 - darkness(read_image(path)).astype(int))
    assert np.abs(away).max() <= 1
    assert abs(away.mean()) < 0.01


def test_a_turned_jpeg_is_read_with_its_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(_soft()).save(path, exif=turned)
    ((_, _, part),) = read_luma(path)
    np.testing.assert_array_equal(part, read_image(path))
    assert part.shape == (421, 300, 3)


def test_a_jpeg_that_ends_early_has_no_luma(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    data = bytes(imagecodecs.jpeg8_encode(_soft(), level=95))
    path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    with pytest.raises(DataError, match="copy it again"):
        list(read_luma(path))


def test_another_form_is_one_part(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB)
    ((y, x, part),) = read_luma(path)
    assert (y, x) == (0, 0)
    np.testing.assert_array_equal(part, RGB)


@pytest.mark.parametrize("scan", [(0, 0, 421, 300), (0, 0, 400, 300), (2, 0, 421, 300), (0, 1, 421, 290)])
def test_darkness_comes_with_the_rectangle_of_the_scan(scan: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    inside = np.s_[scan[1] : scan[3], scan[0] : scan[2]]
    pixels = np.full_like(RGB, 255)
    pixels[inside] = np.minimum(RGB, 250)[inside]
    tifffile.imwrite(path, pixels, tile=(64, 64))
    dark, rectangle = load_dark(SectionImage(1, 1, path, 421, 300, 1.0))
    np.testing.assert_array_equal(dark, darkness(pixels))
    assert rectangle == scan_rectangle(pixels) == scan
