"""Which stages of a finished run would run again, and why: code, configuration, or which input.

The job is rebuilt from what the run recorded, and the digests of everything that decides a task are compared
with those in its receipt. An image with the recorded size and modification time counts as unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.core.model import SectionImage, numbered
from pipeline.inputs.alignments import run_config, run_reference
from pipeline.runs.plan import Plan, read_job
from pipeline.runs.schedule.graph import tasks_before, tasks_of
from pipeline.stages.job import SeriesJob, Stage
from pipeline.stages.provenance import checksum
from pipeline.stages.run_task import parts_of, stamp
from pipeline.stages.specimen import measured_name
from pipeline.stages.table import STEPS
from pipeline.store.run import RunFolder
from pipeline.store.tasks import Receipt, task_name

NOT_COMPARED = ("input: warnings",)  # some come from decoding the images, which is not done here
OLDER = "made by version 0.1, which recorded no digests"


def why_again(run: RunFolder, receipts: Mapping[str, Receipt], *, look: bool = True) -> dict[str, str]:
    """Return why stages of a run would run again.

    Only the code is compared where the files that the run read cannot be found, and where `look` is false.

    Parameters
    ----------
    run : RunFolder
        The run.
    receipts : mapping of str to Receipt
        All receipts of the run, by task name.
    look : bool
        Whether configuration and inputs are compared too.

    Returns
    -------
    dict of str to str
        Reason by stage; stages that would not run again are not in it.
    """
    if not look:
        return _by_code_alone(receipts)
    try:
        job = _job_of(run)
    except (PipelineError, OSError, KeyError, TypeError, ValueError):
        return _by_code_alone(receipts)
    upstream = dict(receipts)
    for other in job.specimen_series:
        if other.run != run:
            theirs = other.run.receipts()
            numbers = [s.section_number for s in other.sections]
            named = ((measured_name(other, n), theirs.get(task_name("measure", n))) for n in numbers)
            upstream |= {name: receipt for name, receipt in named if receipt is not None}
    found: dict[str, str] = {}
    for stage in STEPS:
        own = _own_reason(stage, job, upstream, receipts)
        earlier = [name for name in stage.after if name in found]
        if own or earlier:
            found[stage.name] = "; ".join([*own, *(f"after {name}" for name in earlier[:1])])
    return found


def _own_reason(
    stage: Stage, job: SeriesJob, upstream: Mapping[str, Receipt], receipts: Mapping[str, Receipt]
) -> list[str]:
    """Return the reasons of one stage itself, with the sections that they hold for."""
    changed: dict[str, list[int]] = {}
    for step, name, number in tasks_of(job):
        receipt = receipts.get(name)
        if step is not stage or receipt is None or receipt.state == "left out":
            continue
        section = None if number is None else job.section(number)
        for what in _changed(stage, job, section, upstream, receipt):
            changed.setdefault(what, []).extend([] if number is None else [number])
    total = len(job.sections)
    return [
        what if not numbers or len(numbers) == total else f"{what} ({numbered(numbers)})"
        for what, numbers in changed.items()
    ]


def _changed(
    stage: Stage,
    job: SeriesJob,
    section: SectionImage | None,
    upstream: Mapping[str, Receipt],
    receipt: Receipt,
) -> list[str]:
    """Return the names of what decides a task and differs from its receipt."""
    if receipt.state == "failed":
        return ["failed"]
    if not receipt.parts:
        return [OLDER]
    names = tasks_before(stage, job, None if section is None else section.section_number)
    specimen_series = [name for name in upstream if " of " in name] if stage.name == "align" else []
    try:
        parts = parts_of(stage, job, section, {n: upstream[n] for n in (*names, *specimen_series)})
    except (KeyError, PipelineError, OSError) as error:
        return [f"its inputs cannot be read ({error})"]
    keys = [key for key in dict.fromkeys((*parts, *receipt.parts)) if key not in NOT_COMPARED]
    return [key.removeprefix("input: ") for key in keys if parts.get(key) != receipt.parts.get(key)]


def _by_code_alone(receipts: Mapping[str, Receipt]) -> dict[str, str]:
    """Return the reasons by stage where nothing but the code is compared."""
    found = {}
    for stage in STEPS:
        own = [r for r in receipts.values() if r.id.stage == stage.name and r.ok]
        if any(receipt.parts and receipt.parts.get("code") != stage.code for receipt in own):
            found[stage.name] = "code"
        elif any(not receipt.parts for receipt in own):
            found[stage.name] = OLDER
        elif set(stage.after) & found.keys():
            found[stage.name] = f"after {next(name for name in stage.after if name in found)}"
    return found


def _job_of(run: RunFolder, *, alone: bool = False) -> SeriesJob:
    """Rebuild the job of a run, with its images as they are now."""
    document = run.read_document("provenance.json")
    plan = Plan(run_config(run), run.path.parent, run_reference(run.path))
    job = read_job(Path(document["source"]), plan)
    job = replace(_with_images(job, document, _bits(run)), run=run)
    if alone:
        return job
    names = document.get("aligned_with") or []
    specimen_series = tuple(_job_of(RunFolder(run.path.parent / name), alone=True) for name in names)
    return replace(job, specimen_series=specimen_series)


def _with_images(job: SeriesJob, document: Mapping[str, Any], bits: Mapping[int, int | None]) -> SeriesJob:
    """Add the checksums of the images: the recorded one where size and modification time agree."""
    files, stamps = document["inputs"], document.get("stamps") or {}
    found = {}
    for section in job.sections:
        if section.path is not None:
            known = str(section.path.absolute())
            same = list(stamp(section.path)) == stamps.get(known) and known in files
            found[str(section.path)] = files[known] if same else checksum(section.path)
    images = tuple(replace(s, bits=bits.get(s.section_number)) for s in job.sections)
    return replace(job, data_set=replace(job.data_set, section_images=images), files=found)


def _bits(run: RunFolder) -> dict[int, int | None]:
    images = run.read_document("section_data_set.json")["section_images"]
    return {int(image["section_number"]): image.get("bits") for image in images}
