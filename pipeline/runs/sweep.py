"""Parameter sweeps: the variants, which of them share which stages, and their runs and comparison."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ConfigError
from pipeline.inputs.config import Config, ConfigFile, parse_config, reference_directory, with_value
from pipeline.inputs.config_keys import GIVEN, check_names
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
from pipeline.stages.align import check_given
from pipeline.stages.aligner_options import options_of
from pipeline.stages.job import SeriesJob
from pipeline.stages.table import STAGES
from pipeline.store.run import RunFolder, is_run
from pipeline.system.files import shown
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    from pipeline.report import comparison
else:
    comparison = LazyModule("pipeline.report.comparison")

# Sections of the configuration that a stage reads itself; `_deciding` adds those of earlier stages. They only
# select the run to look at: a result is taken over only where its digest agrees.
READS = {
    "measure": {"series"},
    "pool": set(),
    "detect": {"detection"},
    "align": {"alignment", "reference"},
    "grid": {"gridding", "reference"},
    "unionize": {"unionize", "reference"},
}
LONGEST_NAME = 80  # characters of a folder name, before the hash
DEFAULTS = RunOptions()


@dataclass(frozen=True)
class Variant:
    """One combination of the values of a sweep.

    Attributes
    ----------
    name : str
        Name of its folder.
    values : mapping of str to Any
        Value by dotted key of the configuration.
    config : Config
        Configuration with the values applied.
    """

    name: str
    values: Mapping[str, Any]
    config: Config


def count_variants(sweep: Mapping[str, Sequence[Any]]) -> int:
    """Return the number of combinations of a sweep.

    Parameters
    ----------
    sweep : mapping of str to sequence
        Values by dotted key.

    Returns
    -------
    int
        Product of the numbers of values; 1 for an empty sweep.
    """
    total = 1
    for values in sweep.values():
        total *= len(values)
    return total


def variants(config: Config, sweep: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """Return every combination of a sweep's values, the last key fastest.

    Parameters
    ----------
    config : Config
        Configuration that the values are applied to.
    sweep : mapping of str to sequence
        Values by dotted key.

    Returns
    -------
    list of Variant
        The combinations, in order.

    Raises
    ------
    ConfigError
        Where the configuration does not take a key or a value, or two combinations have one folder name.
    """
    found = []
    folders: dict[str, Mapping[str, Any]] = {}
    for combination in itertools.product(*sweep.values()):
        values = dict(zip(sweep, combination, strict=True))
        document = config.model_dump(mode="json")
        for key, value in values.items():
            with_value(document, key, value, "sweep")
        name = variant_name(values)
        first = folders.setdefault(name.casefold(), values)  # some file systems do not tell case
        if first is not values:
            raise ConfigError(_one_folder(name, first, values))
        found.append(Variant(name, values, parse_config(document, "sweep")))
    return found


def check_config(given: ConfigFile) -> int:
    """Check a configuration file as far as it goes without a series: also the parameters of the algorithms.

    Parameters
    ----------
    given : ConfigFile
        The file.

    Returns
    -------
    int
        Number of combinations of its sweep, 1 without one; each of them was checked.

    Raises
    ------
    ConfigError
        Where a name, a parameter or a value would be refused by a run.
    """
    every = variants(given.config, given.sweep)
    for variant in every:
        check_names(variant.config)
        chosen = variant.config.alignment
        if chosen.name == GIVEN:
            check_given(chosen.configuration)
        else:
            options_of(chosen.configuration, chosen.name, {})
    return len(every)


def _one_folder(name: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Return the message for two combinations that would be written into one folder."""
    key = next((key for key in first if repr(first[key]) != repr(second[key])), next(iter(first)))
    return (
        f"sweep: {key}: expected values with a folder each, got {shown(first[key])} and"
        f" {shown(second[key])}, both {shown(name)}; leave one out"
    )


def variant_name(values: Mapping[str, Any]) -> str:
    """Return a folder name that shows the values, and stays the same when values are added to the sweep.

    Parameters
    ----------
    values : mapping of str to Any
        Value by dotted key.

    Returns
    -------
    str
        Keys (their last parts where these are unique) and values; a hash is appended to a name that is long
        or has characters replaced.

    Examples
    --------
    >>> variant_name({"detection.configuration.contrast": 7.5, "gridding.smoothing_um": 150})
    'contrast=7.5,smoothing_um=150'
    """
    last = [key.rpartition(".")[2] for key in values]
    shown = last if len(set(last)) == len(last) else list(values)
    text = ",".join(f"{key}={value}" for key, value in zip(shown, values.values(), strict=True))
    name = re.sub(r"[^\w.,=+-]+", "_", text)
    if name == text and len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:8]
    return f"{name[:LONGEST_NAME]}-{digest}"


def share(jobs: Sequence[SeriesJob]) -> list[SeriesJob]:
    """Assign to each job the earlier runs whose stage outputs it may reuse.

    Two jobs share a stage where they have the same series and the same configuration of that stage and of all
    stages before it.

    Parameters
    ----------
    jobs : sequence of SeriesJob
        Jobs of all variants.

    Returns
    -------
    list of SeriesJob
        The jobs with `shared` filled in.
    """
    leaders: dict[tuple[Path, str, str], RunFolder] = {}
    assigned = []
    for job in jobs:
        shared = {}
        for stage, sections in _deciding().items():
            decided_by = repr([(name, getattr(job.config, name)) for name in sorted(sections)])
            leader = leaders.setdefault((job.source, stage, decided_by), job.run)
            if leader is not job.run:
                shared[stage] = leader
        assigned.append(replace(job, shared=shared))
    return assigned


def _deciding() -> dict[str, set[str]]:
    """Return the configuration sections that decide each stage, those of earlier stages included."""
    found: dict[str, set[str]] = {}
    for stage in STAGES:
        if stage.name in READS:
            found[stage.name] = READS[stage.name].union(*(found[name] for name in stage.after))
    return found


def run_sweep(
    config_file: ConfigFile,
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
    config_file : ConfigFile
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
    found = variants(config_file.config, config_file.sweep)
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
        comparison.Compared.of(
            open_run(folder), f"{variant.name}/{folder.name}", {"series": folder.name, **variant.values}
        )
        for variant in found
        for folder in sorted((output / variant.name).glob("*"))
        if is_run(folder)
    ]
    return comparison.write_comparison(output, runs) if runs else []
