"""Series of one brain in one run: aligned together, whatever engine runs them and whichever fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import CONFIG, Ish, digests

from pipeline.core.model import Alignment2d, Alignment3d, SectionAlignment, SeriesAlignment
from pipeline.formats.alignments.alignment_json import read_alignment
from pipeline.inputs.config import load_config
from pipeline.phantom.scenes import render_options, specimen_scenes
from pipeline.phantom.write_series import SeriesForm, write_phantom_series
from pipeline.registration import SectionThumbnail, Series
from pipeline.runs.plan import Plan, plan_jobs

COARSE = ("--set", "reference.resolution_um=100")
IDS = ("900003", "900004")


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series of six sections, cut in turns from one phantom brain."""
    folder = tmp_path_factory.mktemp("brain")
    for scene in specimen_scenes("sagittal", 2, 6, 48.0, render_options({"seed": 3, "stain_gain": 0.3})):
        write_phantom_series(
            folder / str(scene.geometry.data_set.id), scene, SeriesForm(give_alignment=False)
        )
    return folder


def quick(thumbnails: Sequence[SectionThumbnail], among: int) -> SeriesAlignment:
    """Stands for an aligner: the Alignment3d shows of how many sections it was made."""
    z = np.array([[1.0, 0.0, 0.0, 10.0 * among], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    sections = tuple(
        SectionAlignment(Alignment2d(t.section_number, t.resolution_um * np.eye(2, 3))) for t in thumbnails
    )
    return SeriesAlignment(Alignment3d(10, z), sections)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let alignments take no time; records the number of series of each call."""
    calls: list[int] = []

    def specimen(series: Sequence[Series], reference: object) -> list[SeriesAlignment]:
        calls.append(len(series))
        among = sum(len(one.thumbnails) for one in series)
        return [quick(one.thumbnails, among) for one in series]

    def alone(thumbnails: Sequence[SectionThumbnail], *rest: object) -> SeriesAlignment:
        calls.append(1)
        return quick(thumbnails, len(thumbnails))

    monkeypatch.setattr("pipeline.stages.align.align_specimen", specimen)
    monkeypatch.setattr("pipeline.stages.align.align_series", alone)
    return calls


def matrix(output: Path, series: str) -> np.ndarray:
    return np.array(read_alignment(output / series / "alignment.json").alignment3d.volume_to_reference)


def times(output: Path) -> dict[str, int]:
    return {str(p.relative_to(output)): p.stat().st_mtime_ns for p in output.glob("*/receipts/*.json")}


def changed(output: Path, before: dict[str, int]) -> set[str]:
    return {name for name, when in times(output).items() if before.get(name) != when}


def copy_of(brain: Path, tmp_path: Path) -> list[Path]:
    return [Path(shutil.copytree(brain / i / "series", tmp_path / i)) for i in IDS]


def inputs(series: Sequence[Path]) -> list[object]:
    return [word for one in series for word in ("--input", one)]


def planned(series: Sequence[Path], *overrides: str, shard: tuple[int, int] = (1, 1)) -> list[object]:
    jobs, broken = plan_jobs(series, Plan(load_config(CONFIG, overrides), Path("out"), None), shard)
    assert not broken
    return list(jobs)


def rewrite(series: Path, **values: object) -> None:
    path = series / "section_data_set.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))


def test_both_have_one_alignment3d_and_a_note(
    brain: Path, quickly: list[int], tmp_path: Path, ish: Ish
) -> None:
    series = [brain / i / "series" for i in IDS]
    assert ish("run", CONFIG, *COARSE, *inputs(series), "--output", tmp_path / "a") == 0
    assert quickly == [2]
    assert np.array_equal(matrix(tmp_path / "a", IDS[0]), matrix(tmp_path / "a", IDS[1]))
    for mine, other in (IDS, IDS[::-1]):
        alignment = read_alignment(tmp_path / "a" / mine / "alignment.json")
        assert len(alignment.sections) == 6
        assert f"assumed: series {other} is from the same brain" in alignment.notes[-1]
        document = json.loads((tmp_path / "a" / mine / "section_data_set.json").read_text())
        assert not any("together" in warning for warning in document["warnings"])
    assert ish("run", CONFIG, *COARSE, *inputs(series[::-1]), "--output", tmp_path / "b") == 0
    for name in IDS:  # but for who keeps the parts
        ours, theirs = (
            {k: v for k, v in digests(tmp_path / o / name).items() if "siblings" not in k} for o in "ab"
        )
        assert ours == theirs


def test_what_hangs_on_a_changed_section_is_done_again(
    brain: Path, quickly: list[int], tmp_path: Path, ish: Ish
) -> None:
    series, output = copy_of(brain, tmp_path), tmp_path / "out"
    words = ("run", CONFIG, *COARSE, *inputs(series), "--output", output)
    assert ish(*words) == 0
    before = times(output)
    assert ish(*words) == 0
    assert changed(output, before) == set()
    (output / IDS[1] / "alignment.json").unlink()
    assert ish(*words) == 0  # its part is taken from where it is kept
    assert quickly == [2]
    lines = (series[1] / "sections.csv").read_text().splitlines(keepends=True)
    (series[1] / "sections.csv").write_text("".join(lines[:-1]))
    before = times(output)
    assert ish(*words) == 0
    again = changed(output, before)
    assert {f"{i}/receipts/{step}.json" for i in IDS for step in ("align", "grid")} <= again
    assert f"{IDS[0]}/receipts/detect-00010.json" not in again
    assert matrix(output, IDS[0])[0, 3] == matrix(output, IDS[1])[0, 3] == 110.0
    assert quickly == [2, 2]


def test_a_series_run_alone_is_aligned_alone(
    brain: Path, quickly: list[int], tmp_path: Path, ish: Ish
) -> None:
    series = [brain / i / "series" for i in IDS]
    words = ("run", CONFIG, *COARSE, "--output", tmp_path)
    assert ish(*words, *inputs(series)) == 0
    assert (tmp_path / IDS[0] / "siblings").exists()
    assert ish(*words, *inputs(series), "--set", "alignment.together=false") == 0
    assert ish(*words, *inputs(series[:1])) == 0
    assert quickly == [2, 1, 1, 1]
    assert matrix(tmp_path, IDS[0])[0, 3] == 60.0
    assert not (tmp_path / IDS[0] / "siblings").exists()


def test_a_series_that_cannot_be_read_leaves_the_other_as_if_alone(
    brain: Path, quickly: list[int], tmp_path: Path, ish: Ish
) -> None:
    series = copy_of(brain, tmp_path)
    for image in series[0].glob("*.jpg"):
        image.write_bytes(b"no image")
    assert ish("run", CONFIG, *COARSE, *inputs(series), "--output", tmp_path / "out") == 1
    found = read_alignment(tmp_path / "out" / IDS[1] / "alignment.json")
    assert len(found.sections) == 6
    assert not any("same brain" in note for note in found.notes)


@pytest.mark.slow
def test_the_engine_changes_nothing(brain: Path, tmp_path: Path, ish: Ish) -> None:
    series = inputs([brain / i / "series" for i in IDS])
    for engine, workers in (("threads", 1), ("processes", 2), ("distributed", 2)):
        words = ("run", CONFIG, *COARSE, *series, "--output", tmp_path / engine)
        assert ish(*words, "--scheduler", engine, "--workers", workers) == 0
    for name in IDS:
        first, *others = (
            digests(tmp_path / engine / name) for engine in ("threads", "processes", "distributed")
        )
        assert all(other == first for other in others)
    assert np.array_equal(matrix(tmp_path / "threads", IDS[0]), matrix(tmp_path / "threads", IDS[1]))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"section_thickness_um": 20.0}, "section_thickness_um 25.0, not 20.0: aligned separately"),
        ({"hemisphere": "right"}, "hemisphere left, not right: aligned separately"),
    ],
)
def test_series_that_cannot_be_of_one_block_are_aligned_separately(
    values: dict[str, object], expected: str, brain: Path, tmp_path: Path
) -> None:
    series = copy_of(brain, tmp_path)
    rewrite(series[1], **values)
    jobs = planned(series)
    assert [job.specimen_series for job in jobs] == [(), ()]  # type: ignore[attr-defined]
    assert jobs[1].warnings[-1].endswith(expected)  # type: ignore[attr-defined]


def test_numbers_that_two_series_have_are_named(brain: Path, tmp_path: Path) -> None:
    series = copy_of(brain, tmp_path)
    shutil.copytree(series[0], tmp_path / "third")
    rewrite(tmp_path / "third", id=5)
    jobs = planned([*series, tmp_path / "third"])
    assert [len(job.specimen_series) for job in jobs] == [0, 0, 0]  # type: ignore[attr-defined]
    expected = "series 5 has the same specimen 'phantom-3', but both have a section 10: aligned separately"
    assert expected in jobs[0].warnings[-1]  # type: ignore[attr-defined]
    assert jobs[1].warnings == ()  # type: ignore[attr-defined]


def test_series_of_one_specimen_go_into_one_shard(brain: Path) -> None:
    series = [brain / i / "series" for i in IDS]
    assert [len(planned(series, shard=(n, 2))) for n in (1, 2)] == [2, 0]
    apart = "alignment.together=false"
    assert [len(planned(series, apart, shard=(n, 2))) for n in (1, 2)] == [1, 1]
