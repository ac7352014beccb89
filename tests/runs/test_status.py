"""`ish status` from another terminal: while a run goes on, after it died, after it ended."""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path

import pytest
from conftest import ID, Ish

from pipeline.system.locks import DEAD_S, NAME, hold


@pytest.fixture
def half(finished: Path, tmp_path: Path) -> Path:
    """A run that has measured all six sections, detected in two, and done no more."""
    run = tmp_path / "out" / ID
    shutil.copytree(finished, run)
    late = [p for p in (run / "receipts").iterdir() if not p.name.startswith("measure")]
    for path in sorted(late)[3:]:  # align and the first two of detect stay
        path.unlink()
    (run / "receipts" / "align.json").unlink()
    return run


def rows_of(folder: Path, ish: Ish, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert ish("status", folder, "--json") == 0
    return {row["stage"]: row for row in json.loads(capsys.readouterr().out)}


def test_a_run_under_way(half: Path, ish: Ish, capsys: pytest.CaptureFixture[str]) -> None:
    with hold([half]):
        rows = rows_of(half.parent, ish, capsys)
    states = {stage: row["state"] for stage, row in rows.items()}
    assert states == {
        "measure": "done", "pool": "running", "detect": "waiting", "align": "running", "grid": "waiting",
        "unionize": "waiting", "summarise": "waiting", "report": "waiting",
    }  # fmt: skip
    assert (rows["detect"]["done"], rows["detect"]["tasks"]) == (2, 6)
    assert (rows["grid"]["done"], rows["grid"]["tasks"]) == (0, 1)


def test_a_run_that_was_killed(half: Path, ish: Ish, capsys: pytest.CaptureFixture[str]) -> None:
    gone = {"host": platform.node(), "pid": 2**22 + 1, "since": "then"}
    (half / NAME).write_text(json.dumps(gone))
    rows = rows_of(half, ish, capsys)
    assert rows["measure"]["state"] == "done"
    assert {rows[s]["state"] for s in ("detect", "align", "grid", "report")} == {"unfinished"}


def test_a_run_on_another_machine(half: Path, ish: Ish, capsys: pytest.CaptureFixture[str]) -> None:
    sign = half / NAME
    sign.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "then"}))
    assert rows_of(half, ish, capsys)["align"]["state"] == "running"
    then = sign.stat().st_mtime - 2 * DEAD_S
    os.utime(sign, (then, then))
    assert rows_of(half, ish, capsys)["align"]["state"] == "unfinished"


def test_a_run_that_ended(finished: Path, ish: Ish, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(finished, ish, capsys)
    assert {row["state"] for row in rows.values()} == {"done"}
    assert [row["tasks"] for row in rows.values()] == [6, 1, 6, 1, 1, 1, 1, 1]


def test_sections_that_the_run_no_longer_takes_do_not_count(
    half: Path, ish: Ish, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = json.loads((half / "plan.json").read_text())
    (half / "plan.json").write_text(json.dumps({"section_numbers": plan["section_numbers"][:2]}))
    rows = rows_of(half, ish, capsys)
    assert (rows["measure"]["done"], rows["measure"]["tasks"]) == (2, 2)
    assert rows["detect"]["state"] == "done"


def test_a_series_that_could_not_be_read(
    tmp_path: Path, ish: Ish, capsys: pytest.CaptureFixture[str]
) -> None:
    receipts = tmp_path / "out" / "torn" / "receipts"
    receipts.mkdir(parents=True)
    (receipts / "read.json").write_text(json.dumps({"task": "read", "state": "failed", "digest": ""}))
    assert rows_of(tmp_path / "out", ish, capsys)["read"]["state"] == "failed"
