"""`ish compare`, and the confirmation of a large sweep."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import OUT, Json, say, show
from pipeline.core.errors import ConfigError
from pipeline.runs import compare as side_by_side
from pipeline.runs import replicates

MOST_UNASKED = 50  # variants that run without confirmation


def compare(
    runs: Annotated[list[Path], typer.Argument(help="two runs: OUTPUT/<id>; any number with --replicates")],
    as_replicates: Annotated[
        bool,
        typer.Option(
            "--replicates", help="agreement of left and right, of replicates, of interleaved series"
        ),
    ] = False,
    output: Annotated[Path | None, typer.Option(help="also write tables and a page into this folder")] = None,
    json: Json = False,
) -> None:
    """Compare two runs: configuration, quality, grids, structures; or see how well runs repeat."""
    if as_replicates:
        agreement(runs, output, json)
        return
    if len(runs) != 2:
        raise ConfigError(f"expected two runs, got {len(runs)}; --replicates takes any number")
    found = side_by_side.compare(*runs)
    if json:
        sys.stdout.write(json_text.dumps(found, default=str) + "\n")
    else:
        for title, rows in found.items():
            OUT.print(f"\n{title}" + ("" if rows else ": no difference, or nothing to compare"), style="bold")
            if rows:
                show(rows, as_json=False)
    for path in side_by_side.write_compared(output, runs) if output else ():
        say(f"wrote {path}")


def agreement(runs: list[Path], output: Path | None, json: bool) -> None:
    """Show how well runs repeat.

    Parameters
    ----------
    runs : list of Path
        Runs.
    output : Path or None
        Folder for a table and a page.
    json : bool
        Whether to print JSON.
    """
    found = replicates.replicates(runs, lambda line: say(f"note: {line}"))
    rows = found.table()
    show(rows if json else [{k: "" if v is None else v for k, v in row.items()} for row in rows], json)
    for path in replicates.write_replicates(output, found) if output else ():
        say(f"wrote {path}")


def agree(count: int, yes: bool) -> None:
    """Ask for confirmation before a large sweep.

    Parameters
    ----------
    count : int
        Number of variants.
    yes : bool
        Whether the user has confirmed already.

    Raises
    ------
    ConfigError
        Where the user declines, or cannot be asked.
    """
    if count <= MOST_UNASKED or yes:
        return
    what = f"the sweep has {count} variants, more than {MOST_UNASKED}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(f"{what}; add --yes to run them, or list fewer values")
    if not typer.confirm(f"{what}. Run them all?", err=True):
        raise ConfigError(f"{what}: not run")
