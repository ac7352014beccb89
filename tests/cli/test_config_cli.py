"""`ish config`: shown, described, checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Ish

from pipeline.inputs.config import load_config
from pipeline.inputs.config_keys import config_keys, config_schema


def test_show_lists_every_key(ish: Ish, capsys: pytest.CaptureFixture[str]) -> None:
    assert ish("config", "show", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["key"] for row in rows] == [key.key for key in config_keys()]
    assert {row["from"] for row in rows} == {"default"}


def test_show_of_what_is_changed(ish: Ish, capsys: pytest.CaptureFixture[str]) -> None:
    assert ish("config", "show", "phantom", "--changed", "--set", "gridding.smoothing_um=150") == 0
    _, name, smoothing = capsys.readouterr().out.splitlines()
    assert name.split()[:2] == ["reference.name", '"phantom"']
    assert smoothing.split() == ["gridding.smoothing_um", "150.0", "um", "0", "to", "2000", "--set"]
    assert ish("config", "show", "--changed") == 0
    assert "every key holds its default" in capsys.readouterr().err


def test_a_file_to_begin_from(ish: Ish, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert ish("config", "show", "phantom", "--yaml", "--set", "gridding.smoothing_um=150") == 0
    path = tmp_path / "mine.yaml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_config(path) == load_config(Path("phantom"), ["gridding.smoothing_um=150"])


def test_schema(ish: Ish, capsys: pytest.CaptureFixture[str]) -> None:
    assert ish("config", "schema") == 0
    assert json.loads(capsys.readouterr().out) == config_schema()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("alignment.name=joined", "expected one of given, joint"),
        ("alignment.configuration.bnding=1", "did you mean bending?"),
        ("sweep.detection.configuration.contrast=6,600", "expected a number from 1 to 100, got 600"),
    ],
)
def test_check_finds_what_a_run_would(
    setting: str, message: str, ish: Ish, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ish("config", "check", "coronal", "--set", setting) == 2
    assert message in capsys.readouterr().err


def test_check_counts_the_combinations(ish: Ish, capsys: pytest.CaptureFixture[str]) -> None:
    assert ish("config", "check", "coronal") == 0
    assert capsys.readouterr().err == "coronal: can be used\n"
    assert ish("config", "check", "coronal", "--set", "sweep.gridding.smoothing_um=100,200,300") == 0
    assert "3 combinations" in capsys.readouterr().err
