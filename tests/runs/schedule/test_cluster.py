"""The same batch on clusters: a real Dask scheduler with real workers, and a real SLURM."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dask
import pytest
from conftest import COMMAND, CONFIG, GIVEN, ID, Ish, digests
from one_node_slurm import missing_command, one_node_slurm, running_jobs

from pipeline.core.package import PACKAGE
from pipeline.runs.schedule import cluster


def wait_for(what: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


def start(*words: object, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
    )


def worker(scheduler_file: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a worker of a scheduler."""
    words = ("--scheduler-file", str(scheduler_file), "--nthreads", "1", "--no-nanny", "--no-dashboard")
    return subprocess.Popen(
        [sys.executable, "-m", "dask", "worker", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=scheduler_file.parent,
        env=os.environ | environment,
    )


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Address of a Dask scheduler, and its two workers."""
    found = tmp_path / "scheduler.json"
    dask = (sys.executable, "-m", "dask")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    head = subprocess.Popen(
        [
            *dask,
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            str(found),
        ],
        **quiet,  # type: ignore[call-overload]
    )
    wait_for(lambda: found.exists() and found.read_text().rstrip().endswith("}"))
    workers = [worker(found) for _ in range(2)]
    address = found.read_text().partition('"address": "')[2].partition('"')[0]
    yield address, workers
    for process in (*workers, head):
        process.kill()
        process.wait()


def test_a_worker_that_is_killed_costs_nothing_but_time(
    scheduler: tuple[str, list[subprocess.Popen[bytes]]], rendered: Path, finished: Path, tmp_path: Path
) -> None:
    address, workers = scheduler
    words = ("run", CONFIG, "--input", rendered / "series", "--output", tmp_path / "out", *GIVEN)
    process = start(*words, "--scheduler", "distributed", "--address", address)
    wait_for(lambda: list(tmp_path.glob(f"out/{ID}/receipts/*")) or process.poll() is not None)
    workers[0].send_signal(signal.SIGKILL)
    printed = process.communicate(timeout=300)[1]
    assert process.returncode == 0, printed
    assert digests(tmp_path / "out" / ID) == digests(finished)
    assert "Traceback" not in printed


@pytest.mark.slow
def test_a_cluster_of_this_machine(rendered: Path, finished: Path, tmp_path: Path) -> None:
    words = ("run", CONFIG, "--input", rendered / "series", "--output", tmp_path, *GIVEN)
    process = start(*words, "--scheduler", "distributed", "--workers", 2)
    printed = process.communicate(timeout=300)[1]
    assert process.returncode == 0, printed
    assert "Traceback" not in printed
    assert digests(tmp_path / ID) == digests(finished)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("distributed", "--address", "tcp://127.0.0.1:9"),
            "expected a Dask scheduler such as tcp://host:8786",
        ),
        (("distributed", "--address", "nonsense://x"), "expected a Dask scheduler"),
        (("threads", "--address", "tcp://127.0.0.1:9"), "only with --scheduler distributed"),
    ],
)
def test_a_scheduler_that_is_not_there_is_reported(
    rendered: Path, tmp_path: Path, words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch,
    ish: Ish, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(cluster, "CONNECT_S", 1.0)
    run = ("run", CONFIG, "--input", rendered / "series", "--output", tmp_path, *GIVEN, "--scheduler", *words)
    assert ish(*run) == 2
    printed = capfd.readouterr().err
    assert message in printed
    assert len(printed.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("missing", "message"), [("sbatch", "found no sbatch"), ("extra", r"ish-pipeline[slurm]")]
)
def test_where_slurm_is_not_there_it_is_reported(
    rendered: Path, tmp_path: Path, missing: str, message: str, monkeypatch: pytest.MonkeyPatch, ish: Ish,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if missing == "extra":
        monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    run = (
        "run",
        CONFIG,
        "--input",
        rendered / "series",
        "--output",
        tmp_path,
        *GIVEN,
        "--scheduler",
        "slurm",
    )
    assert ish(*run) == 2
    assert message in capfd.readouterr().err


def test_workers_of_another_version_are_refused(
    scheduler: tuple[str, list[subprocess.Popen[bytes]]], rendered: Path, tmp_path: Path, ish: Ish,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for process in scheduler[1]:
        process.kill()
    other = Path(shutil.copytree(PACKAGE, tmp_path / "other" / "pipeline"))
    with (other / "core" / "errors.py").open("a") as file:
        file.write("# another version\n")
    scheduler[1].append(worker(tmp_path / "scheduler.json", PYTHONPATH=str(other.parent)))
    run = ("run", CONFIG, "--input", rendered / "series", "--output", tmp_path / "out", *GIVEN)
    assert ish(*run, "--scheduler", "distributed", "--address", scheduler[0]) == 2
    assert "install one version on all" in capfd.readouterr().err


def test_too_little_memory_for_workers_is_refused(
    rendered: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    run = ("run", CONFIG, "--input", rendered / "series", "--output", tmp_path / "out", *GIVEN)
    site = ("--set", "cluster.memory=1GB", "--set", "cluster.processes=2", "--set", "cluster.cores=2")
    assert ish(*run, "--scheduler", "slurm", *site) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert "is 500 MB a worker, expected 512 MB and more" in line


def test_jobs_read_the_settings_of_workers() -> None:
    """As Dask itself reads its environment; a worker that pauses waits for ever."""
    lines = [line.removeprefix("export ").partition("=") for line in cluster._exports()]
    read = dask.config.collect_env({name: value for name, _, value in lines})
    assert read["distributed"]["worker"]["memory"] == {"target": False, "spill": False, "pause": False}


@pytest.fixture
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which SLURM's commands reach a SLURM of this one machine."""
    if (name := missing_command()) is not None:
        pytest.skip(f"{name} is not installed here: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("needs root: slurmd of its own is started")
    with tempfile.TemporaryDirectory(prefix="ish-slurm-", dir="/tmp") as folder, ExitStack() as stack:
        try:
            environment = stack.enter_context(one_node_slurm(Path(folder)))
        except RuntimeError as error:
            pytest.skip(f"SLURM cannot be started here: {error}")
        yield environment


def test_a_failing_squeue_is_an_error_not_an_empty_list(tmp_path: Path) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho 'slurm_load_jobs error: no controller' >&2\nexit 1\n")
    squeue.chmod(0o755)
    with pytest.raises(RuntimeError, match="squeue ended with 1: slurm_load_jobs error: no controller"):
        running_jobs({"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("setting", "reason"),
    [("queue=normal", "invalid partition specified: normal"), ("memory=4GB", "node configuration is not")],
)
def test_what_slurm_refuses_is_one_line(
    setting: str, reason: str, slurm: dict[str, str], rendered: Path, tmp_path: Path
) -> None:
    words = ("run", CONFIG, "--input", rendered / "series", "--output", tmp_path / "out", *GIVEN)
    site = ("--set", "cluster.cores=1", "--set", "cluster.memory=700MB", "--set", f"cluster.{setting}")
    process = start(*words, *site, "--scheduler", "slurm", "--workers", 1, environment=slurm)
    printed = process.communicate(timeout=300)[1]
    assert process.returncode == 2, printed
    (line,) = printed.strip().splitlines()
    assert line.startswith("ish: cluster: SLURM refuses a job of these settings: ")
    assert reason in line


def test_a_batch_on_slurm_survives_the_end_of_one_of_its_jobs(
    slurm: dict[str, str], rendered: Path, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "site.yaml").write_text(
        "reference: {name: phantom}\n"
        "cluster: {cores: 1, memory: 700MB, walltime: '00:10:00', host: 127.0.0.1,"
        f" log_directory: {tmp_path}, local_directory: {tmp_path}}}\n"
    )
    words = (
        "run",
        tmp_path / "site.yaml",
        "--input",
        rendered / "series",
        "--output",
        tmp_path / "out",
        *GIVEN,
    )
    process = start(*words, "--scheduler", "slurm", "--workers", 2, environment=slurm)
    found: list[str] = []
    wait_for(lambda: found.extend(running_jobs(slurm)) or found or process.poll() is not None, 240.0)
    if found:  # a batch that is done before squeue answers has no job to end
        subprocess.run(["scancel", found[0]], env=os.environ | slurm, check=True)
    printed = process.communicate(timeout=300)[1]
    assert process.returncode == 0, printed
    assert digests(tmp_path / "out" / ID) == digests(finished)
    wait_for(lambda: not running_jobs(slurm))  # nothing is left behind
