"""One run at a time in a folder: who holds it, whose lock is stale, whom one waits for."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.core.errors import ConfigError
from pipeline.system import locks
from pipeline.system.locks import NAME, hold, is_held

HOLDER = """
import sys, time
from pathlib import Path
from pipeline.system.locks import hold
with hold([Path(sys.argv[1])]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """A process that holds the folder until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_and_noted_who_holds(tmp_path: Path) -> None:
    with hold([tmp_path]):
        with (
            pytest.raises(ConfigError, match=rf"process {os.getpid()} on .* since 20.*--wait"),
            hold([tmp_path]),
        ):
            pytest.fail("held twice")
        assert (tmp_path / NAME).exists()
    assert not (tmp_path / NAME).exists()


def test_all_or_none(tmp_path: Path) -> None:
    with hold([tmp_path / "b"]):
        with pytest.raises(ConfigError), hold([tmp_path / "a", tmp_path / "b"]):
            pytest.fail("held twice")
        assert not (tmp_path / "a" / NAME).exists()


def test_the_lock_of_a_killed_process_is_nobodys(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(ConfigError, match=f"process {holder.pid} "), hold([tmp_path]):
        pytest.fail("held twice")
    holder.kill()
    holder.communicate()
    assert (tmp_path / NAME).exists()
    with hold([tmp_path]):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_waiting_ends_when_the_other_does(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    printed: list[str] = []
    threading.Timer(0.3, holder.kill).start()
    with hold([tmp_path], wait=True, say=printed.append):
        pass
    holder.communicate()
    assert len(printed) == 1
    assert f"process {holder.pid}" in printed[0]


@pytest.mark.parametrize(
    ("age_s", "held"), [(0, True), (locks.DEAD_S - 30, True), (locks.DEAD_S + 30, False)]
)
def test_another_host_counts_as_dead_without_a_sign_of_life(tmp_path: Path, age_s: float, held: bool) -> None:
    path = tmp_path / NAME
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "since": "2020-01-01"}))
    os.utime(path, (time.time() - age_s,) * 2)
    if held:
        with pytest.raises(ConfigError, match="process 7 on elsewhere since 2020-01-01"), hold([tmp_path]):
            pytest.fail("taken from the living")
    else:
        with hold([tmp_path]):
            assert json.loads(path.read_text())["host"] == platform.node()


def test_where_there_are_no_locks_the_content_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*words: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with hold([tmp_path]), pytest.raises(ConfigError, match=f"process {os.getpid()} "), hold([tmp_path]):
        pytest.fail("held twice")
    (tmp_path / NAME).write_text(json.dumps({"host": platform.node(), "pid": 2**22 + 1, "since": "x"}))
    with hold([tmp_path]):
        pass


def test_the_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LIFE_S", 0.02)
    with hold([tmp_path]):
        os.utime(tmp_path / NAME, (1, 1))
        deadline = time.monotonic() + 10
        while (tmp_path / NAME).stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / NAME).stat().st_mtime > 2


HERE = platform.node()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '["a"]',
        "7",
        "null",
        '"text"',
        "{}",
        "[" * 4000,
        json.dumps({"host": HERE}),
        json.dumps({"host": HERE, "pid": []}),
        json.dumps({"host": HERE, "pid": 0}),
        json.dumps({"host": HERE, "pid": -1}),
        json.dumps({"host": HERE, "pid": 10**30}),
    ],
)
def test_a_lock_file_of_other_content_is_nobodys(tmp_path: Path, content: str) -> None:
    path = tmp_path / NAME
    path.write_text(content)
    assert not is_held(tmp_path)
    with hold([tmp_path]):
        path.write_text(content)  # damaged while it is held: the lock of the system still decides
        with (
            pytest.raises(ConfigError, match="another run is writing here, another process;"),
            hold([tmp_path]),
        ):
            pytest.fail("held twice")
    assert not path.exists()


def test_a_held_folder_is_held(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with hold([tmp_path]):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    (tmp_path / NAME).write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    assert is_held(tmp_path)
