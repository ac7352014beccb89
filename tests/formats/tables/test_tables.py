"""Tables keep every digit, and a wrong cell is named by line and column."""

from __future__ import annotations

import csv
import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import DataError
from pipeline.core.model import StructureUnionize
from pipeline.formats.tables.tables import (
    columns_of,
    read_arrays,
    read_points_csv,
    read_table,
    write_csv,
    write_points_csv,
    write_table,
)


def rows(n: int = 3) -> list[StructureUnionize]:
    rng = np.random.default_rng(5)
    return [
        StructureUnionize(1, 997 + i, 3, *(float(v) for v in rng.random(9)), coverage=math.nan)
        for i in range(n)
    ]


def test_table_of_dataclasses(tmp_path: Path) -> None:
    path_csv, path_parquet = tmp_path / "u.csv", tmp_path / "u.parquet"
    write_table(columns_of(rows()), path_csv, path_parquet)
    names = [field.name for field in fields(StructureUnionize)]
    with path_csv.open(newline="") as file:
        lines = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(path_parquet)
    assert table.column_names == names
    assert list(lines[0]) == names
    assert len(lines) == table.num_rows == 3
    for row, line, stored in zip(rows(), lines, table.to_pylist(), strict=True):
        assert float(line["expression_energy"]) == row.expression_energy == stored["expression_energy"]
        assert int(line["structure_id"]) == row.structure_id == stored["structure_id"]
        assert line["coverage"] == ""
    assert read_table(path_parquet)["structure_id"] == [997, 998, 999]


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    write_table(columns_of([], StructureUnionize), tmp_path / "u.csv", tmp_path / "u.parquet")
    assert list(read_table(tmp_path / "u.parquet")) == [f.name for f in fields(StructureUnionize)]
    with pytest.raises(DataError, match="no rows"):
        columns_of([])


def test_arrays_are_the_lists_of_a_table(tmp_path: Path) -> None:
    columns = {"a": [1, 2, 3], "b": [0.5, None, math.nan], "c": ["x", "", "y"]}
    write_table(columns, tmp_path / "t.csv", tmp_path / "t.parquet")
    lists, arrays = read_table(tmp_path / "t.parquet"), read_arrays(tmp_path / "t.parquet")
    assert lists["a"] == arrays["a"].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(arrays["b"], [0.5, math.nan, math.nan])
    assert lists["c"] == arrays["c"].tolist() == ["x", "", "y"]
    with pytest.raises(DataError, match="expected a Parquet table"):
        read_arrays(tmp_path / "t.csv")


def test_columns_of_unequal_length_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="length"):
        write_table({"a": [1, 2], "b": [1]}, tmp_path / "a.csv", tmp_path / "a.parquet")
    assert not list(tmp_path.iterdir())


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_points_come_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    path = tmp_path_factory.mktemp("points") / "p.csv"
    numbers = np.arange(len(values))
    write_points_csv(path, {"section_number": numbers, "x": np.array(values), "y": np.array(values)})
    got = read_points_csv(path, ("section_number", "x", "y"))
    assert got["section_number"].dtype == np.int64
    np.testing.assert_array_equal(got["x"], values)
    np.testing.assert_array_equal(got["section_number"], numbers)


def test_other_columns_are_carried_along(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        '\ufeffname,x,section_number,y\n"a, b",1.5,70,2\n\n,3,6.0,4e2\n', encoding="utf-8"
    )
    got = read_points_csv(tmp_path / "p.csv", ("section_number", "x", "y"))
    assert list(got) == ["name", "x", "section_number", "y"]
    assert got["name"].tolist() == ["a, b", ""]
    assert got["section_number"].tolist() == [70, 6]
    assert got["y"].tolist() == [2.0, 400.0]
    write_csv(tmp_path / "q.csv", got)
    assert (tmp_path / "q.csv").read_text() == 'name,x,section_number,y\n"a, b",1.5,70,2.0\n,3.0,6,400.0\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file"),
        ("section_number,x\n1,2\n", "expected columns section_number,x,y, got 'section_number,x'"),
        ("section_number,x,y\n1,2\n", "line 2: expected 3 cells, got 2"),
        ("section_number,x,y\n1,2,3\n1,abc,3\n", "line 3: expected a number in column x, got 'abc'"),
        ("section_number,x,y\n1,nan,3\n", "line 2: expected a number in column x, got 'nan'"),
        ("section_number,x,y\n1,,3\n", "column x, got ''"),
        ("section_number,x,y\n1.5,2,3\n", "whole section numbers, got 1.5"),
        ("section_number,x,y,x\n1,2,3,4\n", "'x' twice"),
        ('section_number,x,y\n1,"2,3\n', "line 2: .* is a quote not closed"),
        ("section_number,x,y\n1e300,2,3\n", "whole section numbers, got 1e"),
        ("section_number,x,y\n1_0,2,3\n", "column section_number, got '1_0'"),
    ],
)
def test_bad_points(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_points_csv(tmp_path / "p.csv", ("section_number", "x", "y"))
    assert str(caught.value).startswith(str(tmp_path / "p.csv"))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"\xff\xfe\x00\xd8\x89")
    with pytest.raises(DataError, match="UTF-8"):
        read_points_csv(tmp_path / "p.csv", ("x",))
    with pytest.raises(DataError, match="no such file"):
        read_points_csv(tmp_path / "none.csv", ("x",))
    for name in ("p.csv", "none.parquet"):
        with pytest.raises(DataError, match="Parquet"):
            read_table(tmp_path / name)
