"""Runs that die: outputs are whole or absent, and a plain re-run ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import CONFIG, GIVEN, ID, digests

COMMAND = (sys.executable, "-c", "from pipeline.cli import main; main()")


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
    while len(list(receipts.glob("*.json"))) < tasks and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(late_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {p.name: p.stat().st_mtime_ns for p in receipts.glob("*.json")}
    again = _start(*words)
    said = again.communicate(timeout=120)[1]
    assert again.returncode == 0, said
    assert digests(output / ID) == digests(finished)
    assert not list(output.rglob(".unfinished-*"))
    after = {p.name: p.stat().st_mtime_ns for p in receipts.glob("*.json")}
    assert all(after[name] == when for name, when in before.items())
    return before


def test_killed_in_the_middle(rendered: Path, finished: Path, tmp_path: Path) -> None:
    """Once, well after the first outputs are there; what was done then is not done again."""
    done = _killed_then_run_again(rendered, finished, tmp_path / "out", 7, 0.0)
    assert 7 <= len(done) < len(list((finished / "receipts").iterdir()))


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(10))
def test_killed_at_random_moments(moment: int, rendered: Path, finished: Path, tmp_path: Path) -> None:
    """From before the first task to while the last ones run."""
    drawn = random.Random(moment)
    tasks = drawn.randrange(len(list((finished / "receipts").iterdir())))
    _killed_then_run_again(rendered, finished, tmp_path / "out", tasks, drawn.uniform(0.0, 0.4))


def test_a_full_disk_is_said_and_the_next_run_ends_well(
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
        said = full.communicate(timeout=120)[1]
        assert full.returncode == 1, said
        assert "No space left on device" in said
        assert "Traceback" not in said
        assert not list(disk.rglob(".unfinished-*"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = _start(*words)
        said = again.communicate(timeout=120)[1]
        assert again.returncode == 0, said
        assert digests(disk / "out" / ID) == digests(finished)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
