"""The folder of an index: what zarr sees, growth while others read, kills and cuts at any moment."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zarr
from conftest import TESTS
from search_cases import ONTOLOGY, Case, experiments

from pipeline.core.errors import DataError, MissingResultError
from pipeline.search.build import voxel_order
from pipeline.search.index import open_index
from pipeline.search.indexing import build_index
from pipeline.search.kernels.codes import MISSING, decode_brain, encode
from pipeline.search.on_disk import writer as index_writer
from pipeline.search.on_disk.document import IndexSubject, create_index, read_subject
from pipeline.search.on_disk.experiments import JOURNAL, TABLE, read_committed
from pipeline.search.on_disk.names import sums_folder
from pipeline.search.on_disk.snapshot import open_snapshot
from pipeline.search.on_disk.writer import IndexWriter, index_lock
from pipeline.store import rows as shards

HERE = TESTS


class Crashed(BaseException):
    """Stands for the end of a process; nothing may catch it and go on."""


def empty(folder: Path, case: Case) -> Path:
    path = folder / "index"
    subject = IndexSubject(case.space.grid_labels(), ONTOLOGY, 200.0)
    create_index(path, subject, voxel_order(subject))
    return path


def held(path: Path) -> dict[int, np.ndarray]:  # type: ignore[type-arg]
    """Return every committed experiment with its brain voxels."""
    snapshot = open_snapshot(path)
    ids = snapshot.table.columns["section_data_set_id"].tolist()
    return {number: decode_brain(snapshot.row(at)) for at, number in enumerate(ids)}


def same(path: Path, case: Case, versions: dict[int, list[int]]) -> None:
    """Check that exactly these experiments are there, each one of the versions allowed, whole."""
    order = voxel_order(read_subject(path))
    found = held(path)
    assert found.keys() == versions.keys()
    for number, brain in found.items():
        allowed = [order.split(case.grids[i])[0] for i in versions[number]]
        assert any(np.allclose(brain, a, rtol=1e-6, equal_nan=True) for a in allowed)


def test_any_zarr_reader_sees_the_rows(tmp_path: Path) -> None:
    case = experiments(1, 3)
    path = empty(tmp_path, case)
    order = voxel_order(read_subject(path))
    rows = [encode(grid, order) for grid in case.grids]
    with IndexWriter(path) as writer:
        for experiment, row in zip(case.experiments, rows, strict=True):
            assert writer.put(experiment, row) == "added"
    group = zarr.open_group(path / "rows-0", mode="r")
    for name in ("codes", "fine", "outside"):
        array = group[name]
        assert isinstance(array, zarr.Array)
        assert array.shards == (shards.ROWS, array.shape[1])
        for at, row in enumerate(rows):
            assert (array[at] == getattr(row, name)).all()
    assert (group["codes"][3] == MISSING).all()  # type: ignore[index]
    assert np.array_equal(zarr.open_array(path / "labels", mode="r")[...], case.space.grid_labels())


def test_many_shards_and_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_writer, "_CHECKPOINT", 7)
    case = experiments(2, 3)
    path = empty(tmp_path, case)
    order = voxel_order(read_subject(path))
    rows = [encode(grid, order) for grid in case.grids]
    count = 2 * shards.ROWS + 5
    with IndexWriter(path) as writer:
        for number in range(count):
            writer.put(index_writer.Experiment(number), rows[number % 3])
            if number % 50 == 0:
                assert len(open_snapshot(path).table) == number + 1
    same(path, case, {number: [number % 3] for number in range(count)})
    assert len(open_snapshot(path).blocks) == 3


class Fatal:
    """Makes the n-th operation on a file the last one."""

    def __init__(self, patch: pytest.MonkeyPatch, last: int) -> None:
        self.left = last
        for name in ("pwrite", "write", "replace", "fsync"):
            patch.setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise Crashed
            return real(*arguments)

        return call


def put_until_crash(path: Path, case: Case, last: int) -> int:
    """Put experiments 100, 101, 102 and 100 again; return how many puts came back."""
    order, done = voxel_order(read_subject(path)), 0
    writer = IndexWriter(path)
    with pytest.MonkeyPatch.context() as patch:
        Fatal(patch, last)
        with suppress(Crashed):
            for at in range(4):
                writer.put(case.experiments[at % 3], encode(case.grids[at], order))
                done += 1
    return done


@pytest.mark.parametrize(("checkpoint", "step"), [(1, 3), (100, 1)])
def test_a_crash_at_any_write_loses_nothing_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: int, step: int
) -> None:
    monkeypatch.setattr(index_writer, "_CHECKPOINT", checkpoint)
    case = experiments(3, 4)
    order = voxel_order(IndexSubject(case.space.grid_labels(), ONTOLOGY, 200.0))
    template = empty(tmp_path, case)
    last, done = 0, 0
    while done < 4:
        path = tmp_path / str(last)
        shutil.copytree(template, path)
        done = put_until_crash(path, case, last)
        found = held(path)
        versions = {100 + at: [at] for at in range(min(done, 3))}
        if done == 4:
            versions[100] = [3]
        elif done == 3:
            versions[100] = [0, 3]  # the line may be there though the crash came after it
        elif 100 + done in found:
            versions[100 + done] = [done]
        same(path, case, versions)
        with IndexWriter(path) as following:  # and the next writer goes on
            following.put(case.experiments[2], encode(case.grids[2], order))
        assert held(path).keys() == versions.keys() | {102}
        last += step
    assert last > 20  # the crash did come, at each of many places


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from search_cases import Experiment, experiments
from pipeline.search.indexing import build_index
from pipeline.search.on_disk import writer as index_writer
index_writer._CHECKPOINT = 8
case = experiments(5, 4)
def endless():
    number = 0
    while True:
        yield Experiment(number % 300), case.grids[(number // 300 + number) % 4]
        sys.stdout.write(f"{{number}}\\n")
        sys.stdout.flush()
        number += 1
build_index(Path({path!r}), endless(), case.space)
"""


