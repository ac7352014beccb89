"""Runs over the product of parameters, and runs side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.inputs.config import Experiment, reference_directory
from pipeline.report.comparison import Compared, agreement, ontology_of, write_comparison
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
from pipeline.store.run import RunFolder, is_run

MOST_STRUCTURES = 20
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

    Results go to output/<variant>/<section_data_set_id>; a stage that variants do not differ in is
    computed for the first of them and linked into the others.

    Returns
    -------
    the results, series by series within each variant, and the files of the comparison
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
    """Compare whatever there is of the variants: also what other shards have done."""
    runs = [
        Compared.of(
            open_run(folder), f"{variant.name}/{folder.name}", {"series": folder.name, **variant.values}
        )
        for variant in found
        for folder in sorted((output / variant.name).glob("*"))
        if is_run(folder)
    ]
    return write_comparison(output, runs) if runs else []


def compare(a: Path, b: Path) -> dict[str, list[dict[str, Any]]]:
    """Return two runs side by side.

    Returns
    -------
    `configuration`: keys that differ; `figures`: quality; `grids`: agreement of the energies;
    `structures`: those whose energy differs most, covered in both
    """
    runs = [Compared.of(open_run(folder), str(folder), {}) for folder in (a, b)]
    first, second = (run.figures() for run in runs)
    names = [n for n in dict.fromkeys((*first, *second)) if n not in ("tasks", "shared_tasks")]
    grids = agreement(runs[0].contents.run, runs[1].contents.run)
    return {
        "configuration": _configurations(a, b),
        "figures": [{"what": n, "a": first.get(n), "b": second.get(n)} for n in names],
        "grids": [{"what": name, "value": value} for name, value in grids.items()],
        "structures": _structures(runs),
    }


def write_compared(folder: Path, runs: Sequence[Path]) -> list[Path]:
    """Write the comparison of runs as tables and a page."""
    check_output(folder)
    return write_comparison(folder, [Compared.of(open_run(run), str(run), {}) for run in runs])


def _configurations(a: Path, b: Path) -> list[dict[str, Any]]:
    found = []
    for folder in (a, b):
        run = RunFolder(folder)
        there = run.file("provenance.json").exists()
        found.append(_flat(run.read_document("provenance.json").get("configuration", {})) if there else {})
    names = dict.fromkeys((*found[0], *found[1]))
    return [
        {"key": name, "a": found[0].get(name), "b": found[1].get(name)}
        for name in names
        if found[0].get(name) != found[1].get(name)
    ]


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict) and value
            else {f"{prefix}{key}": value}
        )
    return flat


def _structures(runs: Sequence[Compared]) -> list[dict[str, Any]]:
    first, second = (run.energies() for run in runs)
    ontology = ontology_of(runs)
    rows: list[dict[str, Any]] = []
    for key in first.keys() & second.keys():
        structure = ontology.by_id.get(key[0]) if ontology else None
        ratio = second[key] / first[key] if first[key] > 0 else math.nan
        name = structure.acronym if structure else str(key[0])
        rows.append(
            {"structure": name, "hemisphere": key[1], "a": first[key], "b": second[key], "ratio": ratio}
        )
    rows.sort(key=lambda row: (-abs(row["b"] - row["a"]), row["structure"], row["hemisphere"]))
    return rows[:MOST_STRUCTURES]
