"""`ish demo`: what it prints, and whose folder it removes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Ish


def test_a_small_demo_twice(ish: Ish, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--sections", 6, "--resolution-um", 20, "--alignment", "given", "--json")
    for _ in range(2):  # the second replaces the first
        assert ish("demo", tmp_path / "d", *options) == 0
        rows = {row["compared"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["structures, gridded truth"]["pearson"] > 0.9
    assert 0 < rows["mask"]["dice"] < 1
    assert (tmp_path / "d" / "runs" / "900001" / "report.html").is_file()


def test_a_folder_of_the_users_is_left_alone(
    ish: Ish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert ish("demo", tmp_path) == 2
    assert "got one with thesis.txt; name another" in capsys.readouterr().err
    assert ish("demo", tmp_path / "thesis.txt") == 2
    assert (tmp_path / "thesis.txt").read_text() == "mine"
