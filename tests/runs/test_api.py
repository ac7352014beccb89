"""Whole runs over a small phantom series: outputs, resuming, engines, faults."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import yaml
from conftest import CONFIG, GIVEN, ID, Ish, digests

from pipeline.core.model import GRID_200
from pipeline.formats.alignments.alignment_json import read_alignment
from pipeline.formats.volumes.metaimage import read_grid
from pipeline.geometry import affine
from pipeline.store.run import RunFolder

RUN = ("run", CONFIG, "--input", "{series}")


@pytest.fixture
def series(rendered: Path, tmp_path: Path) -> Path:
    """A copy of the series that a test may damage."""
    return Path(shutil.copytree(rendered / "series", tmp_path / "series"))


def changed(run: Path, before: dict[str, float]) -> set[str]:
    """Return the tasks whose receipt was written anew."""
    return {name for name, when in receipt_times(run).items() if before.get(name) != when}


def receipt_times(run: Path) -> dict[str, float]:
    return {p.stem: p.stat().st_mtime_ns for p in (run / "receipts").glob("*.json")}


def test_every_output_of_the_contract_is_there(finished: Path) -> None:
    for name in (
        "section_data_set.json", "alignment.json", "grid.zarr", "structure_unionize.parquet",
        "structure_unionize.csv", "provenance.json", "report.html",
    ):  # fmt: skip
        assert (finished / name).exists(), name
    document = json.loads((finished / "section_data_set.json").read_text())
    assert [s["status"] for s in document["section_images"]] == ["pass"] * 6
    assert document["errors"] == []
    alignment = json.loads((finished / "alignment.json").read_text())
    assert len(alignment["alignment3d"]["tvr"]) == len(alignment["alignment3d"]["trv"]) == 12
    assert all(len(s["tsv"]) == len(s["tvs"]) == 6 for s in alignment["alignment2d"])
    provenance = json.loads((finished / "provenance.json").read_text())
    assert provenance["configuration"]["alignment"]["name"] == "given"
    assert len(provenance["inputs"]) == 6


def test_grids_hold_their_identities(finished: Path) -> None:
    grid = {name: array.astype(np.float64) for name, array in RunFolder(finished).read_grid().items()}
    assert all(array.shape == GRID_200.shape for array in grid.values())
    data = grid["density"] >= 0
    assert 5_000 < data.sum() < 60_000
    np.testing.assert_allclose(
        grid["energy"][data], grid["density"][data] * grid["intensity"][data], rtol=1e-5, atol=1e-6
    )
    assert set(np.unique(grid["energy"][~data])) == {-1.0}
    served = read_grid(finished / "grid" / "energy.mhd")
    np.testing.assert_array_equal(np.nan_to_num(served, nan=-1.0), grid["energy"].astype(np.float32))
    # left hemisphere only, and at R < 5700 um
    assert data[:, :, 29:].sum() < 0.02 * data.sum()


def test_the_table_obeys_its_identities(finished: Path) -> None:
    with (finished / "structure_unionize.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100
    for row in rows:
        pixels, expressing = float(row["sum_pixels"]), float(row["sum_expressing_pixels"])
        bright = float(row["sum_expressing_pixel_intensity"])
        assert float(row["expression_density"]) == pytest.approx(expressing / pixels)
        assert float(row["expression_energy"]) == pytest.approx(bright / pixels)
        assert 0 < float(row["coverage"]) <= 1
    energies = {(r["structure_id"], r["hemisphere_id"]): float(r["expression_energy"]) for r in rows}
    assert energies["632", "1"] > 3 * energies["997", "1"]  # the granule layer of the dentate gyrus


def test_threads_and_processes_give_the_same_bytes(
    rendered: Path, finished: Path, tmp_path: Path, ish: Ish
) -> None:
    words = ("run", CONFIG, "--input", rendered, "--output", tmp_path, *GIVEN)
    assert ish(*words, "--scheduler", "processes", "--workers", "2") == 0
    assert digests(tmp_path / ID) == digests(finished)


def test_what_is_done_is_not_done_again(series: Path, finished: Path, tmp_path: Path, ish: Ish) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "out" / ID))
    words = ("run", CONFIG, "--input", series, "--output", tmp_path / "out", *GIVEN)
    assert ish(*words) == 0
    before = receipt_times(run)
    assert ish(*words) == 0
    assert changed(run, before) == set()
    assert ish(*words, "--set", "gridding.smoothing_um=150") == 0
    assert changed(run, before) == {"grid", "unionize", "summarise", "report"}
    before = receipt_times(run)
    assert ish(*words, "--set", "gridding.smoothing_um=150", "--from", "unionize") == 0
    assert changed(run, before) == {"unionize", "summarise", "report"}
    (run / "structure_unionize.csv").unlink()
    before = receipt_times(run)
    assert ish(*words, "--set", "gridding.smoothing_um=150") == 0
    assert "unionize" in changed(run, before)
    assert (run / "structure_unionize.csv").exists()


@pytest.mark.parametrize(
    ("edits", "of_the_section", "aligns"),
    [
        ({"failed": "true"}, {"measure", "detect"}, True),
        (
            {"x_px": "20", "y_px": "20", "box_width_px": "300", "box_height_px": "200"},
            {"measure", "detect"},
            False,  # the known alignment of a section does not hang on its box
        ),
        ({"rotate_deg": "2"}, set(), True),
        ({"flip": "horizontal"}, set(), True),
    ],
)
def test_editing_one_row_redoes_that_section_and_what_hangs_on_it(
    series: Path, tmp_path: Path, ish: Ish, edits: dict[str, str], of_the_section: set[str], aligns: bool
) -> None:
    words = ("run", CONFIG, "--input", series, "--output", tmp_path / "out", *GIVEN)
    assert ish(*words) == 0
    run = tmp_path / "out" / ID
    before = receipt_times(run)
    for column, value in edits.items():
        numbers = _set_cell(series, 2, column, value)
    assert ish(*words) == 0
    own = {f"{stage}-{numbers[2]:05d}" for stage in of_the_section}
    after = {"grid", "unionize", "summarise", "report"} | ({"align"} if aligns else set())
    after |= {"pool"} if of_the_section else set()
    assert changed(run, before) == own | after
    status = _statuses(run)
    assert status[numbers[2]] == ("fail" if "failed" in edits else "pass")
    assert status[numbers[0]] == "pass"


def test_what_changes_no_number_is_recorded_again(series: Path, tmp_path: Path, ish: Ish) -> None:
    """The gene's name, and where the series lies."""
    words = ("run", CONFIG, "--output", tmp_path / "out", *GIVEN, "--input")
    assert ish(*words, series) == 0
    run = tmp_path / "out" / ID
    before = receipt_times(run)
    manifest = series / "section_data_set.yaml"
    described = yaml.safe_load(manifest.read_text()) | {"gene": "Another"}
    manifest.write_text(yaml.safe_dump(described))
    moved = series.rename(tmp_path / "moved")
    assert ish(*words, moved) == 0
    assert changed(run, before) == {"summarise", "report"}
    assert json.loads((run / "section_data_set.json").read_text())["gene"] == "Another"
    made = json.loads((run / "provenance.json").read_text())
    assert made["source"] == str(moved)
    assert all(Path(name).is_file() for name in (*made["inputs"], *made["manifests"]))
    assert "Another" in (run / "report.html").read_text()
    assert ish("run", "--config-from", run, "--output", tmp_path / "again") == 0
    assert digests(tmp_path / "again" / ID) == digests(run)


