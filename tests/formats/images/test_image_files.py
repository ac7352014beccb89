"""Images of every form: the same picture comes back, and what is not a picture says so in one line."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.blocks import block_mean
from pipeline.core.errors import DataError
from pipeline.formats.images import headers
from pipeline.formats.images.files import (
    image_format,
    probe,
    read_image,
    write_image,
)

HEIGHT, WIDTH = 150, 211


def picture(channels: int = 3, dtype: str = "u1") -> np.ndarray:
    """Smooth gradients and one sharp corner, so that turns, mirrors and channel orders show."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = np.stack([x, y, 255 - x], axis=-1) % 256
    planes[:20, :30] = (250, 40, 90)
    out = (planes if channels == 3 else planes[..., 0]).astype(np.uint8)
    return out if dtype == "u1" else out.astype(dtype) * 257


RGB, GREY, GREY16 = picture(), picture(1), picture(1, "u2")
ALPHA = np.broadcast_to(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, WIDTH))


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    cover = alpha[..., None] / 255.0
    return np.rint(colour * cover + 255.0 * (1 - cover))


def pyramid(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB, subifds=2, tile=(64, 64), photometric="rgb")
        for step in (2, 4):
            writer.write(RGB[::step, ::step], subfiletype=1, tile=(64, 64), photometric="rgb")


def palette_tiff(path: Path) -> None:
    colours = np.zeros((3, 256), np.uint16)
    colours[:, :256] = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2]) * 257
    tifffile.imwrite(path, GREY, photometric="palette", colormap=colours)


def encoded(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(bytes(data)) and None


def tif(pixels: np.ndarray, **options: object) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, pixels, **options)


EXACT: dict[str, tuple[Callable[[Path], None], np.ndarray]] = {
    "tiff strips rgb": (tif(RGB, rowsperstrip=16), RGB),
    "tiff strips grey": (tif(GREY), GREY),
    "tiff tiled": (tif(RGB, tile=(64, 48)), RGB),
    "tiff tiled deflate": (tif(RGB, tile=(64, 64), compression="zlib", predictor=True), RGB),
    "tiff lzw": (tif(RGB, compression="lzw"), RGB),
    "tiff zstd": (tif(GREY, compression="zstd"), GREY),
    "tiff big": (tif(RGB, bigtiff=True, tile=(64, 64)), RGB),
    "tiff big endian": (tif(GREY16, byteorder=">"), GREY),
    "tiff planar": (tif(np.moveaxis(RGB, -1, 0), planarconfig="separate", photometric="rgb"), RGB),
    "tiff ome rgb": (tif(RGB, ome=True, metadata={"axes": "YXS"}), RGB),
    "tiff ome channels": (tif(np.moveaxis(RGB, -1, 0), ome=True, photometric="minisblack"), RGB),
    "tiff imagej": (tif(GREY, imagej=True), GREY),
    "tiff pyramid": (pyramid, RGB),
    "tiff 16 bit": (tif(GREY16), GREY),
    "tiff 16 bit rgb": (tif(picture(3, "u2"), photometric="rgb"), RGB),
    "tiff white is zero": (tif(255 - GREY, photometric="miniswhite"), GREY),
    "tiff bilevel": (tif(GREY > 100, photometric="minisblack"), np.where(GREY > 100, 255, 0)),
    "tiff palette": (palette_tiff, np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)),
    "tiff alpha": (
        tif(np.dstack([RGB, ALPHA]), photometric="rgb", extrasamples=["unassalpha"]),
        over_white(RGB, ALPHA),
    ),
    "tiff alpha premultiplied": (
        tif(np.dstack([RGB * 0, ALPHA]), photometric="rgb", extrasamples=["assocalpha"]),
        np.repeat(255.0 - ALPHA[..., None], 3, axis=2),
    ),
    "tiff unspecified fourth sample": (
        tif(np.dstack([RGB, ALPHA]), photometric="rgb", extrasamples=["unspecified"]),
        RGB,
    ),
    "tiff jpeg2000": (tif(RGB, tile=(64, 64), compression="jpeg2000"), RGB),
    "png rgb": (encoded(imagecodecs.png_encode(RGB)), RGB),
    "png grey": (encoded(imagecodecs.png_encode(GREY)), GREY),
    "png 16 bit": (encoded(imagecodecs.png_encode(GREY16)), GREY),
    "png alpha": (encoded(imagecodecs.png_encode(np.dstack([RGB, ALPHA]))), over_white(RGB, ALPHA)),
    "png 16 bit grey alpha": (
        encoded(imagecodecs.png_encode(np.dstack([GREY16, ALPHA.astype("u2") * 257]))),
        over_white(GREY[..., None], ALPHA)[..., 0],
    ),
    "png grey alpha": (
        encoded(imagecodecs.png_encode(np.dstack([GREY, ALPHA]))),
        over_white(GREY[..., None], ALPHA)[..., 0],
    ),
    "jp2": (encoded(imagecodecs.jpeg2k_encode(RGB, reversible=True, codecformat="jp2")), RGB),
    "j2k": (encoded(imagecodecs.jpeg2k_encode(GREY, reversible=True, codecformat="j2k")), GREY),
    "jp2 16 bit": (encoded(imagecodecs.jpeg2k_encode(GREY16, reversible=True)), GREY),
    "jp2 12 bit": (
        encoded(imagecodecs.jpeg2k_encode(GREY.astype("u2") * 16, reversible=True, bitspersample=12)),
        np.rint(GREY * (16 * 255 / 4095)),
    ),
}


