"""What a change makes run again, and what `ish status` says of it before."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND, CONFIG, GIVEN, ID, Ish

from pipeline.core.package import PACKAGE
from pipeline.store.run import OLDER

ALL = ["measure", "pool", "detect", "align", "grid", "unionize", "summarise", "report"]


@pytest.fixture
def run(rendered: Path, finished: Path, tmp_path: Path) -> Path:
    """A copy of the series, and of its finished run made from that copy."""
    shutil.copytree(rendered / "series", tmp_path / "series", copy_function=shutil.copy2)
    return Path(shutil.copytree(finished, tmp_path / "out" / ID))


def again(folder: Path, ish: Ish, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    capsys.readouterr()
    assert ish("status", folder, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    return {row["stage"]: row["again"] for row in rows if row["again"]}


def test_a_finished_run_stands(finished: Path, ish: Ish, capsys: pytest.CaptureFixture[str]) -> None:
    assert again(finished, ish, capsys) == {}


def test_which_input_has_changed_is_reported(
    run: Path, rendered: Path, tmp_path: Path, ish: Ish, capsys: pytest.CaptureFixture[str]
) -> None:
    series = tmp_path / "series"
    assert ish("run", CONFIG, "--input", series, "--output", tmp_path / "out", *GIVEN) == 0
    assert again(run, ish, capsys) == {}
    image = series / "section_s0026.jpg"
    image.write_bytes(image.read_bytes() + b"\0")
    found = again(run, ish, capsys)
    assert found["measure"] == "image (section 26)"
    assert found["detect"] == found["align"] == "after measure"
    manifest = series / "section_data_set.yaml"
    manifest.write_text(re.sub("gene: .*", "gene: Xyz", manifest.read_text()))
    assert "what was read" in again(run, ish, capsys)["summarise"]
    shutil.rmtree(series)
    assert again(run, ish, capsys) == {}  # what it read is gone: nothing is known but its code


@pytest.mark.filterwarnings("default::pipeline.core.errors.OlderRunWarning")
def test_another_configuration_and_older_receipts(
    run: Path, tmp_path: Path, ish: Ish, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (run / "receipts").glob("*.json"):
        document = json.loads(path.read_text())
        for name in ("parts", "seal", "outputs"):
            document.pop(name)
        path.write_text(json.dumps(document))
    found = again(run, ish, capsys)
    assert list(found) == ALL
    assert found["measure"] == "made by version 0.1, which recorded no digests"
    sync = ("sync", "image-to-reference", run, "--section", "26", "--x", "9", "--y", "9")
    for words in (sync, ("export", run, "--format", "tfm"), ("index", run, "--output", tmp_path / "index")):
        done = subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if "version 0.1" in line]
        assert line == f"warning: {run}: {OLDER}"


def call(package: Path, *words: object) -> str:
    """Run the command of a copy of the package; return what it says."""
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        capture_output=True, text=True, check=True, cwd=package.parent, env=environment,
    )  # fmt: skip
    return done.stdout + done.stderr


def ran(printed: str) -> list[str]:
    """Return the tasks that a log says were done."""
    return [line.split()[0] for line in printed.splitlines() if " done in " in line]


def test_only_what_a_change_can_reach_runs_again(rendered: Path, tmp_path: Path) -> None:
    package = tmp_path / PACKAGE.name
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    words = ("run", CONFIG, "--input", rendered / "series", "--output", tmp_path / "out", *GIVEN)
    call(package, *words)
    for name in ("core/model.py", "quantification/gridding.py"):
        (package / name).write_text("# a comment\n" + (package / name).read_text())
    assert "nothing to do: all 18 tasks" in call(package, *words)
    page = package / "report" / "report.html.j2"
    page.write_text(page.read_text().replace("</style>", "p { color: #123 }\n</style>", 1))
    assert ran(call(package, *words)) == ["report"]
    gridding = package / "quantification" / "gridding.py"
    gridding.write_text(gridding.read_text() + "\nX = 1\n")
    status = json.loads(call(package, "status", tmp_path / "out", "--json"))
    assert {row["stage"]: row["again"] for row in status if row["again"]} == {
        "grid": "code", "unionize": "after grid", "summarise": "after grid", "report": "code; after grid",
    }  # fmt: skip
    assert ran(call(package, *words)) == ["grid", "unionize", "summarise", "report"]
