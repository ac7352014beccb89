"""Chunks that would inflate beyond their size are refused before they do; whole ones are read."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
from pathlib import Path

import imagecodecs
import numcodecs
import numpy as np
import pytest
import zarr

from pipeline.core.errors import DataError
from pipeline.store.ome_images import image_info, read_pixels

SIDE, CHUNK = 96, 32
PIXELS = (np.add.outer(np.arange(SIDE), 2 * np.arange(SIDE)) % 251).astype(np.uint8)
BOMB = bytes(64 << 20)  # what a chunk of a kilobyte must not become
CODECS = {
    "blosc": numcodecs.Blosc(cname="lz4"),
    "gzip": numcodecs.GZip(5),
    "lz4": numcodecs.LZ4(),
    "zlib": numcodecs.Zlib(5),
    "zstd": numcodecs.Zstd(3),
    "zstd with checksum": numcodecs.Zstd(3, checksum=True),
}


def streamed_zstd(data: bytes) -> bytes:
    """Return a zstd frame that states no size, as writers of streams leave it."""
    packed = imagecodecs.zstd_encode(data)
    flags = packed[4]
    length = (flags >> 5 & 1, 2, 4, 8)[flags >> 6]
    start = 5 + (not flags >> 5 & 1)
    window = b"\x68"  # 8 MiB
    return packed[:4] + bytes([flags & 0b00000100]) + window + packed[start + length :]


def make(folder: Path, version: int = 2, pixels: np.ndarray = PIXELS, **options: object) -> Path:
    group = zarr.create_group(folder / "x.zarr", zarr_format=version)
    group.create_array("0", data=pixels, chunks=(CHUNK, CHUNK), **options)
    axes = [{"name": a, "type": "space"} for a in "yx"]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
    return folder / "x.zarr"


def first_chunk(path: Path) -> Path:
    return min(p for p in (path / "0").rglob("*") if p.is_file() and not p.name.startswith((".z", "zarr")))


@pytest.mark.parametrize("name", CODECS)
def test_chunks_of_each_codec_are_read_and_bombs_refused(name: str, tmp_path: Path) -> None:
    path = make(tmp_path, compressors=CODECS[name])
    assert np.array_equal(read_pixels(path)[0], PIXELS)
    first_chunk(path).write_bytes(CODECS[name].encode(BOMB))
    with pytest.raises(DataError, match=r"x\.zarr.*expected a chunk of 1024 bytes, got one that inflates"):
        read_pixels(path)


def test_bombs_behind_a_harmless_member(tmp_path: Path) -> None:
    path = make(tmp_path, compressors=CODECS["gzip"])
    first_chunk(path).write_bytes(gzip.compress(bytes(1024)) + gzip.compress(BOMB))
    with pytest.raises(DataError, match="inflates to more"):
        read_pixels(path)


def test_zstd_of_a_stream_states_no_size(tmp_path: Path) -> None:
    path = make(tmp_path, compressors=CODECS["zstd"])
    chunk = first_chunk(path)
    chunk.write_bytes(streamed_zstd(PIXELS[:CHUNK, :CHUNK].tobytes()))
    assert np.array_equal(read_pixels(path)[0], PIXELS)
    chunk.write_bytes(streamed_zstd(BOMB))
    with pytest.raises(DataError, match="inflates to more"):
        read_pixels(path)


@pytest.mark.parametrize("place", ["start", "end"])
def test_bombs_within_shards(place: str, tmp_path: Path) -> None:
    path = make(tmp_path, 3, shards={"shape": (SIDE, SIDE), "index_location": place})
    assert np.array_equal(read_pixels(path)[0], PIXELS)
    chunk, count = first_chunk(path), (SIDE // CHUNK) ** 2
    bomb, empty = numcodecs.Zstd(3).encode(BOMB), [2**64 - 1] * 2 * (count - 1)
    length = 16 * count + 4
    offset = length if place == "start" else 0
    index = struct.pack(f"<{2 * count}Q", offset, len(bomb), *empty)
    index = bytes(numcodecs.checksum32.CRC32C(location="end").encode(index))
    chunk.write_bytes(index + bomb if place == "start" else bomb + index)
    with pytest.raises(DataError, match="inflates to more"):
        read_pixels(path)


def test_shards_that_are_torn(tmp_path: Path) -> None:
    path = make(tmp_path, 3, shards=(SIDE, SIDE))
    chunk = first_chunk(path)
    whole = chunk.read_bytes()
    for torn in (whole[:20], whole[200:], whole[: len(whole) // 2], b""):
        chunk.write_bytes(torn)
        with pytest.raises(DataError, match=r"x\.zarr"):
            read_pixels(path)


class Flag:
    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path("was-run"),)


def test_nothing_that_a_chunk_holds_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = make(tmp_path, compressors=None)
    document = json.loads((path / "0" / ".zarray").read_text())
    first_chunk(path).write_bytes(pickle.dumps(Flag()))
    for dtype in ("|u1", "|O"):
        change = {"filters": [{"id": "pickle"}], "dtype": dtype}
        (path / "0" / ".zarray").write_text(json.dumps({**document, **change}))
        for read in (image_info, read_pixels):
            with pytest.raises(DataError, match=r"x\.zarr"):
                read(path)
    assert not Path("was-run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [60000, 60000], "chunks": [1, 1]}, "at most 1,000,000 chunks, got 3,600,000,000"),
        ({"chunks": [60000, 60000]}, "chunks of a part of the image"),
        ({"filters": [{"id": "gzip"}]}, "expected one compressor, got gzip, zstd"),
        ({"filters": [{"id": "delta", "dtype": "|u1"}]}, "got codec 'delta'"),
        ({"filters": [{"id": "base64"}]}, "got codec 'base64'; write it with one of these"),
    ],
)
def test_what_an_array_declares_is_looked_at_first(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = make(tmp_path, compressors=CODECS["zstd"])
    document = json.loads((path / "0" / ".zarray").read_text())
    (path / "0" / ".zarray").write_text(json.dumps({**document, **change}))
    with pytest.raises(DataError, match=message):
        image_info(path)


def test_a_level_that_is_a_link_is_reported(tmp_path: Path) -> None:
    path = make(tmp_path, compressors=CODECS["zstd"])
    (path / "0").rename(tmp_path / "elsewhere")
    (path / "0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"got '0', which links to '.*elsewhere'"):
        image_info(path)
