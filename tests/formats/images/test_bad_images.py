"""What is not a picture, or not a whole one, says so in one line that names the file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from pipeline.core.errors import DataError, PipelineError
from pipeline.formats.images.files import probe, read_image
from pipeline.formats.images.parts import read_part
from pipeline.formats.images.reduced import read_reduced

GREY = np.add.outer(np.arange(150), np.arange(211)).astype(np.uint8)
RGB = np.dstack([GREY, GREY[::-1], 255 - GREY])
GREY16 = GREY.astype(np.uint16) * 257


def encoded(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(bytes(data)) and None


def tif(pixels: np.ndarray, **options: object) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, pixels, **options)


def whole(form: str) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (120, 100, 3)).astype(np.uint8)
    if form.startswith("tiff"):
        buffer = BytesIO()
        options = {
            "tiff": {},
            "tiff-tiled": {"tile": (32, 32), "compression": "zlib"},
            "tiff-jpeg": {"tile": (32, 32), "compression": "jpeg"},
        }[form]
        tifffile.imwrite(buffer, noise, **options)
        return buffer.getvalue()
    encoders = {
        "jpeg": lambda a: imagecodecs.jpeg8_encode(a, level=90),
        "png": imagecodecs.png_encode,
        "jp2": lambda a: imagecodecs.jpeg2k_encode(a, reversible=True, codecformat="jp2"),
    }
    return bytes(encoders[form](noise))


FORMS = ["jpeg", "png", "jp2", "tiff", "tiff-tiled", "tiff-jpeg"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.001, 0.02, 0.1, 0.5, 0.9, 0.99])
def test_truncated_images_are_refused_by_name(form: str, share: float, tmp_path: Path) -> None:
    data = whole(form)
    path = tmp_path / "section_12.jpg"
    path.write_bytes(data[: max(4, int(share * len(data)))])
    with pytest.raises(DataError, match=r"section_12\.jpg: ") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def complaint(read: Callable[[Path], object], path: Path) -> str:
    """Return the line of the PipelineError that reading raises, "" where it raises none."""
    try:
        read(path)
    except PipelineError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("form", FORMS)
def test_damaged_bytes_never_raise_anything_else(form: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    data = np.frombuffer(whole(form), np.uint8)
    path = tmp_path / "a"
    for _ in range(40):
        damaged = data.copy()
        damaged[rng.integers(0, min(600, len(data)), 8)] = rng.integers(0, 256, 8)
        path.write_bytes(damaged.tobytes())
        for read in (probe, read_image):
            message = complaint(read, path)
            assert "\n" not in message
            assert message == "" or message.startswith(str(path))


def patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, at, *values)
    return bytes(changed)


def lying(form: str) -> bytes:
    data = whole(form)
    if form == "png":
        return patched(data, 16, ">II", 100, 960)
    if form == "jpeg":
        frame = data.index(b"\xff\xc0")
        return patched(data, frame + 5, ">H", 240)
    return data.replace(struct.pack("<HHII", 257, 4, 1, 120), struct.pack("<HHII", 257, 4, 1, 960)).replace(
        struct.pack("<HHIHH", 257, 3, 1, 120, 0), struct.pack("<HHIHH", 257, 3, 1, 960, 0)
    )


@pytest.mark.parametrize("form", ["png", "jpeg", "tiff", "tiff-tiled"])
def test_headers_that_lie_about_the_size(form: str, tmp_path: Path) -> None:
    data = lying(form)
    assert data != whole(form)
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DataError):
        read_image(tmp_path / "a")


def test_jpeg_that_claims_far_too_much_is_refused_unread(tmp_path: Path) -> None:
    data = whole("jpeg")
    (tmp_path / "a").write_bytes(patched(data, data.index(b"\xff\xc0") + 5, ">HH", 65000, 65000))
    with pytest.raises(DataError, match="too few"):
        probe(tmp_path / "a")


def test_jpeg_with_a_mended_end_is_refused_and_a_grey_one_is_not(tmp_path: Path) -> None:
    data = whole("jpeg")
    (tmp_path / "a").write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    with pytest.raises(DataError, match="ends before its last pixels"):
        read_image(tmp_path / "a")
    grey = np.full((64, 64), 128, np.uint8)
    (tmp_path / "b").write_bytes(imagecodecs.jpeg8_encode(grey, level=90))
    np.testing.assert_array_equal(read_image(tmp_path / "b"), grey)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"<html>404</html>", "HTML"),
        (b"GIF89a" + bytes(30), "GIF"),
        (b"%PDF-1.4", "PDF"),
        (b"section,file\n1,a.jpg\n", "bytes 73 65"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"II*\x00", "TIFF"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
    ],
)
def test_what_is_not_an_image(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "section_12.jpg"
    path.write_bytes(content)
    for read in (probe, read_image):
        with pytest.raises(DataError, match=r"section_12\.jpg: .*expected") as caught:
            read(path)
        assert what in str(caught.value)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(DataError, match="OME-Zarr is read through the store"):
        probe(tmp_path / "a.zarr")
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "none.jpg")


@pytest.mark.parametrize(
    ("write", "what"),
    [
        (tif(GREY.astype(np.float32)), "8-bit or 16-bit"),
        (tif(GREY.astype(np.int16)), "8-bit or 16-bit"),
        (tif(GREY.astype(np.uint32)), "8-bit or 16-bit"),
        (tif(np.stack([GREY] * 5), photometric="minisblack"), "one grey or RGB picture"),
        (
            tif(np.stack([GREY16] * 3), photometric="minisblack", ome=True, metadata={"axes": "CYX"}),
            "one grey",
        ),
        (
            tif(np.dstack([GREY] * 5), photometric="minisblack", planarconfig="contig"),
            "one grey or RGB picture",
        ),
        (tif(np.dstack([GREY] * 4), photometric="separated"), "SEPARATED"),
        (tif(RGB, photometric="cielab"), "CIELAB"),
        (tif(RGB, photometric="ycbcr"), "YCBCR"),
        (encoded(imagecodecs.jpeg8_encode(np.dstack([GREY] * 4), level=90)), "CMYK"),
    ],
)
def test_pictures_without_a_plain_darkness_are_refused(
    write: Callable[[Path], None], what: str, tmp_path: Path
) -> None:
    write(tmp_path / "a")
    with pytest.raises(DataError, match=what):
        read_image(tmp_path / "a")


TILE_CODECS = {
    "JPEG": (7, lambda pixels: imagecodecs.jpeg8_encode(pixels)),
    "JPEG2000": (34712, lambda pixels: imagecodecs.jpeg2k_encode(pixels)),
    "PNG": (34933, lambda pixels: imagecodecs.png_encode(pixels)),
    "WEBP": (50001, lambda pixels: imagecodecs.webp_encode(pixels, lossless=False)),
    "WEBP lossless": (50001, lambda pixels: imagecodecs.webp_encode(pixels, lossless=True)),
}


def tiled(folder: Path, compression: int, tiles: list[bytes]) -> Path:
    path = folder / "tiled.tif"
    options = {"tile": (64, 64), "compression": compression, "photometric": "rgb"}
    tifffile.imwrite(path, iter(tiles), shape=(128, 64, 3), dtype=np.uint8, **options)
    return path


@pytest.mark.parametrize("name", TILE_CODECS)
def test_tiles_that_are_bombs_are_refused_unread(name: str, tmp_path: Path) -> None:
    compression, encode = TILE_CODECS[name]
    good = bytes(encode(np.full((64, 64, 3), 200, np.uint8)))
    path = tiled(tmp_path, compression, [good, good])
    assert abs(int(read_image(path).mean()) - 200) <= 2
    path = tiled(tmp_path, compression, [good, bytes(encode(np.full((2000, 2000, 3), 200, np.uint8)))])
    for read in (read_image, lambda path: read_part(path, slice(70, 90), slice(0, 64))):
        with pytest.raises(DataError, match=r"expected tiles of 64 x 64 px .* got one of 2000"):
            read(path)


def test_bombs_on_a_level_of_a_pyramid(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    bomb = bytes(imagecodecs.jpeg8_encode(np.full((2000, 2000, 3), 200, np.uint8)))
    options = {"tile": (64, 64), "compression": "jpeg", "photometric": "rgb"}
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.full((128, 128, 3), 200, np.uint8), subifds=1, **options)
        writer.write(iter([bomb]), shape=(64, 64, 3), dtype=np.uint8, subfiletype=1, **options)
    with pytest.raises(DataError, match="expected tiles of 64 x 64"):
        read_reduced(path, 2)


def test_compressions_that_are_not_read_are_named(tmp_path: Path) -> None:
    tile = bytes(imagecodecs.jpegxl_encode(np.full((64, 64, 3), 200, np.uint8)))
    with pytest.raises(DataError, match=r"expected TIFF without compression .*got JPEGXL"):
        read_image(tiled(tmp_path, 50002, [tile, tile]))


def test_tiles_far_larger_than_the_image(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.full((64, 64), 200, np.uint8), tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        for tag in ("TileWidth", "TileLength"):
            file.pages[0].tags[tag].overwrite(60000)
    with pytest.raises(DataError, match="expected tiles of a part of the image, got 60000 x 60000"):
        read_image(path)


@pytest.mark.parametrize(("low", "high"), [(0, 2**31), (5, 3), (0, 65536)])
def test_a_stated_range_beyond_the_type_is_none(low: int, high: int, tmp_path: Path) -> None:
    ramp = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    tags = [("SMinSampleValue", 4, 1, low, True), ("SMaxSampleValue", 4, 1, high, True)]
    for name, extra in (("plain", []), ("stated", tags)):
        tifffile.imwrite(tmp_path / name, ramp, extratags=extra)
    np.testing.assert_array_equal(read_image(tmp_path / "stated"), read_image(tmp_path / "plain"))


@pytest.mark.parametrize("significant", [b"", b"\0", b"\x11", b"\xff"])
def test_significant_bits_of_a_png_that_cannot_be(significant: bytes, tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    data = bytes(imagecodecs.png_encode(ramp))
    body = b"sBIT" + significant
    chunk = struct.pack(">I", len(significant)) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "plain").write_bytes(data)
    (tmp_path / "said").write_bytes(data[:33] + chunk + data[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "said"), read_image(tmp_path / "plain"))
