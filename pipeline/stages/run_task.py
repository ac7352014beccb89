"""One task = one stage of one section or series: skip it if done, catch errors, write a receipt.

Errors end here, and nowhere else: a bad section is recorded and left out, and a bad series does not stop the
batch. Tasks receive paths and parameters and return a small receipt; pixels pass through the store.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError, PipelineError
from pipeline.core.model import SectionImage
from pipeline.stages.job import SeriesJob, Stage, Upstream
from pipeline.store.sharing import take_over
from pipeline.store.tasks import Receipt
from pipeline.system.peak_memory import Peak, watched
from pipeline.system.seals import first_damaged, seal


def run_task(
    stage: Stage, job: SeriesJob, section: SectionImage | None, upstream: Mapping[str, Receipt]
) -> Receipt:
    """Run one task, or return its receipt where it is already done.

    Errors do not propagate: they become a receipt of state `failed`. A task that cannot run because an
    earlier one failed gets the state `left out`.

    Parameters
    ----------
    stage : Stage
        Stage of the task.
    job : SeriesJob
        The series.
    section : SectionImage or None
        The section; None for a task on the whole series.
    upstream : mapping of str to Receipt
        Receipts of the tasks that it depends on, by task name.

    Returns
    -------
    Receipt
        The receipt, as written to the run folder.
    """
    name = str(stage.task(section))
    blocked = stage.blocked(job, section, upstream)
    if blocked:
        return _keep(job, Receipt(name, "left out", "", message=blocked))
    began, peak = (time.perf_counter(), time.thread_time()), Peak()
    receipt = Receipt(name, "failed", "", where=_here())
    try:
        parts = parts_of(stage, job, section, upstream)
        receipt = replace(receipt, digest=digest_of([stage.name, parts]), parts=parts)
        known = _known(stage, job, section, receipt.digest)
        if known:
            return known
        with watched() as peak:
            facts = stage.run(**stage.values(job, section, upstream, receipt.digest))
        _check_unchanged(job, section)
        receipt = replace(
            receipt,
            state="done",
            facts=dict(facts),
            outputs=seal(job.run.path, _written(stage, job, section)),
        )
    except PipelineError as error:
        receipt = replace(receipt, message=str(error))
    except Exception as error:  # a bug here must not stop the other series
        receipt = replace(receipt, message=f"internal error: {type(error).__name__}: {error}")
    return _keep(job, _with_cost(receipt, began, peak))


def _known(stage: Stage, job: SeriesJob, section: SectionImage | None, digest: str) -> Receipt | None:
    """Return the receipt of a task that is already done, in this run or in one that shares the stage."""
    earlier = job.run.read_receipt(str(stage.task(section)))
    if earlier and _stands(stage, job, section, earlier, digest):
        return replace(earlier, stands=True)
    taken = _taken_over(stage, job, section, digest)
    return _keep(job, taken) if taken else None


def _with_cost(receipt: Receipt, began: tuple[float, float], peak: Peak) -> Receipt:
    """Add elapsed wall and CPU time since the clocks read `began`, and peak memory."""
    wall, cpu = time.perf_counter() - began[0], time.thread_time() - began[1]
    return replace(receipt, wall_s=round(wall, 3), cpu_s=round(cpu, 3), peak_mb=round(peak.mb, 1))


def parts_of(
    stage: Stage, job: SeriesJob, section: SectionImage | None, upstream: Upstream
) -> dict[str, str]:
    """Return the digests of everything that decides a task.

    Parameters
    ----------
    stage : Stage
        Stage of the task.
    job : SeriesJob
        The series.
    section : SectionImage or None
        The section; None for a task on the whole series.
    upstream : mapping of str to Receipt
        Receipts of the tasks that it depends on, by task name.

    Returns
    -------
    dict of str to str
        Digests of `code`, `configuration`, and of each input as `input: name`.
    """
    grounds = stage.grounds(job, section, upstream)
    inputs = {f"input: {name}": digest_of(value) for name, value in grounds.inputs.items()}
    return {"code": stage.code, "configuration": digest_of(grounds.configuration), **inputs}


def _written(stage: Stage, job: SeriesJob, section: SectionImage | None) -> list[Path]:
    """Return the paths that a task writes, optional ones included."""
    return [*stage.outputs(job, section), *map(job.run.file, stage.also)]


def lost_task(stage: Stage, job: SeriesJob, section: SectionImage | None, why: str) -> Receipt:
    """Record a task that could not be run at all.

    Parameters
    ----------
    stage : Stage
        Stage of the task.
    job : SeriesJob
        The series.
    section : SectionImage or None
        The section; None for a task on the whole series.
    why : str
        Message of the receipt.

    Returns
    -------
    Receipt
        Receipt of state `failed`, as written to the run folder.
    """
    return _keep(job, Receipt(str(stage.task(section)), "failed", "", message=why, where=_here()))


def _taken_over(stage: Stage, job: SeriesJob, section: SectionImage | None, digest: str) -> Receipt | None:
    """Take over the outputs of the run that this stage is shared with, if its digest is the same."""
    other = job.shared.get(stage.name)
    theirs = other.read_receipt(str(stage.task(section))) if other else None
    if other is None or theirs is None or not theirs.ok or theirs.digest != digest:
        return None
    if first_damaged(other.path, theirs.outputs):
        return None
    optional = [job.run.file(name) for name in stage.also if other.file(name).exists()]
    take_over(job.run, other, [*stage.outputs(job, section), *optional])
    outputs = seal(job.run.path, _written(stage, job, section))
    numbers = {"wall_s": 0.0, "cpu_s": 0.0}
    return replace(theirs, **numbers, where=_here(), taken_from=str(other.path), outputs=outputs)  # type: ignore[arg-type]


def _check_unchanged(job: SeriesJob, section: SectionImage | None) -> None:
    """Raise DataError where an image was changed after its checksum was taken."""
    path = section.path if section is not None else None
    if path is None or str(path) not in job.stamps:
        return
    try:
        same = stamp(path) == job.stamps[str(path)]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}, while the run was reading it") from error
    if not same:
        raise DataError(f"{path}: changed while the run was reading it; run again")


def stamp(path: Path) -> tuple[int, int]:
    """Return size and modification time of an image.

    Parameters
    ----------
    path : Path
        File, or folder such as OME-Zarr.

    Returns
    -------
    (int, int)
        Size in bytes and modification time in ns; of a folder the total size and the time of its newest file.
    """
    if not path.is_dir():
        state = path.stat()
        return state.st_size, state.st_mtime_ns
    states = [inner.stat() for inner in path.rglob("*") if inner.is_file()]
    return sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0)


def _here() -> str:
    return f"{platform.node()}:{os.getpid()}"


def _stands(
    stage: Stage, job: SeriesJob, section: SectionImage | None, earlier: Receipt, digest: str
) -> bool:
    """Return whether a task was done with the same digest and its outputs are unchanged."""
    fresh = stage.name not in job.redo and earlier.ok and earlier.digest == digest
    there = fresh and all(path.exists() for path in stage.outputs(job, section))
    return there and not first_damaged(job.run.path, earlier.outputs)


def _keep(job: SeriesJob, receipt: Receipt) -> Receipt:
    """Write a receipt and return it; where that fails, return one of state `failed`."""
    try:
        job.run.write_receipt(receipt)
    except PipelineError as error:
        return Receipt(receipt.task, "failed", receipt.digest, message=receipt.message or str(error))
    return receipt


def digest_of(content: Any) -> str:
    """Return a digest of a value.

    Parameters
    ----------
    content : Any
        Value that can be written as JSON; other objects are digested as text.

    Returns
    -------
    str
        First 24 hexadecimal digits (96 bits) of its SHA-256.
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:24]
