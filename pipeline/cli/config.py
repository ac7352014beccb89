"""`ish config`: what a configuration says, what it may say, and whether a run would take it."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import PLAIN, Json, say, show
from pipeline.inputs.config import config_path, load_config, load_config_file
from pipeline.inputs.config_keys import config_schema
from pipeline.inputs.config_values import commented_file, config_values
from pipeline.runs.sweep import check_config

SCHEMA_FILE = "ish-config.schema.json"  # as `ish config schema > …` may write it

app = typer.Typer(help="Show, describe and check a configuration.", no_args_is_help=True, **PLAIN)

Config = Annotated[
    Path | None,
    typer.Argument(
        help="a ready configuration by name, or a YAML file", parser=config_path, metavar="[CONFIG]"
    ),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="dotted.key=value")]


@app.command("show")
def show_config(
    config: Config = None,
    set_: Set = None,
    changed: Annotated[bool, typer.Option("--changed", help="only what differs from the defaults")] = False,
    yaml: Annotated[
        bool, typer.Option("--yaml", help="as a configuration file with every key, defaults as comments")
    ] = False,
    json: Json = False,
) -> None:
    """Show every key: value, unit, allowed values, where the value comes from."""
    if yaml:
        given = load_config(config, set_ or [])
        head = ["Written by `ish config show --yaml`. Remove the # before a key to change it."]
        sys.stdout.write(commented_file(head, given, SCHEMA_FILE))
        return
    rows = [
        {
            "key": found.key.key,
            "value": found.value if json else json_text.dumps(found.value),
            "unit": found.key.unit,
            "allowed": found.key.allowed,
            "from": found.source,
            **({"default": found.key.default, "what": found.key.text} if json else {}),
        }
        for found in config_values(config, set_ or [])
        if not changed or found.value != found.key.default
    ]
    if not rows:
        say("every key holds its default")
    if rows or json:
        show(rows, json)


@app.command()
def schema() -> None:
    """Print the JSON Schema of configuration files, by which editors complete and check them."""
    sys.stdout.write(json_text.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n")


@app.command()
def check(
    config: Annotated[
        Path,
        typer.Argument(
            help="a ready configuration by name, or a YAML file", parser=config_path, metavar="CONFIG"
        ),
    ],
    set_: Set = None,
) -> None:
    """Check a configuration as `ish run` does, without a series."""
    number = check_config(load_config_file(config, set_ or []))
    say(f"{config}: can be used" + (f"; its sweep has {number} combinations" if number > 1 else ""))
