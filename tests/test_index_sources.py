"""What an index is built from: runs, folders and zips, and what is wrong with them in one line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError, DataError, MissingResultError
from pipeline.formats.metaimage import write_grid
from pipeline.index_sources import find_experiments, labels_reference, read_grid_file
from pipeline.store.run import Receipt, RunFolder

GRID = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
XML = """<section-data-set><id>42</id><failed>{failed}</failed><reference-space-id>9</reference-space-id>
<section-thickness>25</section-thickness><section-images><section-image><id>1</id><section-number>7</section-number>
<width>10</width><height>10</height><resolution>1.0</resolution></section-image></section-images>
<genes><gene><acronym>Abc</acronym></gene></genes></section-data-set>"""


def grid_folder(folder: Path, grid: np.ndarray = GRID) -> Path:  # type: ignore[type-arg]
    folder.mkdir(parents=True)
    write_grid(folder / "energy.mhd", grid, 200.0)
    return folder


def zipped(path: Path, folder: Path, xml: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("energy.mhd", "energy.raw"):
            archive.write(folder / name, name)
        if xml is not None:
            archive.writestr("data_set.xml", xml)
    return path


def finished_run(folder: Path) -> Path:
    run = RunFolder(folder)
    grid_folder(folder / "grid")
    (folder / "section_data_set.json").write_text(
        json.dumps({"id": 71, "gene": "Xyz", "plane_of_section": "coronal"})
    )
    run.write_receipt(Receipt("grid", "done", "d"))
    return folder


def test_folders_zips_and_runs_side_by_side(tmp_path: Path) -> None:
    first = grid_folder(tmp_path / "abc_12")
    (grid_folder(tmp_path / "named") / "data_set.xml").write_text(XML.format(failed="false"))
    zipped(tmp_path / "13.zip", first)
    zipped(tmp_path / "whatever.zip", first, XML.format(failed="false").replace("42", "43"))
    finished_run(tmp_path / "run")
    (tmp_path / "experiments.csv").write_text(
        "section_data_set_id,gene,plane_of_section\n12,Foo,sagittal\n42,,\n13,Bar,\n"
    )
    found = [source.read(200.0)[0] for source in find_experiments([tmp_path])]
    said = {e.section_data_set_id: (e.gene, e.plane_of_section) for e in found}
    assert said == {
        12: ("Foo", "sagittal"),
        42: ("Abc", "coronal"),
        13: ("Bar", None),
        43: ("Abc", "coronal"),
        71: ("Xyz", "coronal"),
    }
    for experiment in found:
        assert np.array_equal(read_grid_file(Path(experiment.source), 200.0), GRID)


def test_one_experiment_by_its_own_path(tmp_path: Path) -> None:
    folder = grid_folder(tmp_path / "abc_12")
    assert find_experiments([folder])[0].read(200.0)[0].section_data_set_id == 12
    assert np.array_equal(read_grid_file(finished_run(tmp_path / "run"), 200.0), GRID)


def test_no_data_is_minus_one(tmp_path: Path) -> None:
    grid = GRID.copy()
    grid[0, 0, 0] = np.nan
    read = read_grid_file(grid_folder(tmp_path / "1", grid) / "energy.mhd", 200.0)
    assert np.isnan(read[0, 0, 0])
    assert np.isnan(read).sum() == 1


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_files_with_nan_or_inf_are_refused(tmp_path: Path, value: float) -> None:
    folder = grid_folder(tmp_path / "1")
    volume = np.fromfile(folder / "energy.raw", "<f4")
    volume[5:7] = value
    volume.tofile(folder / "energy.raw")
    with pytest.raises(DataError, match="NaN or inf in 2 voxels; no data is written as -1"):
        read_grid_file(folder / "energy.mhd", 200.0)


def test_other_spacings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a grid of 100 um, got spacing"):
        read_grid_file(grid_folder(tmp_path / "1") / "energy.mhd", 100.0)


def test_a_half_written_run_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "5")
    run.write_receipt(Receipt("detect-00001", "done", "d"))
    source = find_experiments([run.path])[0]
    with pytest.raises(MissingResultError, match="its grid is not there yet; finish it with `ish run`"):
        source.read(200.0)
    run.write_receipt(Receipt("grid", "failed", "d", message="no section"))
    with pytest.raises(MissingResultError, match="its grid is failed no section"):
        source.read(200.0)
    run.write_receipt(Receipt("grid", "done", "d"))
    with pytest.raises(MissingResultError, match=r"energy\.mhd: no such output"):
        source.read(200.0)
    grid_folder(run.path / "grid")
    with pytest.raises(MissingResultError, match=r"section_data_set\.json: no such output"):
        source.read(200.0)


def test_failed_data_sets_are_left_out(tmp_path: Path) -> None:
    folder = grid_folder(tmp_path / "x")
    (folder / "data_set.xml").write_text(XML.format(failed="true"))
    with pytest.raises(DataError, match="marked failed by its source"):
        find_experiments([folder])[0].read(200.0)


def test_what_cannot_be_named_or_found(tmp_path: Path) -> None:
    folder = grid_folder(tmp_path / "nameless")
    with pytest.raises(DataError, match="a data set id in the name, got neither"):
        find_experiments([folder])[0].read(200.0)
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="expected finished runs"):
        find_experiments([tmp_path / "void"])
    with pytest.raises(DataError, match="expected finished runs"):
        find_experiments([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,gene\n1,A", "expected columns"),
        ("section_data_set_id,gene,plane_of_section\n1,A,axial", "line 2"),
    ],
)
def test_a_bad_table_of_experiments_is_refused(tmp_path: Path, text: str, words: str) -> None:
    grid_folder(tmp_path / "a_1")
    table = tmp_path / "mine.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=words):
        find_experiments([tmp_path], table)
    with pytest.raises(DataError, match="no such file"):
        find_experiments([tmp_path], tmp_path / "absent.csv")


def test_grids_do_not_say_which_brain_they_lie_in(tmp_path: Path) -> None:
    grid_folder(tmp_path / "a_1")
    with pytest.raises(ConfigError, match="expected --reference DIR"):
        labels_reference(None, [tmp_path])
    run = finished_run(tmp_path / "run")
    (run / "provenance.json").write_text("{}")
    assert labels_reference(None, [tmp_path]).name
