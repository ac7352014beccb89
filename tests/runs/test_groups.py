"""Comparison of groups from a design file: what is read, what is refused, what is written."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.core.errors import ConfigError, DataError, PipelineError
from pipeline.core.model import BOTH, LEFT, RIGHT
from pipeline.inputs.references import open_reference
from pipeline.runs.groups import Options, compare_groups, write_comparison

Edit = Callable[[dict[str, Any]], dict[str, Any]]
ANIMALS = [
    ("a1", "control"),
    ("a2", "control"),
    ("a3", "control"),
    ("b1", "drug"),
    ("b2", "drug"),
    ("b3", "drug"),
]
CHANGED = 382  # CA1: halved by the drug
MADE = {
    "reference_directory": None,
    "reference": {"name": "phantom", "files": {}},
    "configuration": {"detection": {"name": "adaptive", "configuration": {}}},
}


def structures() -> list[int]:
    return [s.id for s in open_reference(None, 100.0).ontology.structures]


def write_run(folder: Path, seed: int, drug: bool, edit: Edit = dict, made: dict | None = MADE) -> None:
    """Write a structure table of random section energies, and the provenance of a phantom's run."""
    ids, rng = structures(), np.random.default_rng(seed)
    level = np.exp(np.random.default_rng(0).normal(1.5, 0.7, len(ids)))
    energy = level * rng.uniform(0.7, 1.4) * np.exp(0.06 * rng.normal(size=len(ids)))
    energy[ids.index(CHANGED)] *= 0.5 if drug else 1.0
    columns = {
        "section_data_set_id": np.full(len(ids), seed),
        "structure_id": np.array(ids),
        "hemisphere_id": np.full(len(ids), BOTH),
        "sum_pixels": np.full(len(ids), 1e6),
        "expression_energy": energy,
        "coverage": np.ones(len(ids)),
        "section_energy": energy,
        "section_energy_lower": energy * np.exp(-0.1),
        "section_energy_upper": energy * np.exp(0.1),
    }
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(edit(columns)), folder / "structure_unionize.parquet")
    if made is not None:
        (folder / "provenance.json").write_text(json.dumps(made))
        (folder / "section_data_set.json").write_text(json.dumps({"gene": "Prox1"}))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return a folder with runs of six animals."""
    for n, (animal, group) in enumerate(ANIMALS):
        write_run(tmp_path / "runs" / animal, n + 1, group == "drug")
    return tmp_path


def design(study: Path, rows: list[dict[str, str]] | None = None, **cells: list[str]) -> Path:
    """Write a design of all animals, with further columns."""
    rows = rows or [{"run": f"runs/{a}", "animal": a, "treatment": g} for a, g in ANIMALS]
    for name, values in cells.items():
        rows = [row | {name: value} for row, value in zip(rows, values, strict=True)]
    path = study / "design.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def changed_rows(**edits: Any) -> list[dict[str, str]]:
    """Return the rows of the design, with cells changed as {line: {column: cell}}."""
    rows = [{"run": f"runs/{a}", "animal": a, "treatment": g} for a, g in ANIMALS]
    return [row | edits.get(f"row{n}", {}) for n, row in enumerate(rows)]


def compare(path: Path, notes: list[str] | None = None, **options: Any) -> Any:
    lines = [] if notes is None else notes
    return compare_groups(path, Options(group="treatment", **options), lines.append)


def test_finds_the_structure_that_changed_and_writes_the_tables(study: Path) -> None:
    found = compare(design(study))
    files = write_comparison(study / "out", found)
    assert [f.name for f in files] == ["groups.csv", "animals.csv", "left_out.csv", "report.html"]
    with (study / "out" / "groups.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:9] == [
        "structure_id", "hemisphere_id", "n_1", "n_2", "effect", "effect_lower", "effect_upper", "p_value",
        "q_value",
    ]  # fmt: skip
    assert len(rows) > 90
    assert [row["acronym"] for row in rows if float(row["q_value"]) < 0.05] == ["CA1"]
    (hit,) = (row for row in rows if row["acronym"] == "CA1")
    assert float(hit["effect"]) == pytest.approx(math.log(0.5), abs=0.1)
    assert float(hit["effect_lower"]) < float(hit["effect"]) < float(hit["effect_upper"]) < 0
    assert (hit["hemisphere_id"], hit["n_1"], hit["n_2"]) == ("3", "3", "3")
    with (study / "out" / "animals.csv").open() as file:
        wide = list(csv.DictReader(file))
    assert list(wide[0]) == ["structure_id", "hemisphere_id", "acronym", *(a for a, _ in ANIMALS)]
    assert [row["structure_id"] for row in wide] == [row["structure_id"] for row in rows]


def test_animals_table_gives_the_effects_again_where_all_weigh_alike(study: Path) -> None:
    for n, (animal, group) in enumerate(ANIMALS):
        write_run(
            study / "runs" / animal, n + 1, group == "drug",
            lambda columns: {k: v for k, v in columns.items() if not k.endswith(("_lower", "_upper"))},
        )  # fmt: skip
    notes: list[str] = []
    found = compare(design(study), notes)
    assert any("all animals weigh alike" in line for line in notes)
    means = found.result.values[:, 3:].mean(axis=1) - found.result.values[:, :3].mean(axis=1)
    np.testing.assert_allclose(found.result.tests.effect, means)


def test_page_asks_nothing_of_the_network(study: Path) -> None:
    rows = changed_rows(row0={"animal": "<script>alert(1)</script>"})
    page = write_comparison(study / "out", compare(design(study, rows)))[-1].read_text()
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "CA1" in page


def test_nested_structures_are_never_tested_together(study: Path) -> None:
    ontology = open_reference(None, 100.0).ontology
    for which in ("summary", "leaves"):
        ids = {key[0] for key in compare(design(study), structures=which).keys}
        assert not any(set(ontology.path(i)[:-1]) & ids for i in ids)


def test_list_of_structures_is_taken_and_the_outer_of_nested_ones_left_out(study: Path) -> None:
    listed = study / "mine.csv"
    listed.write_text("\ufeffstructure_id;why\n382;x\n375;holds 382\n549;y\n4242;nowhere\n")
    notes: list[str] = []
    found = compare(design(study), notes, structures=str(listed))
    assert sorted(key[0] for key in found.keys) == [382, 549]
    assert any("375" in line or "CA" in line for line in notes if "hold others" in line)
    assert any("4242" in line for line in notes)
    assert found.result.q_value[[k[0] for k in found.keys].index(382)] < 0.05


def test_sides_are_rows_of_their_own(study: Path) -> None:
    def both_sides(columns: dict[str, Any]) -> dict[str, Any]:
        doubled = {name: np.concatenate([values, values * 1]) for name, values in columns.items()}
        half = len(columns["structure_id"])
        return doubled | {"hemisphere_id": np.repeat([LEFT, RIGHT], half)}

    for n, (animal, group) in enumerate(ANIMALS):
        write_run(study / "runs" / animal, n + 1, group == "drug", both_sides)
    found = compare(design(study), hemisphere="sides")
    assert {key[1] for key in found.keys} == {LEFT, RIGHT}
    with pytest.raises(DataError, match=r"a1 \(runs/a1\): expected rows of hemisphere_id 3, got 1, 2"):
        compare(design(study))


def test_half_brains_are_compared_on_their_side(study: Path) -> None:
    def half(columns: dict[str, Any]) -> dict[str, Any]:
        whole = {name: np.tile(values, 3) for name, values in columns.items()}
        sides, n = (LEFT, RIGHT, BOTH), len(columns["structure_id"])
        return whole | {"hemisphere_id": np.repeat(sides, n), "coverage": np.repeat((0.9, 0.05, 0.45), n)}

    write_run(study / "runs" / "a1", 1, False, half)  # the others are whole: the same as their left side
    notes: list[str] = []
    for animal, group in ANIMALS[1:]:  # copies: all hold the same numbers
        write_run(
            study / "runs" / animal,
            7,
            group == "drug",
            lambda c: half(c) | {"coverage": np.ones(3 * len(c["coverage"]))},
        )
    found = compare(design(study), notes)
    assert {key[1] for key in found.keys} == {LEFT}
    assert [line for line in notes if "left sides are compared" in line]
    with pytest.raises(DataError, match="too few covered structures"):
        compare(design(study), hemisphere="both")


def test_uncovered_structures_are_named(study: Path) -> None:
    def uncovered(columns: dict[str, Any]) -> dict[str, Any]:
        coverage = columns["coverage"].copy()
        coverage[list(columns["structure_id"]).index(CHANGED)] = 0.3
        return columns | {"coverage": coverage}

    write_run(study / "runs" / "a1", 1, False, uncovered)
    notes: list[str] = []
    found = compare(design(study), notes)
    assert any("too few animals cover them: CA1" in line for line in notes)
    assert CHANGED not in {key[0] for key in found.keys}
    assert [row[1:3] for row in found.result.left_out] == [(2, 3)]


def test_two_series_of_an_animal_are_averaged(study: Path) -> None:
    write_run(study / "runs" / "a1b", 77, False)
    rows = [*changed_rows(), {"run": "runs/a1b", "animal": "a1", "treatment": "control"}]
    found = compare(design(study, rows))
    assert found.animals == tuple(a for a, _ in ANIMALS)
    assert found.result.counts.max() == 3


def test_merged_table_is_taken_apart_into_series(study: Path) -> None:
    tables = [pq.read_table(study / "runs" / a / "structure_unionize.parquet") for a in ("a1", "a2")]
    (study / "merged").mkdir()
    pq.write_table(pa.concat_tables(tables), study / "merged" / "structure_unionize.parquet")
    notes: list[str] = []
    write_run(study / "runs" / "a4", 50, False)
    rows = [
        {"run": "merged", "animal": "m", "treatment": "control"},
        {"run": "runs/a3", "animal": "a3", "treatment": "control"},
        {"run": "runs/a4", "animal": "a4", "treatment": "control"},
        *changed_rows()[3:],
    ]
    found = compare(design(study, rows), notes)
    assert [s for s in found.series if s[0] == "m"] == [("m", "merged")] * 2
    assert any("no provenance.json" in line and "m (merged)" in line for line in notes)


def test_copied_numbers_are_told(study: Path) -> None:
    write_run(study / "runs" / "a2", 1, False)
    notes: list[str] = []
    compare(design(study), notes)
    assert any("hold the same numbers" in line for line in notes)


def test_spreadsheet_and_windows_forms_are_read(study: Path) -> None:
    path = study / "design.csv"
    body = "".join(f"{study}/runs/{a};  {a} ;{g};57,5\n" for a, g in ANIMALS[:5])
    path.write_text(f"\ufeffRun;Animal;Treatment;age\n{body}runs\\b3;b3;drug;57,5\n")
    notes: list[str] = []
    assert compare(path, notes, covariates=("age",)).animals[0] == "a1"
    assert any("covariate age: all animals have" in line for line in notes)


def test_measure_falls_back_aloud(study: Path) -> None:
    def grid_only(columns: dict[str, Any]) -> dict[str, Any]:
        return {name: values for name, values in columns.items() if not name.startswith("section_energy")}

    write_run(study / "runs" / "b2", 5, True, grid_only)
    notes: list[str] = []
    assert compare(design(study), notes).measure == "expression_energy"
    assert any("b2 (runs/b2) has no section_energy: expression_energy" in line for line in notes)
    with pytest.raises(
        ConfigError, match=r"b2 \(runs/b2\) has none; all runs have expression_energy; choose"
    ):
        compare(design(study), measure="section_energy")


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"row2": {"run": ""}}, "line 4: animal a3 has no run"),
        ({"row2": {"run": "runs/zz"}}, "line 4: run 'runs/zz' of animal a3: no such run"),
        ({"row2": {"run": "runs"}}, "line 4: run 'runs' of animal a3: no structure_unionize.parquet in it"),
        ({"row2": {"run": r"D:\data\a3"}}, "of animal a3: no such run"),
        ({"row2": {"animal": "a1", "treatment": "drug"}}, "animal a1 has treatment 'drug', on line 2"),
        ({"row2": {"run": "runs/a1"}}, "run 'runs/a1' is on line 2 already"),
        ({"row2": {"animal": ""}}, "line 4: expected a value in column animal"),
        ({"row2": {"treatment": "drug"}}, "group control of treatment: expected at least 3 animals, got 2"),
        ({"row2": {"treatment": "sham"}}, "expected two groups in column treatment, got 3: control,"),
    ],
)  # fmt: skip
def test_bad_designs_get_one_line_and_leave_no_table(study: Path, edits: dict, message: str) -> None:
    path = design(study, changed_rows(**edits))
    with pytest.raises(PipelineError) as error:
        compare(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_more_than_two_groups_are_compared_as_named(study: Path) -> None:
    for n in range(3):
        write_run(study / "runs" / f"c{n}", 20 + n, False)
    rows = [
        *changed_rows(),
        *({"run": f"runs/c{n}", "animal": f"c{n}", "treatment": "sham"} for n in range(3)),
    ]
    path = design(study, rows)
    found = compare(path, pair="drug,sham")
    assert found.groups == ("drug", "sham", "control")
    (effect,) = (e for e, k in zip(found.result.tests.effect, found.keys, strict=True) if k[0] == CHANGED)
    assert effect == pytest.approx(math.log(2), abs=0.1)
    with pytest.raises(ConfigError, match="no group 'shame'"):
        compare(path, pair="drug,shame")


def test_covariate_that_equals_the_group_is_refused(study: Path) -> None:
    path = design(study, batch=["1"] * 3 + ["2"] * 3)
    with pytest.raises(ConfigError, match="covariate batch: determines treatment"):
        compare(path, covariates=("batch",))
    with pytest.raises(ConfigError, match="no column 'batsh'; did you mean batch"):
        compare(path, covariates=("batsh",))


def test_whole_numbers_are_categories_unless_said(study: Path) -> None:
    path = design(study, batch=list("121212"))
    assert compare(path, covariates=("batch",)).covariates == ("batch=2",)
    assert compare(path, covariates=("batch:number",)).covariates == ("batch",)


OTHER_DETECTOR = MADE | {"configuration": {"detection": {"name": "chromogen"}}}
OTHER_REFERENCE = MADE | {
    "reference_directory": "/atlas",
    "reference": {"name": "atlas", "files": {"structure_graph_1.json": "0"}},
}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (OTHER_DETECTOR, "runs of different detectors: a1 (runs/a1) adaptive, b3 (runs/b3) chromogen"),
        (OTHER_REFERENCE, "runs of different references: a1 (runs/a1) phantom, b3 (runs/b3) /atlas"),
    ],
)
def test_mixed_runs_are_refused_by_name_unless_allowed(study: Path, made: dict, message: str) -> None:
    write_run(study / "runs" / "b3", 6, True, made=made)
    with pytest.raises(ConfigError) as error:
        compare(design(study))
    assert message in str(error.value)
    notes: list[str] = []
    compare(design(study), notes, allow_mixed=True)
    assert any(message in line for line in notes)


def test_command_writes_and_a_refusal_leaves_no_table_but_keeps_what_was_there(study: Path) -> None:
    path, out = design(study), study / "out"
    run = CliRunner().invoke(app, ["compare-groups", str(path), "--group", "treatment", "--output", str(out)])
    assert run.exit_code == 0, run.output
    before = (out / "groups.csv").read_bytes()
    design(study, changed_rows(row0={"run": "gone"}))
    refused = CliRunner().invoke(
        app, ["compare-groups", str(path), "--group", "treatment", "--output", str(out)]
    )
    assert isinstance(refused.exception, DataError)
    assert "groups-earlier.csv now" in str(refused.exception)
    assert not (out / "groups.csv").exists()
    assert (out / "groups-earlier.csv").read_bytes() == before
    fresh = study / "fresh"
    CliRunner().invoke(app, ["compare-groups", str(path), "--group", "treatment", "--output", str(fresh)])
    assert not (fresh / "groups.csv").exists()
