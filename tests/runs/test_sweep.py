"""Sweeps over parameters: what variants share is computed once; runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import CONFIG, GIVEN, ID, Ish, digests

from pipeline.core.errors import ConfigError
from pipeline.formats.tables.tables import read_table
from pipeline.inputs.config import Config, load_config_file
from pipeline.runs.sweep import count_variants, variant_name, variants
from pipeline.store.run import RunFolder

SWEEP = """
reference: {name: phantom, resolution_um: 100}
alignment: {name: given}
sweep:
  detection.configuration.contrast: [6.0, 8.0, 10.0]
  detection: {configuration: {min_area_um2: [20.0, 60.0]}}
"""


@pytest.fixture(scope="module")
def swept(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a sweep of 3 x 2 detector parameters over the phantom series."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "sweep.yaml").write_text(SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        words = ["run", folder / "sweep.yaml", "--input", rendered / "series", "--output", folder / "out"]
        patch.setattr("sys.argv", ["ish", *map(str, words)])
        patch.delenv("ISH_REFERENCE", raising=False)
        from pipeline.cli import main

        with pytest.raises(SystemExit) as stop:
            main()
    assert stop.value.code == 0
    return folder / "out"


def computed(runs: list[Path], stage: str) -> int:
    """Return how many tasks of a stage were computed, not taken over, in all runs together."""
    receipts = [r for run in runs for n, r in RunFolder(run).receipts().items() if n.startswith(stage)]
    assert all(r.ok for r in receipts)
    return sum(1 for r in receipts if not r.taken_from)


def test_shared_stages_run_once(swept: Path) -> None:
    runs = [path / ID for path in sorted(swept.iterdir()) if path.is_dir()]
    assert len(runs) == 6
    assert {stage: computed(runs, stage) for stage in ("measure", "align", "detect", "grid", "unionize")} == {
        "measure": 6, "align": 1, "detect": 36, "grid": 6, "unionize": 6
    }  # fmt: skip


def test_a_variant_is_what_a_plain_run_gives(swept: Path, rendered: Path, tmp_path: Path, ish: Ish) -> None:
    plain = ("--set", "detection={name: adaptive, configuration: {contrast: 10.0, min_area_um2: 60.0}}")
    words = ("run", CONFIG, "--input", rendered / "series", "--output", tmp_path, *GIVEN, *plain)
    assert ish(*words) == 0
    assert digests(tmp_path / ID) == digests(swept / "contrast=10.0,min_area_um2=60.0" / ID)


def test_the_table_holds_every_variant(swept: Path) -> None:
    table = read_table(swept / "comparison.parquet")
    assert table["detection.configuration.contrast"] == [6.0, 6.0, 8.0, 8.0, 10.0, 10.0]
    assert table["shared_tasks"] == [0, 8, 8, 8, 8, 8]
    assert set(table["state"]) <= {"done", "flagged"}
    shares = table["expressing_share"]
    assert shares[0] > shares[2] > shares[4] > 0  # a higher contrast finds less
    assert any(name.startswith("energy_") for name in table)
    long = read_table(swept / "comparison_structures.parquet")
    assert len(set(long["run"])) == 6
    assert "DG" in long["acronym"]
    page = (swept / "comparison.html").read_text()
    assert f"contrast%3D6.0%2Cmin_area_um2%3D20.0/{ID}/report.html" in page


def test_only_what_differs_is_done_again(swept: Path, rendered: Path, tmp_path: Path, ish: Ish) -> None:
    (tmp_path / "s.yaml").write_text(
        "{reference: {name: phantom, resolution_um: 100}, alignment: {name: given},"
        " sweep: {gridding.smoothing_um: [100, 200]}}"
    )
    words = ("run", tmp_path / "s.yaml", "--input", rendered / "series", "--output", tmp_path / "out")
    assert ish(*words) == 0
    runs = [tmp_path / "out" / f"smoothing_um={n}" / ID for n in (100, 200)]
    assert computed(runs, "detect") == computed(runs, "measure") == 6
    assert computed(runs, "grid") == 2
    before = {p: p.stat().st_mtime_ns for run in runs for p in (run / "receipts").iterdir()}
    assert ish(*words) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_compare_shows_what_differs(
    swept: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    a, b = (swept / f"contrast={c},min_area_um2=20.0" / ID for c in ("6.0", "10.0"))
    assert ish("compare", a, b, "--json", "--output", tmp_path / "pair") == 0
    found = json.loads(capfd.readouterr().out)
    assert found["configuration"] == [{"key": "detection.configuration.contrast", "a": 6.0, "b": 10.0}]
    figures = {row["what"]: (row["a"], row["b"]) for row in found["figures"]}
    assert figures["brain_energy"][0] > figures["brain_energy"][1] > 0
    assert 0.5 < {row["what"]: row["value"] for row in found["grids"]}["correlation of energy"] < 1
    assert found["structures"][0]["a"] != found["structures"][0]["b"]
    assert (tmp_path / "pair" / "comparison.html").exists()
    assert ish("compare", a, a, "--json") == 0
    same = json.loads(capfd.readouterr().out)
    assert same["configuration"] == []
    assert all(row["a"] == row["b"] for row in same["structures"])
    assert ish("compare", a, b) == 0
    assert "contrast" in capfd.readouterr().out
    assert ish("compare", a, tmp_path) == 1
    assert "expected a run folder" in capfd.readouterr().err


def test_a_huge_sweep_asks_first(
    rendered: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    values = ", ".join(map(str, range(1, 101)))
    (tmp_path / "s.yaml").write_text(
        f"sweep: {{gridding.smoothing_um: [{values}], gridding.z_smoothing_um: [{values}]}}"
    )
    assert ish("run", tmp_path / "s.yaml", "--input", rendered / "series", "--output", tmp_path / "out") == 2
    printed = capfd.readouterr().err
    assert "10000 variants" in printed
    assert "--yes" in printed
    assert len(printed.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sweep: {gridding.smoothing_um: 3}", "expected a list of values"),
        ("sweep: [1]", "expected a list of values for each dotted key"),
        ("sweep: {gridding.smoothing_um: []}", "expected a list of values"),
        ("sweep: {gridding.smoothing_um: [1, 1]}", "listed twice"),
        (
            "sweep: {gridding.smoothing_um: [1, '1']}",
            "gridding.smoothing_um: expected values with a folder each, got 1 and '1', both 'smoothing_um=1'",
        ),
        ("sweep: {gridding.smoothing_um: [1, 2], detection.name: [otsu, Otsu]}", "got 'otsu' and 'Otsu'"),
        (
            "sweep: {gridding.smoothing_um: [1], gridding: {smoothing_um: [2]}}",
            "sweep.gridding.smoothing_um: the key is given twice",
        ),
        ("sweep: {gridding.smothing_um: [1]}", "did you mean smoothing_um"),
        ("sweep: {gridding.smoothing_um: [-1]}", "greater than or equal"),
        ("cluster: {qeueu: x}", "did you mean queue"),
    ],
)
def test_what_a_sweep_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        _read(tmp_path / "s.yaml")


def _read(path: Path) -> None:
    config_file = load_config_file(path)
    variants(config_file.config, config_file.sweep)


def test_names_and_counts() -> None:
    sweep = {"detection.name": ["otsu", "global"], "gridding.smoothing_um": [1, 2, 3]}
    assert count_variants(sweep) == 6
    found = variants(Config(), sweep)
    assert [v.name for v in found][:2] == ["name=otsu,smoothing_um=1", "name=otsu,smoothing_um=2"]
    assert found[-1].config.detection.name == "global"
    names = {variant_name({"a.b": value}) for value in ("x/y", "x:y", ["x", "y"], "z" * 200, "z" * 201)}
    assert len(names) == 5
    assert all("/" not in name and len(name) < 100 for name in names)
