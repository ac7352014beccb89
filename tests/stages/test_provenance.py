"""provenance.json records how a run was made, and `ish run --config-from` makes it again."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import CONFIG, ID, Ish, digests, vouch

from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.runs.repeat import repeat
from pipeline.stages import provenance
from pipeline.stages.provenance import checksum, reference_origin, stage_costs
from pipeline.store.tasks import Receipt


@pytest.fixture
def run(rendered: Path, finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run whose series a test may damage."""
    series = Path(shutil.copytree(rendered / "series", tmp_path / "series"))
    folder = Path(shutil.copytree(finished, tmp_path / "out" / ID))
    path = folder / "provenance.json"
    path.write_text(path.read_text().replace(str(rendered / "series"), str(series)))
    vouch(folder)
    return folder


def document(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "provenance.json").read_text()))


def test_everything_that_made_a_run_is_recorded(finished: Path, rendered: Path) -> None:
    recorded = document(finished)
    assert recorded["source"] == str(rendered / "series")
    assert {Path(p).name for p in recorded["manifests"]} == {
        "sections.csv", "section_data_set.yaml", "alignment.json",
    }  # fmt: skip
    for path, digest in {**recorded["inputs"], **recorded["manifests"]}.items():
        assert checksum(Path(path)) == digest
    assert recorded["configuration"]["reference"]["resolution_um"] == 100
    assert recorded["configuration"]["alignment"]["name"] == "given"
    assert len(recorded["configuration_digest"]) == 64
    assert recorded["host"]["processors"] > 0
    assert recorded["packages"].keys() >= {"numpy", "zarr", "SimpleITK"}
    assert recorded["reference"]["name"] == "phantom"
    stages = recorded["stages"]
    assert [stages[name]["tasks"] for name in ("measure", "detect", "align", "grid")] == [6, 6, 1, 1]
    assert all(s["wall_s"] >= 0 and s["cpu_s"] >= 0 and s["peak_mb"] > 50 for s in stages.values())


def test_the_commit_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provenance.git_state.cache_clear()
    monkeypatch.setattr(provenance, "CHECKOUT", tmp_path)
    assert provenance.git_state() is None  # installed, not checked out
    provenance.git_state.cache_clear()

    def git(*words: str) -> str:
        settings = ("user.name=a", "user.email=a@b", "commit.gpgsign=false", "core.hooksPath=/dev/null")
        options = [word for setting in settings for word in ("-c", setting)]
        command = ["git", "-C", str(tmp_path), *options, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "a.py").touch()
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    assert provenance.git_state() == {"commit": git("rev-parse", "HEAD").strip(), "changed": False}
    provenance.git_state.cache_clear()
    (tmp_path / "pipeline" / "a.py").write_text("1")
    state = provenance.git_state()
    provenance.git_state.cache_clear()
    assert state is not None
    assert state["changed"]


def test_stages_sum_their_tasks() -> None:
    receipts = {
        "measure-00001": Receipt("measure-00001", "done", "", wall_s=1.5, cpu_s=1.0, peak_mb=300.0),
        "measure-00009": Receipt("measure-00009", "failed", "", wall_s=0.5, cpu_s=0.25, peak_mb=500.0),
        "align": Receipt("align", "done", "", wall_s=4.0, cpu_s=8.0, peak_mb=400.0),
    }
    assert stage_costs(receipts) == {
        "measure": {"tasks": 2, "wall_s": 2.0, "cpu_s": 1.25, "peak_mb": 500.0},
        "align": {"tasks": 1, "wall_s": 4.0, "cpu_s": 8.0, "peak_mb": 400.0},
    }


def test_a_run_is_repeated_exactly(run: Path, finished: Path, tmp_path: Path, ish: Ish) -> None:
    assert ish("run", "--config-from", run, "--output", tmp_path / "again") == 0
    assert digests(tmp_path / "again" / ID) == digests(finished)
    again, first = document(tmp_path / "again" / ID), document(run)
    for key in ("configuration", "configuration_digest", "inputs", "manifests", "reference", "source"):
        assert again[key] == first[key], key


