"""Points through displacement files: rows, order and columns stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.atlas_building.points import map_points
from pipeline.core.errors import DataError
from pipeline.formats.volumes.nrrd_writer import write_nrrd


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shift = np.broadcast_to(np.array([10.0, -20.0, 30.0], np.float32), (5, 5, 5, 3))
    write_nrrd(tmp_path / "source_to_target.nrrd", shift, 100.0)
    write_nrrd(tmp_path / "target_to_source.nrrd", -shift, 100.0)
    return tmp_path


def test_rows_and_columns_are_kept(folder: Path) -> None:
    points, out = folder / "in.csv", folder / "out.csv"
    points.write_text('name,z_um,y_um,x_um,note\n"a, b",3,2,100,\nfar,0,0,401,x\n\n b ,300,200,100.5,\n')
    assert map_points(folder, points, out) == 1
    assert out.read_text().splitlines() == [
        "name,z_um,y_um,x_um,note,to_x_um,to_y_um,to_z_um",
        '"a, b",3,2,100,,110.000,-18.000,33.000',
        "far,0,0,401,x,,,",
        " b ,300,200,100.5,,110.500,180.000,330.000",
    ]
    assert map_points(folder, points, out, inverse=True) == 1
    assert out.read_text().splitlines()[1].endswith("90.000,22.000,-27.000")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x_um,y_um\n1,2\n", "expected columns x_um, y_um, z_um"),
        ("x_um;y_um;z_um\n1;2;3\n", "separated by commas, got 'x_um;y_um;z_um'; name them so: um along P"),
        ("sep=,\nx_um,y_um,z_um\n1,2,3\n", "separated by commas, got 'sep=, '"),
        ("z,y,x\n1,2,3\n", "expected columns x_um, y_um, z_um, .* got 'z, y, x'"),
        ("x_um,y_um,z_um\n1,2,three\n", "line 2: expected numbers"),
        ("x_um,y_um,z_um\n1,2\n", "line 2: expected 3 cells, got 2"),
        ("x_um,y_um,z_um,to_x_um\n1,2,3,4\n", "has a column to_x_um already"),
        ("x_um,y_um,z_um,x_um\n1,2,3,4\n", "expected one column x_um, got 2"),
        ("", "expected a table"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(folder: Path, text: str, message: str) -> None:
    (folder / "in.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        map_points(folder, folder / "in.csv", folder / "out.csv")


def test_a_folder_of_average_names_its_brains(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "mean" / "brains" / "one"
    place.mkdir(parents=True)
    (folder / "source_to_target.nrrd").rename(place / "source_to_target.nrrd")
    (folder / "in.csv").write_text("x_um,y_um,z_um\n1,2,3\n")
    with pytest.raises(DataError, match=r"name one of its brains, .*brains/one"):
        map_points(tmp_path / "mean", folder / "in.csv", folder / "out.csv")
