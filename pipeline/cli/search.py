"""`ish index` and `ish search`: build an index of finished experiments, and search it."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.console import PLAIN, Json, say, show
from pipeline.core.errors import ConfigError
from pipeline.core.reference_space import LABELS
from pipeline.formats.volumes.metaimage import write_grid
from pipeline.search.index import VOXEL_SETS, open_index
from pipeline.search.indexing import index_folders
from pipeline.search.point import CONTRAST, LOCAL, TARGET, WIDER, parse_point
from pipeline.search.result import SearchResult
from pipeline.store.publishing import check_file_free

SHORT = {
    "section_data_set_id": "id",
    "structure_id": "id",
    "plane_of_section": "plane",
    "fold_change": "fold",
    "target_mean": "target",
    "contrast_mean": "contrast",
    "target_voxels": "target n",
    "contrast_voxels": "contr. n",
    "contrast_zero": "zero",
}  # short column heads, so that a table fits into 80 characters

MOST_SHOWN = 12  # structures whose matrix is shown as a table

RANKS = ("rank_first", "rank_last")  # columns that a table shows as one

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


@app.command()
def point(
    index: Index,
    at: Annotated[str, typer.Option(metavar="P,I,R", help="a point of the reference space, um")],
    local: Annotated[float, typer.Option(help="least r of a voxel of the local domain, the target")] = LOCAL,
    wider: Annotated[float, typer.Option(help="least r of the wider domain, the contrast")] = WIDER,
    connected: Annotated[
        bool, typer.Option("--connected", help="leave out of both what does not hang together with the point")
    ] = False,
    target_threshold: Annotated[
        str, typer.Option(help='"min,max" of the mean energy in the local domain; "," for no bounds')
    ] = TARGET,
    contrast_threshold: Annotated[str, typer.Option(help="likewise in the wider domain")] = CONTRAST,
    map_file: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE.mhd", help="write r of every voxel there; -1 = no data"),
    ] = None,
    top: Top = 50,
    as_csv: Csv = False,
    json: Json = False,
) -> None:
    """Find coronal experiments that are enriched around a point.

    Voxels whose expression in all coronal experiments correlates with that at the point form two domains.
    Experiments are ranked by their mean energy in the local domain over that in the wider one, which contains
    it.
    """
    _check_form(as_csv, json)
    if map_file is not None:
        _check_map(map_file)
    found = open_index(index).at_point(
        parse_point(at, "--at"),
        wider=wider,
        local=local,
        connected=connected,
        target_threshold=target_threshold,
        contrast_threshold=contrast_threshold,
        top=top,
    )
    if map_file is not None:
        write_grid(map_file, found.drawn(), found.spacing_um)
    say(found.summary())
    _answer(found, as_csv, json)


@app.command()
def structures(
    index: Index,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="acronyms or ids: DG,CA1; default all; may be repeated")
    ] = None,
    voxels: Voxels = "all",
    as_csv: Annotated[
        bool, typer.Option("--csv", help="comma-separated, with the matrix: a column of r for each structure")
    ] = False,
    json: Json = False,
) -> None:
    """List the structures that can be searched; with --csv also how alike they express.

    The matrix is Pearson's r between the mean energies of two structures, over the experiments with data in
    both. It is empty where fewer than three experiments have data in both, or one structure is constant.
    """
    opened = open_index(index)
    if as_csv or only:
        network = opened.structure_correlation(only or (), voxels)
        found = (
            network.with_matrix() if as_csv or len(network) <= MOST_SHOWN else SearchResult(network.columns)
        )
        _answer(found, as_csv, json)
    else:
        _answer(opened.structures(voxels), as_csv, json)


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
    _check_form(as_csv, as_json)
    for note in found.notes:
        say(f"note: {note}")
    rows = found.rows()
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(found.columns)
        writer.writerows([_csv_cell(value) for value in row.values()] for row in rows)
    elif as_json:
        show([{name: _jsonable(value) for name, value in row.items()} for row in rows], True)
    elif not rows:
        say("no experiment has data there and lies within the thresholds")
    else:
        columns = [name for name in found.columns if name != "contrast_zero" or found.columns[name].any()]
        ranked = _ranks(columns, rows)
        shown = (
            {SHORT.get(name, name): _cell(row[name]) for name in columns if name not in RANKS} for row in rows
        )
        show([rank | row for rank, row in zip(ranked, shown, strict=True)], False)


def _ranks(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the rank of each row with the ranks it may have, `3 (1-7)`; nothing where no row has such."""
    if not set(RANKS) <= set(columns) or all(row["rank_first"] is None for row in rows):
        return [{} for _ in rows]
    ends = (tuple(row[name] for name in RANKS) for row in rows)
    return [
        {"rank": str(n) if first is None else f"{n} ({first}-{last})"}
        for n, (first, last) in enumerate(ends, start=1)
    ]


def _check_form(as_csv: bool, as_json: bool) -> None:
    if as_csv and as_json:
        raise ConfigError("expected --csv or --json, got both")


def _check_map(path: Path) -> None:
    """Refuse the name of a map before the search, which takes longer."""
    if path.suffix != ".mhd":
        raise ConfigError(f"--map {path}: expected a name that ends in .mhd; its data go into .raw beside it")
    if not path.parent.is_dir():
        raise ConfigError(f"--map {path}: there is no folder {path.parent}; make it first")
    check_file_free(path)
    check_file_free(path.with_suffix(".raw"))


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return "" if math.isnan(value) else float(f"{value:.4g}")  # --csv and --json have all digits
    return "" if value is None else value


def _csv_cell(value: Any) -> Any:
    """Return a value as a table has it: what is not there is empty."""
    return "" if isinstance(value, float) and math.isnan(value) else value


def _jsonable(value: Any) -> Any:
    """Return infinity as the text "inf", since JSON has none, and NaN as null."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return "inf" if isinstance(value, float) and math.isinf(value) else value
