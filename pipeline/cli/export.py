"""`ish export`: finished runs in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import say
from pipeline.exports.forms import FORMATS, export

MOST_NAMED = 10  # files that are listed by name


def export_run(
    folder: Annotated[Path, typer.Argument(metavar="RUN|DIR", help="a run, or a folder of runs")],
    format_: Annotated[str, typer.Option("--format", help=", ".join(FORMATS))],
    output: Annotated[Path | None, typer.Option(help="default: a folder export inside DIR")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="reference that names the structures; default: that of the run")
    ] = None,
) -> None:
    """Export a finished run, or all runs of a folder, to another format."""
    exported = export(folder, format_, output, reference)
    for line in exported.left_out:
        say(f"warning: {line}")
    for path in exported.files[:MOST_NAMED]:
        say(f"wrote {path}")
    if len(exported.files) > MOST_NAMED:
        say(f"… and {len(exported.files) - MOST_NAMED} more")
