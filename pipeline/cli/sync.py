"""`ish sync`: from section pixels to the reference space and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from pipeline.cli.console import PLAIN, Json, say, show
from pipeline.core.errors import ConfigError, DataError
from pipeline.formats.tables.tables import read_cells, read_points_csv, write_points_csv
from pipeline.geometry import sync
from pipeline.inputs.alignments import open_alignment, run_reference
from pipeline.inputs.references import open_reference
from pipeline.store.publishing import check_file_free

app = typer.Typer(help="Map pixels to the reference space and back.", no_args_is_help=True, **PLAIN)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="a run, or a folder with data_set.xml")]
Section = Annotated[int | None, typer.Option("--section", help="section number")]
Number = Annotated[float | None, typer.Option()]
Points = Annotated[Path | None, typer.Option("--points", help="CSV of points")]
Out = Annotated[Path | None, typer.Option("--out", help="CSV to write, default standard output")]


@app.command("image-to-reference")
def image_to_reference(
    run: Run,
    section: Section = None,
    x: Number = None,
    y: Number = None,
    points: Points = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Map pixels (x, y) of a section to (P, I, R) um."""
    series = open_alignment(run)
    columns = _columns(points, section_number=section, x=x, y=y)
    found = np.empty((len(columns["x"]), 3))
    for number in np.unique(columns["section_number"]):
        here = columns["section_number"] == number
        pixels = np.column_stack([columns["x"][here], columns["y"][here]])
        found[here] = sync.image_to_reference(series, int(number), pixels)
    _answer(columns | dict(zip(("x_um", "y_um", "z_um"), found.T, strict=True)), out, json)


@app.command("reference-to-image")
def reference_to_image(
    run: Run,
    x: Number = None,
    y: Number = None,
    z: Number = None,
    points: Points = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Map (P, I, R) um to the nearest section and its pixel."""
    columns = _columns(points, x_um=x, y_um=y, z_um=z)
    series = open_alignment(run)
    places = np.column_stack([columns["x_um"], columns["y_um"], columns["z_um"]])
    numbers, pixels = sync.reference_to_image(series, places)
    _answer(columns | {"section_number": numbers, "x": pixels[:, 0], "y": pixels[:, 1]}, out, json)


@app.command("image-to-image")
def image_to_image(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B")],
    section: Annotated[int, typer.Option("--section")],
    x: Annotated[float, typer.Option()],
    y: Annotated[float, typer.Option()],
    json: Json = False,
) -> None:
    """Map a pixel of a section of one series to the nearest section of another."""
    numbers, pixels = sync.image_to_image(open_alignment(run_a), open_alignment(run_b), section, [[x, y]])
    _answer({"section_number": numbers, "x": pixels[:, 0], "y": pixels[:, 1]}, None, json)


@app.command("structure-to-image")
def structure_to_image(
    run: Run,
    structure: Annotated[list[str], typer.Option("--structure", help="acronym or id; may be repeated")],
    hemisphere: Annotated[str, typer.Option(help="left or right")] = "left",
    reference: Annotated[
        Path | None, typer.Option(envvar="ISH_REFERENCE", help="default: the run's own")
    ] = None,
    json: Json = False,
) -> None:
    """Find the section and pixel nearest to the middle of a structure."""
    if hemisphere not in ("left", "right"):
        raise ConfigError(f"--hemisphere {hemisphere}: expected left or right")
    series = open_alignment(run)
    space = open_reference(reference or run_reference(run), None)
    numbers, pixels = sync.structure_to_image(series, space, structure, hemisphere)
    columns = {
        "structure": np.array(structure),
        "section_number": numbers,
        "x": pixels[:, 0],
        "y": pixels[:, 1],
    }
    _answer(columns, None, json)


def _columns(points: Path | None, **single: float | None) -> dict[str, Any]:
    """Return the points of a CSV, or the single point of the options, as columns by name."""
    if points is not None:
        return dict(read_points_csv(points, tuple(single)))
    missing = [name for name, value in single.items() if value is None]
    if missing:
        options = {"section_number": "section", "x_um": "x", "y_um": "y", "z_um": "z"}
        raise ConfigError(f"expected --points FILE, or --{options.get(missing[0], missing[0])}")
    return {name: np.array([value]) for name, value in single.items()}


def _holds(out: Path, columns: dict[str, Any]) -> bool:
    """Return whether a file is a table with these columns, as this command writes it."""
    try:
        return read_cells(out)[0] == list(columns)
    except DataError:
        return False


def _answer(columns: dict[str, Any], out: Path | None, as_json: bool) -> None:
    if out is not None:
        check_file_free(out, is_ours=_holds(out, columns))
        write_points_csv(out, columns)
        say(f"wrote {out}")
        return
    names = list(columns)
    show(
        [
            dict(zip(names, (v.item() for v in row), strict=True))
            for row in zip(*columns.values(), strict=True)
        ],
        as_json,
    )
