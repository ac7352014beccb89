"""`ish run`: take series through every stage."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.compare import agree
from pipeline.cli.console import Json, say, show
from pipeline.cli.outcome import ending
from pipeline.cli.progress import Progress
from pipeline.cli.signals import stopping_on_signals
from pipeline.core.errors import ConfigError
from pipeline.inputs.config import (
    ClusterConfig,
    ConfigFile,
    config_path,
    find_config,
    load_config_file,
)
from pipeline.runs import api
from pipeline.runs.api import RunOptions, SeriesResult
from pipeline.runs.plan import parse_shard
from pipeline.runs.repeat import Repeat, repeat
from pipeline.runs.schedule import ENGINES
from pipeline.runs.sweep import count_variants, run_sweep
from pipeline.system.files import shown


def run(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Argument(
            help="a configuration of configs/, or a YAML file of your own",
            parser=config_path,
            metavar="CONFIG",
        ),
    ] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", help="a series, a folder of series, a glob in quotes, or a CSV of series"),
    ] = None,
    output: Annotated[Path, typer.Option("--output", help="results go to OUTPUT/<id>")] = Path("ish-output"),
    reference: Annotated[Path | None, typer.Option("--reference", help="a reference folder")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="dotted.key=value")] = None,
    scheduler: Annotated[str, typer.Option(help=", ".join(ENGINES))] = "threads",
    workers: Annotated[int, typer.Option(min=1, help="default: the machine's cores")] = os.cpu_count() or 1,
    force: Annotated[bool, typer.Option(help="recompute everything")] = False,
    from_stage: Annotated[
        str | None, typer.Option("--from", help="recompute this stage and those after it")
    ] = None,
    config_from: Annotated[
        Path | None, typer.Option(metavar="RUN", help="repeat this run instead of naming a CONFIG")
    ] = None,
    strict: Annotated[bool, typer.Option(help="count a bad or missing section as a failure")] = False,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="run the I-th of N parts of the batch, for job arrays")
    ] = "1/1",
    wait: Annotated[bool, typer.Option(help="wait while another run works on a series")] = False,
    memory: Annotated[
        str | None, typer.Option(help="memory for all tasks together, such as 6GB; default: 80 %")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="with --scheduler distributed: address of a running scheduler")
    ] = None,
    yes: Annotated[bool, typer.Option(help="do not ask before a large sweep")] = False,
    json: Json = False,
) -> None:
    """Take series of sections through every stage."""
    if context.args:
        raise ConfigError(
            f"unexpected argument {shown(context.args[0])}: expected --input before each path, and patterns"
            " in quotes; did the shell expand a pattern?"
        )
    plan, config_file = _plan(config, config_from, set_ or [], inputs or [], reference)
    for difference in plan.differences:
        say(f"warning: differs from {config_from}: {difference}")
    options = RunOptions(scheduler, workers, force, from_stage, parse_shard(shard), wait, memory)
    options = replace(options, address=address, cluster=config_file.cluster)
    compared: list[Path] = []
    with stopping_on_signals(output), Progress(quiet=json) as progress:
        if config_file.sweep:
            agree(count_variants(config_file.sweep), yes)
            results, compared = run_sweep(config_file, plan.inputs, output, plan.reference, options, progress)
        else:
            results = api.run(plan.config, plan.inputs, output, plan.reference, options, progress)
    show([_outcome(result) for result in results], json)
    for result in results:
        for line in (*result.errors, *(f"warning: {w}" for w in result.warnings)):
            say(f"{result.source.name}: {line}")  # named by its folder, as the user did
    for path in compared:
        say(f"wrote {path}")
    for line in ending(results, output):
        say(line)
    failed = any(r.errors for r in results) or (strict and any(r.warnings for r in results))
    raise typer.Exit(1 if failed else 0)


def _plan(
    config: Path | None, repeated: Path | None, set_: list[str], inputs: list[Path], reference: Path | None
) -> tuple[Repeat, ConfigFile]:
    """Return what to run: a configuration file, or an earlier run again."""
    if repeated is not None and config is None:
        plan = repeat(repeated, set_, inputs, reference)
        return plan, ConfigFile(plan.config, {}, ClusterConfig())
    if repeated is not None or config is None:
        raise ConfigError(
            "expected CONFIG, a YAML such as those of configs/, or --config-from RUN, and not both"
        )
    config_file = load_config_file(config, set_)
    if (found := find_config(config)) != config:
        say(f"configuration: {found}")
    return Repeat(config_file.config, tuple(inputs), reference, ()), config_file


def _outcome(result: SeriesResult) -> dict[str, Any]:
    done = sum(1 for r in result.receipts.values() if r.ok)
    return {
        "series": result.run.path.name if result.run else result.source.name,
        "state": "failed" if result.errors else "done",
        "tasks": f"{done}/{len(result.receipts)}",
        "warnings": len(result.warnings),
        "output": str(result.run.path) if result.run else "",
    }
