"""Groups and arrays written as plain files are to zarr what it would have written itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import ZstdCodec

from pipeline.core.errors import DataError
from pipeline.store.arrays import LEVEL, read_array, read_group, write_array, write_group

ARRAYS: list[np.ndarray[Any, Any]] = [
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.array([[-3, 2**40]]),
    np.array([True, False]),
    np.arange(6, dtype=np.uint8).reshape(1, 2, 3)[:, :, ::-1],
    np.array([np.nan, -0.0]),
    np.zeros((2, 5), np.uint16),
]


@pytest.mark.parametrize("array", ARRAYS)
def test_an_array_is_what_zarr_writes(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    group = zarr.create_group(tmp_path / "theirs", zarr_format=3, attributes={"k": [1, 2.5]})
    group.create_array(
        "x",
        data=np.ascontiguousarray(array),
        chunks=array.shape,
        compressors=[ZstdCodec(level=LEVEL, checksum=True)],
        config={"write_empty_chunks": True},
        attributes={"unit": "um"},
    )
    write_group(tmp_path / "ours", {"k": [1, 2.5]})
    write_array(tmp_path / "ours" / "x", array, {"unit": "um"})
    ours, theirs = (
        {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "ours", tmp_path / "theirs")
    )
    assert ours.keys() == theirs.keys()
    for name, path in ours.items():
        if path.suffix == ".json":
            assert json.loads(path.read_text()) == json.loads(theirs[name].read_text())
        else:
            assert path.read_bytes() == theirs[name].read_bytes()


@pytest.mark.parametrize("array", ARRAYS)
def test_an_array_comes_back(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    write_group(tmp_path, {"k": 1})
    write_array(tmp_path / "x", array, {"unit": "um"})
    found, attributes = read_array(tmp_path / "x")
    np.testing.assert_array_equal(found, array)
    assert (found.dtype, attributes) == (array.dtype, {"unit": "um"})
    assert read_group(tmp_path) == (["x"], {"k": 1})


def test_what_zarr_wrote_in_another_form_is_read(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((7, 9))
    zarr.create_array(tmp_path / "x", data=values, chunks=(2, 3), attributes={"a": 1})
    found, attributes = read_array(tmp_path / "x")
    np.testing.assert_array_equal(found, values)
    assert attributes == {"a": 1}


@pytest.mark.parametrize("damage", ["lost", "empty", "half", "flipped"])
def test_a_chunk_that_is_not_whole_is_never_read_as_numbers(tmp_path: Path, damage: str) -> None:
    write_array(tmp_path / "x", np.zeros((40, 50), np.float32), {})
    chunk = tmp_path / "x" / "c" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[-2] ^= 1
    {
        "lost": chunk.unlink,
        "empty": lambda: chunk.write_bytes(b""),
        "half": lambda: chunk.write_bytes(content[: len(content) // 2]),
        "flipped": lambda: chunk.write_bytes(content),
    }[damage]()
    with pytest.raises(DataError, match="c/0/0"):
        read_array(tmp_path / "x")
