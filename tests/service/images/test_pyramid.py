"""Pyramids: whole or not at all, built once, within a budget, and without a folder where there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from service.images.conftest import close_to, picture

from pipeline.core.blocks import block_mean
from pipeline.core.errors import DataError
from pipeline.service.images import pyramid
from pipeline.service.images.pyramid import PyramidFolder, in_memory, pyramid_key, write_pyramid
from pipeline.service.images.tile_files import open_tiles
from pipeline.system.whole_files import UNFINISHED

RGB = picture(611, 1003)
KEY = pyramid_key("a")
BUILD = """
import os, sys, time
from pathlib import Path
import numpy as np
from pipeline.service.images import pyramid
folder, counts, slow = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
def load():
    with counts.open("a") as file:
        file.write("built\\n")
    return np.zeros((700, 900), np.uint8)
encode = pyramid.as_jpeg
def slowly(pixels, fine):
    time.sleep(slow)
    return encode(pixels, fine=fine)
pyramid.as_jpeg = slowly
stream = pyramid.PyramidFolder(folder).make(sys.argv[4], load)
print(len(stream.read()))
"""


def builder(folder: Path, counts: Path, slow: float) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", BUILD, str(folder), str(counts), str(slow), KEY]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("pixels", [RGB, np.ascontiguousarray(RGB[..., 0])], ids=["RGB", "grey"])
def test_levels_are_halvings_down_to_a_tile(pixels: np.ndarray) -> None:
    with in_memory(pixels) as stream:
        file = open_tiles(Path("memory"), stream, (1003, 611), 1)
    assert file is not None
    assert [(level.width, level.height, level.scale) for level in file.levels] == [
        (1003, 611, 1), (502, 306, 2), (251, 153, 4),
    ]  # fmt: skip
    for number, level in enumerate(file.levels):
        got = file.read(number, slice(0, level.height), slice(0, level.width))
        assert close_to(got, block_mean(pixels, level.scale), mean=2.0, most=45)


def test_padding_of_edge_tiles_leaves_no_ringing() -> None:
    white = np.full((300, 300), 200, np.uint8)
    with in_memory(white) as stream:
        file = open_tiles(Path("memory"), stream, (300, 300), 1)
    assert file is not None
    assert np.abs(file.read(0, slice(0, 300), slice(0, 300)).astype(int) - 200).max() <= 1


def test_a_pyramid_is_made_once_and_found_again(tmp_path: Path) -> None:
    folder = PyramidFolder(tmp_path / "p")
    assert folder.find(KEY) is None
    folder.make(KEY, lambda: RGB).close()
    assert names(tmp_path / "p") == [f"{KEY}.tif"]

    def again() -> np.ndarray:
        raise AssertionError("built twice")

    PyramidFolder(tmp_path / "p").make(KEY, again).close()


def test_keys_differ_with_everything_that_counts() -> None:
    assert (
        len({pyramid_key("a", 1), pyramid_key("a", 2), pyramid_key("b", 1), pyramid_key("a", 1, None)}) == 4
    )


def test_two_servers_build_once(tmp_path: Path) -> None:
    children = [builder(tmp_path / "p", tmp_path / "counts", 0.1) for _ in range(2)]
    sizes = [child.communicate(timeout=50)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert (tmp_path / "counts").read_text() == "built\n"
    assert sizes[0] == sizes[1] != "0\n"
    assert names(tmp_path / "p") == [f"{KEY}.tif"]


def test_a_build_that_is_killed_leaves_nothing_that_counts(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    child = builder(folder, tmp_path / "counts", 0.5)
    for _ in range(500):
        if folder.is_dir() and any(name.startswith(UNFINISHED) for name in names(folder)):
            break
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert any(name.startswith(UNFINISHED) for name in names(folder))
    assert PyramidFolder(folder).find(KEY) is None
    assert names(folder) == []  # opening the folder has swept it
    PyramidFolder(folder).make(KEY, lambda: RGB).close()
    assert names(folder) == [f"{KEY}.tif"]


def test_what_another_server_is_writing_is_not_swept(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    child = builder(folder, tmp_path / "counts", 0.1)
    for _ in range(500):
        if folder.is_dir() and any(name.startswith(UNFINISHED) for name in names(folder)):
            break
        time.sleep(0.02)
    PyramidFolder(folder)
    assert any(name.startswith(UNFINISHED) for name in names(folder))
    assert child.communicate(timeout=50)[0] not in ("", "0\n")
    assert child.returncode == 0


def test_the_ones_used_longest_ago_are_removed(tmp_path: Path) -> None:
    content = BytesIO()
    write_pyramid(content, RGB)
    size = len(content.getvalue())
    folder = PyramidFolder(tmp_path, budget_bytes=int(2.5 * size))
    keys = [pyramid_key(i) for i in range(3)]
    for i, key in enumerate(keys[:2]):
        folder.make(key, lambda: RGB).close()
        os.utime(tmp_path / f"{key}.tif", (1000 + i, 1000 + i))
    found = folder.find(keys[0])  # used now
    assert found is not None
    folder.make(keys[2], lambda: RGB).close()
    assert set(names(tmp_path)) == {f"{keys[0]}.tif", f"{keys[2]}.tif"}
    assert len(found.read()) == size
    found.close()


def test_a_budget_below_one_pyramid_still_serves_it(tmp_path: Path) -> None:
    stream = PyramidFolder(tmp_path, budget_bytes=10).make(KEY, lambda: RGB)
    assert names(tmp_path) == []
    file = open_tiles(Path("p"), stream, (1003, 611), 1)
    stream.close()
    assert file is not None
    assert file.read(0, slice(0, 9), slice(0, 9)).shape == (9, 9, 3)


@pytest.mark.parametrize("fault", ["a file in its place", "no space"])
def test_without_a_folder_pyramids_live_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "no space":
        encode = pyramid.as_jpeg

        def full(pixels: np.ndarray, fine: bool) -> bytes:
            monkeypatch.setattr(pyramid, "as_jpeg", encode)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(pyramid, "as_jpeg", full)
    else:
        (tmp_path / "p").write_text("in the way")
    with PyramidFolder(tmp_path / "p").make(KEY, lambda: RGB) as stream:
        assert os.fstat(stream.fileno()).st_nlink == 0
        assert open_tiles(Path("p"), stream, (1003, 611), 1) is not None
    assert fault != "no space" or names(tmp_path / "p") == []


def test_what_cannot_be_loaded_is_no_pyramid(tmp_path: Path) -> None:
    def damaged() -> np.ndarray:
        raise DataError("a.jpg: torn")

    with pytest.raises(DataError, match="torn"):
        PyramidFolder(tmp_path).make(KEY, damaged)
    assert names(tmp_path) == []
