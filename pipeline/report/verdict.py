"""The verdict on a run in one line, the outcome of each step, and the warnings for a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.model import LEFT, RIGHT
from pipeline.report.contents import RunContents
from pipeline.store.tasks import PURPOSES, SECTION_STAGES, Receipt

STATUSES = ("pass", "check", "fail", "missing")
HEADLINES = {  # by state of a verdict
    "done": "Done.",
    "flagged": "Done; {flagged} section{s} to review.",
    "failed": "Failed: outputs are missing.",
    "unfinished": "Unfinished.",
}

BEFORE_DETECT = {"pool"}  # whether it ended shows in the sections; runs of version 0.1 have no such receipt


@dataclass(frozen=True)
class Step:
    """One stage of the run: its state, the counts of its tasks by state, its cost and its messages."""

    name: str
    what: str
    state: str  # done, partly done, skipped, failed, not run
    done: int
    failed: int
    left_out: int
    wall_s: float
    longest_s: float
    cpu_s: float
    peak_mb: float
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """State of a series with the counts behind it; `left` and `right` are coverages of the brain, or None."""

    state: str  # done, flagged (done, but with sections to look at), failed, unfinished
    headline: str
    counts: Mapping[str, int]
    left: float | None
    right: float | None
    wall_s: float
    peak_mb: float


def steps(receipts: Mapping[str, Receipt]) -> list[Step]:
    """Return the outcome of every stage.

    Parameters
    ----------
    receipts : mapping of str to Receipt
        Receipts of the run by task.

    Returns
    -------
    list of Step
        One entry per stage, in the order of the stages.
    """
    return [_step(name, what, _receipts_of(receipts, name)) for name, what in PURPOSES.items()]


def _receipts_of(receipts: Mapping[str, Receipt], stage: str) -> list[Receipt]:
    """Return the receipts of a stage."""
    return [r for r in receipts.values() if r.id.stage == stage]


def _step(name: str, what: str, receipts: Sequence[Receipt]) -> Step:
    """Sum up the receipts of a stage; equal messages are counted."""
    states = [r.state for r in receipts]
    messages: dict[str, int] = {}
    for receipt in receipts:
        if receipt.message and receipt.state != "done":
            messages[receipt.message] = messages.get(receipt.message, 0) + 1
    return Step(
        name=name,
        what=what,
        state=_state(states),
        done=states.count("done"),
        failed=states.count("failed"),
        left_out=states.count("left out"),
        wall_s=sum(r.wall_s for r in receipts),
        longest_s=max((r.wall_s for r in receipts), default=0.0),
        cpu_s=sum(r.cpu_s for r in receipts),
        peak_mb=max((r.peak_mb for r in receipts), default=0.0),
        messages=tuple(f"{m} ({n} sections)" if n > 1 else m for m, n in messages.items()),
    )


def _state(states: Sequence[str]) -> str:
    """Return the state of a stage from those of its tasks."""
    if not states:
        return "not run"
    kinds = set(states)
    if kinds == {"done"}:
        return "done"
    if "done" in kinds:
        return "partly done"
    return "failed" if "failed" in kinds else "skipped"


def verdict(contents: RunContents, rows: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge a run from its receipts, its sections and its table.

    Parameters
    ----------
    contents : RunContents
        The run.
    rows : sequence of mapping
        Rows of its StructureUnionize table; empty where there is none.

    Returns
    -------
    Verdict
        State, headline and counts; wall time is the sum over all tasks.
    """
    receipts = contents.receipts
    ends = [name for name in PURPOSES if name not in (*SECTION_STAGES, *BEFORE_DETECT)]
    series = [receipts.get(name) for name in ends]
    found = [r for r in series if r is not None]
    flagged = sum(section.flagged for section in contents.sections)
    state = "failed" if errors(contents) else _state_of_series(found, len(series), flagged)
    statuses = [section.status for section in contents.sections]
    return Verdict(
        state=state,
        headline=HEADLINES[state].format(flagged=flagged, s="s" * (flagged != 1)),
        counts={name: statuses.count(name) for name in STATUSES},
        left=_coverage(rows, LEFT),
        right=_coverage(rows, RIGHT),
        wall_s=sum(r.wall_s for r in receipts.values()),
        peak_mb=max((r.peak_mb for r in receipts.values()), default=0.0),
    )


def _state_of_series(found: Sequence[Receipt], expected: int, flagged: int) -> str:
    """Return the state of a series from the receipts of its stages."""
    if any(not r.ok for r in found):
        return "failed"
    if len(found) < expected:
        return "unfinished"
    return "flagged" if flagged else "done"


def _coverage(rows: Sequence[Mapping[str, Any]], hemisphere_id: int) -> float | None:
    """Return the coverage of the whole brain in a hemisphere: that of the row with most pixels."""
    own = [row for row in rows if row["hemisphere_id"] == hemisphere_id]
    root = max(own, key=lambda row: float(row["sum_pixels"] or 0.0), default=None)
    if root is None:
        return 0.0 if rows else None
    return float(root["coverage"] or 0.0)


def errors(contents: RunContents) -> list[str]:
    """Return the failures that stopped stages of the series.

    Parameters
    ----------
    contents : RunContents
        The run.

    Returns
    -------
    list of str
        Task and message; failures of single sections are not included.
    """
    return [f"{r.task}: {r.message}" for r in contents.receipts.values() if _is_series_failure(r)]


def _is_series_failure(receipt: Receipt) -> bool:
    """Return whether a task of the series, not of one section, failed."""
    return receipt.state == "failed" and receipt.id.section_number is None


def warnings(contents: RunContents) -> list[str]:
    """Return the warnings for a reader, each once.

    Parameters
    ----------
    contents : RunContents
        The run.

    Returns
    -------
    list of str
        Warnings of the data set, notes of the alignment, flags shared by most sections and complaints.
    """
    notes = contents.alignment.content.notes if contents.alignment.content else ()
    shared = [f"{count} sections: {flag}" for flag, count in contents.shared_flags.items()]
    found = [*(contents.data_set.get("warnings") or ()), *notes, *shared, *contents.complaints]
    if (contents.run.path / "deformation.zarr").exists():
        found.append("sections were deformed; the outlines and planes on this page show the affine part only")
    return list(dict.fromkeys(str(text) for text in found))
