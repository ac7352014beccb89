"""Comparison of two runs: configuration, quality figures, grids and structures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.runs.api import check_output, open_run
from pipeline.store.run import RunFolder
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    from pipeline.report import comparison
else:
    comparison = LazyModule("pipeline.report.comparison")

MOST_STRUCTURES = 20  # rows of the table of structures


def compare(a: Path, b: Path) -> dict[str, list[dict[str, Any]]]:
    """Compare two runs.

    Parameters
    ----------
    a, b : Path
        Run folders.

    Returns
    -------
    dict of str to list of dict
        Rows by table. `configuration` has the keys that differ, `figures` the quality figures, `grids` the
        agreement of the energies, and `structures` those whose energy (0-255) differs most, both hemispheres
        and both together counted apart, among the structures with enough coverage in both runs.

    Raises
    ------
    DataError
        Where a folder is not a run.
    """
    runs = [comparison.Compared.of(open_run(folder), str(folder), {}) for folder in (a, b)]
    first, second = (run.figures() for run in runs)
    names = [n for n in dict.fromkeys((*first, *second)) if n not in ("tasks", "shared_tasks")]
    grids = comparison.agreement(runs[0].contents.run, runs[1].contents.run)
    return {
        "configuration": _configurations(a, b),
        "figures": [{"what": n, "a": first.get(n), "b": second.get(n)} for n in names],
        "grids": [{"what": name, "value": value} for name, value in grids.items()],
        "structures": _structures(runs),
    }


def write_compared(folder: Path, runs: Sequence[Path]) -> list[Path]:
    """Write the comparison of runs as tables and a page.

    Parameters
    ----------
    folder : Path
        Folder for the files; made where it does not exist.
    runs : sequence of Path
        Run folders; the first is the one that others are compared with.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ConfigError
        Where the folder cannot be written, or holds files that are in the way.
    DataError
        Where a folder is not a run.
    """
    check_output(folder)
    return comparison.write_comparison(
        folder, [comparison.Compared.of(open_run(run), str(run), {}) for run in runs]
    )


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


def _structures(runs: Sequence[comparison.Compared]) -> list[dict[str, Any]]:
    first, second = (run.energies() for run in runs)
    bounds = [run.bounds() for run in runs]
    ontology = comparison.ontology_of(runs)
    rows: list[dict[str, Any]] = []
    for key in first.keys() & second.keys():
        structure = ontology.by_id.get(key[0]) if ontology else None
        ratio = second[key] / first[key] if first[key] > 0 else math.nan
        name = structure.acronym if structure else str(key[0])
        row = {"structure": name, "hemisphere": key[1], "a": first[key], "b": second[key], "ratio": ratio}
        rows.append(
            row | (_intervals(first[key], second[key], *(b.get(key) for b in bounds)) if any(bounds) else {})
        )
    rows.sort(key=lambda row: (-abs(row["b"] - row["a"]), row["structure"], row["hemisphere"]))
    return rows[:MOST_STRUCTURES]


def _intervals(
    a: float, b: float, of_a: tuple[float, float] | None, of_b: tuple[float, float] | None
) -> dict[str, Any]:
    """Return the intervals of two energies, and whether the energies differ by more than both explain.

    The half-widths of two independent 90 % intervals add as squares; on the side that faces the other energy,
    since intervals of energies are lopsided.
    """
    low_a, high_a = of_a or (math.nan, math.nan)
    low_b, high_b = of_b or (math.nan, math.nan)
    allowed = math.hypot(high_a - a, b - low_b) if b >= a else math.hypot(a - low_a, high_b - b)
    beyond = "" if math.isnan(allowed) else "yes" if abs(b - a) > allowed else "no"
    return {"a_lower": low_a, "a_upper": high_a, "b_lower": low_b, "b_upper": high_b, "beyond error": beyond}
