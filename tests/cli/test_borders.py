"""Where the command ends: streams that close or show no such text, faults, read-only places."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COMMAND, CONFIG, GIVEN, ID, Ish

from pipeline.cli.borders import unbroken
from pipeline.cli.outcome import ending
from pipeline.core.compiled_cache import cache_folder
from pipeline.formats.tables.tables import read_cells, write_csv
from pipeline.stages.summarise import series_messages
from pipeline.store.tasks import Receipt


def test_the_end_of_a_run_says_what_users_look_for(
    rendered: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("run", CONFIG, "--input", rendered / "series", "--output", tmp_path, *GIVEN)
    assert ish(*words) == 0
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == f"{ID}: sections: 6 pass, 0 check, 0 fail; page: {tmp_path / ID / 'report.html'}"
    assert ish(*words) == 0
    printed = capfd.readouterr().err.splitlines()
    assert printed[-2] == last
    assert printed[-1].startswith("nothing to do: all ")
    assert ending([], tmp_path) == []


def test_one_cause_has_one_message() -> None:
    failed = {
        f"measure-0000{n}": Receipt(
            f"measure-0000{n}", "failed", "", f"/a/{n}.jpg: expected a JPEG, got text"
        )
        for n in range(1, 4)
    }
    other = {"align": Receipt("align", "failed", "", "too few sections")}
    assert series_messages(failed | other) == [
        "measure of sections 1, 2 and 3: /a/1.jpg: expected a JPEG, got text",
        "align: too few sections",
    ]
    assert series_messages(dict(list(failed.items())[:1])) == [
        "measure-00001: /a/1.jpg: expected a JPEG, got text"
    ]


def test_a_spreadsheet_runs_no_cell(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    texts = ["=cmd|'/c calc'!A0", "+1", "-x", "@SUM(A1)", "Prox1", "'quoted"]
    write_csv(path, {"gene": texts, "energy": [-1.5, 1.0, 2.0, 3.0, 4.0, 5.0]})
    lines = path.read_text().splitlines()[1:]
    assert [line[0] for line in lines[:4]] == ["'"] * 4
    assert lines[0].endswith(",-1.5")  # a number is no formula
    assert [row[0] for _, row in read_cells(path)[1]] == texts


def test_a_reader_that_goes_away_and_a_terminal_of_ascii(finished: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    process = subprocess.Popen(
        [*COMMAND, "status", str(finished)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    process.stdout.close()
    assert b"Traceback" not in process.communicate()[1]
    gone = os.fsdecode(b"/tmp/no\xfffolder")
    done = subprocess.run([*COMMAND, "status", gone], capture_output=True, env=environment, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (1, False)


def test_an_unforeseen_fault_is_one_line_and_a_file(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"), unbroken():
        raise TypeError("nobody thought of this")
    printed = capfd.readouterr().err
    assert printed.count("\n") == 1
    story = Path(printed.rpartition(" with ")[2].strip())
    assert "nobody thought of this" in story.read_text()
    story.unlink()


def test_kernels_find_a_place_where_the_package_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder(tmp_path) is None
    monkeypatch.setattr("os.access", lambda path, mode: not str(path).startswith(str(tmp_path / "package")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = cache_folder(tmp_path / "package")
    assert found is not None
    assert found.is_relative_to(tmp_path / "cache")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no home to write in
    other = cache_folder(tmp_path / "package")
    assert other is not None
    assert not other.is_relative_to(tmp_path)


def test_windows_is_refused_in_one_line() -> None:
    code = "import sys; sys.platform = 'win32'; import pipeline"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "ish: Windows is not supported; it runs in WSL, the Windows Subsystem for Linux\n"


def test_folders_whose_names_are_no_utf8_work(rendered: Path, tmp_path: Path, ish: Ish) -> None:
    series = tmp_path / os.fsdecode(b"series\xff")
    series.symlink_to(rendered / "series")
    output = tmp_path / os.fsdecode(b"out\xfe")
    assert ish("run", CONFIG, "--input", series, "--output", output, *GIVEN) == 0
    assert (output / ID / "structure_unionize.parquet").exists()
    assert ish("report", output) == 0
    assert ish("export", output / ID, "--format", "csv") == 0


def test_what_the_machine_refuses_is_no_fault_of_ours(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"), unbroken():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/data/x")
    assert capfd.readouterr().err == "ish: /data/x: cannot be read or written: Permission denied\n"


def test_a_pattern_that_the_shell_expanded_is_explained(
    tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ish("run", CONFIG, "--input", tmp_path, tmp_path / "b", "--output", tmp_path / "o") == 2
    printed = capfd.readouterr().err
    assert "expected --input before each path, and patterns in quotes" in printed
    assert printed.count("\n") == 1


def without_rights(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command as one whom rights bind; root is bound by none."""
    drop = ("setpriv", "--inh-caps=-all", "--bounding-set=-all") if os.geteuid() == 0 else ()
    return subprocess.run([*drop, *COMMAND, *map(str, words)], capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root, and no setpriv")
def test_folders_without_rights_end_nothing_else(rendered: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(rendered / "series", tmp_path / "in" / "good")
    shutil.copytree(finished, tmp_path / "runs" / "good")
    closed = [tmp_path / "in" / "lost+found", tmp_path / "runs" / "closed"]
    for folder in closed:
        folder.mkdir(mode=0)
    try:
        out = tmp_path / "out"
        ran = without_rights("run", CONFIG, "--input", tmp_path / "in", "--output", out, *map(str, GIVEN))
        assert (out / ID / "structure_unionize.csv").exists(), ran.stderr
        built = without_rights("index", tmp_path / "runs", "--output", tmp_path / "index")
        status = without_rights("status", tmp_path / "runs")
    finally:
        for folder in closed:
            folder.chmod(0o755)
    printed = ran.stderr + built.stderr + status.stderr
    assert "Traceback" not in printed
    assert "unexpected" not in printed
    assert "closed: cannot be read: Permission denied" in built.stderr
    assert "good: added" in built.stderr + built.stdout
    assert status.returncode == 0


def test_a_log_says_a_cause_once(
    rendered: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    series = shutil.copytree(rendered / "series", tmp_path / "series")
    images = sorted(series.glob("*.jpg"))
    for image in images[1:]:
        image.write_bytes(b"no picture")
    assert ish("run", CONFIG, "--input", series, "--output", tmp_path / "out", *GIVEN) == 0
    printed = capfd.readouterr().err
    assert printed.count("failed: ") == 1
    assert printed.count("expected TIFF, JPEG, PNG or JPEG 2000") == 2  # as it happens, and at the end
    assert ish("run", CONFIG, "--input", images[0], "--output", tmp_path / "o", *GIVEN) == 2
    assert f"got a file; give its folder, {series}" in capfd.readouterr().err
