"""The pool stage: statistics of all sections of a series pooled for each section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.sections.statistics import OUTLINES, SectionContext, pool_contexts
from pipeline.store.facts import PoolFacts


def pool(contexts: Mapping[int, Mapping[str, Any]]) -> PoolFacts:
    """Pool the statistics of a series.

    Parameters
    ----------
    contexts : mapping of int to mapping
        Statistics of each measured section, as fields of `SectionContext`, by section number.

    Returns
    -------
    dict of str to Any
        Facts: `contexts`, the pooled statistics without outlines, by section number as text.
    """
    measured = [SectionContext(**context) for context in contexts.values()]
    pooled = zip(contexts, map(asdict, pool_contexts(measured)), strict=True)
    return {"contexts": {str(n): {k: v for k, v in c.items() if k not in OUTLINES} for n, c in pooled}}
