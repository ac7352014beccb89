"""Runs as labelled arrays: the numbers of the plain readers, read late, in um, and never zeros for a loss."""

from __future__ import annotations

import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from conftest import ID, vouch
from damage import DAMAGES
from ome_zarr_models.v05 import Image

import pipeline
from pipeline.core.errors import DataError, MissingResultError, PipelineError
from pipeline.core.model import GRID_200
from pipeline.geometry.sync import pixel_to_reference
from pipeline.inputs.alignments import read_placement
from pipeline.store import results
from pipeline.store.results import QUANTITIES, RunResults
from pipeline.store.run import RunFolder

SECTION = 18
RESOLUTION_UM = 16.0


@pytest.fixture
def run(finished: Path) -> RunResults:
    return pipeline.open_run(finished)


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> RunResults:
    """A copy of the run that a test may damage."""
    return pipeline.open_run(shutil.copytree(finished, tmp_path / ID))


def chunks(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("c/**/*")) if path.is_file()]


def refusal(read: Callable[[], Any]) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("block", [100, 512, 2048])
def test_a_mask_is_that_of_the_plain_reader(
    run: RunResults, level: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "BLOCK_PX", block)
    mask = run.expression(SECTION, level=level)
    assert (mask.dims, mask.dtype, mask.chunks is not None) == (("y", "x"), np.uint8, True)
    plain = run.read_expression(SECTION, level)
    assert (plain > 0).any()
    np.testing.assert_array_equal(mask, plain)
    np.testing.assert_array_equal(mask[40:90:2, -3::-7], plain[40:90:2, -3::-7])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mask)), plain)


def test_a_grid_is_that_of_the_plain_reader(run: RunResults) -> None:
    grid, plain = run.grid(), run.read_grid()
    assert set(grid.data_vars) == {*plain, "covered"} == {*QUANTITIES, "covered"}
    for name, array in plain.items():
        assert (grid[name].dims, grid[name].dtype) == (("p", "i", "r"), np.float32)
        assert grid[name].chunks is not None
        np.testing.assert_array_equal(grid[name], np.where(array == -1, np.nan, array))
    np.testing.assert_array_equal(grid.covered, plain["sum_pixels"] >= 0)
    assert 0 < int(grid.covered.sum()) < grid.covered.size


def test_mask_coordinates_are_um_of_the_section(run: RunResults) -> None:
    fine = run.expression(SECTION)
    for level in (0, 1, 2):
        mask = run.expression(SECTION, level=level)
        assert mask.x_um.attrs["units"] == mask.y_um.attrs["units"] == "um"
        assert mask.attrs["pixel_size_um"] == RESOLUTION_UM * 2**level
        for axis in ("y", "x"):
            own, finest = mask[f"{axis}_um"].to_numpy(), fine[f"{axis}_um"].to_numpy()
            whole = finest.size // 2**level
            np.testing.assert_allclose(
                own[:whole], finest[: whole * 2**level].reshape(whole, -1).mean(axis=1)
            )
            np.testing.assert_allclose(np.diff(own), RESOLUTION_UM * 2**level)
    assert (float(fine.x_um[0]), float(fine.y_um[0])) == (0.0, 0.0)
    part = fine.sel(x_um=slice(4000, 6000), y_um=slice(1600, 3200))
    np.testing.assert_array_equal(part, run.read_expression(SECTION)[100:201, 250:376])


