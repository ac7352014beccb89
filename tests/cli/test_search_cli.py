"""`ish index` and `ish search`: the same answers as Python in a table, CSV and JSON; errors in one line."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import typer
from search.test_index import labels, served
from search.test_point import coronal, some_voxel, um
from search_cases import experiments
from typer.testing import CliRunner

from pipeline.cli import search as search_cli
from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.formats.volumes.metaimage import read_grid
from pipeline.search.index import open_index
from pipeline.search.indexing import build_index
from pipeline.search.point import PointResult

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


def test_ranks_within_error_are_shown_where_they_are_known(index: Path, tmp_path: Path) -> None:
    case = experiments(11, 9)
    pairs = [(replace(e, energy_error=0.2 * n or None), grid) for n, (e, grid) in enumerate(case.pairs)]
    build_index(tmp_path / "stated", pairs, case.space)
    asked = ("--target", "CTX", "--contrast", "TH", "--voxels", "grid")
    common = ("differential", str(tmp_path / "stated"), *asked)
    rows = json.loads(ask(*common, "--json"))
    text = list(csv.DictReader(io.StringIO(ask(*common, "--csv"))))
    lines = ask(*common).splitlines()[-len(rows) :]
    known = [(row["rank_first"], row["rank_last"]) for row in rows]
    assert known.count((None, None)) == 1
    assert [(row["rank_first"], row["rank_last"]) for row in text] == [
        ("" if first is None else str(first), "" if last is None else str(last)) for first, last in known
    ]
    for n, (line, (first, last)) in enumerate(zip(lines, known, strict=True), start=1):
        assert line.split("  ")[0].strip() == (str(n) if first is None else f"{n} ({first}-{last})")
    assert "rank" not in ask("differential", str(index), *asked)


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


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An index of coronal experiments, and a point where they differ."""
    folder = tmp_path_factory.mktemp("point")
    case = coronal(11, 9)
    build_index(folder / "index", case.pairs, case.space)
    return folder / "index", ",".join(f"{x:g}" for x in um(some_voxel(case, 3)))


def test_point_says_what_python_does_and_writes_the_map(dense: tuple[Path, str], tmp_path: Path) -> None:
    index, at = dense
    file = tmp_path / "r.mhd"
    common = ["point", str(index), "--at", at, "--wider", "0.3", "--local", "0.6", "--target-threshold", ","]
    result = RUN.invoke(APP, ["search", *common, "--map", str(file), "--json", "--top", "4"])
    assert result.exit_code == 0, result.stderr
    expected = open_index(index).at_point(
        [float(x) for x in at.split(",")], wider=0.3, local=0.6, target_threshold=None, top=4
    )
    assert json.loads(result.stdout) == expected.rows()
    assert f"seed voxel {at} um" in result.stderr
    assert f"local domain {expected.local_voxels} voxels" in result.stderr
    assert np.array_equal(read_grid(file), expected.map, equal_nan=True)
    image = SimpleITK.ReadImage(str(file))
    assert image.GetSize() == expected.map.shape
    assert image.GetSpacing() == (200.0, 200.0, 200.0)
    table = ask(*common)
    assert table.splitlines()[0].split()[:4] == ["id", "gene", "plane", "fold"]
    text = list(csv.DictReader(io.StringIO(ask(*common, "--csv"))))
    assert [int(r["section_data_set_id"]) for r in text][:4] == [
        r["section_data_set_id"] for r in expected.rows()
    ]


def test_an_r_of_minus_one_is_not_written_as_no_data() -> None:
    drawn = PointResult(
        columns={}, seed_um=(0, 0, 0), map=np.array([[[-1, np.nan, 1]]], np.float32), within=0.0,
        experiments=3, local_voxels=1, wider_voxels=1, spacing_um=200.0,
    ).drawn()  # fmt: skip
    assert -1 < drawn[0, 0, 0] < -0.9999999
    assert np.isnan(drawn[0, 0, 1])
    assert drawn[0, 0, 2] == 1


def test_point_asked_wrong_writes_nothing(dense: tuple[Path, str], tmp_path: Path) -> None:
    index, at = dense
    taken = tmp_path / "taken.mhd"
    taken.with_suffix(".raw").write_text("mine")
    for arguments, kind, words in (
        (["--at", "1,2"], ConfigError, "--at '1,2': expected P,I,R"),
        (["--at=-1,0,0"], ConfigError, "within 0 to"),
        (["--at", at, "--local", "0.5"], ConfigError, "wider <= local"),
        (["--at", at, "--wider", "-1"], ConfigError, "-1 < wider"),
        (["--at", at, "--map", str(taken)], ConfigError, "taken.raw: is there already"),
        (["--at", at, "--map", str(tmp_path / "r.nrrd")], ConfigError, "ends in .mhd"),
        (["--at", at, "--map", str(tmp_path / "none" / "r.mhd")], ConfigError, "there is no folder"),
        (["--at", at, "--map", str(tmp_path / "r.mhd"), "--csv", "--json"], ConfigError, "got both"),
    ):
        result = RUN.invoke(APP, ["search", "point", str(index), *arguments])
        assert isinstance(result.exception, kind), arguments
        assert words in str(result.exception)
        assert "\n" not in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken.raw"]
    assert taken.with_suffix(".raw").read_text() == "mine"


def test_point_without_coronal_experiments_is_one_line(tmp_path: Path) -> None:
    case = experiments(11, 9)
    only = [(e, g) for e, g in case.pairs if e.plane_of_section == "sagittal"]
    build_index(tmp_path / "index", only, case.space)
    result = RUN.invoke(APP, ["search", "point", str(tmp_path / "index"), "--at", "0,0,0"])
    assert isinstance(result.exception, MissingResultError)
    assert "holds no coronal experiment" in str(result.exception)


def test_structures_are_those_that_can_be_searched(index: Path) -> None:
    rows = json.loads(ask("structures", str(index), "--json"))
    assert rows[0]["acronym"] == "root"
    assert set(rows[0]) == {"structure_id", "acronym", "name", "voxels"}
    for row in rows[1:]:
        found = json.loads(
            ask("differential", str(index), "--target", row["acronym"], "--contrast", "root", "--json")
        )
        assert max(one["target_voxels"] for one in found) <= row["voxels"]
    assert ask("structures", str(index)).splitlines()[0].split() == ["id", "acronym", "name", "voxels"]
