"""The summarise stage: outcome of the series and of every section, with the provenance of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.core.model import SectionImage, numbered
from pipeline.registration.missing_tissue import missing_flags
from pipeline.sections.measure import NO_TISSUE
from pipeline.stages.job import SeriesJob, Upstream
from pipeline.stages.provenance import provenance
from pipeline.store.facts import SummariseFacts
from pipeline.store.run import write_json
from pipeline.store.tasks import Receipt, task_name


def summarise(job: SeriesJob, upstream: Upstream, digest: str) -> SummariseFacts:
    """Write `section_data_set.json` and `provenance.json`.

    Parameters
    ----------
    job : SeriesJob
        The series.
    upstream : mapping of str to Receipt
        Receipts of all earlier tasks, by task name.
    digest : str
        Digest of everything that decides the outcome.

    Returns
    -------
    dict of str to Any
        Facts: `statuses` by section number as text.
    """
    alignment = {}
    if upstream["align"].ok:
        document = job.run.read_document("alignment.json")
        alignment = {item["section_number"]: item for item in document["alignment2d"]}
    sections = [section_summary(job, s, upstream, alignment.get(s.section_number, {})) for s in job.sections]
    write_json(job.run.file("section_data_set.json"), _data_set(job, upstream, sections))
    write_json(job.run.file("provenance.json"), provenance(job, upstream, digest))
    return {"statuses": {str(s["section_number"]): s["status"] for s in sections}}


def section_summary(
    job: SeriesJob, section: SectionImage, upstream: Upstream, aligned: dict[str, Any]
) -> dict[str, Any]:
    """Return the summary of one section: manifest, status, flags and quality figures.

    Parameters
    ----------
    job : SeriesJob
        The series.
    section : SectionImage
        The section.
    upstream : mapping of str to Receipt
        Receipts of all earlier tasks, by task name.
    aligned : dict of str to Any
        Its entry in `alignment.json`; empty where it was not aligned.

    Returns
    -------
    dict of str to Any
        Entry of `section_data_set.json`.
    """
    measure, detect = (upstream[task_name(stage, section.section_number)] for stage in ("measure", "detect"))
    if section.path is None:
        status = "missing"
    elif not (measure.ok and detect.ok):
        status = "fail"
    else:
        status = aligned.get("status", "fail")
    own = {k: v for k, v in asdict(section).items() if k != "path"}
    share = _missing_share(upstream, section)
    flags = (*(measure.facts["context"]["flags"] if measure.ok else ()), *missing_flags(share))
    messages = dict.fromkeys(m for m in (measure.message, detect.message, aligned.get("reason"), *flags) if m)
    return {
        **own,
        "file": section.path.name if section.path else None,
        "status": status,
        "flags": list(messages),
        "quality": {
            **(_measured(job, section, measure.facts) if measure.ok else {}),
            **(detect.facts["totals"] if detect.ok else {}),
            **({"missing_tissue_share": share} if share else {}),
            **aligned.get("measures", {}),
        },
    }


def _missing_share(upstream: Upstream, section: SectionImage) -> float:
    """Return the share of its tissue that a section lacks, 0 where nothing was found."""
    grid = upstream["grid"]
    return float(grid.facts["missing"].get(str(section.section_number), 0.0)) if grid.ok else 0.0


def _measured(job: SeriesJob, section: SectionImage, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the measurements of a section; of its outlines, those of artifacts."""
    outlines = job.run.read_outlines(section.section_number)
    context = {**facts["context"], "artifacts": outlines["artifacts"]}
    return {**{k: facts[k] for k in ("factor", "stored_px", "rectangle_px")}, "context": context}


def series_messages(upstream: Upstream) -> list[str]:
    """Return what went wrong in a series; consequences of earlier failures are not repeated.

    Parameters
    ----------
    upstream : mapping of str to Receipt
        Receipts by task name.

    Returns
    -------
    list of str
        Lines as `task: message`; sections of a stage that failed for the same cause share a line.
    """
    causes: dict[tuple[str, str], list[Receipt]] = {}
    for receipt in upstream.values():
        if receipt.state == "failed":
            known = receipt.id
            stage = "" if known.section_number is None else known.stage
            causes.setdefault((stage, cause_of(receipt.message)), []).append(receipt)
    return [
        f"{found[0].task}: {found[0].message}"
        if len(found) == 1 or not stage
        else f"{stage} of {numbered([r.id.section_number or 0 for r in found])}: {found[0].message}"
        for (stage, _), found in causes.items()
    ]


def cause_of(message: str) -> str:
    """Return a message without the path that it begins with, so that one cause has one message.

    Parameters
    ----------
    message : str
        Message of a receipt.

    Returns
    -------
    str
        Message from behind the path.
    """
    first, colon, rest = message.partition(": ")
    return rest if colon and "/" in first else message


def _data_set(job: SeriesJob, upstream: Upstream, sections: list[dict[str, Any]]) -> dict[str, Any]:
    own = {k: v for k, v in asdict(job.data_set).items() if k != "section_images"}
    notes = upstream["align"].facts.get("notes", []) if upstream["align"].ok else []
    unknown = upstream["unionize"].facts.get("unknown_labels", []) if upstream["unionize"].ok else []
    labels = (
        [f"annotation labels {unknown} are not in the ontology; they are counted under root"]
        if unknown
        else []
    )
    return {
        **own,
        "stages": {
            stage: _state(upstream, stage) for stage in ("measure", "detect", "align", "grid", "unionize")
        },
        "errors": series_messages(upstream),
        "warnings": [*job.warnings, *_nothing_seen(upstream), *notes, *labels],
        "uncertainty_notes": upstream["unionize"].facts["notes"] if upstream["unionize"].ok else [],
        "section_images": sections,
    }


def _nothing_seen(upstream: Upstream) -> list[str]:
    """Return a warning where most sections show no tissue: what was given may be no photographs."""
    measured = [r for r in upstream.values() if r.id.stage == "measure" and r.ok]
    empty = [r.id.section_number or 0 for r in measured if NO_TISSUE in r.facts["context"]["flags"]]
    if 2 * len(empty) <= len(measured):
        return []
    return [
        (
            f"no tissue found in {numbered(empty)}: expected stained tissue on a bright background, so their"
            " expression is 0; of masks, set detection.name=given"
        )
    ]


def _state(upstream: Upstream, stage: str) -> str:
    states = [r.state for name, r in upstream.items() if name == stage or name.startswith(f"{stage}-")]
    return states[0] if len(set(states)) == 1 else f"{states.count('done')} of {len(states)} done"
