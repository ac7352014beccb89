"""What a user may name as series, how shards split them, and how runs share a machine."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import wait as ended
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import COMMAND, CONFIG, GIVEN, ID, Ish, digests

from pipeline.core.errors import ConfigError
from pipeline.runs.plan import find_sources, parse_shard
from pipeline.runs.schedule import Engine, check_engine
from pipeline.runs.schedule.memory import budget_mb
from pipeline.runs.schedule.pool import Pool, is_abandoned
from pipeline.system.locks import hold


@pytest.fixture
def folders(rendered: Path, tmp_path: Path) -> Path:
    """A folder with three series of two sections each, ids 1, 2, 3."""
    for number in (1, 2, 3):
        series = tmp_path / "in" / f"series_{number}"
        series.mkdir(parents=True)
        for name in ("alignment.json", "sections.csv"):
            shutil.copy(rendered / "series" / name, series / name)
        lines = (series / "sections.csv").read_text().splitlines(keepends=True)
        (series / "sections.csv").write_text("".join([lines[0], *lines[3:5]]))
        for line in lines[3:5]:
            name = next(cell for cell in line.split(",") if cell.endswith(".jpg"))
            shutil.copy(rendered / "series" / name, series / name)
        document = yaml.safe_load((rendered / "series" / "section_data_set.yaml").read_text())
        (series / "section_data_set.yaml").write_text(yaml.safe_dump(document | {"id": number}))
    return tmp_path / "in"


def test_folders_globs_and_tables_name_series(folders: Path) -> None:
    all_three = tuple(folders / f"series_{n}" for n in (1, 2, 3))
    assert find_sources([folders]).sources == all_three
    assert find_sources([folders / "series_[12]"]).sources == all_three[:2]
    (folders / "some.csv").write_text("series,note\nseries_3,odd\nseries_1,\n")
    assert find_sources([folders / "some.csv"]).sources == (all_three[2], all_three[0])


def test_a_series_named_twice_runs_once_and_is_noted(folders: Path) -> None:
    found = find_sources([folders / "series_1", folders])
    assert len(found.sources) == 3
    assert len(found.notes) == 1
    assert "listed twice" in found.notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [("name\nx\n", "expected a column series"), ("series\nnowhere\n", "line 2"), ("", "expected a header")],
)
def test_a_table_that_cannot_be_is_reported(folders: Path, content: str, message: str) -> None:
    (folders / "t.csv").write_text(content)
    with pytest.raises(ConfigError, match=message):
        find_sources([folders / "t.csv"])


def test_one_bad_folder_among_others_stays_to_fail_alone(folders: Path) -> None:
    (folders / "notes").mkdir()
    good = tuple(folders / f"series_{n}" for n in (1, 2, 3))
    assert find_sources([folders / "series_1", folders / "notes"]).sources == (good[0], folders / "notes")
    globbed = find_sources([folders / "*"])
    assert globbed.sources == good
    assert "notes" in globbed.notes[0]
    with pytest.raises(ConfigError, match="expected a series"):
        find_sources([folders / "notes"])


def test_what_is_no_series_is_passed_over(folders: Path) -> None:
    os.mkfifo(folders / "pipe")
    (folders / "broken").symlink_to("nowhere")
    (folders / "loop").symlink_to("loop")
    odd = Path(os.fsdecode(os.fsencode(folders) + b"/odd\xff"))
    shutil.copytree(folders / "series_1", odd)
    assert find_sources([folders]).sources == (odd, *(folders / f"series_{n}" for n in (1, 2, 3)))
    with pytest.raises(ConfigError, match="no such folder"):
        find_sources([folders / ("x" * 300)])


def test_shards_take_each_series_once(folders: Path, tmp_path: Path, ish: Ish) -> None:
    words = ("run", CONFIG, "--input", folders, "--output", tmp_path / "out", *GIVEN)
    assert ish(*words, "--shard", "1/2") == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"1", "3"}
    assert ish(*words, "--shard", "2/2") == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"1", "2", "3"}
    assert ish(*words, "--shard", "4/4") == 0


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "/"])
def test_a_shard_that_cannot_be_is_reported(text: str) -> None:
    with pytest.raises(ConfigError, match="expected I/N"):
        parse_shard(text)


def test_a_series_that_another_run_holds_is_refused(
    rendered: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("run", CONFIG, "--input", rendered / "series", "--output", tmp_path, *GIVEN)
    with hold([tmp_path.resolve() / ID]):
        assert ish(*words) == 2
    printed = capfd.readouterr().err
    assert "another run is writing here" in printed
    assert len(printed.strip().splitlines()) == 1


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_sigterm_ends_a_run_soon_and_well(
    rendered: Path, finished: Path, tmp_path: Path, scheduler: str, ish: Ish
) -> None:
    words = ("run", CONFIG, "--input", rendered / "series", "--output", tmp_path / "out", *GIVEN)
    process = subprocess.Popen(
        [*COMMAND, *map(str, words), "--scheduler", scheduler], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(f"out/{ID}/receipts/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    printed = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM, printed
    assert "run the same command again to resume" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "out" / ID / ".running").exists()
    assert ish(*words) == 0
    assert digests(tmp_path / "out" / ID) == digests(finished)


def batch(run: Any, *keys: str) -> list[tuple[Any, ...]]:
    """Return tasks in the form in which Dask hands them to a pool."""
    return [(key, run) for key in keys]


def call(tasks: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [run(key) for key, run in tasks]


def test_no_more_runs_than_memory_allows() -> None:
    now, most, lock = [0.0], [0.0], threading.Lock()
    needs = {f"k{n}": 10.0 * (1 + n % 4) for n in range(24)} | {"huge": 1000.0}

    def work(key: str) -> str:
        with lock:
            now[0] += needs[key]
            most[0] = max(most[0], now[0] if key != "huge" else 0.0)
            alone = now[0] == needs[key]
        time.sleep(0.002)
        with lock:
            now[0] -= needs[key]
        return key if key != "huge" or alone else "not alone"

    pool = Pool("threads", 8, 70.0, needs.__getitem__)
    futures = [pool.submit(call, batch(work, key)) for key in needs]
    assert [future.result(timeout=60)[0] for future in futures] == list(needs)
    pool.shutdown()
    assert 40 < most[0] <= 70


def die_once(key: str) -> str:
    path = Path(key)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def always_die(key: str) -> str:
    if is_abandoned():
        return "given up"
    if key == "good":
        return "good"
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def test_what_a_dead_worker_ran_runs_again_and_a_killer_is_abandoned(tmp_path: Path) -> None:
    pool = Pool("processes", 2, 1000.0, lambda key: 1.0)
    again = pool.submit(call, batch(die_once, str(tmp_path / "mark")))
    killer = pool.submit(call, batch(always_die, "bad"))
    innocent = pool.submit(call, batch(always_die, "good"))
    assert again.result(timeout=120) == ["survived"]
    assert killer.result(timeout=120) == ["given up"]
    assert innocent.result(timeout=120) == ["good"]
    pool.shutdown()


@pytest.mark.parametrize("which", [0, 1])
def test_an_idle_worker_that_dies_leaves_none_behind_that_waits(which: int) -> None:
    """One of two idle workers holds the lock that gives tasks out, and dies with it."""
    pool = Pool("processes", 2, 1000.0, lambda key: 1.0)
    try:
        first = [pool.submit(call, batch(len, word)) for word in ("a", "few", "words")]
        assert [future.result(timeout=120) for future in first] == [[1], [3], [5]]
        time.sleep(1.0)  # until both wait
        old = sorted(multiprocessing.active_children(), key=lambda child: child.pid or 0)
        assert len(old) == 2
        old[which].kill()
        assert pool.submit(call, batch(len, "second")).result(timeout=120) == [6]
        pool.shutdown()
        assert all(ended([child.sentinel], timeout=30) for child in old)
    finally:
        pool.stop(0.0)


@pytest.mark.parametrize("which", [0, 1])
def test_an_idle_worker_that_dies_after_the_last_task_does_not_hold_up_the_end(which: int) -> None:
    pool = Pool("processes", 2, 1000.0, lambda key: 1.0)
    try:
        for future in [pool.submit(call, batch(len, word)) for word in ("a", "few", "words")]:
            future.result(timeout=120)
        time.sleep(1.0)  # until both wait
        old = sorted(multiprocessing.active_children(), key=lambda child: child.pid or 0)
        old[which].kill()
        end = threading.Thread(target=pool.shutdown, daemon=True)
        end.start()
        end.join(timeout=60)
        assert not end.is_alive()
        assert all(ended([child.sentinel], timeout=30) for child in old)
    finally:
        pool.stop(0.0)


@pytest.mark.parametrize(
    ("text", "mb"), [("6GB", 6144.0), ("800 MB", 800.0), ("1.5g", 1536.0), ("512", 512.0)]
)
def test_amounts_of_memory(text: str, mb: float) -> None:
    assert budget_mb(text) == mb


@pytest.mark.parametrize(
    ("memory", "workers", "scheduler", "message"),
    [
        ("1GB", 4, "processes", r"4 worker processes take 1480 of these 1024 MB .* --memory 2480MB would be"),
        ("1500MB", 4, "processes", r"take 1480 of these 1500 MB .*; --memory 2480MB .*, or fewer --workers"),
        (None, 10**6, "processes", r"80% of the memory here: 1000000 worker processes take 370000000 of"),
        ("50MB", 4, "threads", r"--memory 50MB: a task takes 60 MB or more; 1000MB would be enough"),
    ],
)
def test_memory_that_leaves_nothing_for_tasks_is_refused_first(
    memory: str | None, workers: int, scheduler: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_engine(Engine(scheduler, workers, memory))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheduler", ["threads", "distributed"])
def test_only_worker_processes_of_this_machine_take_memory_of_their_own(scheduler: str) -> None:
    check_engine(Engine(scheduler, 4, "1GB"))
    assert (budget_mb("2GB", 4), budget_mb("2480MB", 4)) == (568.0, 1000.0)


def test_too_little_memory_is_one_line_before_anything_runs(
    rendered: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--memory", "1GB", "--workers", 4, "--scheduler", "processes")
    assert ish("run", CONFIG, "--input", rendered / "series", "--output", tmp_path / "out", *words) == 2
    said = capfd.readouterr().err.strip()
    assert "--memory 2480MB would be enough" in said.replace("\n", " ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "much", "-3GB", "GB", "3PB", "nan"])
def test_amounts_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 6GB"):
        budget_mb(text)
