"""Tables and page of a comparison of two groups of animals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.core.model import BOTH
from pipeline.formats.tables.tables import write_csv
from pipeline.report import group_charts
from pipeline.report.group_comparison import GroupComparison
from pipeline.report.group_methods import group_methods
from pipeline.report.page import PAGE, environment
from pipeline.store.publishing import publishing

GROUPS, ANIMALS, LEFT_OUT = "groups.csv", "animals.csv", "left_out.csv"
STRIPS = 15  # structures whose animals are shown at once; the others are folded


def write_group_comparison(folder: Path, found: GroupComparison) -> list[Path]:
    """Write the tables and the page of a comparison.

    Parameters
    ----------
    folder : Path
        Folder for the files; made where it does not exist.
    found : GroupComparison
        The comparison.

    Returns
    -------
    list of Path
        `groups.csv`, `animals.csv`, `left_out.csv`, `report.html`.

    Raises
    ------
    ConfigError
        Where an animal has the name of another column, or files are in the way.
    """
    keys: dict[str, list[Any]] = {
        "structure_id": [k[0] for k in found.keys],
        "hemisphere_id": [k[1] for k in found.keys],
        "acronym": [found.label((k[0], BOTH)) for k in found.keys],
    }
    taken = next((animal for animal in found.animals if animal in keys), None)
    if taken is not None:
        raise ConfigError(f"animal {taken}: has the name of a column of {ANIMALS}; rename it in the design")
    values = {animal: found.result.values[:, n].tolist() for n, animal in enumerate(found.animals)}
    with publishing(folder) as fresh:
        write_csv(fresh / GROUPS, found.columns())
        write_csv(fresh / ANIMALS, {**keys, **values})
        write_csv(fresh / LEFT_OUT, _left_out(found))
        text = environment().get_template("groups.html.j2").render(page_content(found))
        (fresh / PAGE).write_text(text, encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in (GROUPS, ANIMALS, LEFT_OUT, PAGE)]


def page_content(found: GroupComparison) -> dict[str, Any]:
    """Return everything that the template shows.

    Parameters
    ----------
    found : GroupComparison
        The comparison.

    Returns
    -------
    dict of str to value
        Variables of the template.
    """
    labels = [found.label(key) for key in found.keys]
    names = [found.name(key) for key in found.keys]
    strips = group_charts.strips(found.result, found.member, labels, names, found.animals, found.order)
    return {
        "found": found,
        "about": _about(found),
        "volcano": group_charts.volcano(found.result, labels, names),
        "strips": strips[:STRIPS],
        "other_strips": strips[STRIPS:],
        "heat": group_charts.heat_map(found, labels),
        "power": found.result.needed,
        "rows": found.table(),
        "left_out": _left_out_rows(found),
        "methods": group_methods(found),
        "versions": [("ish-pipeline", version("ish-pipeline")), ("NumPy", np.__version__)],
    }


def _about(found: GroupComparison) -> list[tuple[str, str]]:
    """Return the facts at the top of the page."""
    return [
        ("measure", found.measure),
        ("structures", found.structures),
        ("animals", str(len(found.animals))),
        ("series", str(len(found.series))),
        ("covariates", ", ".join(found.covariates) or "none"),
        ("scale", "each animal's median structure" if found.centred else "as measured"),
        ("reference", found.reference or "unknown"),
    ]


def _left_out(found: GroupComparison) -> dict[str, Sequence[Any]]:
    """Return `left_out.csv` as columns."""
    rows = _left_out_rows(found)
    names = ("structure_id", "hemisphere_id", "acronym", "n_1", "n_2", "reason")
    return {name: [row[name] for row in rows] for name in names}


def _left_out_rows(found: GroupComparison) -> list[Mapping[str, Any]]:
    return [
        {
            "structure_id": found.all_keys[row][0],
            "hemisphere_id": found.all_keys[row][1],
            "acronym": found.label(found.all_keys[row]),
            "n_1": first,
            "n_2": second,
            "reason": reason,
        }
        for row, first, second, reason in found.result.left_out
    ]
