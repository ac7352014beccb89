"""Series of one specimen: which series of a batch were cut from one brain and are aligned together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.stages.job import SeriesJob, Upstream
from pipeline.store.tasks import Receipt, task_name

# Fields of the manifest that series of one specimen must have in common.
FRAME = ("plane_of_section", "section_thickness_um", "hemisphere", "reference_space_id")


def with_specimens(jobs: Sequence[SeriesJob]) -> list[SeriesJob]:
    """Find the series of a batch that are aligned together.

    Series of the same specimen share an alignment if their manifests agree in the fields `FRAME` and no two
    have a section of the same number. A series that does not fit is aligned on its own, with a warning.

    Parameters
    ----------
    jobs : sequence of SeriesJob
        All series of the batch.

    Returns
    -------
    list of SeriesJob
        The jobs in their order, with `specimen_series` filled in.
    """
    specimens: dict[str, list[int]] = defaultdict(list)
    for place, job in enumerate(jobs):
        alignment = job.config.alignment
        if job.data_set.specimen and alignment.together and alignment.name == "joint":
            specimens[job.data_set.specimen].append(place)
    found = list(jobs)
    for places in specimens.values():
        members = [jobs[place] for place in places]
        reasons = [_why_separate(job, members) for job in members]
        fit = [n for n, reason in enumerate(reasons) if not reason]
        specimen_series = tuple(replace(members[n], specimen_series=()) for n in fit) if len(fit) > 1 else ()
        for n, place in enumerate(places):
            if reasons[n]:
                found[place] = replace(jobs[place], warnings=(*jobs[place].warnings, reasons[n]))
            else:
                found[place] = replace(jobs[place], specimen_series=specimen_series)
    return found


def _why_separate(job: SeriesJob, members: Sequence[SeriesJob]) -> str:
    """Return why a series cannot be aligned with the others of its specimen; empty where it can."""
    frames = [_frame(one) for one in members]
    usual = max(frames, key=lambda frame: (frames.count(frame), -frames.index(frame)))
    same = f"has the same specimen {job.data_set.specimen!r}"
    if _frame(job) != usual:
        other = next(one for one, frame in zip(members, frames, strict=True) if frame == usual)
        name, mine, theirs = next(
            (n, a, b) for n, a, b in zip(FRAME, _frame(job), usual, strict=True) if a != b
        )
        return f"series {other.data_set.id} {same}, but {name} {theirs}, not {mine}: aligned separately"
    for other in members:
        both = _numbers(job) & _numbers(other)
        if other is not job and _frame(other) == usual and both:
            return (
                f"series {other.data_set.id} {same}, but both have a section {min(both)}: aligned separately;"
                " sections of one brain need unique numbers"
            )
    return ""


def _frame(job: SeriesJob) -> tuple[Any, ...]:
    return tuple(getattr(job.data_set, name) for name in FRAME)


def _numbers(job: SeriesJob) -> set[int]:
    return {section.section_number for section in job.sections}


def measured_name(other: SeriesJob, section_number: int) -> str:
    """Return the name under which a series receives the measure receipt of another series of its specimen.

    Parameters
    ----------
    other : SeriesJob
        The other series.
    section_number : int
        One of its sections.

    Returns
    -------
    str
        Task name with the run folder of the other series.
    """
    return f"{task_name('measure', section_number)} of {other.run.path.name}"


def measured_of(job: SeriesJob, other: SeriesJob, upstream: Upstream) -> dict[str, Receipt]:
    """Return the measure receipts of a series of the specimen.

    Parameters
    ----------
    job : SeriesJob
        Series that receives them.
    other : SeriesJob
        Series that was measured; it may be `job` itself.
    upstream : mapping of str to Receipt
        Receipts that `job` receives.

    Returns
    -------
    dict of str to Receipt
        Receipts by task name.
    """
    numbers = [section.section_number for section in other.sections]
    if other.run == job.run:
        return {task_name("measure", n): upstream[task_name("measure", n)] for n in numbers}
    return {task_name("measure", n): upstream[measured_name(other, n)] for n in numbers}
