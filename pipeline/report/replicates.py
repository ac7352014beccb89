"""Table and page of the repeatability of runs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.model import Float64
from pipeline.formats.tables.tables import write_csv
from pipeline.groups.agreement import SIZES, Agreement
from pipeline.report.page import environment
from pipeline.store.publishing import publishing

TABLE, PAGE = "replicates.csv", "replicates.html"
SIDE = 260.0  # of a scatter plot, SVG units
PLOT = (38.0, 8.0, SIDE - 8.0, SIDE - 30.0)  # left, top, right, bottom
CV_SIZE = (560.0, 260.0)
CV_PLOT = (46.0, 12.0, CV_SIZE[0] - 12.0, CV_SIZE[1] - 44.0)
KINDS = {"left/right": "c0", "replicate": "c1", "interleaved": "c2"}


@dataclass(frozen=True, eq=False)
class Pair:
    """Agreement of two measurements.

    Attributes
    ----------
    kind : str
        "left/right", "replicate" or "interleaved".
    name : str
        The run, or both.
    figures : tuple of Agreement
        Over all structures, then by size.
    first, second : (structures,) float64
        Energies, with the floor.
    labels : tuple of str
        Names of the structures.
    """

    kind: str
    name: str
    figures: tuple[Agreement, ...]
    first: Float64
    second: Float64
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Replicates:
    """Agreement of all pairs.

    Attributes
    ----------
    measure : str
        What was compared.
    pairs : tuple of Pair
        Sides of each run, then pairs of runs.
    reference : str
        Name of the reference; empty where it is not known.
    """

    measure: str
    pairs: tuple[Pair, ...]
    reference: str

    def table(self) -> list[dict[str, Any]]:
        """Return one row for each pair and size."""
        rows = [
            {"kind": pair.kind, "runs": pair.name, **asdict(figures)}
            for pair in self.pairs
            for figures in pair.figures
        ]
        return [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in r.items()}
            for r in rows
        ]


def write_replicates(folder: Path, found: Replicates) -> list[Path]:
    """Write the agreement as a table and a page.

    Parameters
    ----------
    folder : Path
        Folder for the files.
    found : Replicates
        Agreement of all pairs.

    Returns
    -------
    list of Path
        `replicates.csv` and `replicates.html`.
    """
    rows = found.table()
    with publishing(folder) as fresh:
        write_csv(fresh / TABLE, {name: [row[name] for row in rows] for name in rows[0]})
        text = environment().get_template("replicates.html.j2").render(page_content(found))
        (fresh / PAGE).write_text(text, encoding="utf-8", errors="backslashreplace")
    return [folder / TABLE, folder / PAGE]


def page_content(found: Replicates) -> dict[str, Any]:
    """Return everything that the template shows.

    Parameters
    ----------
    found : Replicates
        Agreement of all pairs.

    Returns
    -------
    dict of str to value
        Variables of the template.
    """
    return {
        "found": found,
        "rows": found.table(),
        "scatters": [(pair, *_scatter(pair)) for pair in found.pairs],
        "kinds": KINDS,
        "plot": PLOT,
        "side": SIDE,
        "cv": _cv_chart(found),
        "cv_plot": CV_PLOT,
        "cv_size": CV_SIZE,
    }


def _scatter(pair: Pair) -> tuple[list[tuple[float, float, str]], list[tuple[float, str]]]:
    """Return points and ticks of a log-log plot; both axes have one range."""
    both = np.concatenate([pair.first, pair.second])
    if not len(both):
        return [], []
    low, high = np.log10(both.min()) - 0.08, np.log10(both.max()) + 0.08
    left, top, right, bottom = PLOT

    def share(values: Float64) -> Float64:
        return np.asarray((np.log10(values) - low) / max(high - low, 1e-9))

    x = (left + share(pair.first) * (right - left)).round(1).tolist()
    y = (bottom - share(pair.second) * (bottom - top)).round(1).tolist()
    ticks = [10.0**n for n in range(math.ceil(low), math.floor(high) + 1)]
    places = [(float(share(np.array(t))), f"{t:g}") for t in ticks]
    return list(zip(x, y, pair.labels, strict=True)), places


def _cv_chart(found: Replicates) -> dict[str, Any]:
    """Return a line for each pair: scatter of one value by size."""
    left, top, right, bottom = CV_PLOT
    names = [f">{low - 1}" if high is None else f"{low}-{high}" for low, high in SIZES]
    values = [f.cv for p in found.pairs for f in p.figures if f.size in names and math.isfinite(f.cv)]
    highest = max([*values, 0.1]) * 1.1
    x = {name: left + (n + 0.5) * (right - left) / len(names) for n, name in enumerate(names)}
    lines = [
        (
            KINDS.get(pair.kind, "c1"),
            f"{pair.kind}: {pair.name}",
            [
                (round(x[f.size], 1), round(bottom - f.cv / highest * (bottom - top), 1), f"{f.cv:.0%}")
                for f in pair.figures
                if f.size in x and math.isfinite(f.cv)
            ],
        )
        for pair in found.pairs
    ]
    step = next((s for s in (0.05, 0.1, 0.2, 0.5) if highest / s <= 6), 1.0)
    ticks = [
        (round(bottom - n * step / highest * (bottom - top), 1), f"{n * step:.0%}")
        for n in range(int(highest / step) + 1)
    ]
    return {
        "lines": lines,
        "ticks": ticks,
        "x": [(round(v, 1), k) for k, v in x.items()],
        "any": bool(values),
    }