@pytest.mark.parametrize("form", EXACT)
def test_read_image_returns_the_picture_whatever_the_form(form: str, tmp_path: Path) -> None:
    write, expected = EXACT[form]
    path = tmp_path / "picture.of_no_known_suffix"
    write(path)
    pixels, info = read_image(path), probe(path)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, expected)
    assert (info.height_px, info.width_px) == pixels.shape[:2] == (HEIGHT, WIDTH)
    assert info.channels == (pixels.shape[2] if pixels.ndim == 3 else 1)


@pytest.mark.parametrize("pixels", [RGB, GREY], ids=["rgb", "grey"])
@pytest.mark.parametrize("wrap", ["jpeg", "tiff of jpeg tiles"])
def test_jpeg_is_near(pixels: np.ndarray, wrap: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    if wrap == "jpeg":
        path.write_bytes(imagecodecs.jpeg8_encode(pixels, level=95))
    else:
        tifffile.imwrite(path, pixels, tile=(64, 64), compression="jpeg", compressionargs={"level": 95})
    got = read_image(path)
    assert got.shape == pixels.shape
    assert np.abs(got.astype(int) - pixels).mean() < 2.0


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("pixels", [RGB, GREY, np.tile(RGB, (3, 3, 1))], ids=["rgb", "grey", "tiled"])
@pytest.mark.parametrize("resolution_um", [None, 1.049, 16.784])
def test_write_then_read(
    suffix: str, pixels: np.ndarray, resolution_um: float | None, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, pixels, quality=95, resolution_um=resolution_um)
    got, info = read_image(path), probe(path)
    assert np.abs(got.astype(int) - pixels).mean() < (2.0 if suffix == ".jpg" else 1e-9)
    assert info.resolution_um == (None if resolution_um is None else pytest.approx(resolution_um, rel=1e-3))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_write_image_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a name ending"):
        write_image(tmp_path / "a.bmp", RGB)
    with pytest.raises(DataError, match="uint8"):
        write_image(tmp_path / "a.png", GREY16)


@pytest.mark.parametrize(
    ("options", "top"),
    [
        ({"extratags": [(281, "H", 1, 4095, True)]}, 4095),
        ({"extratags": [(341, "H", 1, 1023, True), (281, "H", 1, 65535, True)]}, 1023),
        ({"ome": True, "metadata": {"axes": "YX", "SignificantBits": 10}}, 1023),
        ({}, 65535),
    ],
)
def test_sixteen_bits_are_scaled_by_the_stated_range(options: dict, top: int, tmp_path: Path) -> None:
    stored = np.linspace(0, top, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.rint(stored * (255.0 / top)))


def test_samples_beyond_the_stated_range_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY16, extratags=[(281, "H", 1, 4095, True)])
    with pytest.raises(DataError, match="from 0 to 4095 as the file states"):
        read_image(tmp_path / "a.tif")


def png_with(data: bytes, name: bytes, body: bytes, before: bytes = b"") -> bytes:
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    at = bytes(data).rindex(before) - 4 if before else 33
    return data[:at] + chunk + data[at:]


def test_png_significant_bits(tmp_path: Path) -> None:
    stored = (GREY.astype(np.uint16) << 4).astype(np.uint16)
    (tmp_path / "a").write_bytes(png_with(imagecodecs.png_encode(stored), b"sBIT", b"\x0c"))
    np.testing.assert_array_equal(read_image(tmp_path / "a"), np.rint(stored * (255.0 / 4095)))


def exif(orientation: int) -> bytes:
    return b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHIHH", 274, 3, 1, orientation, 0) + bytes(4)


