"""The wide table for spreadsheets: what stands in it is what the long one has."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas
from conftest import ID

from pipeline.core.model import Structure
from pipeline.exports.forms import export
from pipeline.exports.structure_table import StructureTable
from pipeline.exports.wide_table import wide_rows

A, B = Structure(997, "root", "root", None, 0, "FFFFFF"), Structure(8, "in", "inner, it", 997, 1, "FFFFFF")
COLUMNS = {
    "section_data_set_id": [1, 1, 1, 2, 2],
    "structure_id": [8, 997, 997, 997, 8],
    "hemisphere_id": [3, 3, 1, 3, 3],
    "expression_energy": [0.25, 1.5, 2.0, float("nan"), None],
}


def test_a_row_a_structure_and_side_a_column_an_experiment() -> None:
    table = StructureTable(({"id": 1, "gene": "Prox1"}, {"id": 2}), COLUMNS, {8: B, 997: A})
    assert wide_rows(table, "expression_energy") == [
        ["structure_id", "structure_acronym", "structure_name", "hemisphere_id", "Prox1_1", "2"],
        [997, "root", "root", 3, 1.5, ""],
        [8, "in", "inner, it", 3, 0.25, ""],
        [997, "root", "root", 1, 2.0, ""],
    ]


def test_the_files_open_in_a_spreadsheet_with_the_values_of_the_run(finished: Path, tmp_path: Path) -> None:
    paths = export(finished, "wide-csv", tmp_path / "out").files
    assert [p.name for p in paths] == ["expression_energy.csv", "section_energy.csv", "coverage.csv"]
    table = pandas.read_csv(finished / "structure_unionize.csv")
    for path in paths:
        assert path.read_bytes().startswith(b"\xef\xbb\xbf")  # Excel takes it for UTF-8 then
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(table)
        keys = [(int(row["structure_id"]), int(row["hemisphere_id"])) for row in rows]
        wanted = table.set_index(["structure_id", "hemisphere_id"])[path.stem].loc[keys]
        found = [float(row[f"Phantom_{ID}"] or "nan") for row in rows]
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