def test_mask_coordinates_are_those_of_the_image_on_disk(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_expression(3, np.ones((700, 301), np.uint8), 4.196, "d")
    image = Image.from_zarr(zarr.open_group(tmp_path / "expression.zarr/3", mode="r"))
    for level, stated in enumerate(image.ome_attributes.multiscales[0].datasets):
        scale, shift = stated.coordinateTransformations
        mask = RunResults(tmp_path).expression(3, level)
        for axis, size, start in zip("yx", scale.scale, shift.translation, strict=True):
            expected = start + size * np.arange(mask.sizes[axis])
            np.testing.assert_allclose(mask[f"{axis}_um"], expected)


def test_positions_in_a_mask_are_pixels_that_sync_takes(run: RunResults) -> None:
    mask, alignment = run.expression(SECTION), read_placement(run)
    placed = alignment.of(SECTION)
    assert placed is not None
    yx = np.array([[0, 0], [12, 700], [521, 3]])
    z_um = SECTION * 25.0
    expected = pixel_to_reference(yx[:, ::-1], placed, alignment.alignment3d, z_um)
    um = np.stack([mask.x_um.to_numpy()[yx[:, 1]], mask.y_um.to_numpy()[yx[:, 0]]], axis=1)
    geometry = pipeline.open_alignment(run.path)
    found = pipeline.image_to_reference(geometry, SECTION, um / mask.attrs["manifest_pixel_um"])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_grid_coordinates_are_um_of_the_reference(run: RunResults) -> None:
    grid, plain = run.grid(), run.read_grid()["energy"]
    assert all(grid[axis].attrs["units"] == "um" for axis in "pir")
    points = np.stack(np.meshgrid(grid.p, grid.i, grid.r, indexing="ij"), axis=-1).reshape(-1, 3)
    np.testing.assert_array_equal(points, GRID_200.points_um())
    place = np.unravel_index(plain.argmax(), plain.shape)
    p, i, r = (float(n) * 200.0 for n in place)
    assert float(grid.energy.sel(p=p, i=i, r=r)) == plain[place]
    assert float(grid.energy.sel(p=p + 60, i=i - 60, r=r, method="nearest")) == plain[place]


def test_results_say_what_they_are_of(run: RunResults) -> None:
    experiment = {
        "section_data_set_id": int(ID), "gene": "Phantom", "reference_space_id": 10, "reference": "phantom"
    }  # fmt: skip
    assert run.grid().attrs == {"voxel_size_um": 200.0, **experiment}
    mask = run.expression(SECTION, level=1)
    assert mask.name == "expression"
    assert mask.attrs == {
        "long_name": "expression mask", "units": "grey level, 0 = not expressing",
        "section_number": SECTION, "level": 1, "pixel_size_um": 32.0, "manifest_pixel_um": 16.0, **experiment,
    }  # fmt: skip
    assert [run.grid()[name].attrs["units"] for name in ("density", "energy", "sum_pixels")] == [
        "1", "grey level, 0 to 255, larger = darker", "px of the manifest's frame"
    ]  # fmt: skip


def test_a_run_that_goes_on_is_read_without_what_it_does_not_know_yet(copied: RunResults) -> None:
    for name in ("section_data_set.json", "provenance.json", "receipts/summarise.json"):
        (copied.path / name).unlink()
    assert copied.grid().attrs == {"voxel_size_um": 200.0}
    mask = copied.expression(SECTION)
    assert {"gene", "manifest_pixel_um"} & set(mask.attrs) == set()
    np.testing.assert_array_equal(mask, copied.read_expression(SECTION))


def test_opening_reads_no_chunk(copied: RunResults) -> None:
    mask, coarse, grid = copied.expression(SECTION), copied.expression(SECTION, level=2), copied.grid()
    expected = copied.read_expression(SECTION, 2)
    for path in chunks(copied.path / "expression.zarr" / str(SECTION) / "0") + chunks(
        copied.path / "grid.zarr"
    ):
        path.unlink()
    for lazy in (mask, copied.expression(SECTION), grid, copied.grid()):
        assert "dask.array" in repr(lazy)
    for lost in (mask, mask[:5], copied.expression(SECTION), grid.energy, copied.grid().covered):
        error = refusal(lost.compute)
        assert isinstance(error, DataError)
        assert "is not as the run wrote it (torn, lost" in str(error)
    np.testing.assert_array_equal(coarse, expected)  # another level, which is whole


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_chunk_that_is_not_whole_is_the_error_of_the_plain_reader(damage: Any, copied: RunResults) -> None:
    """Whether the run keeps receipts or not."""
    image, grid = copied.path / "expression.zarr" / str(SECTION) / "0", copied.path / "grid.zarr/energy"
    for path in chunks(image) + chunks(grid):
        damage(path, random.Random(1))
    pairs = (
        (copied.expression(SECTION).compute, lambda: copied.read_expression(SECTION)),
        (copied.grid().energy.compute, copied.read_grid),
    )
    for lazy, plain in pairs:
        assert str(refusal(lazy)) == str(refusal(plain))
    shutil.rmtree(copied.path / "receipts")
    for lazy in (copied.expression(SECTION).compute, copied.grid().energy.compute):
        assert isinstance(refusal(lazy), DataError)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_torn_document_is_found_on_opening(damage: Any, copied: RunResults) -> None:
    for name in (f"expression.zarr/{SECTION}", f"expression.zarr/{SECTION}/0", "grid.zarr/sum_pixels"):
        damage(copied.path / name / "zarr.json", random.Random(1))
    for opened in (lambda: copied.expression(SECTION), copied.grid):
        error = refusal(opened)
        assert isinstance(error, DataError)
        assert "zarr.json: is not as the run wrote it" in str(error)


def test_documents_without_receipts_must_say_where_pixels_lie(copied: RunResults) -> None:
    shutil.rmtree(copied.path / "receipts")
    image = copied.path / "expression.zarr" / str(SECTION) / "zarr.json"
    image.write_text(image.read_text().replace("translation", "rotation"))
    assert "scale and translation of level 0" in str(refusal(lambda: copied.expression(SECTION)))
    image.unlink()
    assert "scale and translation of level 0" in str(refusal(lambda: copied.expression(SECTION)))
    group = copied.path / "grid.zarr" / "zarr.json"
    group.write_text(group.read_text().replace("spacing_um", "spacing"))
    assert "spacing_um" in str(refusal(copied.grid))
    (copied.path / "grid.zarr" / "energy" / "zarr.json").unlink()
    assert "expected the array energy" in str(refusal(copied.grid))


def test_what_is_not_there_is_the_error_of_the_plain_reader(copied: RunResults) -> None:
    pairs: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
        (lambda: copied.expression(999), lambda: copied.read_expression(999)),
        (lambda: copied.expression(SECTION, level=9), lambda: copied.read_expression(SECTION, 9)),
    ]
    for lazy, plain in pairs:
        assert isinstance(refusal(lazy), MissingResultError)
        assert str(refusal(lazy)) == str(refusal(plain))
    shutil.rmtree(copied.path / "grid.zarr")
    assert str(refusal(copied.grid)) == str(refusal(copied.read_grid))


def test_a_result_made_anew_is_not_mixed_with_the_old(copied: RunResults) -> None:
    before, old = copied.expression(SECTION), copied.read_expression(SECTION)
    copied.write_expression(SECTION, old[:, ::-1].copy(), RESOLUTION_UM, "other")
    vouch(copied.path)
    assert "was made anew since it was opened; open the run again" in str(refusal(before.compute))
    np.testing.assert_array_equal(copied.expression(SECTION), old[:, ::-1])


def test_many_blocks_take_the_digest_of_a_file_once(
    copied: RunResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "BLOCK_PX", 64)
    taken: list[str] = []
    true = results.first_damaged
    monkeypatch.setattr(results, "first_damaged", lambda f, seals: (taken.extend(seals), true(f, seals))[1])
    mask = copied.expression(SECTION)
    assert mask.data.npartitions > 50
    mask.compute(scheduler="synchronous")
    assert sorted(taken) == sorted(copied.seals(f"expression.zarr/{SECTION}/0"))
