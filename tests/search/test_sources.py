"""What an index is built from: runs, folders and zips, and what is wrong with them in one line."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.formats.volumes.metaimage import write_grid
from pipeline.search.names import named
from pipeline.search.sources import find_experiments, labels_reference, read_grid_file
from pipeline.store.run import RunFolder
from pipeline.store.tasks import Receipt

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
    first = grid_folder(tmp_path / "abc_71717012")
    (grid_folder(tmp_path / "named") / "data_set.xml").write_text(XML.format(failed="false"))
    zipped(tmp_path / "13.zip", first)
    zipped(tmp_path / "whatever.zip", first, XML.format(failed="false").replace("42", "43"))
    finished_run(tmp_path / "run")
    (tmp_path / "experiments.csv").write_text(
        "section_data_set_id,gene,plane_of_section\n71717012,Foo,sagittal\n42,,\n13,Bar,\n"
    )
    found = [source.read(200.0, print)[0] for source in find_experiments([tmp_path])]
    printed = {e.section_data_set_id: (e.gene, e.plane_of_section) for e in found}
    assert printed == {
        71717012: ("Foo", "sagittal"),
        42: ("Abc", "coronal"),
        13: ("Bar", None),
        43: ("Abc", "coronal"),
        71: ("Xyz", "coronal"),
    }
    for experiment in found:
        assert np.array_equal(read_grid_file(Path(experiment.source), 200.0), GRID)


def test_one_experiment_by_its_own_path(tmp_path: Path) -> None:
    folder = grid_folder(tmp_path / "abc_71717012")
    assert find_experiments([folder])[0].read(200.0, print)[0].section_data_set_id == 71717012
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
        source.read(200.0, print)
    run.write_receipt(Receipt("grid", "failed", "d", message="no section"))
    with pytest.raises(MissingResultError, match="its grid is failed no section"):
        source.read(200.0, print)
    run.write_receipt(Receipt("grid", "done", "d"))
    with pytest.raises(MissingResultError, match=r"energy\.mhd: no such output"):
        source.read(200.0, print)
    grid_folder(run.path / "grid")
    with pytest.raises(MissingResultError, match=r"section_data_set\.json: no such output"):
        source.read(200.0, print)


def test_failed_data_sets_are_left_out(tmp_path: Path) -> None:
    folder = grid_folder(tmp_path / "x")
    (folder / "data_set.xml").write_text(XML.format(failed="true"))
    with pytest.raises(DataError, match="marked failed by its source"):
        find_experiments([folder])[0].read(200.0, print)


def test_what_cannot_be_named_or_found(tmp_path: Path) -> None:
    folder = grid_folder(tmp_path / "nameless")
    with pytest.raises(DataError, match="that is the whole name, got neither"):
        find_experiments([folder])[0].read(200.0, print)
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="expected finished runs"):
        find_experiments([tmp_path / "void"])
    with pytest.raises(DataError, match="expected finished runs"):
        find_experiments([tmp_path / "nowhere"])


def test_a_table_of_other_columns_is_refused_where_it_was_given(tmp_path: Path) -> None:
    grid_folder(tmp_path / "1")
    table = tmp_path / "experiments.csv"
    table.write_text("id,gene\n1,A")
    with pytest.raises(DataError, match="expected columns"):
        find_experiments([tmp_path], table)
    with pytest.raises(DataError, match="no such file"):
        find_experiments([tmp_path], tmp_path / "absent.csv")
    notes: list[str] = []
    assert len(find_experiments([tmp_path], None, notes.append)) == 1
    assert "the table is left out" in notes[0]


def test_bad_rows_of_a_table_are_counted_and_left_out(tmp_path: Path) -> None:
    grid_folder(tmp_path / "1")
    table, notes = tmp_path / "mine.csv", list[str]()
    rows = [
        "1;A;axial",
        "\u00b2;B;",
        f"{2**63};C;",
        "1;D",
        "1;Prox1;Coronal",
        "1;Other;coronal",
        "7.1E+07;E;",
    ]
    table.write_text("\n".join(["section_data_set_id;gene;plane_of_section", *rows]))
    source = find_experiments([tmp_path], table, notes.append)[0]
    assert source.read(200.0, print)[0].gene == "Prox1"
    assert notes[0].startswith("6 rows left out; the first: ")
    assert "mine.csv: line 5" in notes[0]


def test_a_table_names_the_file_of_an_experiment(tmp_path: Path) -> None:
    folder = grid_folder(tmp_path / "Prox1_200um")
    with pytest.raises(DataError, match=r"expected data_set\.xml with the grid or an id"):
        find_experiments([tmp_path])[0].read(200.0, print)
    (tmp_path / "experiments.csv").write_text(
        "section_data_set_id,gene,plane_of_section,file\n77,Prox1,,Prox1_200um\n"
    )
    assert find_experiments([tmp_path])[0].read(200.0, print)[0].section_data_set_id == 77
    (folder / "data_set.xml").write_text(XML.format(failed="false"))
    with pytest.raises(DataError, match=r"got 42 in data_set\.xml and 77"):
        find_experiments([tmp_path])[0].read(200.0, print)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("71717084.zip", 71717084), ("Prox1_71717084", 71717084), ("Prox1-71717084-energy.zip", 71717084),
        ("71717084_200um.zip", 71717084), ("277.zip", 277), ("Prox1_200um.zip", None),
        ("energy_200.zip", None), ("Prox1_25.zip", None),
        ("71717084 (1).zip", None), ("2024-03-12_Prox1.zip", None),
        ("20240312_Prox1.zip", None), ("Prox1_71717084_2.zip", None), ("s0071717084x.zip", None),
    ],
)  # fmt: skip
def test_an_id_is_no_other_number_of_a_name(name: str, number: int | None, tmp_path: Path) -> None:
    if number is not None:
        assert named(tmp_path / name, "data_set.xml") == number
    else:
        with pytest.raises(DataError, match="give --experiments CSV"):
            named(tmp_path / name, "data_set.xml")


def test_density_and_intensity_are_read_as_their_product(tmp_path: Path) -> None:
    folder = tmp_path / "71717084"
    density = GRID / 100
    write_grid(folder / "density.mhd", density, 200.0)
    with pytest.raises(DataError, match="expected an energy grid, got density"):
        find_experiments([tmp_path])[0].read(200.0, print)
    intensity = np.where(density == 0, np.nan, 120).astype(np.float32)
    write_grid(folder / "intensity.mhd", intensity, 200.0)
    notes: list[str] = []
    found, grid = find_experiments([tmp_path])[0].read(200.0, notes.append)
    assert np.allclose(grid, density * 120)
    assert notes == [f"{folder}: has no energy; taken as density x intensity"]
    assert np.array_equal(read_grid_file(Path(found.source), 200.0), grid)
    with pytest.raises(DataError, match="expected an energy grid, got density"):
        read_grid_file(folder / "density.mhd", 200.0)
    write_grid(folder / "energy.mhd", density, 200.0)
    notes.clear()
    read_grid_file(folder, 200.0, notes.append)
    assert "no voxel is above 1" in notes[0]


def test_each_bad_entry_of_a_folder_gets_a_line(tmp_path: Path) -> None:
    good = grid_folder(tmp_path / "1")
    os.mkfifo(tmp_path / "2.zip")
    (tmp_path / "3" / "energy.mhd").mkdir(parents=True)
    os.makedirs(os.fsencode(tmp_path) + b"/4\xe9")
    for file in good.iterdir():
        shutil.copy(file, os.fsdecode(os.fsencode(tmp_path) + b"/4\xe9"))
    (tmp_path / "5.zip").write_bytes(b"PK\x03\x04 torn")
    zipped(tmp_path / "6.zip", good, XML.format(failed="false").replace("42", "9" * 20))
    printed = {}
    for source in find_experiments([tmp_path]):
        try:
            printed[source.path.name[0]] = str(source.read(200.0, print)[0].section_data_set_id)
        except DataError as error:
            assert source.name.encode()
            printed[source.path.name[0]] = str(error)
    assert printed["1"] == "1"
    words = {"2": "a pipe", "3": "a folder", "4": "UTF-8", "5": "5.zip", "6": "whole number from 0"}
    assert all(word in printed[name] for name, word in words.items()), printed


def test_grids_do_not_say_which_brain_they_lie_in(tmp_path: Path) -> None:
    grid_folder(tmp_path / "a_1")
    with pytest.raises(ConfigError, match="expected --reference DIR"):
        labels_reference(None, [tmp_path])
    run = finished_run(tmp_path / "run")
    with pytest.raises(ConfigError, match="unfinished runs do not say which brain"):
        labels_reference(None, [tmp_path])
    (run / "provenance.json").write_text("{}")
    with pytest.raises(DataError, match="expected reference_directory, got none; give --reference"):
        labels_reference(None, [tmp_path])
    (run / "provenance.json").write_text('{"reference_directory": null}')
    assert labels_reference(None, [tmp_path]).name == "phantom"


@pytest.mark.parametrize("name", ["70000003.zip", "70000003.mhd", "70000003"])
def test_links_that_run_in_a_circle_end_nothing_else(name: str, tmp_path: Path) -> None:
    grid_folder(tmp_path / "grids" / "good_70000001")
    (tmp_path / "grids" / name).symlink_to(tmp_path / "grids" / name)
    for source in find_experiments([tmp_path / "grids"]):
        if source.path.name == name:
            with pytest.raises(DataError, match="symbolic links"):
                source.read(200.0, lambda line: None)
        else:
            assert source.read(200.0, lambda line: None)[0].section_data_set_id == 70000001
