"""`ish reference plates`: plates as files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import cv2
import pytest

Ish = Callable[..., int]
PHANTOM = ("--resolution-um", "200")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_plates_are_written_with_their_index(ish: Ish, tmp_path: Path) -> None:
    assert ish("reference", "plates", tmp_path / "out", "--every-um", "2000", *PHANTOM) == 0
    found = rows(tmp_path / "out")
    assert {row["file"] for row in found} == {p.name for p in (tmp_path / "out").iterdir()} - {
        "index.csv",
        ".ish-pipeline.json",
    }
    assert [float(row["position_um"]) for row in found] == sorted(float(row["position_um"]) for row in found)
    for row in found:
        assert row["plane"] == "coronal"
        assert float(row["position_um"]) == 200 * int(row["section_number"])
        assert float(row["position_um"]) % 2000 == 0
        path = tmp_path / "out" / row["file"]
        if path.suffix == ".svg":
            width = float(ElementTree.parse(path).getroot().attrib["width"])
        else:
            width = cv2.imread(str(path)).shape[1]
        assert width * float(row["resolution_um"]) == pytest.approx(58 * 200, abs=200)


@pytest.mark.parametrize(("form", "endings"), [("svg", {".svg"}), ("png", {".png"})])
def test_one_form_only(ish: Ish, tmp_path: Path, form: str, endings: set[str]) -> None:
    words = ("--format", form, "--plane", "horizontal", "--every-um", "3000", *PHANTOM)
    assert ish("reference", "plates", tmp_path, *words) == 0
    assert {Path(row["file"]).suffix for row in rows(tmp_path)} == endings


def test_files_of_others_are_kept(ish: Ish, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.csv").write_text("mine")
    assert ish("reference", "plates", tmp_path, "--every-um", "3000", *PHANTOM) == 2
    assert "index.csv is there already" in capsys.readouterr().err
    assert (tmp_path / "index.csv").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["index.csv"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--plane", "oblique"), "--plane: expected coronal, sagittal, horizontal, got 'oblique'"),
        (("--format", "pdf"), "--format: expected svg, png, both, got 'pdf'"),
        (("--every-um", "0"), "--every-um: expected a distance above 0 um, got 0"),
        (("--every-um", "nan"), "--every-um: expected a distance above 0 um, got nan"),
    ],
)
def test_wrong_options(
    ish: Ish, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert ish("reference", "plates", tmp_path / "out", *words, *PHANTOM) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
