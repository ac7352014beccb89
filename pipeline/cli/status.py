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
    """Tell how far every series and stage is."""
    show(api.status(folder), json)


def report(folder: Annotated[Path, typer.Argument(help="a run, or a folder of runs")]) -> None:
    """Write the page of a run anew, or the pages and the index of a folder of runs."""
    for path in api.report(folder):
        say(f"wrote {path}")