def _put_space(folder: Path, label: int) -> Path:
    """Write a reference folder of one structure that fills the middle of the box."""
    folder.mkdir(exist_ok=True)
    filled = np.zeros((58, 41, 67), np.uint32)
    filled[10:-10, 8:-8, 10:-10] = label
    image = SimpleITK.GetImageFromArray(filled)
    image.SetSpacing((200.0,) * 3)
    SimpleITK.WriteImage(image, str(folder / "annotation_200.nrrd"))
    children = [{"id": 8, "acronym": "grey", "name": "grey", "children": []}]
    root = {"id": 997, "acronym": "root", "name": "root", "children": children}
    (folder / "structure_graph_1.json").write_text(json.dumps({"msg": [root]}))
    return folder


def test_what_a_reference_holds_decides_not_where_it_lies(series: Path, tmp_path: Path, ish: Ish) -> None:
    space = _put_space(tmp_path / "space", 8)
    given = ("--set", "alignment.name=given")
    words = ("run", CONFIG, "--input", series, "--output", tmp_path / "out", *given, "--reference")
    assert ish(*words, space) == 0
    run = tmp_path / "out" / ID
    before = receipt_times(run)
    assert ish(*words, space.rename(tmp_path / "moved")) == 0
    assert not changed(run, before) & {"align", "grid", "unionize"}
    _put_space(tmp_path / "moved", 997)
    assert ish(*words, tmp_path / "moved") == 0
    assert {"grid", "unionize"} <= changed(run, before)


