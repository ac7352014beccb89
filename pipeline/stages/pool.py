"""The pool stage: what each section has of the statistics of its series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.sections.statistics import OUTLINES, SectionContext, pool_contexts


def pool(contexts: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Pool the statistics of a series.

    Parameters
    ----------
    contexts : what was measured of each section that was read, by number

    Returns
    -------
    facts: the context of every such section, by number as text
    """
    measured = [SectionContext(**context) for context in contexts.values()]
    pooled = zip(contexts, map(asdict, pool_contexts(measured)), strict=True)
    return {"contexts": {str(n): {k: v for k, v in c.items() if k not in OUTLINES} for n, c in pooled}}
