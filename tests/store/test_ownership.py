"""Nothing of the user's is ever deleted or overwritten, whichever folder is named by mistake."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import CONFIG, GIVEN, ID, Ish, digests

from pipeline.core.errors import ConfigError, DataError
from pipeline.runs.api import check_apart, open_run, report
from pipeline.store.arrays import is_zarr_part
from pipeline.store.bundle import write_bundle
from pipeline.store.publishing import LIST, publishing
from pipeline.store.run import check_free, is_run
from pipeline.system.whole_files import remove_ours, replacing, sweep


@pytest.fixture
def series(rendered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rendered / "series", tmp_path / "brain"))


def _spoil(series: Path) -> str:
    """Break the manifest; return what it was."""
    manifest = series / "section_data_set.yaml"
    text = manifest.read_text()
    manifest.write_text(text.replace("sagittal", "sagitall"))
    return text


@pytest.mark.parametrize("place", ["is", "holds", "lies in", "links to", "a link away"])
def test_an_output_that_is_not_apart_from_a_series_is_refused(
    place: str, series: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(series)
    output = {
        "is": series, "holds": tmp_path, "lies in": series / "runs", "links to": tmp_path / "link",
        "a link away": tmp_path / "link" / "runs",
    }[place]  # fmt: skip
    before = digests(series)
    assert ish("run", CONFIG, "--input", series, "--output", output, *GIVEN) == 2
    assert "--output" in capfd.readouterr().err
    assert digests(series) == before
    assert not (series / "runs").exists()


def test_a_typo_and_its_mending_leave_every_file(series: Path, tmp_path: Path, ish: Ish) -> None:
    """The page of a series that cannot be read goes away again, and only that."""
    output, notes = tmp_path / "out", tmp_path / "out" / "brain" / "notes.txt"
    text = _spoil(series)
    words = ("run", CONFIG, "--input", series, "--output", output, *GIVEN)
    assert ish(*words) == 1
    assert (output / "brain" / "report.html").exists()
    notes.write_text("mine")
    (series / "section_data_set.yaml").write_text(text)
    assert ish(*words) == 0
    assert notes.read_text() == "mine"
    assert os.listdir(notes.parent) == ["notes.txt"]


def test_notes_where_the_page_would_go_stay(series: Path, tmp_path: Path, ish: Ish) -> None:
    notes = tmp_path / "out" / "brain"
    notes.mkdir(parents=True)
    (notes / "report.html").write_text("mine")
    (notes / "receipts").mkdir()
    (notes / "receipts" / "2024-05.pdf").write_text("of the microscope")
    before = digests(notes), (notes / "report.html").read_text()
    _spoil(series)
    assert ish("run", CONFIG, "--input", series, "--output", tmp_path / "out", *GIVEN) == 1
    assert (digests(notes), (notes / "report.html").read_text()) == before


@pytest.mark.parametrize("taken", ["file", "folder", "link"])
def test_a_place_that_is_taken_fails_its_series_alone(
    taken: str, series: Path, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    other, output = Path(shutil.copytree(series, tmp_path / "other")), tmp_path / "out"
    manifest = other / "section_data_set.yaml"
    manifest.write_text(manifest.read_text().replace(ID, "77"))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "alignment.json").write_text("{}")
    output.mkdir()
    if taken == "file":
        (output / "77").write_text("mine")
    elif taken == "folder":
        shutil.copytree(mine, output / "77")
    else:
        (output / "77").symlink_to(mine)
    assert ish("run", CONFIG, "--input", series, "--input", other, "--output", output, *GIVEN) == 1
    assert "77" in capfd.readouterr().err
    assert (mine / "alignment.json").read_text() == "{}"
    assert taken == "file" or (output / "77" / "alignment.json").read_text() == "{}"
    assert (output / ID / "structure_unionize.csv").exists()


def test_a_folder_never_gives_way_to_a_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "a.txt").write_text("mine")
    with pytest.raises(DataError, match="got a folder"), replacing(mine) as fresh:
        fresh.write_text("table")
    with pytest.raises(DataError, match=r"a\.txt"):
        write_bundle(mine, {}, {})
    with pytest.raises(DataError, match=r"a\.txt"):
        remove_ours(mine, is_zarr_part)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert (mine / "a.txt").read_text() == "mine"


def test_a_link_among_our_files_is_not_followed(tmp_path: Path) -> None:
    """A section's folder that was moved to another disk, say, and linked."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "ours" / "c").mkdir(parents=True)
    (tmp_path / "ours" / "c" / "0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="c/0"):
        remove_ours(tmp_path / "ours", is_zarr_part)
    assert (tmp_path / "elsewhere").is_dir()


def test_only_what_we_left_unfinished_is_swept(tmp_path: Path) -> None:
    for name in (".unfinished-0a1b2c3d-alignment.json", ".unfinished-letter.txt"):
        (tmp_path / name).write_text("half")
    sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".unfinished-letter.txt"]


