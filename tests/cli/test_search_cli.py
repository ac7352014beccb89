"""`ish index` and `ish search`: the same answers as Python in a table, CSV and JSON; errors in one line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import typer
from search.test_index import labels, served
from search_cases import experiments
from typer.testing import CliRunner

from pipeline.cli import search as search_cli
from pipeline.core.errors import ConfigError, DataError
from pipeline.search.index import open_index

APP = typer.Typer()
APP.command("index")(search_cli.build)
APP.add_typer(search_cli.app, name="search")
RUN = CliRunner()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    case = experiments(11, 9)
    case.grids[4][case.mask(["TH"])] = 0.0  # an infinite fold change
    grids = served(folder / "grids", case)
    (grids / "exp_200").mkdir()
    (grids / "exp_200" / "energy.mhd").write_text("not a header")
    output = folder / "index"
    arguments = [
        "index",
        str(grids),
        "--output",
        str(output),
        "--reference",
        str(labels(case, folder)),
        "--json",
    ]
    result = RUN.invoke(APP, arguments)
    assert result.exit_code == 1  # one of ten cannot be read, nine are in
    assert json.loads(result.stdout) == [
        {"index": str(output), "added": 9, "replaced": 0, "unchanged": 0, "failed": 1}
    ]
    assert "exp_200" in result.stderr
    return output


def ask(*arguments: str) -> str:
    result = RUN.invoke(APP, ["search", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_json_csv_and_table_say_the_same(index: Path) -> None:
    common = ("differential", str(index), "--target", "CTX", "--contrast", "TH", "--voxels", "grid")
    expected = open_index(index).differential(["CTX"], ["TH"], voxels="grid").rows()
    answer = json.loads(ask(*common, "--json"))
    assert [float(row["fold_change"]) for row in answer] == [row["fold_change"] for row in expected]
    assert answer[-1]["fold_change"] == "inf"
    assert answer[-1]["contrast_zero"] is True
    assert [row["gene"] for row in answer] == [row["gene"] for row in expected]
    text = list(csv.DictReader(io.StringIO(ask(*common, "--csv"))))
    assert [float(row["fold_change"]) for row in text] == [row["fold_change"] for row in expected]
    table = ask(*common)
    assert table.splitlines()[0].split()[:4] == ["id", "gene", "plane", "fold"]
    assert len(table.splitlines()) == len(expected) + 1


def test_top_thresholds_and_sets(index: Path) -> None:
    common = ("differential", str(index), "--target", "L1", "--target", "L2", "--contrast", "VP", "--json")
    everything = json.loads(ask(*common))
    assert json.loads(ask(*common, "--top", "2")) == everything[:2]
    bound = everything[1]["target_mean"]
    found = json.loads(ask(*common, "--target-threshold", f"{bound},"))
    assert {row["section_data_set_id"] for row in found} == {
        row["section_data_set_id"] for row in everything if row["target_mean"] >= bound
    }
    coronal = json.loads(ask(*common, "--voxels", "coronal"))
    assert {row["plane_of_section"] for row in coronal} == {"coronal"}


def test_correlation_by_id_and_by_file(index: Path) -> None:
    by_id = json.loads(ask("correlation", str(index), "--seed", "103", "--json", "--domain", "CTX"))
    file = index.parent / "grids" / "103" / "energy.mhd"
    by_file = json.loads(ask("correlation", str(index), "--seed", str(file), "--json", "--domain", "CTX"))
    assert by_id[0]["section_data_set_id"] == 103
    assert [row["r"] for row in by_file] == pytest.approx([row["r"] for row in by_id], abs=1e-6)
    assert [row["voxels"] for row in by_file] == [row["voxels"] for row in by_id]


def test_a_folder_is_a_seed_and_nothing_found_is_reported(index: Path) -> None:
    folder = index.parent / "grids" / "103"
    by_folder = json.loads(ask("correlation", str(index), "--seed", str(folder), "--json"))
    by_id = json.loads(ask("correlation", str(index), "--seed", "103", "--json"))
    assert [row["section_data_set_id"] for row in by_folder] == [row["section_data_set_id"] for row in by_id]
    arguments = ["differential", str(index), "--target", "L1,L2", "--contrast", "VP"]
    result = RUN.invoke(APP, ["search", *arguments, "--target-threshold", "1e9,"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith("\nno experiment has data there and lies within the thresholds\n")
    assert "--served-labels" in result.stderr  # which labels the structures are those of


def test_errors_are_ours(index: Path) -> None:
    for arguments, kind in (
        (("correlation", str(index), "--seed", "1"), DataError),
        (("correlation", str(index), "--seed", "103", "--csv", "--json"), ConfigError),
        (("differential", str(index), "--target", "NOPE", "--contrast", "grey"), DataError),
    ):
        result = RUN.invoke(APP, ["search", *arguments])
        assert isinstance(result.exception, kind)
        assert "\n" not in str(result.exception)


def test_a_new_index_of_bare_grids_needs_a_reference(index: Path, tmp_path: Path) -> None:
    result = RUN.invoke(APP, ["index", str(index.parent / "grids"), "--output", str(tmp_path / "new")])
    assert isinstance(result.exception, ConfigError)
    assert "--reference" in str(result.exception)
    assert not (tmp_path / "new").exists()