def test_a_run_is_repeated_with_a_change(run: Path) -> None:
    plan = repeat(run, ["gridding.smoothing_um=150"])
    assert (plan.config.gridding.smoothing_um, plan.config.alignment.name) == (150.0, "given")
    assert plan.config.reference.resolution_um == 100.0
    assert plan.differences == ()


def test_other_software_is_noted(
    run: Path, ish: Ish, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recorded = document(run)
    recorded["packages"]["numpy"] = "1.0"
    recorded["code_digest"] = "another"
    (run / "provenance.json").write_text(json.dumps(recorded))
    vouch(run)
    assert ish("run", "--config-from", run, "--output", run.parent) == 0
    printed = capfd.readouterr().err
    assert f"warning: differs from {run}: numpy 1.0 -> " in printed
    assert "code of ish-pipeline another ->" in printed


def test_inputs_that_changed_are_refused_unless_given(run: Path, tmp_path: Path) -> None:
    series = tmp_path / "series"
    image = sorted(series.glob("*.jpg"))[2]
    data = image.read_bytes()
    image.write_bytes(data + b" ")
    with pytest.raises(DataError, match=f"{image.name}, which has changed since"):
        repeat(run)
    assert repeat(run, inputs=[series]).inputs == (series,)
    image.write_bytes(data)
    (series / "section_data_set.yaml").write_text("id: 1")
    with pytest.raises(DataError, match=r"section_data_set\.yaml, which has changed"):
        repeat(run)
    shutil.rmtree(series)
    with pytest.raises(DataError, match="which is gone"):
        repeat(run)


def test_the_reference_must_be_the_same(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISH_REFERENCE", str(tmp_path))
    with pytest.raises(ConfigError, match="against the phantom, but ISH_REFERENCE is set"):
        repeat(run)
    assert repeat(run, reference=tmp_path).reference == tmp_path
    folder = tmp_path / "brain"
    folder.mkdir()
    (folder / "structure_graph_1.json").write_text("{}")
    recorded = document(run) | {"reference_directory": str(folder), "reference": reference_origin(folder)}
    (run / "provenance.json").write_text(json.dumps(recorded))
    vouch(run)
    assert repeat(run).reference == folder
    (folder / "structure_graph_1.json").write_text("{ }")
    with pytest.raises(DataError, match=r"structure_graph_1\.json, which has changed since"):
        repeat(run)


def test_an_atlas_of_another_maker_names_its_own_citation(tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_text('{"name": "toy_rat", "citation": "Rat et al."}')
    (tmp_path / "structures.json").write_text("[]")
    (tmp_path / "annotation.tiff").write_bytes(b"labels")
    origin = reference_origin(tmp_path)
    assert (origin["name"], origin["citation"], origin["terms"]) == ("toy_rat", "Rat et al.", None)
    assert origin["files"]["annotation.tiff"] == checksum(tmp_path / "annotation.tiff")


def test_what_cannot_be_repeated(run: Path, tmp_path: Path, ish: Ish) -> None:
    with pytest.raises(MissingResultError, match=r"is .* a finished run"):
        repeat(tmp_path)
    (run / "provenance.json").write_text("{}")
    vouch(run)
    with pytest.raises(DataError, match="written by an older version"):
        repeat(run)
    assert ish("run") == 2
    assert ish("run", CONFIG, "--config-from", run) == 2


def test_a_folder_has_a_checksum_of_names_and_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "c").mkdir(parents=True)
        (tmp_path / name / "c" / "0").write_bytes(b"12")
    assert checksum(tmp_path / "a") == checksum(tmp_path / "b")
    (tmp_path / "b" / "c" / "0").rename(tmp_path / "b" / "c" / "1")
    assert checksum(tmp_path / "a") != checksum(tmp_path / "b")
