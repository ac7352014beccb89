"""Runs that die: outputs are whole or absent, and a plain re-run ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import COMMAND, CONFIG, GIVEN, ID, Ish, digests


def _start(*words: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def _killed_then_run_again(
    rendered: Path, finished: Path, output: Path, tasks: int, late_s: float
) -> dict[str, int]:
    """Kill a run once so many tasks are done, run again, and return when each task done before was done."""
    words = ("run", CONFIG, "--input", rendered / "series", "--output", output, *GIVEN)
    receipts = output / ID / "receipts"
    process = _start(*words)
    deadline = time.monotonic() + 120
    while len(list(receipts.glob("[!.]*.json"))) < tasks and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(late_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {p.name: p.stat().st_mtime_ns for p in receipts.glob("[!.]*.json")}
    again = _start(*words)
    printed = again.communicate(timeout=120)[1]
    assert again.returncode == 0, printed
    assert digests(output / ID) == digests(finished)
    assert not list(output.rglob(".unfinished-*"))
    after = {p.name: p.stat().st_mtime_ns for p in receipts.glob("[!.]*.json")}
    assert all(after[name] == when for name, when in before.items())
    return before


def test_killed_in_the_middle(rendered: Path, finished: Path, tmp_path: Path) -> None:
    """Once, well after the first outputs are there; what was done then is not done again."""
    done = _killed_then_run_again(rendered, finished, tmp_path / "out", 7, 0.0)
    assert 7 <= len(done) < len(list((finished / "receipts").iterdir()))


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("moment", range(20))
def test_killed_at_random_moments(moment: int, rendered: Path, finished: Path, tmp_path: Path) -> None:
    """From before the first task to while the last ones run."""
    drawn = random.Random(moment)
    tasks = drawn.randrange(len(list((finished / "receipts").iterdir())))
    _killed_then_run_again(rendered, finished, tmp_path / "out", tasks, drawn.uniform(0.0, 0.4))


def _workers_of(process: int) -> list[int]:
    """Return the worker processes of a run; its resource tracker is none."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return sorted(found)


def _receipts(run: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (run / "receipts").glob("*.json")}


def _worker_killed(rendered: Path, finished: Path, output: Path, moment: random.Random) -> None:
    """Kill a worker at a moment: the run itself ends well, and leaves nothing to do."""
    words = ("run", CONFIG, "--input", rendered / "series", "--output", output, *GIVEN)
    process = _start(*words, "--scheduler", "processes", "--workers", "2")
    deadline = time.monotonic() + 60
    while len(_workers_of(process.pid)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(moment.uniform(0.0, 6.0))
    workers = _workers_of(process.pid)
    if workers:  # else the run was faster
        os.kill(moment.choice(workers), signal.SIGKILL)
    printed = process.communicate(timeout=240)[1]
    assert process.returncode == 0, printed
    assert digests(output / ID) == digests(finished)
    before = _receipts(output / ID)
    again = _start(*words)
    printed = again.communicate(timeout=240)[1]
    assert again.returncode == 0, printed
    assert _receipts(output / ID) == before
    assert not list(output.rglob(".unfinished-*"))


def test_a_worker_killed_costs_nothing_but_time(rendered: Path, finished: Path, tmp_path: Path) -> None:
    _worker_killed(rendered, finished, tmp_path / "out", random.Random(2))


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("moment", range(20))
def test_a_worker_killed_at_random_moments(
    moment: int, rendered: Path, finished: Path, tmp_path: Path
) -> None:
    _worker_killed(rendered, finished, tmp_path / "out", random.Random(100 + moment))


@pytest.mark.faults
def test_a_file_replaced_in_the_middle(rendered: Path, finished: Path, tmp_path: Path) -> None:
    """The section is left out, never taken for what it was; with the file back, all is as ever."""
    series = Path(shutil.copytree(rendered / "series", tmp_path / "series"))
    words = ("run", CONFIG, "--input", series, "--output", tmp_path / "out", *GIVEN, "--workers", "1")
    process = _start(*words)
    run = tmp_path / "out" / ID
    deadline = time.monotonic() + 60
    while not list(run.glob("receipts/measure-*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    for image in series.glob("*.jpg"):
        (tmp_path / "garbage").write_bytes(b"garbage")
        os.replace(tmp_path / "garbage", image)
    printed = process.communicate(timeout=240)[1]
    assert "Traceback" not in printed
    assert "failed" in printed
    for image in series.glob("*.jpg"):
        shutil.copy2(rendered / "series" / image.name, image)
    again = _start(*words)
    printed = again.communicate(timeout=240)[1]
    assert again.returncode == 0, printed
    assert digests(run) == digests(finished)


@pytest.mark.faults
@pytest.mark.parametrize("after", [1, 9])
def test_rights_lost_in_the_middle(
    after: int, rendered: Path, finished: Path, tmp_path: Path, ish: Ish, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Root may write anywhere, so that the lost right is played: nothing more can be put in place."""
    words = ("run", CONFIG, "--input", rendered / "series", "--output", tmp_path, *GIVEN)
    true, calls = os.replace, iter(range(10**9))

    def refused(source: object, target: object) -> None:
        if next(calls) >= after:
            raise PermissionError(13, "Permission denied", str(target))
        true(source, target)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.system.whole_files.os.replace", refused)
        assert ish(*words) == 1
    printed = capfd.readouterr().err
    assert "cannot be written: Permission denied" in printed
    assert "Traceback" not in printed
    assert not list(tmp_path.rglob(".unfinished-*"))
    assert ish(*words) == 0
    assert digests(tmp_path / ID) == digests(finished)


@pytest.mark.faults
def test_a_full_disk_is_reported_and_the_next_run_ends_well(
    rendered: Path, finished: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    words = ("run", CONFIG, "--input", rendered / "series", "--output", disk / "out", *GIVEN)
    try:
        full = _start(*words)
        printed = full.communicate(timeout=120)[1]
        assert full.returncode == 1, printed
        assert "No space left on device" in printed
        assert "Traceback" not in printed
        assert not list(disk.rglob(".unfinished-*"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = _start(*words)
        printed = again.communicate(timeout=120)[1]
        assert again.returncode == 0, printed
        assert digests(disk / "out" / ID) == digests(finished)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
