"""The verbs that work on whole series: run, status, report, init, phantom, export."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli import reference as reference_cli
from pipeline.cli import search as search_cli
from pipeline.cli import sync as sync_cli
from pipeline.cli.borders import unbroken
from pipeline.cli.compare import agree, compare
from pipeline.cli.console import say, show
from pipeline.cli.fetch import fetch
from pipeline.cli.init import init
from pipeline.cli.outcome import ending
from pipeline.cli.progress import Progress
from pipeline.cli.signals import ending_well
from pipeline.cli.unionize import unionize
from pipeline.core.errors import ConfigError, PipelineError
from pipeline.exports.forms import FORMATS, export
from pipeline.inputs.config import (
    ClusterConfig,
    Experiment,
    config_path,
    find_config,
    load_experiment,
    parse_overrides,
)
from pipeline.phantom.scenes import data_set_scene, phantom_scene, render_options, specimen_scenes
from pipeline.phantom.write_series import SeriesForm, check_free, write_phantom_series
from pipeline.runs import api
from pipeline.runs.api import RunOptions, SeriesResult
from pipeline.runs.plan import parse_shard
from pipeline.runs.repeat import Repeat, repeat
from pipeline.runs.run_sweep import run_sweep
from pipeline.runs.schedule import ENGINES
from pipeline.runs.sweep import count_variants
from pipeline.system.files import shown

app = typer.Typer(
    name="ish",
    help="From scanned in situ hybridisation sections to expression in brain structures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(sync_cli.app, name="sync")
app.add_typer(reference_cli.app, name="reference")
app.add_typer(search_cli.app, name="search")
app.command()(init)
app.command()(compare)
app.command()(fetch)
app.command()(unionize)
app.command("index")(search_cli.build)

MOST_NAMED = 10  # files that are named one by one

Json = Annotated[bool, typer.Option("--json", help="machine output")]


@app.command(context_settings={"allow_extra_args": True})
def run(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Argument(help="a YAML of configs/, or your own", parser=config_path, metavar="CONFIG"),
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
    from_stage: Annotated[str | None, typer.Option("--from", help="recompute this stage and after")] = None,
    config_from: Annotated[
        Path | None, typer.Option(metavar="RUN", help="repeat this run instead of naming a CONFIG")
    ] = None,
    strict: Annotated[bool, typer.Option(help="a bad or missing section is a failure")] = False,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="take the I-th of N parts of the series: for job arrays")
    ] = "1/1",
    wait: Annotated[bool, typer.Option(help="wait while another run works on a series")] = False,
    memory: Annotated[
        str | None, typer.Option(help="what tasks may take together, such as 6GB; default: 80 %")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="with --scheduler distributed: a scheduler that runs already")
    ] = None,
    yes: Annotated[bool, typer.Option(help="do not ask before a large sweep")] = False,
    json: Json = False,
) -> None:
    """Take series of sections through every stage."""
    if context.args:
        raise ConfigError(
            "expected --input before each path, or a pattern in quotes, got also"
            f" {shown(context.args[0])}; did the shell expand a pattern?"
        )
    plan, experiment = _plan(config, config_from, set_ or [], inputs or [], reference)
    for difference in plan.differences:
        say(f"warning: not as in {config_from}: {difference}")
    options = RunOptions(scheduler, workers, force, from_stage, parse_shard(shard), wait, memory)
    options = replace(options, address=address, cluster=experiment.cluster)
    compared: list[Path] = []
    with ending_well(output), Progress(quiet=json) as progress:
        if experiment.sweep:
            agree(count_variants(experiment.sweep), yes)
            results, compared = run_sweep(experiment, plan.inputs, output, plan.reference, options, progress)
        else:
            results = api.run(plan.config, plan.inputs, output, plan.reference, options, progress)
    show([_outcome(result) for result in results], json)
    for result in results:
        for line in (*result.errors, *(f"warning: {w}" for w in result.warnings)):
            name = _name(result)
            say(f"{name}: {line.removeprefix(f'series {name}: ')}")
    for path in compared:
        say(f"wrote {path}")
    for line in ending(results, output):
        say(line)
    failed = any(r.errors for r in results) or (strict and any(r.warnings for r in results))
    raise typer.Exit(1 if failed else 0)


def _plan(
    config: Path | None, repeated: Path | None, set_: list[str], inputs: list[Path], reference: Path | None
) -> tuple[Repeat, Experiment]:
    """Return what to run: a configuration file, or an earlier run once more."""
    if repeated is not None and config is None:
        plan = repeat(repeated, set_, inputs, reference)
        return plan, Experiment(plan.config, {}, ClusterConfig())
    if repeated is not None or config is None:
        raise ConfigError(
            "expected CONFIG, a YAML such as those of configs/, or --config-from RUN, and not both"
        )
    experiment = load_experiment(config, set_)
    if (found := find_config(config)) != config:
        say(f"configuration: {found}")
    return Repeat(experiment.config, tuple(inputs), reference, ()), experiment


def _name(result: SeriesResult) -> str:
    """Return what a series is called: its id, or where it has none its folder."""
    return result.run.path.name if result.run else result.source.name


def _outcome(result: SeriesResult) -> dict[str, Any]:
    done = sum(1 for r in result.receipts.values() if r.ok)
    return {
        "series": _name(result),
        "state": "failed" if result.errors else "done",
        "tasks": f"{done}/{len(result.receipts)}",
        "warnings": len(result.warnings),
        "output": str(result.run.path) if result.run else "",
    }


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="a run, or a folder of runs")], json: Json = False
) -> None:
    """Tell how far every series and stage is."""
    show(api.status(folder), json)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="a run, or a folder of runs")]) -> None:
    """Write the page of a run anew, or the pages and the index of a folder of runs."""
    for path in api.report(folder):
        say(f"wrote {path}")


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="the series goes to FOLDER/series, the truth beside it")],
    plane: Annotated[str, typer.Option(help="sagittal (left hemisphere) or coronal")] = "sagittal",
    sections: Annotated[int, typer.Option(min=1, help="of each series")] = 20,
    series: Annotated[int, typer.Option(min=1, help="of one brain, to FOLDER/ID/series each")] = 1,
    resolution_um: Annotated[float, typer.Option(min=0.5, help="um a pixel")] = 8.0,
    geometry: Annotated[Path | None, typer.Option(help="draw through this series' data_set.xml")] = None,
    reference: Annotated[Path | None, typer.Option(help="with --geometry: the brain that is cut")] = None,
    energy: Annotated[Path | None, typer.Option(help="with --geometry: what is expressed, .mhd")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="option=value of the renderer")] = None,
    give_alignment: Annotated[bool, typer.Option(help="put the alignment into the series")] = False,
) -> None:
    """Render an ISH series of the phantom brain, or of a real one, with its truth beside it."""
    options = render_options(parse_overrides(set_ or ()))
    if series > 1 and geometry is not None:
        raise ConfigError("--series: expected one with --geometry, which gives the sections of one series")
    check_free(folder)
    if series > 1:
        for scene in specimen_scenes(plane, series, sections, resolution_um, options):
            own = folder / str(scene.geometry.data_set.id)
            write_phantom_series(own, scene, SeriesForm(give_alignment=give_alignment))
        say(f"wrote {series} series of one brain to {folder}; each with its truth beside it")
        return
    if geometry is None:
        scene = phantom_scene(plane, sections, resolution_um, options)
    elif reference is None:
        raise ConfigError("--geometry: expected --reference too, the brain that is cut")
    else:
        scene = data_set_scene(geometry, reference, energy, resolution_um, options)
    form = SeriesForm(give_alignment=give_alignment, manifest="csv" if geometry is None else "xml")
    write_phantom_series(folder, scene, form)
    say(f"wrote {folder / 'series'}; its truth is in {folder / 'truth'}")
    if geometry is not None and not give_alignment:
        say("its data_set.xml holds no alignment; --give-alignment puts in the one that was drawn through")


@app.command("export")
def export_run(
    folder: Annotated[Path, typer.Argument(metavar="RUN|DIR", help="a run, or a folder of runs")],
    format_: Annotated[str, typer.Option("--format", help=", ".join(FORMATS))],
    output: Annotated[Path | None, typer.Option(help="default: export, beside what is exported")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="where the names of structures are; default: the run's own")
    ] = None,
) -> None:
    """Write a finished run, or all of a folder, in another form."""
    exported = export(folder, format_, output, reference)
    for line in exported.left_out:
        say(f"warning: {line}")
    for path in exported.files[:MOST_NAMED]:
        say(f"wrote {path}")
    if len(exported.files) > MOST_NAMED:
        say(f"… and {len(exported.files) - MOST_NAMED} more")


def main() -> None:
    """Run the command; errors of ours are one line, 2 for usage and configuration, else 1."""
    with unbroken():
        try:
            app()
        except PipelineError as error:
            say(f"ish: {error}")
            sys.exit(2 if isinstance(error, ConfigError) else 1)
