"""`ish status` and `ish report`: progress of runs, and their pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Json, say, show
from pipeline.runs import api


def status(
    folder: Annotated[Path, typer.Argument(help="a run, or a folder of runs")], json: Json = False
) -> None:
    """Show the progress of every series and stage."""
    show(api.status(folder), json)


def report(folder: Annotated[Path, typer.Argument(help="a run, or a folder of runs")]) -> None:
    """Rewrite the page of a run, or the pages and the index of a folder of runs."""
    for path in api.report(folder):
        say(f"wrote {path}")
