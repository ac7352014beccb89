"""The last step of a series: its page, written whatever became of the steps before."""

from __future__ import annotations

from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.core.reference_space import ReferenceSpace
from pipeline.inputs.references import RunReference
from pipeline.report import write_report
from pipeline.store.run import RunFolder

OUTLINE_UM = 50.0  # of the annotation whose outlines are drawn


def report(run: RunFolder, reference: RunReference, threads: int) -> dict[str, Any]:
    """Write `report.html`."""
    write_report(run, _space(reference), threads)
    return {}


def _space(reference: RunReference) -> ReferenceSpace | None:
    try:
        return reference.at(OUTLINE_UM)
    except PipelineError:
        return None  # the page says which step failed for want of it
