"""The store: OME-Zarr that validates, round trips, whole or absent."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import Image

from pipeline.core.errors import DataError, MissingResultError
from pipeline.core.model import ExpressionSums
from pipeline.quantification.cells import SectionCells, accumulate
from pipeline.store import masks as ome
from pipeline.store.masks import pyramid
from pipeline.store.run import RunFolder
from pipeline.store.tasks import Receipt
from pipeline.system.whole_files import replacing, sweep


def _expression(shape: tuple[int, int]) -> np.ndarray:  # type: ignore[type-arg]
    rng = np.random.default_rng(1)
    return np.where(rng.random(shape) < 0.01, rng.integers(1, 256, shape), 0).astype(np.uint8)


@pytest.mark.parametrize("shape", [(700, 901), (1, 1), (2100, 30)])
def test_expression_is_valid_ome_zarr_and_comes_back(tmp_path: Path, shape: tuple[int, int]) -> None:
    run, expression = RunFolder(tmp_path), _expression(shape)
    run.write_expression(70, expression, 4.196, "abc")
    np.testing.assert_array_equal(run.read_expression(70), expression)
    part = np.s_[600:1900, 5:20]
    np.testing.assert_array_equal(run.read_expression(70, part=part), expression[part])
    group = zarr.open_group(tmp_path / "expression.zarr" / "70", mode="r")
    image = Image.from_zarr(group)
    scale = image.ome_attributes.multiscales[0].datasets[0].coordinateTransformations[0]
    assert scale.scale == [4.196, 4.196]
    assert group.attrs["ish_pipeline"]["digest"] == "abc"
    full = zarr.open_group(tmp_path / "expression.zarr", mode="r")["70/0"]
    assert full.shape == shape
    assert full.shards is not None
    files = [path for path in (tmp_path / "expression.zarr" / "70" / "0" / "c").rglob("*") if path.is_file()]
    assert len(files) == 1


def test_shards_side_by_side_come_back_by_any_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ome, "CHUNK_PX", 64)
    monkeypatch.setattr(ome, "SHARD_PX", 128)
    expression = _expression((300, 259))
    expression[64:200, :130] = 0  # chunks and a shard that are not there
    ome.write_image(tmp_path / "x", expression, 2.0, {})
    group = zarr.open_group(tmp_path / "x", mode="r")
    for level, array in enumerate(pyramid(expression)):
        np.testing.assert_array_equal(group[str(level)][...], array)  # type: ignore[index]
        mask = group[f"labels/expressing/{level}"]
        np.testing.assert_array_equal(mask[...], array > 0)  # type: ignore[index]
    for part in (np.s_[:, :], np.s_[60:70, 100:200], np.s_[127:300, 250:], np.s_[5:5, 3:9], np.s_[299:, -1:]):
        np.testing.assert_array_equal(ome.read_level(tmp_path / "x", 0, part), expression[part])
    again = zarr.create_array(tmp_path / "y", data=expression, chunks=(64, 64), shards=(128, 128))
    assert group["0"].metadata.codecs[0].index_codecs == again.metadata.codecs[0].index_codecs  # type: ignore[union-attr]


def test_levels_that_zarr_wrote_are_read(tmp_path: Path) -> None:
    expression = _expression((90, 70))
    group = zarr.create_group(tmp_path / "x")
    group.create_array("0", data=expression, chunks=(32, 32))
    np.testing.assert_array_equal(
        ome.read_level(tmp_path / "x", 0, np.s_[20:50, 3:64]), expression[20:50, 3:64]
    )
    assert ome.level_count(tmp_path / "x") == 1


def test_a_torn_shard_is_no_mask(tmp_path: Path) -> None:
    ome.write_image(tmp_path / "x", _expression((300, 259)), 2.0, {})
    shard = tmp_path / "x" / "0" / "c" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(DataError, match="shard"):
        ome.read_level(tmp_path / "x")


def test_a_torn_chunk_is_no_mask(tmp_path: Path) -> None:
    ome.write_image(tmp_path / "x", _expression((300, 259)), 2.0, {})
    shard = tmp_path / "x" / "0" / "c" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[:64] = bytes(64)
    shard.write_bytes(content)
    with pytest.raises(DataError, match="chunk"):
        ome.read_level(tmp_path / "x")


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 4), (300, 257), (257, 300)])
def test_levels_are_maxima_of_two_by_two(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    for fine, coarse in pairwise(pyramid(pixels)):
        even = np.pad(fine, [(0, n % 2) for n in fine.shape])
        blocks = even.reshape(coarse.shape[0], 2, coarse.shape[1], 2)
        np.testing.assert_array_equal(coarse, blocks.max(axis=(1, 3)))


def test_a_lone_cell_stays_visible_on_every_level() -> None:
    pixels = np.zeros((1001, 777), np.uint8)
    pixels[1000, 776] = 99
    assert all(level.max() == 99 for level in pyramid(pixels))


def test_cells_and_thumbnails_come_back(tmp_path: Path) -> None:
    run, expression = RunFolder(tmp_path), _expression((60, 50))
    valid = np.ones((60, 50), bool)
    cells = SectionCells(accumulate(expression, expression, valid, 12), 12, 4, 1.049, (0, 1, 50, 60))
    run.write_cells(3, cells, "d")
    found = run.read_cells(3)
    assert (found.pitch_px, found.factor, found.resolution_um, found.rectangle_px) == (
        12,
        4,
        1.049,
        (0, 1, 50, 60),
    )
    for name, array in cells.sums.arrays().items():
        np.testing.assert_array_equal(getattr(found.sums, name), array)
    run.write_thumbnail(3, expression, valid, {"resolution_um": 25.0})
    pixels, back, attributes = run.read_thumbnail(3)
    np.testing.assert_array_equal(pixels, expression)
    assert back.all()
    assert attributes["resolution_um"] == 25.0


def test_grid_on_disk_says_minus_one_for_no_data(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    pixels = np.array([[[0.0, 10.0, 10.0]]])
    sums = ExpressionSums(pixels, pixels * [0, 0, 0.5], pixels * [0, 0, 50.0], pixels * 40)
    run.write_grid(sums, np.array([[[False, True, True]]]), "d")
    grid = run.read_grid()
    assert all(a.dtype == np.float32 for a in grid.values())
    assert grid["energy"].ravel().tolist() == [-1, 0, 50]
    assert grid["intensity"].ravel().tolist() == [-1, 0, 100]
    assert grid["sum_pixels"].ravel().tolist() == [-1, 10, 10]


def test_what_fails_midway_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a" / "file.txt"
    with replacing(target) as fresh:
        fresh.write_text("first")

    def interrupted() -> None:
        with replacing(target) as fresh:
            fresh.write_text("sec")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "first"
    assert list(target.parent.iterdir()) == [target]


def test_sweep_removes_only_what_was_never_finished(tmp_path: Path) -> None:
    (tmp_path / "x" / ".unfinished-0a1b2c3d-grid.zarr").mkdir(parents=True)
    (tmp_path / "x" / "grid.zarr").mkdir()
    sweep(tmp_path)
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["grid.zarr"]


def test_receipts_come_back_and_a_torn_one_counts_as_none(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    receipt = Receipt("detect-00070", "done", "abc", facts={"density": 0.5}, wall_s=1.5)
    run.write_receipt(receipt)
    assert run.receipts() == {"detect-00070": receipt}
    (tmp_path / "receipts" / "detect-00070.json").write_text("{")
    assert run.read_receipt("detect-00070") is None


def test_missing_results_are_reported(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for read in (run.read_grid, lambda: run.read_cells(1), lambda: run.read_expression(1)):
        with pytest.raises(MissingResultError):
            read()
    with pytest.raises(DataError, match="cannot be written"), replacing(Path("/proc/nowhere/file")):
        pass