def jpeg_with_exif(orientation: int) -> bytes:
    body = b"Exif\0\0" + exif(orientation)
    plain = bytes(imagecodecs.jpeg8_encode(RGB, level=98))
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "PNG, last", "TIFF"])
def test_stated_orientation_is_applied(form: str, orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    if form == "JPEG":
        path.write_bytes(jpeg_with_exif(orientation))
    elif form == "PNG":
        path.write_bytes(png_with(imagecodecs.png_encode(RGB), b"eXIf", exif(orientation)))
    elif form == "PNG, last":
        path.write_bytes(png_with(imagecodecs.png_encode(RGB), b"eXIf", exif(orientation), before=b"IEND"))
    else:
        tifffile.imwrite(path, RGB, extratags=[(274, "H", 1, orientation, True)])
    expected = TURNS[orientation](RGB)
    got, info = read_image(path), probe(path)
    assert got.shape == expected.shape == (info.height_px, info.width_px, 3)
    assert np.abs(got.astype(int) - expected).mean() < 2.0


@pytest.mark.parametrize(
    ("options", "expected_um"),
    [
        ({"resolution": (1e4 / 1.049, 1e4 / 1.049), "resolutionunit": "CENTIMETER"}, 1.049),
        ({"resolution": (25400 / 2.0, 25400 / 2.0), "resolutionunit": "INCH"}, 2.0),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (5e3, 1e4), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (5e3, 5e3), "resolutionunit": "NONE"}, None),
        ({"imagej": True, "resolution": (0.5, 0.5), "metadata": {"unit": "um"}}, 2.0),
        ({"ome": True, "metadata": {"axes": "YX", "PhysicalSizeX": 1.07, "PhysicalSizeY": 1.07}}, 1.07),
        (
            {
                "ome": True,
                "metadata": {
                    "axes": "YX",
                    "PhysicalSizeX": 650.0,
                    "PhysicalSizeXUnit": "nm",
                    "PhysicalSizeY": 650.0,
                    "PhysicalSizeYUnit": "nm",
                },
            },
            0.65,
        ),
        ({"description": "Aperio Image Library v11|AppMag = 20|MPP = 0.4990"}, 0.499),
    ],
)
def test_resolution_of_tiff(options: dict, expected_um: float | None, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY, **options)
    got = probe(tmp_path / "a.tif").resolution_um
    assert got == (None if expected_um is None else pytest.approx(expected_um, rel=1e-4))


def test_resolution_of_jpeg2000(tmp_path: Path) -> None:
    data = bytes(imagecodecs.jpeg2k_encode(GREY, reversible=True, codecformat="jp2"))
    per_metre = struct.pack(">HHHHbb", 5000, 1, 5000, 1, 2, 2)
    box = struct.pack(">I4s", 26, b"res ") + struct.pack(">I4s", 18, b"resc") + per_metre
    at = data.index(b"jp2h") - 4
    (length,) = struct.unpack_from(">I", data, at)
    grown = struct.pack(">I", length + 26) + data[at + 4 : at + length] + box
    (tmp_path / "a").write_bytes(data[:at] + grown + data[at + length :])
    assert probe(tmp_path / "a").resolution_um == pytest.approx(2.0)
    np.testing.assert_array_equal(read_image(tmp_path / "a"), GREY)


@pytest.mark.parametrize("dpi", [72, 96, 150, 300])
def test_printer_densities_are_not_resolutions(dpi: int) -> None:
    assert headers.plausible_um(headers.INCH_UM / dpi) is None
    rounded_per_metre = round(dpi / 0.0254)
    assert headers.plausible_um(1e6 / rounded_per_metre) is None


@settings(deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 3]),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
def test_block_mean_against_a_loop(height: int, width: int, channels: int, factor: int, seed: int) -> None:
    shape = (height, width) if channels == 1 else (height, width, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    got = block_mean(pixels, factor)
    assert got.shape[:2] == (-(-height // factor), -(-width // factor))
    for i, j in np.ndindex(*got.shape[:2]):
        block = pixels[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
        mean = block.reshape(-1, *shape[2:]).mean(axis=0)
        np.testing.assert_array_equal(got[i, j], np.floor(mean + 0.5 + 1e-9))


def test_missing_tiles_are_glass(tmp_path: Path) -> None:
    tiles = iter([RGB[:64, :64].tobytes(), b"", b"", RGB[64:128, 64:128].tobytes()])
    tifffile.imwrite(
        tmp_path / "a.tif", tiles, shape=(128, 128, 3), dtype="u1", tile=(64, 64), photometric="rgb"
    )
    got = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(got[:64, :64], RGB[:64, :64])
    np.testing.assert_array_equal(got[64:, 64:], RGB[64:128, 64:128])
    assert (got[:64, 64:] == 255).all()


def test_real_section(ish_data: Path) -> None:
    path = ish_data / "ish/prox1_69289763/prox1_s0070.jpg"
    info = probe(path)
    assert (info.width_px, info.height_px, info.channels, info.format) == (2980, 1888, 3, "JPEG")
    assert read_image(path).shape == (1888, 2980, 3)
    nissl = ish_data / "nissl_ptm902/nissl_s0499.tif"
    assert image_format(nissl) == "TIFF"
    assert read_image(nissl).shape == (134, 176, 3)
