"""Reduced images: the same picture, in the same place, whatever way the form offers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile

from pipeline.core.blocks import block_mean
from pipeline.core.errors import DataError
from pipeline.formats.images import reduced
from pipeline.formats.images.files import read_image
from pipeline.formats.images.reduced import read_reduced


def picture(height: int, width: int) -> np.ndarray:
    """Draw smooth blots in three colours, so that any way of reducing comes out alike."""
    noise = np.random.default_rng(2).integers(0, 256, (height, width, 3)).astype(np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 9.0).astype(np.float64)
    return np.rint(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


RGB = picture(500, 701)
GREY = np.ascontiguousarray(RGB[..., 1])


def jpeg_tif(pixels: np.ndarray, path: Path, **options: object) -> None:
    tifffile.imwrite(path, pixels, compression="jpeg", compressionargs={"level": 95}, **options)


def tif(pixels: np.ndarray, path: Path, **options: object) -> None:
    tifffile.imwrite(path, pixels, **options)


def pyramid(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB, tile=(64, 64), subifds=2, photometric="rgb")
        for factor in (2, 4):
            level = np.ascontiguousarray(block_mean(RGB, factor)[: 500 // factor, : 701 // factor])
            writer.write(level, tile=(64, 64), subfiletype=1, photometric="rgb")


FORMS = {
    "jpeg": lambda p: p.write_bytes(imagecodecs.jpeg8_encode(RGB, level=95)),
    "grey jpeg": lambda p: p.write_bytes(imagecodecs.jpeg8_encode(GREY, level=95)),
    "jpeg 2000": lambda p: p.write_bytes(
        imagecodecs.jpeg2k_encode(RGB, level=0, codecformat="jp2", resolutions=6)
    ),
    "tiff, YCbCr tiles": lambda p: jpeg_tif(RGB, p, tile=(64, 128), subsampling=(2, 2)),
    "tiff, RGB tiles": lambda p: tif(
        RGB, p, tile=(64, 64), compression="jpeg", compressionargs={"level": 95, "outcolorspace": "RGB"}
    ),
    "tiff, grey tiles": lambda p: jpeg_tif(GREY, p, tile=(64, 64)),
    "tiff, strips": lambda p: jpeg_tif(RGB, p, rowsperstrip=32),
    "tiff, pyramid": pyramid,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("factor", [2, 4, 12])
def test_reduced_is_the_mean_of_blocks_without_a_full_decode(
    form: str, factor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image"
    FORMS[form](path)
    expected = block_mean(read_image(path), factor).astype(int)
    monkeypatch.setattr(reduced, "read_image", lambda path: pytest.fail("decoded at full size"))
    found = read_reduced(path, factor)
    if form == "tiff, pyramid":
        assert max(np.abs(np.subtract(found.shape, expected.shape))) <= 1
        expected = expected[: found.shape[0], : found.shape[1]]
    assert found.shape == expected.shape
    away = np.abs(found - expected)[1:-1, 1:-1]
    if form == "jpeg 2000":  # a pixel lies at the first, not in the middle, of those that it stands for
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.97
        return
    assert away.mean() < 1.0
    assert away.max() <= 8


@pytest.mark.parametrize("form", ["png", "tiff, deflated", "jpeg, turned", "tiff, 16 bits"])
@pytest.mark.parametrize("factor", [1, 3, 4])
def test_what_has_no_cheaper_way_is_averaged(form: str, factor: int, tmp_path: Path) -> None:
    path = tmp_path / "image"
    if form == "png":
        path.write_bytes(imagecodecs.png_encode(RGB))
    elif form == "jpeg, turned":
        exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
        data = bytes(imagecodecs.jpeg8_encode(RGB, level=95))
        path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
        assert read_image(path).shape == (701, 500, 3)
    elif form == "tiff, deflated":
        tif(RGB, path, tile=(64, 64), compression="zlib")
    else:
        tif(GREY.astype(np.uint16) * 257, path, tile=(64, 64))
    np.testing.assert_array_equal(read_reduced(path, factor), block_mean(read_image(path), factor))


def test_missing_tiles_are_glass(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tile = bytes(imagecodecs.jpeg8_encode(RGB[:64, :64], level=95))
    tifffile.imwrite(
        path, iter([tile, b"", b"", tile]), shape=(128, 128, 3), dtype="u1", tile=(64, 64), photometric="rgb",
        compression="jpeg", subsampling=(2, 2),
    )  # fmt: skip
    found = read_reduced(path, 4)
    assert (found[:16, 16:] == 255).all()
    assert np.abs(found[16:, 16:] - block_mean(RGB[:64, :64], 4).astype(int)).mean() < 2


@pytest.mark.parametrize("factor", [0, -2])
def test_a_factor_is_at_least_one(factor: int, tmp_path: Path) -> None:
    FORMS["jpeg"](tmp_path / "a.jpg")
    with pytest.raises(DataError, match="factor of at least 1"):
        read_reduced(tmp_path / "a.jpg", factor)


@pytest.mark.parametrize("form", ["jpeg", "jpeg 2000", "tiff, YCbCr tiles"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.99])
def test_truncated_images_are_refused_or_shown_by_the_full_decode(
    form: str, share: float, tmp_path: Path
) -> None:
    path = tmp_path / "section_12"
    FORMS[form](path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with suppress(DataError):
        read_reduced(path, 4)
    with pytest.raises(DataError, match="section_12: "):
        read_image(path)