def _set_cell(series: Path, row: int, column: str, value: str) -> list[int]:
    """Set a cell of sections.csv, adding the column where it is new; return all section numbers."""
    with (series / "sections.csv").open() as file:
        rows = list(csv.DictReader(file))
    rows[row][column] = value
    names = list(dict.fromkeys(name for r in rows for name in r))
    with (series / "sections.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return [int(r["section_number"]) for r in rows]


def _statuses(run: Path) -> dict[int, str]:
    document = json.loads((run / "section_data_set.json").read_text())
    return {s["section_number"]: s["status"] for s in document["section_images"]}


@pytest.mark.parametrize("damage", ["garbage", "truncated", "gone"])
def test_one_bad_section_never_stops_a_series(
    series: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str], damage: str
) -> None:
    image = sorted(series.glob("*.jpg"))[1]
    if damage == "gone":
        image.unlink()
    else:
        image.write_bytes(b"no image" if damage == "garbage" else image.read_bytes()[:3000])
    words = ("run", CONFIG, "--input", series, "--output", tmp_path / "out", *GIVEN)
    assert ish(*words) == 0
    statuses = list(_statuses(tmp_path / "out" / ID).values())
    assert statuses.count("pass") == 5
    assert statuses[1] == ("missing" if damage == "gone" else "fail")
    assert image.name in capfd.readouterr().err
    assert ish(*words, "--strict") == 1


