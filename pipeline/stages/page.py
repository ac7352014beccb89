"""The report stage: the page of a series, written even where earlier stages failed."""

from __future__ import annotations

from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.core.reference_space import ReferenceSpace
from pipeline.inputs.references import OUTLINE_UM, RunReference
from pipeline.report import write_report
from pipeline.store.run import RunFolder


def report(run: RunFolder, reference: RunReference, threads: int) -> dict[str, Any]:
    """Write `report.html`.

    Parameters
    ----------
    run : RunFolder
        Run folder to read from and write to.
    reference : RunReference
        Reference whose outlines are drawn; the page has none where it cannot be read.
    threads : int
        Threads that share the sections.

    Returns
    -------
    dict of str to Any
        No facts.
    """
    write_report(run, _space(reference), threads)
    return {}


def _space(reference: RunReference) -> ReferenceSpace | None:
    try:
        return reference.at(OUTLINE_UM)
    except PipelineError:
        return None  # the page shows which stage failed without it