def test_a_run_is_noted_by_its_marks(finished: Path, tmp_path: Path) -> None:
    assert is_run(finished)
    (tmp_path / "receipts").mkdir()
    assert not is_run(tmp_path)
    (tmp_path / "receipts" / "2024.pdf").write_text("")
    assert not is_run(tmp_path)
    with pytest.raises(DataError, match="receipts"):
        check_free(tmp_path)
    assert open_run(str(finished)).path == finished


def _publish(folder: Path, files: dict[str, str]) -> None:
    with publishing(folder) as fresh:
        for name, text in files.items():
            (fresh / name).write_text(text)


def test_published_files_give_way_to_newer_ones_of_ours_alone(tmp_path: Path) -> None:
    for content in ("1", "2"):
        _publish(tmp_path, {"a.csv": content})
    assert (tmp_path / "a.csv").read_text() == "2"
    (tmp_path / "a.csv").write_text("edited")
    (tmp_path / "b.csv").write_text("mine")
    for name in ("a.csv", "b.csv"):
        with pytest.raises(ConfigError, match=name):
            _publish(tmp_path, {"c.csv": "3", name: "3"})
    assert sorted(p.name for p in tmp_path.iterdir()) == [LIST, "a.csv", "b.csv"]
    assert ((tmp_path / "a.csv").read_text(), (tmp_path / "b.csv").read_text()) == ("edited", "mine")


@pytest.mark.parametrize("content", ["", "[]", '"a.csv"', '{"a.csv": 1}', "[" * 100_000])
def test_without_its_list_a_file_counts_as_foreign(tmp_path: Path, content: str) -> None:
    _publish(tmp_path, {"a.csv": "1"})
    (tmp_path / LIST).write_text(content)
    with pytest.raises(ConfigError, match=r"a\.csv is there already"):
        _publish(tmp_path, {"a.csv": "2"})
    assert (tmp_path / "a.csv").read_text() == "1"


@pytest.mark.parametrize("inside", ["", "grid", "receipts", "cells.zarr/1"])
def test_nothing_is_exported_into_a_run(finished: Path, tmp_path: Path, ish: Ish, inside: str) -> None:
    run = Path(shutil.copytree(finished, tmp_path / ID))
    for form in ("csv", "metaimage", "data-set-xml"):
        assert ish("export", run, "--format", form, "--output", run / inside) == 2
    assert digests(run) == digests(finished)
    assert ish("export", run, "--format", "csv") == 0
    assert (run / "export" / "structure_unionize.csv").exists()


def test_a_page_of_ones_own_is_not_overwritten(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / ID)
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(ConfigError, match=r"index\.html"):
        report(tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"


def test_points_are_written_over_such_tables_alone(finished: Path, tmp_path: Path, ish: Ish) -> None:
    words = ("sync", "image-to-reference", finished, "--section", 10, "--x", 5, "--y", 5)
    points = tmp_path / "in.csv"
    number = int(next(iter((finished / "cells.zarr").glob("[0-9]*"))).name)
    points.write_text(f"section_number,x,y\n{number},5,5\n")
    words = ("sync", "image-to-reference", finished, "--points", points, "--out")
    assert [ish(*words, tmp_path / "out.csv"), ish(*words, tmp_path / "out.csv")] == [0, 0]
    mine = tmp_path / "mine"
    mine.mkdir()
    assert [ish(*words, mine), ish(*words, points)] == [2, 2]
    assert points.read_text().startswith("section_number,x,y\n")


def test_apart_is_noted_through_links(tmp_path: Path) -> None:
    (tmp_path / "a" / "series").mkdir(parents=True)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    check_apart(tmp_path / "a" / "runs", [tmp_path / "b" / "series"], None)
    with pytest.raises(ConfigError, match="contains"):
        check_apart(tmp_path / "b", [tmp_path / "a" / "series"], None)
    with pytest.raises(ConfigError, match="reference"):
        check_apart(tmp_path / "a" / "runs", [], tmp_path / "b")