def test_one_bad_series_never_stops_a_batch(
    rendered: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("a_good", "b_without_plane", "c_without_alignment", "d_twice"):
        shutil.copytree(rendered / "series", tmp_path / "in" / name)
    _edit_yaml(tmp_path / "in" / "b_without_plane", plane_of_section="oblique", id=2)
    _edit_yaml(tmp_path / "in" / "c_without_alignment", id=3)
    (tmp_path / "in" / "c_without_alignment" / "alignment.json").unlink()
    assert ish("run", CONFIG, "--input", tmp_path / "in", "--output", tmp_path / "out", *GIVEN) == 1
    printed = capfd.readouterr().err
    assert "oblique" in printed
    assert "alignment.name is 'given'" in printed
    assert "already in this batch" in printed
    assert "Traceback" not in printed
    assert _statuses(tmp_path / "out" / ID)
    assert (tmp_path / "out" / "3" / "expression.zarr").exists()
    page = tmp_path / "out" / "b_without_plane" / "report.html"
    assert "oblique" in page.read_text()
    assert ish("report", tmp_path / "out") == 0
    assert "oblique" in (tmp_path / "out" / "index.html").read_text()
    _edit_yaml(tmp_path / "in" / "b_without_plane", plane_of_section="sagittal")
    mended = ("run", CONFIG, "--input", tmp_path / "in" / "b_without_plane", "--output", tmp_path / "out")
    assert ish(*mended, *GIVEN) == 0
    assert not page.exists()


def _edit_yaml(series: Path, **values: object) -> None:
    path = series / "section_data_set.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))


def test_boxes_and_polygons_leave_the_sums(series: Path, tmp_path: Path, ish: Ish) -> None:
    for column, value in zip(
        ("x_px", "y_px", "box_width_px", "box_height_px"), (10, 20, 100, 50), strict=True
    ):
        numbers = _set_cell(series, 0, column, str(value))
    square = [[0, 0], [40, 0], [40, 40], [0, 40]]
    _edit_yaml(series, dark_artifacts={numbers[1]: [square]})
    words = ("run", CONFIG, "--input", series, "--output", tmp_path / "out", *GIVEN)
    assert ish(*words) == 0
    run = RunFolder(tmp_path / "out" / ID)
    assert run.read_cells(numbers[0]).sums.sum_pixels.sum() == 100 * 50
    outside = run.read_expression(numbers[0]).copy()
    outside[20:70, 10:110] = 0
    assert outside.max() == 0
    assert run.read_cells(numbers[1]).sums.sum_pixels[0, 0] == 0


def test_missing_tissue_of_the_manifest_leaves_sums_and_coverage(
    series: Path, finished: Path, tmp_path: Path, ish: Ish
) -> None:
    numbers = _set_cell(series, 0, "failed", "")
    lost = numbers[2]
    _edit_yaml(series, missing_tissue={lost: [[[-1, -1], [9999, -1], [9999, 9999], [-1, 9999]]]})
    words = ("run", CONFIG, "--input", series, "--output", tmp_path / "out", *GIVEN)
    assert ish(*words) == 0
    run = RunFolder(tmp_path / "out" / ID)
    assert run.read_cells(lost).sums.sum_pixels.sum() == 0
    before, now = (folder.read_grid()["energy"] >= 0 for folder in (RunFolder(finished), run))
    assert not (now & ~before).any()
    assert 0.7 < now.sum() / before.sum() < 0.95, "about one of six sections has no data"
    z_um = lost * json.loads((run.path / "section_data_set.json").read_text())["section_thickness_um"]
    alignment = read_alignment(run.path / "alignment.json").alignment3d
    volume = affine.apply(alignment.reference_to_volume, GRID_200.points_um())
    own = (np.abs(volume[:, 2] - z_um) < 45.0).reshape(GRID_200.shape)
    assert before[own].any()
    assert not now[own].any()


def test_the_frame_of_a_reduced_series_is_the_manifests(
    finished: Path, rendered: Path, tmp_path: Path, ish: Ish
) -> None:
    """Exported to data_set.xml and run again, the same sections give the same grid."""
    assert ish("export", finished, "--format", "data-set-xml", "--output", tmp_path / "series") == 0
    for image in (rendered / "series").glob("*.jpg"):
        shutil.copy(image, tmp_path / "series" / image.name)
    words = ("run", CONFIG, "--input", tmp_path / "series", "--output", tmp_path / "out", *GIVEN)
    assert ish(*words) == 0
    ours = RunFolder(tmp_path / "out" / ID).read_grid()["energy"]
    theirs = RunFolder(finished).read_grid()["energy"]
    both = (ours >= 0) & (theirs >= 0)
    assert both.sum() > 0.999 * (theirs >= 0).sum()
    np.testing.assert_allclose(ours[both], theirs[both], atol=0.02)


def test_sync_answers_through_the_command(
    finished: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    alignment = read_alignment(finished / "alignment.json")
    first = alignment.sections[0].alignment2d
    number = first.section_number
    assert (
        ish("sync", "image-to-reference", finished, "--section", number, "--x", 100, "--y", 50, "--json") == 0
    )
    row = json.loads(capfd.readouterr().out)[0]
    volume = [*affine.apply(first.section_to_volume, [100, 50]), number * 25.0]
    expected = affine.apply(alignment.alignment3d.volume_to_reference, volume)
    np.testing.assert_allclose([row["x_um"], row["y_um"], row["z_um"]], expected, atol=1e-9)
    (tmp_path / "in.csv").write_text(f"section_number,x,y,name\n{number},100,50,here\n")
    words = ("--points", tmp_path / "in.csv", "--out", tmp_path / "out.csv")
    assert ish("sync", "image-to-reference", finished, *words) == 0
    with (tmp_path / "out.csv").open() as file:
        back = next(csv.DictReader(file))
    assert back["name"] == "here"
    np.testing.assert_allclose([float(back[k]) for k in ("x_um", "y_um", "z_um")], expected, atol=1e-9)
    points = ("--x", row["x_um"], "--y", row["y_um"], "--z", row["z_um"], "--json")
    capfd.readouterr()
    assert ish("sync", "reference-to-image", finished, *points) == 0
    back = json.loads(capfd.readouterr().out)[0]
    assert back["section_number"] == number
    np.testing.assert_allclose([back["x"], back["y"]], [100, 50], atol=1e-6)
    assert (
        ish("sync", "image-to-image", finished, finished, "--section", number, "--x", 1, "--y", 2, "--json")
        == 0
    )
    assert json.loads(capfd.readouterr().out)[0]["x"] == pytest.approx(1)
    assert ish("sync", "structure-to-image", finished, "--structure", "TH", "--json") == 0
    assert json.loads(capfd.readouterr().out)[0]["section_number"] > 0
    for name in ("alignment.json", "section_data_set.json"):  # of a run that went no further
        shutil.copy(finished / name, tmp_path / name)
    assert ish("sync", "structure-to-image", tmp_path, "--structure", "TH") == 1
    assert "names its reference, got none; give --reference" in capfd.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("run", "nowhere.yaml"), 2, "no such configuration"),
        (("run", CONFIG), 2, "expected --input FOLDER"),
        (("run", CONFIG, "--input", "/nowhere"), 2, "no such folder"),
        (("run", CONFIG, "--input", "{empty}"), 2, "ish init"),
        ((*RUN, "--output", "{file}"), 2, "expected a writable folder"),
        ((*RUN, "--output", "{out}", "--reference", "{empty}"), 2, "reference"),
        ((*RUN, "--set", "gridding.smothing_um=3"), 2, "did you mean smoothing_um"),
        ((*RUN, "--output", "{out}", "--scheduler", "magic"), 2, "threads, processes"),
        ((*RUN, "--output", "{out}", "--from", "nothing"), 2, "expected one of measure"),
        (("run", CONFIG, "--frobnicate"), 2, "No such option"),
        (("status", "{empty}"), 1, "found no receipts"),
        (("export", "{empty}", "--format", "csv"), 1, "expected a run folder"),
        (("sync", "reference-to-image", "{empty}", "--x", 1, "--y", 1, "--z", 1), 1, "a finished run"),
        (("phantom", "{out}", "--plane", "oblique"), 2, "expected sagittal or coronal"),
        (("phantom", "{out}", "--set", "bubles=1"), 2, "did you mean bubbles?"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line_and_their_status(
    words: tuple[object, ...], status: int, message: str, rendered: Path, tmp_path: Path, ish: Ish,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    places = {
        "empty": tmp_path / "empty",
        "file": tmp_path / "file",
        "out": tmp_path / "out",
        "series": rendered,
    }
    assert ish(*(str(w).format(**places) for w in words)) == status
    printed = capfd.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
