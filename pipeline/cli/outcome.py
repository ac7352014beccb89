"""The last lines of `ish run`: state of the sections of every series, and the location of its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.model import Status
from pipeline.runs.api import SeriesResult

MOST_SERIES = 10  # series with a line each; more share one line
PAGE = "report.html"


def ending(results: Sequence[SeriesResult], output: Path) -> list[str]:
    """Return the summary lines of a run.

    Parameters
    ----------
    results : sequence of SeriesResult
        Outcome of every series.
    output : Path
        Output folder.

    Returns
    -------
    list of str
        Numbers of sections that pass, need a check and fail, the page, and whether anything was computed at
        all.
    """
    ran = [result for result in results if result.run is not None and "summarise" in result.receipts]
    lines = [_line(result) for result in ran] if len(ran) <= MOST_SERIES else [_all(ran, output)]
    receipts = [receipt for result in ran for receipt in result.receipts.values()]
    if receipts and all(receipt.stands or receipt.state == "left out" for receipt in receipts):
        done = sum(receipt.stands for receipt in receipts)
        lines.append(f"nothing to do: all {done} tasks of {len(ran)} series were already done")
    return lines


def _line(result: SeriesResult) -> str:
    assert result.run is not None
    page = result.run.file(PAGE)
    where = f"; page: {page}" if page.exists() else ""
    return f"{result.run.path.name}: {_counted(_statuses(result))}{where}"


def _all(results: Sequence[SeriesResult], output: Path) -> str:
    counts = sum((_statuses(result) for result in results), Counter[str]())
    return (
        f"{len(results)} series: {_counted(counts)}; pages: {output}/<id>/{PAGE}, and `ish report {output}`"
        " writes an index of them"
    )


def _statuses(result: SeriesResult) -> Counter[str]:
    return Counter((result.receipts["summarise"].facts.get("statuses") or {}).values())


def _counted(counts: Counter[str]) -> str:
    """Return how many sections pass, need a check and fail, and how many are missing where any is."""
    names = [Status.PASS.value, Status.CHECK.value, Status.FAIL.value]
    names += [Status.MISSING.value] if counts[Status.MISSING.value] else []
    return f"sections: {', '.join(f'{counts[name]} {name}' for name in names)}"