def test_a_killed_build_holds_what_it_committed(tmp_path: Path) -> None:
    case, path = experiments(5, 4), tmp_path / "index"
    build_index(path, [], case.space)
    first = 0
    for delay in (0.02, 0.4):
        script = SCRIPT.format(tests=str(HERE), path=str(path))
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        until = time.monotonic() + delay * random.random()
        while time.monotonic() < until:
            held(path)  # others read meanwhile
        child.send_signal(signal.SIGKILL)
        lines = child.stdout.read().split(b"\n")
        child.stdout.close()
        child.wait()
        last = max([int(line) for line in lines[:-1]], default=0)
        first = max(first, min(last + 1, 300))
        found = held(path)
        assert found.keys() in ({*range(first)}, {*range(first + 1)})
        same(path, case, {number: [0, 1, 2, 3] for number in found})
        assert len(open_index(path).correlation(case.grids[0], top=5)) > 0


def test_a_journal_cut_in_the_middle_of_a_line(tmp_path: Path) -> None:
    case = experiments(6, 3)
    path = empty(tmp_path, case)
    order = voxel_order(read_subject(path))
    writer = IndexWriter(path)
    for experiment, grid in case.pairs:
        writer.put(experiment, encode(grid, order))
    whole = (path / JOURNAL).read_bytes()
    for cut in range(len(whole.splitlines()[0]) + 1, len(whole), 41):
        (path / JOURNAL).write_bytes(whole[:cut])
        committed = whole[:cut].count(b"\n")
        same(path, case, {100 + i: [i] for i in range(committed)})


def test_a_row_that_is_not_what_was_written_is_not_committed(tmp_path: Path) -> None:
    case = experiments(6, 2)
    path = empty(tmp_path, case)
    order = voxel_order(read_subject(path))
    writer = IndexWriter(path)
    for experiment, grid in case.pairs:
        writer.put(experiment, encode(grid, order))
    with (path / "rows-0" / "codes" / "c" / "0" / "0").open("r+b") as file:
        file.seek(4096 + order.padded * 2 + 10)
        file.write(b"\x01\x02\x03\x04")
    same(path, case, {100: [0]})


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    path = empty(tmp_path, experiments(6, 0))
    locked = pytest.raises(DataError, match="another process is writing")
    with index_lock(path), locked, index_lock(path):
        pass
    with index_lock(path):
        IndexWriter(path).close()


