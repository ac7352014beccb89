"""The last step of a series: its page, written whatever became of the steps before."""

from __future__ import annotations

from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.core.reference_space import ReferenceSpace
from pipeline.inputs.references import load_reference
from pipeline.report import write_report
from pipeline.stages.job import SeriesJob, Stage, Upstream
from pipeline.stages.table import STAGES

OUTLINE_UM = 50.0  # of the annotation whose outlines are drawn


def report(job: SeriesJob, section: None, upstream: Upstream, digest: str) -> dict[str, Any]:
    """Write `report.html`."""
    write_report(job.run, _reference(job), job.threads)
    return {}


def _reference(job: SeriesJob) -> ReferenceSpace | None:
    try:
        return load_reference(job, OUTLINE_UM)
    except PipelineError:
        return None  # the page says which step failed for want of it


def _key(job: SeriesJob, section: None, upstream: Upstream) -> Any:
    return {name: [receipt.state, receipt.digest] for name, receipt in upstream.items()}


REPORT = Stage(
    "report",
    "series",
    tuple(stage.name for stage in STAGES),
    report,
    _key,
    lambda job, section: [job.run.file("report.html")],
)
