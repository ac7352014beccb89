"""Structures x experiments as plain tables, for spreadsheets."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.model import BOTH, LEFT, RIGHT
from pipeline.exports.structure_table import StructureTable
from pipeline.system.whole_files import replacing

WIDE_MEASURES = ("expression_energy", "section_energy", "coverage")
HEAD = ("structure_id", "structure_acronym", "structure_name", "hemisphere_id")
SIDES = (BOTH, LEFT, RIGHT)  # in this order, so that the first rows are of whole structures


def wide_rows(table: StructureTable, measure: str) -> list[list[Any]]:
    """Return one measure with a row a structure and hemisphere, and a column an experiment.

    Parameters
    ----------
    table : StructureTable
        Tables of runs.
    measure : str
        Column of the tables.

    Returns
    -------
    list of list
        The head first; structures in the order of the ontology, both hemispheres together before each alone.
        A cell is empty where an experiment has no value.
    """
    columns = table.columns
    keys = zip(columns["section_data_set_id"], columns["structure_id"], columns["hemisphere_id"], strict=True)
    values = {tuple(map(int, key)): value for key, value in zip(keys, columns[measure], strict=True)}
    experiments = [(int(d["id"]), str(d.get("gene") or "")) for d in table.data_sets]
    found: list[list[Any]] = [[*HEAD, *(_name(number, gene) for number, gene in experiments)]]
    there = {(structure, side) for _, structure, side in values}
    for side in SIDES:
        for structure in sorted(table.structures.values(), key=lambda s: s.graph_order):
            if (structure.id, side) in there:
                cells = [_cell(values.get((number, structure.id, side))) for number, _ in experiments]
                found.append([structure.id, structure.acronym, structure.name, side, *cells])
    return found


def write_wide(table: StructureTable, folder: Path) -> list[Path]:
    """Write one file a measure: UTF-8 with a byte order mark, so that Excel shows names as they are.

    Parameters
    ----------
    table : StructureTable
        Tables of runs.
    folder : Path
        Where the files go.

    Returns
    -------
    list of Path
        The files, `<measure>.csv`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for measure in WIDE_MEASURES:
        if measure in table.columns:
            paths.append(folder / f"{measure}.csv")
            _write(paths[-1], wide_rows(table, measure))
    return paths


def _write(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(rows)


def _name(number: int, gene: str) -> str:
    """Return the head of an experiment's column: its gene, and its id, which tells two of one gene apart."""
    return f"{gene}_{number}" if gene else str(number)


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
