"""`ish compare-groups`: two groups of animals, structure by structure."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Json, say, show
from pipeline.core.errors import PipelineError
from pipeline.runs import groups

HEAD = 20  # structures that are shown


class Hemisphere(StrEnum):
    """Which rows are tested."""

    both = "both"
    left = "left"
    right = "right"
    sides = "sides"


def compare_groups(
    design: Annotated[
        Path, typer.Argument(metavar="DESIGN.csv", help="a table: run, animal, group, covariates")
    ],
    group: Annotated[str, typer.Option(help="column of the design that holds the groups")],
    covariate: Annotated[
        list[str] | None,
        typer.Option(help="a column to adjust for; NAME:number or NAME:category; may be repeated"),
    ] = None,
    pair: Annotated[
        str | None,
        typer.Option("--groups", metavar="FIRST,SECOND", help="of more than two groups: second minus first"),
    ] = None,
    structures: Annotated[
        str, typer.Option(help="summary, leaves, or a CSV file with structure_id")
    ] = groups.SUMMARY,
    measure: Annotated[
        str | None, typer.Option(help="column of the tables; default section_energy, else expression_energy")
    ] = None,
    hemisphere: Annotated[
        Hemisphere | None,
        typer.Option(help="rows to test; sides: each apart; default both, or that of half brains"),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(envvar="ISH_REFERENCE", help="a reference folder; default that of the runs")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="write groups.csv, animals.csv and report.html into this folder")
    ] = None,
    centring: Annotated[
        bool, typer.Option(help="put all animals on the scale of their median structure")
    ] = True,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="compare runs of different references, detectors or genes")
    ] = False,
    json: Json = False,
) -> None:
    """Compare two groups of animals: effects with intervals, moderated t tests, false discovery rate."""
    options = groups.Options(
        group=group,
        covariates=tuple(covariate or ()),
        pair=pair,
        structures=structures,
        measure=measure,
        hemisphere=hemisphere.value if hemisphere else None,
        centre=centring,
        allow_mixed=allow_mixed,
        reference=reference,
    )
    try:
        found = groups.compare_groups(design, options, lambda line: say(f"note: {line}"))
    except PipelineError as error:
        if output is not None and (earlier := groups.set_aside(output)):
            raise type(error)(f"{error}; the table of an earlier comparison is {earlier} now") from None
        raise
    if output is not None:
        for path in groups.write_comparison(output, found):
            say(f"wrote {path}")
    say(found.headline)
    rows = found.table()
    show(rows if json else [{k: row[k] for k in SHOWN} for row in rows[:HEAD]], json)
    if not json and len(rows) > HEAD:
        say(f"… and {len(rows) - HEAD} more; --output DIR or --json has all")


SHOWN = (
    "acronym",
    "structure_id",
    "hemisphere_id",
    "n_1",
    "n_2",
    "effect",
    "effect_lower",
    "effect_upper",
    "q_value",
)
