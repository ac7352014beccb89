"""`ish reference symmetrise` and `map-points` as commands: one line an error, and nothing half written."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from brains import UM, brain, write_reference
from conftest import COMMAND, Ish
from matched_brains import bent, greys, waves, write_annotated

from pipeline.formats.volumes.nrrd_writer import write_nrrd


def verb(*words: object) -> list[str]:
    return ["reference", *map(str, words)]


def test_symmetrise_and_map_points(ish: Ish, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reference, out = write_reference(tmp_path / "ref", *brain()), tmp_path / "out"
    assert ish(*verb("symmetrise", reference, "--output", out, "--json")) == 0
    described = json.loads(capfd.readouterr().out)
    assert (described["verb"], described["directory"]) == ("symmetrise", str(out))
    assert len(described["inputs"]) == 3
    (tmp_path / "in.csv").write_text("x_um,y_um,z_um\n4000,3000,4000\n90000,0,0\n")
    assert ish(*verb("map-points", out, "--points", tmp_path / "in.csv", "--out", tmp_path / "to.csv")) == 0
    rows = (tmp_path / "to.csv").read_text().splitlines()
    r_um = float(rows[1].split(",")[-1])
    assert abs(r_um - described["midline_um"]) < UM / 8  # the brain is symmetric about R 4000
    assert rows[2] == "90000,0,0,,,"


def test_carry_and_map_points(ish: Ish, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reference = write_annotated(tmp_path / "ref", *bent(None, greys(1)))
    write_nrrd(tmp_path / "to_100.nrrd", bent(waves(6, 100.0), greys(1))[0], 100.0)
    out = tmp_path / "out"
    words = (
        "carry",
        reference,
        "--to",
        tmp_path / "to_100.nrrd",
        "--output",
        out,
        "--format",
        "nifti",
        "--json",
    )
    assert ish(*verb(*words)) == 0
    described = json.loads(capfd.readouterr().out)
    assert (described["verb"], described["quality"]["folds"]) == ("carry", 0)
    assert {"annotation_100.nii.gz", "jacobian_100.nrrd", "report.html"} <= {p.name for p in out.iterdir()}
    assert (out / "report.html").read_text().count("data:image/png") == 7  # planes, labels, Jacobian
    assert ish("reference", "info", "--reference", str(out)) == 0
    write_nrrd(tmp_path / "plain.nrrd", bent(None, greys(1))[0], 1.0)
    capfd.readouterr()
    assert ish(*verb("carry", reference, "--to", tmp_path / "plain.nrrd", "--output", tmp_path / "no")) == 1
    said = capfd.readouterr().err
    assert "plain.nrrd: expected a voxel size in its header, got none; add --spacing-um" in said
    assert said.count("\n") == 1


def test_average(ish: Ish, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    brains = [tmp_path / f"{name}_100.nrrd" for name in "ab"]
    for path, seed in zip(brains, (11, 12), strict=True):
        write_nrrd(path, bent(waves(seed, 100.0), greys(1))[0], 100.0)
    assert ish(*verb("average", *brains, "--output", tmp_path / "out", "--json")) == 0
    assert json.loads(capfd.readouterr().out)["quality"]["brains"] == 2
    assert (tmp_path / "out" / "brains" / "b_100" / "source_to_target.nrrd").is_file()
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/png") == 5  # planes, deviation
    assert ish(*verb("average", brains[0], "--output", tmp_path / "no")) == 1
    assert ish(*verb("average", brains[0], brains[0], "--output", tmp_path / "no")) == 1
    said = capfd.readouterr().err.splitlines()
    assert said[0].endswith("average: expected two brains or more, got 1; name more of them")
    assert "expected brains of different names, got a second a_100 beside" in said[1]
    assert len(said) == 2


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("missing.nrrd", 1, "expected a volume or a reference folder, got no such file"),
        ("plain.nrrd", 1, "expected a voxel size in its header, got none; add --spacing-um"),
        ("flat_200.nrrd", 1, "expected tissue that differs from its surroundings, got none"),
        ("empty", 1, "expected a template in the reference folder, got none"),
        ("labels_200.nrrd", 1, "expected grey values, got whole numbers up to 312782546; are they structure"),
    ],
)
def test_inputs_that_cannot_be_used_are_told_in_one_line(
    ish: Ish, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, status: int, message: str
) -> None:
    write_nrrd(tmp_path / "plain.nrrd", brain()[0], 1.0)
    write_nrrd(tmp_path / "flat_200.nrrd", np.ones((9, 9, 9), np.float32), UM)
    write_nrrd(tmp_path / "labels_200.nrrd", brain()[1], UM)
    (tmp_path / "empty").mkdir()
    assert ish(*verb("symmetrise", tmp_path / name, "--output", tmp_path / "out")) == status
    said = capfd.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused_with_status_2(
    ish: Ish, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    reference = write_reference(tmp_path / "ref", *brain())
    assert ish(*verb("symmetrise", reference, "--output", tmp_path / "out")) == 2
    assert "got one with notes.txt; name another, or add --force" in capfd.readouterr().err


@pytest.mark.slow
def test_killed_while_it_writes_it_starts_again(tmp_path: Path) -> None:
    reference, out = write_reference(tmp_path / "ref", *brain()), tmp_path / "out"
    command = [*COMMAND, *verb("symmetrise", reference, "--output", out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob(".unfinished-*")) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    assert len(list(tmp_path.glob(".unfinished-*-out"))) == 1
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "ref"]
