"""`ish unionize`: the structure table of a single grid, such as Allen's grid service sends."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.console import Json, say, show
from pipeline.core.model import BOTH
from pipeline.core.reference_space import LABELS
from pipeline.runs.grid_tables import MOST_ID, GridTable, unionize_grid, write_grid_table

HEAD = 20  # rows that are shown without --output
SHOWN = ("expression_energy", "expression_density", "expression_intensity", "coverage")


class Labels(StrEnum):
    """Which labels the voxels of the 200 um grid have."""

    derived = "derived"
    served = "served"


def unionize(
    grid: Annotated[
        Path,
        typer.Argument(
            metavar="GRID", help="a zip of the grid service, a folder with energy.mhd, a .mhd, a run"
        ),
    ],
    reference: Annotated[
        Path | None, typer.Option(envvar="ISH_REFERENCE", help="a reference folder; default that of the run")
    ] = None,
    grid_annotation: Annotated[
        Labels | None, typer.Option(help=f"{LABELS}; default: that of the run, else derived")
    ] = None,
    id_: Annotated[
        int | None,
        typer.Option("--id", min=1, max=MOST_ID, help="section_data_set_id, where no data_set.xml states it"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="write structure_unionize.csv and .parquet into this folder")
    ] = None,
    json: Json = False,
) -> None:
    """Sum a served grid over the structures of a reference; without --output, show the head of the table."""
    served = None if grid_annotation is None else grid_annotation is Labels.served
    table = unionize_grid(grid, reference, served, id_, lambda line: say(f"note: {line}"))
    if output is not None:
        inputs = [grid] if reference is None else [grid, reference]
        for path in write_grid_table(output, table, inputs):
            say(f"wrote {path}")
    if json:
        show(_rows(table), True)
    elif output is None:
        _show_head(table)


def _rows(table: GridTable) -> list[dict[str, Any]]:
    """Return all rows; values that are not known are null, as JSON has no NaN."""
    columns = {name: values.tolist() for name, values in table.columns.items()}
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, map(_jsonable, row), strict=True)) for row in rows]


def _jsonable(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show_head(table: GridTable) -> None:
    """Show the first structures, both hemispheres together."""
    rows = [row for row in _rows(table) if row["hemisphere_id"] == BOTH]
    names = table.ontology.by_id
    show(
        [
            {
                "structure": names[row["structure_id"]].acronym,
                "id": row["structure_id"],
                **{name.removeprefix("expression_"): _cell(row[name]) for name in SHOWN},
            }
            for row in rows[:HEAD]
        ],
        False,
    )
    if len(rows) > HEAD:
        say(f"… and {len(rows) - HEAD} more structures; --output DIR or --json has all, by hemisphere too")


def _cell(value: float | None) -> float | str:
    return "" if value is None else value
