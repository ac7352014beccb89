"""An index whose builder dies: killed for good at one file operation after another, or out of room at one."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import TESTS
from search.test_snapshot import held, same
from search_cases import Case, experiments

from pipeline.core.errors import MissingResultError
from pipeline.search.index import open_index
from pipeline.search.indexing import build_index

# Builds one after the other, each of (experiment, version) pairs; the second replaces enough for all rows
# to be moved together.
BUILDS = [[(0, 0), (1, 1), (2, 2)], [(1, 3), (3, 3), (0, 1), (2, 1)], [(0, 2)]]
MOMENTS = [dict[int, int]()]  # what an index holds after each commit
for _experiment, _version in (pair for build in BUILDS for pair in build):
    MOMENTS.append(MOMENTS[-1] | {_experiment: _version})

SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from search_cases import experiments
from search.test_index_kill import BUILDS
from pipeline.search.indexing import build_index
from pipeline.search.build import voxel_order
from pipeline.search.kernels.codes import encode
from pipeline.search.on_disk import writer as index_writer
from pipeline.search.on_disk.document import IndexSubject

index_writer._CHECKPOINT, index_writer._LEAST_DEAD = 2, 2
case = experiments(5, 4)
subject = IndexSubject(case.space.grid_labels(), case.space.ontology, 200.0)
encode(case.grids[0], voxel_order(subject))  # compiled here, for every child
CHANGES = {{"os.rename", "os.mkdir", "os.remove", "os.rmdir"}}


def build_and_die(folder, left):
    log, write = os.open(folder + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), os.write

    def one(event="os.rename", arguments=()):
        nonlocal left
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if event in CHANGES or writes:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def counted(real):
        def call(*arguments):
            one()
            return real(*arguments)
        return call

    def feed(build):
        for experiment, version in build:
            yield case.experiments[experiment], case.grids[version]
            write(log, b"x")  # asked for the next: the last is in

    for name in ("pwrite", "write", "fsync"):
        setattr(os, name, counted(getattr(os, name)))
    sys.addaudithook(one)
    for build in BUILDS:
        build_index(folder, feed(build), case.space)


operations = {first}
while True:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            build_and_die({folder!r} + "/" + str(operations), operations)
            code = 0
        finally:
            os._exit(code)
    end = os.waitpid(child, 0)[1]
    if end != signal.SIGKILL:
        sys.exit(end)
    operations += {step}
"""


@pytest.mark.parametrize(("first", "step"), [(0, 73), pytest.param(3, 7, marks=pytest.mark.slow)])
def test_killed_at_one_operation_after_another(tmp_path: Path, first: int, step: int) -> None:
    script = SCRIPT.format(tests=str(TESTS), folder=str(tmp_path), first=first, step=step)
    subprocess.run([sys.executable, "-c", script], check=True, timeout=1800)
    case, last = experiments(5, 4), MOMENTS[-1]
    builds = sorted((log.with_suffix("") for log in tmp_path.glob("*.log")), key=lambda path: int(path.name))
    seen = [_check_left_behind(path, case) for path in builds]
    assert seen == sorted(seen)
    assert {0, len(MOMENTS) - 1} < {*seen}  # from before there was an index to the very end
    for path in builds[::5]:  # whoever comes next goes on as if nothing had been
        build_index(path, [(case.experiments[e], case.grids[v]) for e, v in last.items()], case.space)
        same(path, case, {100 + e: [v] for e, v in last.items()})
        assert not [p for p in path.rglob("*") if ".unfinished" in p.name or p.suffix == ".partial"]
        assert len(list(path.glob("rows-*"))) == len(list(path.glob("sums-*"))) == 1
        assert open_index(path).correlation(100, voxels="grid").rows()[0]["r"] == pytest.approx(1)


def _check_left_behind(path: Path, case: Case) -> int:
    """Hold what a killed build left against the commits that came back; return how many these were."""
    committed = len(path.with_suffix(".log").read_bytes())
    try:
        found = held(path)
    except MissingResultError:
        assert committed == 0
        return committed
    for moment in MOMENTS[
        committed : committed + 2
    ]:  # the next may be in though the kill came before it was told
        with suppress(AssertionError):
            same(path, case, {100 + e: [v] for e, v in moment.items()})
            return committed
    raise AssertionError(f"{path}: {committed} commits came back, found {sorted(found)}")
