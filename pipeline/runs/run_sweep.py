"""Run all variants of a parameter sweep, and compare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.inputs.config import Experiment, reference_directory
from pipeline.report.comparison import Compared, write_comparison
from pipeline.runs.api import (
    SILENT,
    Listener,
    RunOptions,
    SeriesResult,
    check_job,
    check_output,
    open_run,
    run_all,
    stages_to_redo,
)
from pipeline.runs.plan import Plan, find_sources, plan_jobs
from pipeline.runs.schedule import check_engine
from pipeline.runs.sweep import Variant, share, variants
from pipeline.store.run import is_run

DEFAULTS = RunOptions()


def run_sweep(
    experiment: Experiment,
    inputs: Sequence[Path],
    output: Path,
    reference: Path | None = None,
    options: RunOptions = DEFAULTS,
    listener: Listener = SILENT,
) -> tuple[list[SeriesResult], list[Path]]:
    """Run every variant of a sweep over every series, and write the comparison of all.

    Results go to output/<variant>/<section_data_set_id>. A stage in which variants do not differ is computed
    for the first of them and linked into the others.

    Parameters
    ----------
    experiment : Experiment
        Configuration, values to sweep over, and cluster settings.
    inputs : sequence of Path
        Each a series, a folder of series, a glob, or a table of series.
    output : Path
        Folder of the sweep.
    reference : Path or None
        Reference folder for all variants; None takes that of each configuration.
    options : RunOptions
        How the batch runs.
    listener : Listener
        Progress callbacks.

    Returns
    -------
    list of SeriesResult
        Series that cannot start first, then the series of each variant in turn.
    list of Path
        Files of the comparison; empty where there is no run to compare.

    Raises
    ------
    ConfigError
        Where engine, sweep, inputs, output or a variant's configuration are wrong.
    """
    check_engine(options.engine)
    found = variants(experiment.config, experiment.sweep)
    check_output(output)
    sources = find_sources(inputs)
    for note in sources.notes:
        listener.say(f"warning: {note}")
    redo = stages_to_redo(options)
    jobs, broken = [], []
    for variant in found:
        directory = reference_directory(variant.config, reference)
        plan = Plan(variant.config, output / variant.name, directory, redo)
        planned, cannot = plan_jobs(sources.sources, plan, options.shard)
        if planned:
            check_job(planned[0])
        jobs += [replace(job, label=f"{variant.name}/{job.run.path.name}") for job in planned]
        broken += [SeriesResult(b.source, None, {}, (b.error,)) for b in cannot]
    results = run_all(share(jobs), options, listener)
    return [*broken, *results], _compare_all(output, found)


def _compare_all(output: Path, found: Sequence[Variant]) -> list[Path]:
    """Compare all runs that exist for the variants, those of other shards included."""
    runs = [
        Compared.of(
            open_run(folder), f"{variant.name}/{folder.name}", {"series": folder.name, **variant.values}
        )
        for variant in found
        for folder in sorted((output / variant.name).glob("*"))
        if is_run(folder)
    ]
    return write_comparison(output, runs) if runs else []
