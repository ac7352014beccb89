"""`ish index` and `ish search`: build an index of finished experiments, and search it."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.console import PLAIN, Json, say, show
from pipeline.core.errors import ConfigError
from pipeline.core.reference_space import LABELS
from pipeline.search.index import VOXEL_SETS, index_folders, open_index
from pipeline.search.result import SearchResult

SHORT = {
    "section_data_set_id": "id",
    "plane_of_section": "plane",
    "fold_change": "fold",
    "target_mean": "target",
    "contrast_mean": "contrast",
    "target_voxels": "target n",
    "contrast_voxels": "contr. n",
    "contrast_zero": "zero",
}  # short column heads, so that a table fits into 80 characters

app = typer.Typer(help="Search over the experiments of an index.", no_args_is_help=True, **PLAIN)

Index = Annotated[Path, typer.Argument(metavar="INDEX", help="an index written by `ish index`")]
Voxels = Annotated[str, typer.Option(help="; ".join(f"{name}: {what}" for name, what in VOXEL_SETS.items()))]
Top = Annotated[int, typer.Option(min=1, help="how many experiments")]
Csv = Annotated[bool, typer.Option("--csv", help="comma-separated output")]


@app.command()
def differential(
    index: Index,
    target: Annotated[
        list[str], typer.Option(help="acronyms or ids, with their substructures: DG,CA1; may be repeated")
    ],
    contrast: Annotated[
        list[str], typer.Option(help="likewise; a contrast that contains the target includes it")
    ],
    target_threshold: Annotated[str | None, typer.Option(help='"min,max" of the mean energy there')] = None,
    contrast_threshold: Annotated[str | None, typer.Option(help="likewise")] = None,
    voxels: Voxels = "all",
    top: Top = 50,
    as_csv: Csv = False,
    json: Json = False,
) -> None:
    """Find experiments that are more expressed in the target than in the contrast.

    Means are over voxels with data. A contrast that contains the target counts the target's voxels too, as
    Allen's search does. Allen's numbers and rankings need an index made with --served-labels.
    """
    found = open_index(index).differential(
        target,
        contrast,
        voxels=voxels,
        target_threshold=target_threshold,
        contrast_threshold=contrast_threshold,
        top=top,
    )
    _answer(found, as_csv, json)


@app.command()
def correlation(
    index: Index,
    seed: Annotated[
        str,
        typer.Option(
            help="an id of the index, or an energy grid: .mhd, zip, folder or run; a density is noted as such"
        ),
    ],
    domain: Annotated[
        list[str] | None, typer.Option(help="structures to compare in; default the whole brain")
    ] = None,
    voxels: Voxels = "all",
    top: Top = 50,
    as_csv: Csv = False,
    json: Json = False,
) -> None:
    """Find experiments whose expression looks like the seed's."""
    _answer(open_index(index).correlation(seed, domain=domain or (), voxels=voxels, top=top), as_csv, json)


def build(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR", help="runs, or folders or zips of served grids, or holding such"),
    ],
    output: Annotated[Path, typer.Option("--output", help="the index; made where there is none")],
    reference: Annotated[
        Path | None,
        typer.Option(envvar="ISH_REFERENCE", help="labels a new index; default the reference of the runs"),
    ] = None,
    served_labels: Annotated[
        bool,
        typer.Option(
            "--served-labels", help=f"label a new index by the reference's gridAnnotation. {LABELS}"
        ),
    ] = False,
    experiments: Annotated[
        Path | None, typer.Option(help="CSV: section_data_set_id,gene,plane_of_section")
    ] = None,
    json: Json = False,
) -> None:
    """Put experiments into a search index, one at a time."""
    report = index_folders(
        folders,
        output,
        reference,
        served_labels=served_labels,
        declared=experiments,
        listener=lambda name, what: None if json else say(f"{name}: {what}" if name not in what else what),
    )
    counts = {"added": report.added, "replaced": report.replaced, "unchanged": report.unchanged}
    show([{"index": str(output), **counts, "failed": len(report.errors)}], json)
    if json:
        for line in (*report.notes, *report.errors):
            say(line)
    raise typer.Exit(1 if report.errors else 0)


def _answer(found: SearchResult, as_csv: bool, as_json: bool) -> None:
    if as_csv and as_json:
        raise ConfigError("expected --csv or --json, got both")
    for note in found.notes:
        say(f"note: {note}")
    rows = found.rows()
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(found.columns)
        writer.writerows(row.values() for row in rows)
    elif as_json:
        show([{name: _jsonable(value) for name, value in row.items()} for row in rows], True)
    elif not rows:
        say("no experiment has data there and lies within the thresholds")
    else:
        columns = [name for name in found.columns if name != "contrast_zero" or found.columns[name].any()]
        show([{SHORT.get(name, name): _cell(row[name]) for name in columns} for row in rows], False)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return float(f"{value:.4g}")  # --csv and --json have all digits
    return "" if value is None else value


def _jsonable(value: Any) -> Any:
    """Return infinity as the text "inf": JSON has none, and a fold change over 0 is infinite."""
    return "inf" if isinstance(value, float) and math.isinf(value) else value
