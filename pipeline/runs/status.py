"""Progress of a run, read from its folder alone.

It works from another process while the run goes on, and after the run has died.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.runs.schedule import STEPS
from pipeline.runs.staleness import why_again
from pipeline.stages.job import Stage
from pipeline.store.run import RunFolder
from pipeline.store.tasks import STATES, Receipt, task_name
from pipeline.system.locks import is_held

UNREAD = "read"  # task name in the receipt of a series whose manifest cannot be read

Row = dict[str, object]


def run_status(run: RunFolder, *, look: bool = True) -> list[Row]:
    """Return the progress of a run, stage by stage.

    The states of a finished stage are done, partly done, failed and skipped. A stage with tasks left to do is
    running or waiting while the run is alive, else unfinished.

    Parameters
    ----------
    run : RunFolder
        The run.
    look : bool
        Whether images, manifest and configuration are checked for changes too, or only the code.

    Returns
    -------
    list of dict
        One row for each stage: series, stage, state, number of tasks, number of tasks in each state, summed
        wall time `wall_s` in seconds, and `again`, the reason why a finished stage would run again (empty: it
        would not).
    """
    receipts, alive = run.receipts(), is_held(run.path)
    if UNREAD in receipts:
        return [_row(run, UNREAD, [receipts[UNREAD]], 1, "failed")]
    sections = run.read_plan()
    rows, complete = [], set()
    again = {} if alive else why_again(run, receipts, look=look)
    for stage in STEPS:
        own = _own(receipts, stage, sections)
        total = len(own) if sections is None else len(sections) if stage.scope == "section" else 1
        if len(own) == total:
            complete.add(stage.name)
            state = _ended(own)
        else:
            state = "unfinished" if not alive else "running" if complete >= set(stage.after) else "waiting"
        if own or sections is not None:
            rows.append(_row(run, stage.name, own, total, state, again.get(stage.name, "")))
    return rows


def _own(receipts: Mapping[str, Receipt], stage: Stage, sections: list[int] | None) -> list[Receipt]:
    """Return the receipts of a stage, without those of sections that the run no longer takes."""
    if stage.scope == "series":
        names = [stage.name]
    elif sections is not None:
        names = [task_name(stage.name, number) for number in sections]
    else:
        names = [name for name, receipt in receipts.items() if receipt.id.stage == stage.name]
    return [receipts[name] for name in names if name in receipts]


def _ended(receipts: list[Receipt]) -> str:
    kinds = {receipt.state for receipt in receipts}
    if kinds <= {"done"}:
        return "done"
    if "done" in kinds:
        return "partly done"
    return "failed" if "failed" in kinds else "skipped"


def _row(run: RunFolder, stage: str, receipts: list[Receipt], total: int, state: str, again: str = "") -> Row:
    return {
        "series": run.path.name,
        "stage": stage,
        "state": state,
        "tasks": total,
        **{name: sum(r.state == name for r in receipts) for name in STATES},
        "wall_s": round(sum(r.wall_s for r in receipts), 1),
        "again": again,
    }
