"""The script of a job array: what it calls `ish` with, and what it says where words are missing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from conftest import TESTS

SCRIPT = TESTS.parent / "workflows" / "slurm" / "array.sbatch"
JOB = {"SLURM_CPUS_PER_TASK": "4", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "16"}


def job(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a job does, with an `ish` that prints its words."""
    ish = folder / "ish"
    ish.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n", encoding="utf-8")
    ish.chmod(0o755)
    environment = os.environ | JOB | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", str(SCRIPT), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_job_takes_its_part(tmp_path: Path) -> None:
    done = job(tmp_path, "sagittal", "my series", "ccfv3", "runs")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [
        "run", "sagittal", "--input", "my series", "--reference", "ccfv3", "--output", "runs",
        "--scheduler", "processes", "--workers", "4", "--shard", "3/16",
    ]  # fmt: skip


def test_missing_words_are_named(tmp_path: Path) -> None:
    done = job(tmp_path, "sagittal", "series")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "expected CONFIG INPUT REFERENCE OUTPUT" in done.stderr
