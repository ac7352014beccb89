"""Comparison of runs: quality figures, energy per structure, and agreement of their grids."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import quote

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.model import BOTH, LEAST_COVERAGE, Float32
from pipeline.core.ontology import Ontology
from pipeline.formats.tables.tables import write_table
from pipeline.inputs.alignments import run_reference
from pipeline.inputs.references import GRID_LABELS_UM, open_reference
from pipeline.report.coarse_atlas import coarse_structures
from pipeline.report.contents import RunContents, read_contents, read_grid, read_rows
from pipeline.report.page import PAGE, environment
from pipeline.report.text import figure
from pipeline.report.verdict import STATUSES, verdict
from pipeline.store.publishing import publishing
from pipeline.store.run import RATIOS, RunFolder

TABLE, STRUCTURES, COMPARISON = "comparison", "comparison_structures", "comparison.html"
ENERGY = "energy_"  # prefix of columns in the wide table: energy of a coarse structure, both hemispheres


@dataclass(frozen=True, eq=False)
class Compared:
    """One run of a comparison.

    Attributes
    ----------
    label : str
        Name of the run in the comparison.
    values : mapping of str to value
        Settings that distinguish it from the other runs, by key.
    contents : RunContents
        The readable parts of the run.
    rows : tuple of dict
        Rows of its StructureUnionize table; empty where there is none.
    """

    label: str
    values: Mapping[str, Any]
    contents: RunContents
    rows: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, run: RunFolder, label: str, values: Mapping[str, Any]) -> Compared:
        """Read a run, finished or not.

        Parameters
        ----------
        run : RunFolder
            The run.
        label : str
            Name of the run in the comparison.
        values : mapping of str to value
            Settings that distinguish it from the other runs, by key.

        Returns
        -------
        Compared
            The run with its table.
        """
        contents = read_contents(run)
        return cls(label, values, contents, tuple(read_rows(contents).content or ()))

    def figures(self) -> dict[str, Any]:
        """Return the quality figures of the run: states, tasks, and what the stages measured."""
        receipts = self.contents.receipts
        found = verdict(self.contents, self.rows)
        taken = sum(1 for r in receipts.values() if r.taken_from)
        detected = [r.facts for n, r in receipts.items() if n.startswith("detect-") and r.ok]
        totals = [facts.get("totals", facts) for facts in detected]  # earlier versions had the sums alone
        pixels = sum(sums.get("sum_pixels", 0) for sums in totals)
        expressing = sum(sums.get("sum_expressing_pixels", 0) for sums in totals)
        grid = receipts.get("grid")
        return {
            "state": found.state,
            **{f"sections_{status}": found.counts[status] for status in STATUSES},
            "tasks": len(receipts),
            "shared_tasks": taken,
            "task_s": round(sum(r.wall_s for r in receipts.values()), 2),
            "expressing_share": expressing / pixels if pixels else math.nan,
            "covered_voxels": grid.facts.get("covered_voxels", 0) if grid and grid.ok else 0,
            **self._measures(),
            **self._root(),
        }

    def _measures(self) -> dict[str, float]:
        """Return the mean over sections of every measure of the alignment."""
        alignment = self.contents.alignment.content
        sections = [s.measures for s in alignment.sections] if alignment else []
        names = dict.fromkeys(name for measures in sections for name in measures)
        return {f"mean_{n}": fmean(m[n] for m in sections if n in m) for n in names}

    def _root(self) -> dict[str, float]:
        """Return the ratios of the whole brain (the row with most pixels); NaN without a table."""
        whole = max(
            (r for r in self.rows if r["hemisphere_id"] == BOTH), key=lambda r: r["sum_pixels"], default=None
        )
        return {f"brain_{n}": whole[f"expression_{n}"] if whole else math.nan for n in RATIOS}

    def energies(self) -> dict[tuple[int, int], float]:
        """Return the energy of each structure and hemisphere that is covered well enough."""
        return {
            (r["structure_id"], r["hemisphere_id"]): r["expression_energy"]
            for r in self.rows
            if r["coverage"] >= LEAST_COVERAGE
        }

    def bounds(self) -> dict[tuple[int, int], tuple[float, float]]:
        """Return the 90 % interval of each energy; empty where the table states none."""
        ends = ("expression_energy_lower", "expression_energy_upper")
        return {
            (r["structure_id"], r["hemisphere_id"]): (r[ends[0]], r[ends[1]])
            for r in self.rows
            if all(isinstance(r.get(end), float) for end in ends)
        }


def write_comparison(folder: Path, runs: Sequence[Compared]) -> list[Path]:
    """Write the comparison of runs: one table of runs, one of all their structures, and a page.

    Parameters
    ----------
    folder : Path
        Where the files go.
    runs : sequence of Compared
        The runs; the first is the one that the page compares with.

    Returns
    -------
    list of Path
        The written files: Parquet and CSV of each table, and `comparison.html`.
    """
    ontology = ontology_of(runs)
    wide = wide_table(runs, ontology)
    with publishing(folder) as fresh:
        files = _write_comparison(fresh, folder, runs, wide, ontology)
    return [folder / path.name for path in files]


def _write_comparison(
    fresh: Path,
    folder: Path,
    runs: Sequence[Compared],
    wide: Sequence[Mapping[str, Any]],
    ontology: Ontology | None,
) -> list[Path]:
    """Write the files of a comparison into a fresh folder; links in its page are relative to `folder`."""
    files = [fresh / f"{TABLE}.{end}" for end in ("parquet", "csv")]
    write_table(_columns(wide), files[1], files[0])
    long_rows = [
        {"run": run.label, **dict(run.values), "acronym": _acronym(ontology, row["structure_id"]), **row}
        for run in runs
        for row in run.rows
    ]
    if long_rows:
        files += [fresh / f"{STRUCTURES}.{end}" for end in ("parquet", "csv")]
        write_table(_columns(long_rows), files[3], files[2])
    page = fresh / COMPARISON
    text = (
        environment()
        .get_template("comparison.html.j2")
        .render(
            columns=_shown(wide),
            rows=[_row_of(folder, run, row, wide[0]) for run, row in zip(runs, wide, strict=True)],
        )
    )
    page.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [*files, page]


def wide_table(runs: Sequence[Compared], ontology: Ontology | None) -> list[dict[str, Any]]:
    """Return one row per run: its distinguishing settings, its figures, the energy of the coarse structures.

    Parameters
    ----------
    runs : sequence of Compared
        The runs.
    ontology : Ontology or None
        Names the coarse structures; None leaves their energies out.

    Returns
    -------
    list of dict
        Rows with the same keys; a figure that a run lacks is None or NaN.
    """
    coarse = {s.id: ontology.label(s.id) for s in coarse_structures(ontology)} if ontology else {}
    rows = []
    for run in runs:
        energies = {r["structure_id"]: r["expression_energy"] for r in run.rows if r["hemisphere_id"] == BOTH}
        by_name = {f"{ENERGY}{label}": energies.get(number, math.nan) for number, label in coarse.items()}
        rows.append({"run": run.label, **dict(run.values), **run.figures(), **by_name})
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def ontology_of(runs: Sequence[Compared]) -> Ontology | None:
    """Return the ontology of the first run whose reference can be read.

    Parameters
    ----------
    runs : sequence of Compared
        The runs.

    Returns
    -------
    Ontology or None
        The ontology; None where no run has a readable reference.
    """
    for run in runs:
        folder = run.contents.run.path
        if (folder / "provenance.json").exists():
            try:
                return open_reference(run_reference(folder), GRID_LABELS_UM).ontology
            except PipelineError:
                continue
    return None


def agreement(a: RunFolder, b: RunFolder) -> dict[str, float]:
    """Return how well the energies of two runs agree over the voxels where both have data.

    Parameters
    ----------
    a : RunFolder
        First run.
    b : RunFolder
        Second run.

    Returns
    -------
    dict of str to float
        Numbers of voxels, Pearson correlation, largest absolute difference and ratio of the means (second
        over first); empty where a run has no grid.
    """
    grids = [read_grid(read_contents(run)).content for run in (a, b)]
    if grids[0] is None or grids[1] is None:
        return {}
    return _agreement(grids[0]["energy"], grids[1]["energy"])


def _agreement(a: Float32, b: Float32) -> dict[str, float]:
    """Return the figures of `agreement` for two grids of energy, (P, I, R) float32, -1 without data."""
    both = (a >= 0) & (b >= 0)
    x, y = a[both].astype(np.float64), b[both].astype(np.float64)
    varied = len(x) > 1 and x.std() > 0 and y.std() > 0
    return {
        "voxels of both": float(both.sum()),
        "voxels of one alone": float(((a >= 0) ^ (b >= 0)).sum()),
        "correlation of energy": float(np.corrcoef(x, y)[0, 1]) if varied else math.nan,
        "largest difference": float(np.abs(x - y).max(initial=0.0)),
        "ratio of the means": float(y.mean() / x.mean()) if len(x) and x.mean() > 0 else math.nan,
    }


def _acronym(ontology: Ontology | None, structure_id: int) -> str:
    """Return the acronym of a structure, empty where it is not known."""
    known = ontology.by_id.get(structure_id) if ontology else None
    return known.acronym if known else ""


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return rows as columns of one type each; mixed columns become text."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {
        name: values if _uniform(values) else [str(v) for v in values] for name, values in columns.items()
    }


def _uniform(values: Sequence[Any]) -> bool:
    """Return whether values are all numbers, all text or all bool, None aside."""
    kinds = {type(v) for v in values if v is not None}
    return kinds <= {int, float} or (len(kinds) == 1 and kinds <= {str, bool})


def _shown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the headings of the columns; a dotted key stays as it is written in a configuration."""
    plain = (name.removeprefix(ENERGY) if name.startswith(ENERGY) else name for name in rows[0])
    return [name if "." in name else name.replace("_", " ") for name in plain]


def _row_of(
    folder: Path, run: Compared, row: Mapping[str, Any], first: Mapping[str, Any]
) -> list[dict[str, str]]:
    """Return the cells of a run: text, a link, and the change of an energy against the first run."""
    page = run.contents.run.file(PAGE)
    inside = page.exists() and page.is_relative_to(folder)
    link = "/".join(quote(part) for part in page.relative_to(folder).parts) if inside else ""
    return [
        {
            "text": figure(value) if isinstance(value, float) else str("–" if value is None else value),
            "link": link if name == "run" else "",
            "change": _change(value, first[name]) if name.startswith((ENERGY, "brain_")) else "",
        }
        for name, value in row.items()
    ]


def _change(value: float, first: float) -> str:
    """Return the relative change as text; empty below half a percent or where it is undefined."""
    if value is None or first is None or not (math.isfinite(value) and math.isfinite(first)) or first <= 0:
        return ""
    percent = 100 * (value / first - 1)
    return f"{percent:+.0f} %" if abs(percent) >= 0.5 else ""