def test_stale_sums_are_not_used(tmp_path: Path) -> None:
    case = experiments(7, 6)
    path = tmp_path / "index"
    build_index(path, case.pairs[:5], case.space)
    before = open_index(path).differential(["CTX"], ["TH"], voxels="grid")
    order = voxel_order(read_subject(path))
    with IndexWriter(path) as writer:  # a build that was killed before its sums
        writer.put(case.experiments[5], encode(case.grids[5], order))
    after = open_index(path)
    assert after._snapshot.stored_sums("all") is None
    found = after.differential(["CTX"], ["TH"], voxels="grid")
    assert {*found.columns["section_data_set_id"]} - {*before.columns["section_data_set_id"]} <= {105}
    assert np.array_equal(after.voxel_mask("all"), case.member("all"))


def test_what_is_no_index_or_a_newer_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingResultError, match="no index here; make one with `ish index"):
        open_index(tmp_path / "nowhere")
    zarr.create_group(tmp_path / "other", zarr_format=3)
    with pytest.raises(DataError, match="expected a search index"):
        open_index(tmp_path / "other")
    path = empty(tmp_path, experiments(6, 0))
    described = json.loads((path / "zarr.json").read_text())
    described["attributes"]["ish_index"]["version"] = 3
    (path / "zarr.json").write_text(json.dumps(described))
    with pytest.raises(DataError, match="of version 3, this program reads 2; update"):
        open_index(path)
    described["attributes"]["ish_index"] = {"version": 1, "spacing_um": 200.0}
    (path / "zarr.json").write_text(json.dumps(described))
    with pytest.raises(DataError, match=r"of version 1, this program reads 2; remove .* and build the index"):
        open_index(path)


def test_lost_parts_are_named(tmp_path: Path) -> None:
    case = experiments(6, 2)
    path = tmp_path / "index"
    build_index(path, case.pairs, case.space)
    (path / "rows-0" / "fine" / "c" / "0" / "0").unlink()
    with pytest.raises(
        DataError, match=r"rows-0/codes/c/0/0 .*missing rows of experiments 100, 101; run `ish"
    ):
        open_index(path)
    (path / TABLE).write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match=r"experiments\.parquet: expected the table"):
        open_index(path)


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="expected an index or nothing"):
        build_index(tmp_path / "index", [], experiments(0, 0).space)
    assert (tmp_path / "index" / "thesis.txt").read_text() == "years of work"


def test_only_the_sums_of_the_last_moment_stay(tmp_path: Path) -> None:
    case = experiments(7, 3)
    path = tmp_path / "index"
    for pair in case.pairs:
        build_index(path, [pair], case.space)
    sequence = read_committed(path).table.sequence
    assert list(path.glob("sums-*")) == [sums_folder(path, sequence)]


@pytest.mark.parametrize("short", [False, True])
def test_a_full_disk_ends_the_build_in_one_line(tmp_path: Path, short: bool) -> None:
    case = experiments(6, 4)
    both = Case(case.space, case.experiments, [*case.grids, *(grid + 1 for grid in case.grids)])
    for last in range(1, 22, 4):
        path = tmp_path / str(last)
        build_index(path, case.pairs[:1], case.space)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "pwrite", full_after(last, short))
            with pytest.raises(DataError, match="cannot be written: No space left on device") as raised:
                build_index(path, list(zip(case.experiments, both.grids[4:], strict=True)))
        assert "\n" not in str(raised.value)
        assert len(held(path)) == max(1, last // 7)  # seven writes an experiment, the last commits it
        same(path, both, {number: [number - 100, number - 96] for number in held(path)})
        assert len(open_index(path).correlation(100).rows()) >= 1
    assert build_index(path, case.pairs).errors == []
    same(path, case, {100 + at: [at] for at in range(4)})


def full_after(last: int, short: bool) -> Callable[[int, bytes, int], int]:
    """Return os.pwrite on a disk that takes no more than so many writes, and half of one more if `short`."""
    real, calls = os.pwrite, itertools.count()

    def pwrite(file: int, content: bytes, offset: int) -> int:
        call = next(calls)
        if call > last or (call == last and not short):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, content[: len(content) // 2] if call == last else content, offset)

    return pwrite
