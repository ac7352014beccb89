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


def with_siblings(jobs: Sequence[SeriesJob]) -> list[SeriesJob]:
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
        The jobs in their order, with `siblings` filled in.
    """
    specimens: dict[str, list[int]] = defaultdict(list)
    for place, job in enumerate(jobs):
        alignment = job.config.alignment
        if job.data_set.specimen and alignment.together and alignment.name == "joint":
            specimens[job.data_set.specimen].append(place)
    told = list(jobs)
    for places in specimens.values():
        members = [jobs[place] for place in places]
        doubts = [_doubt(job, members) for job in members]
        fit = [n for n, doubt in enumerate(doubts) if not doubt]
        family = tuple(replace(members[n], siblings=()) for n in fit) if len(fit) > 1 else ()
        for n, place in enumerate(places):
            if doubts[n]:
                told[place] = replace(jobs[place], warnings=(*jobs[place].warnings, doubts[n]))
            else:
                told[place] = replace(jobs[place], siblings=family)
    return told


def _doubt(job: SeriesJob, members: Sequence[SeriesJob]) -> str:
    """Return why a series cannot be aligned with the others of its specimen; empty where it can."""
    frames = [_frame(one) for one in members]
    usual = max(frames, key=lambda frame: (frames.count(frame), -frames.index(frame)))
    what = f"specimen {job.data_set.specimen!r} is also that of series"
    if _frame(job) != usual:
        other = next(one for one, frame in zip(members, frames, strict=True) if frame == usual)
        name, mine, theirs = next(
            (n, a, b) for n, a, b in zip(FRAME, _frame(job), usual, strict=True) if a != b
        )
        return f"{what} {other.data_set.id}, but {name} is {mine}, not {theirs}: aligned apart"
    for other in members:
        both = _numbers(job) & _numbers(other)
        if other is not job and _frame(other) == usual and both:
            return (
                f"{what} {other.data_set.id}, but both have a section {min(both)}: aligned apart; sections of"
                " one brain need numbers of their own"
            )
    return ""


def _frame(job: SeriesJob) -> tuple[Any, ...]:
    return tuple(getattr(job.data_set, name) for name in FRAME)


def _numbers(job: SeriesJob) -> set[int]:
    return {section.section_number for section in job.sections}


def measured_name(sibling: SeriesJob, section_number: int) -> str:
    """Return the name under which a series receives the measure receipt of another series of its specimen.

    Parameters
    ----------
    sibling : SeriesJob
        The other series.
    section_number : int
        One of its sections.

    Returns
    -------
    str
        Task name with the run folder of the other series.
    """
    return f"{task_name('measure', section_number)} of {sibling.run.path.name}"


def measured_of(job: SeriesJob, sibling: SeriesJob, upstream: Upstream) -> dict[str, Receipt]:
    """Return the measure receipts of a series of the specimen.

    Parameters
    ----------
    job : SeriesJob
        Series that receives them.
    sibling : SeriesJob
        Series that was measured; it may be `job` itself.
    upstream : mapping of str to Receipt
        Receipts that `job` receives.

    Returns
    -------
    dict of str to Receipt
        Receipts by task name.
    """
    numbers = [section.section_number for section in sibling.sections]
    if sibling.run == job.run:
        return {task_name("measure", n): upstream[task_name("measure", n)] for n in numbers}
    return {task_name("measure", n): upstream[measured_name(sibling, n)] for n in numbers}
