"""Terminal output: tables or JSON on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="machine output")]
PLAIN: dict[str, Any] = {  # settings of every group of verbs
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
}

WIDE = 240  # characters a line of a table that goes to a file or another program

OUT = Console(soft_wrap=True, highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDE)
ERR = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def show(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print rows as JSON, or as a table.

    Parameters
    ----------
    rows : sequence of mapping
        Rows with the same keys; those of the first are the columns.
    as_json : bool
        Whether to print JSON.
    """
    if as_json:
        sys.stdout.write(json.dumps(list(rows), default=str) + "\n")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0] if rows else ():
        number = isinstance(rows[0][name], int | float)  # never broken over two lines
        table.add_column(str(name), justify="right" if number else "left", overflow="fold", no_wrap=number)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    OUT.print(table)


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def say(message: str) -> None:
    """Print one line to standard error.

    Parameters
    ----------
    message : str
        The line.
    """
    ERR.print(message)
