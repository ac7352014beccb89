"""Masks read chunk by chunk against the store's own reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from service.images.conftest import section, sparse

from pipeline.core.errors import DataError, MissingResultError
from pipeline.service.images.mask_pixels import open_mask
from pipeline.store import masks
from pipeline.store.masks import read_level, write_image

MASK = sparse(1300, 1705)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_image(tmp_path / "1", MASK, 1.0, {})
    return tmp_path / "1"


def test_every_level_and_part_is_that_of_the_store(folder: Path) -> None:
    mask = open_mask(folder, section(None))
    assert [(level.width, level.height, level.scale) for level in mask.levels[:2]] == [
        (1705, 1300, 1),
        (853, 650, 2),
    ]
    for number, level in enumerate(mask.levels):
        whole = read_level(folder, number)
        for rows, columns in (
            ((0, level.height), (0, level.width)),
            ((3, 5), (level.width - 2, level.width)),
        ):
            part = slice(*rows), slice(*columns)
            assert np.array_equal(mask.read(number, *part), whole[part])
    assert np.array_equal(mask.read(0, slice(500, 1100), slice(511, 1026)), MASK[500:1100, 511:1026])
    assert mask.stored_tile(0, 0, 0) is None


def test_shards_smaller_than_a_level_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "SHARD_PX", 512)
    write_image(folder.parent / "2", MASK, 1.0, {})
    assert len(list((folder.parent / "2" / "0" / "c").rglob("*"))) > 4
    mask = open_mask(folder.parent / "2", section(None))
    assert np.array_equal(mask.read(0, slice(0, 1300), slice(0, 1705)), MASK)


def test_a_foreign_level_is_read_by_zarr(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "1")
    array = group.create_array("0", data=MASK, chunks=(300, 400))
    assert array.shards is None
    mask = open_mask(tmp_path / "1", section(None))
    assert np.array_equal(mask.read(0, slice(10, 900), slice(0, 1705)), MASK[10:900])


def test_a_mask_lies_in_the_frame_of_its_section(folder: Path) -> None:
    mask = open_mask(folder, section(None, (6821, 5201)))
    assert mask.size == (6821, 5201)
    assert [level.scale for level in mask.levels[:2]] == [4, 8]
    with pytest.raises(DataError, match="5000 x 5201"):
        open_mask(folder, section(None, (5000, 5201)))


def test_damage_is_named(folder: Path) -> None:
    shard = folder / "0" / "c" / "0" / "0"
    content = shard.read_bytes()
    for wrong in (content[:-1], b"", content[: len(content) // 2], bytes(len(content))):
        shard.write_bytes(wrong)
        with pytest.raises(DataError, match="expected a whole shard"):
            open_mask(folder, section(None)).read(0, slice(0, 1300), slice(0, 1705))
    flipped = bytearray(content)
    flipped[20] ^= 255
    shard.write_bytes(flipped)
    with pytest.raises(DataError, match="expected a whole shard"):
        open_mask(folder, section(None)).read(0, slice(0, 1300), slice(0, 1705))
    shard.unlink()
    with pytest.raises(DataError, match="expected a whole shard"):
        open_mask(folder, section(None)).read(0, slice(0, 1300), slice(0, 1705))
    (folder / "0" / "zarr.json").write_text("{}")
    with pytest.raises(DataError, match="expected a level"):
        open_mask(folder, section(None))
    with pytest.raises(MissingResultError):
        open_mask(folder.parent / "none", section(None))
