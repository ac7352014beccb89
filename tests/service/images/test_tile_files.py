"""Stored tiles: the same payload and the same picture, standing alone."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from service.images.conftest import close_to, picture, shown

from pipeline.core.blocks import block_mean
from pipeline.core.errors import DataError
from pipeline.formats.images.files import read_image
from pipeline.formats.images.headers import jpeg_segments
from pipeline.service.images.tile_files import TiledFile, complete_jpeg, open_tiles

RGB = picture(500, 701)
GREY = np.ascontiguousarray(RGB[..., 1])
TABLES = (0xDB, 0xC4)  # quantisation and Huffman tables of a JPEG


def split(stream: bytes) -> tuple[bytes, bytes]:
    """Take the tables out of a JPEG: the two streams that libtiff would write."""
    tables, rest, at = b"", b"", 2
    for marker, start, end in jpeg_segments(stream):
        segment = stream[start - 4 : end]
        tables, rest = (tables + segment, rest) if marker in TABLES else (tables, rest + segment)
        at = end
    return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest + stream[at:]


def encoded(pixels: np.ndarray, side: int, **how: object) -> list[bytes]:
    tiles = []
    for top in range(0, pixels.shape[0], side):
        for left in range(0, pixels.shape[1], side):
            part = pixels[top : top + side, left : left + side]
            missing = [(0, side - part.shape[0]), (0, side - part.shape[1]), (0, 0)][: part.ndim]
            tiles.append(bytes(imagecodecs.jpeg8_encode(np.pad(part, missing), level=95, **how)))
    return tiles


def shared_tables(path: Path, photometric: str, **how: object) -> None:
    """Write a TIFF whose tiles share their tables, as most slide scanners do."""
    parts = [split(tile) for tile in encoded(RGB, 128, **how)]
    assert len({tables for tables, _ in parts}) == 1
    tifffile.imwrite(
        path, iter([tile for _, tile in parts]), shape=RGB.shape, dtype=np.uint8, tile=(128, 128),
        compression="jpeg", photometric=photometric,
        extratags=[(347, 7, len(parts[0][0]), parts[0][0], True)],
        **({"subsampling": (2, 2)} if photometric == "ycbcr" else {}),
    )  # fmt: skip


def plain(path: Path, pixels: np.ndarray, **options: object) -> None:
    tifffile.imwrite(path, pixels, compression="jpeg", tile=(128, 128), **options)


FORMS = {
    "YCbCr": lambda p: plain(p, RGB, compressionargs={"level": 95}, subsampling=(2, 2)),
    "YCbCr 4:4:4": lambda p: plain(p, RGB, compressionargs={"level": 95}, subsampling=(1, 1)),
    "RGB": lambda p: plain(p, RGB, compressionargs={"level": 95, "outcolorspace": "RGB"}, photometric="rgb"),
    "grey": lambda p: plain(p, GREY, compressionargs={"level": 95}),
    "YCbCr, shared tables": lambda p: shared_tables(p, "ycbcr", subsampling="420"),
    "RGB, shared tables": lambda p: shared_tables(
        p, "rgb", colorspace="RGB", outcolorspace="RGB", subsampling="444"
    ),
}


def opened(path: Path, size: tuple[int, int] = (701, 500), factor: int = 1) -> TiledFile | None:
    with path.open("rb") as stream:
        return open_tiles(path, stream, size, factor)


def scan(stream: bytes) -> bytes:
    """Return the coded pixels of a JPEG."""
    last = [end for marker, _, end in jpeg_segments(stream) if marker == 0xDA][-1]
    return stream[last:]


@pytest.mark.parametrize("form", FORMS)
def test_a_stored_tile_keeps_its_payload_and_its_colours(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.tif"
    FORMS[form](path)
    file, whole = opened(path), read_image(path)
    assert file is not None
    with tifffile.TiffFile(path) as reference:
        page = reference.pages[0]
        offsets, counts = page.dataoffsets, page.databytecounts
    content = path.read_bytes()
    for row, column in ((0, 0), (2, 4), (1, 3)):
        tile = file.stored_tile(0, column, row)
        stored = content[offsets[row * 6 + column] :][: counts[row * 6 + column]]
        assert tile is not None
        assert scan(tile) == scan(stored)
        part = whole[row * 128 : row * 128 + 128, column * 128 : column * 128 + 128]
        assert close_to(shown(tile), part, mean=0.7, most=4)  # two decoders differ in rounding
        assert np.array_equal(
            file.read(0, slice(row * 128, row * 128 + 128), slice(column * 128, column * 128 + 128)), part
        )


@pytest.mark.parametrize("form", FORMS)
def test_any_part_is_that_of_the_decoded_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.tif"
    FORMS[form](path)
    file, whole = opened(path), read_image(path)
    assert file is not None
    for rows, columns in (((0, 500), (0, 701)), ((77, 301), (5, 6)), ((499, 500), (640, 701))):
        assert np.array_equal(
            file.read(0, slice(*rows), slice(*columns)), whole[slice(*rows), slice(*columns)]
        )


def test_tiles_at_the_edge_are_not_handed_out_with_their_padding(tmp_path: Path) -> None:
    FORMS["YCbCr"](tmp_path / "a.tif")
    file = opened(tmp_path / "a.tif")
    assert file is not None
    assert file.stored_tile(0, 5, 0) is None
    assert file.stored_tile(0, 0, 3) is None


def test_levels_of_a_pyramid_are_those_that_show_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        form = {"tile": (128, 128), "compression": "jpeg", "photometric": "rgb", "subsampling": (2, 2)}
        writer.write(RGB, subifds=2, **form)
        for factor in (2, 4):
            writer.write(block_mean(RGB, factor), subfiletype=1, **form)
    file = opened(path, (2804, 2000), 4)
    assert file is not None
    assert [level.scale for level in file.levels] == [4, 8, 16]
    got = file.read(2, slice(0, 125), slice(0, 176))
    # tifffile pads tiles with black, which rings into the last pixels
    assert close_to(got[:112, :160], block_mean(RGB, 4)[:112, :160], mean=1.5)


def test_missing_tiles_are_glass(tmp_path: Path) -> None:
    tiles = encoded(RGB, 128, subsampling="420")
    tiles[1] = b""
    tifffile.imwrite(
        tmp_path / "a.tif", iter(tiles), shape=RGB.shape, dtype=np.uint8, tile=(128, 128), compression="jpeg",
        photometric="ycbcr", subsampling=(2, 2),
    )  # fmt: skip
    file = opened(tmp_path / "a.tif")
    assert file is not None
    assert (file.read(0, slice(0, 128), slice(128, 256)) == 255).all()
    assert file.stored_tile(0, 1, 0) is None


def test_other_tiffs_have_no_tiles_to_hand_out(tmp_path: Path) -> None:
    forms: dict[str, dict[str, object]] = {
        "strips": {}, "deflate": {"tile": (128, 128), "compression": "zlib"},
        "turned": {"tile": (128, 128), "compression": "jpeg", "extratags": [(274, 3, 1, 6, True)]},
    }  # fmt: skip
    for name, form in forms.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", RGB, photometric="rgb", **form)
        assert opened(tmp_path / f"{name}.tif") is None, name


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    FORMS["YCbCr"](path)
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 2] = b"no"
    path.write_bytes(content)
    file = opened(path)
    assert file is not None
    with pytest.raises(DataError, match=r"a\.tif: expected a JPEG as tile 0"):
        file.stored_tile(0, 0, 0)
    with pytest.raises(DataError, match=r"a\.tif"):
        file.read(0, slice(0, 10), slice(0, 10))
    with pytest.raises(DataError, match="down to a tile"):
        file.check_whole()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.tif"):
        opened(path)


def test_a_tile_that_is_complete_stays_as_it_is() -> None:
    tile = encoded(RGB[:128, :128], 128)[0]
    assert complete_jpeg(tile, b"", b"") is tile
    assert complete_jpeg(tile, b"", b"\xff\xee\x00\x02") is tile  # its JFIF segment tells the colours
    tables, rest = split(tile)
    joined = complete_jpeg(rest, tables[2:-2], b"\xff\xee\x00\x02")
    assert joined[2:4] == b"\xff\xe0"
    assert np.array_equal(shown(joined), shown(tile))
