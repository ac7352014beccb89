"""Experiments over parameters: the product of lists of values, and which variants share which stages."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.inputs.config import Config, parse_config, with_value
from pipeline.stages.job import SeriesJob
from pipeline.stages.table import STAGES
from pipeline.store.run import RunFolder

# Which sections of the configuration a stage reads itself; what it builds on adds its own. This only
# orders the work: whether a result is shared is decided by its digest.
READS = {
    "measure": {"series"},
    "pool": set(),
    "detect": {"detection"},
    "align": {"alignment", "reference"},
    "grid": {"gridding", "reference"},
    "unionize": {"unionize", "reference"},
}
LONGEST_NAME = 80


@dataclass(frozen=True)
class Variant:
    """One combination of values, by dotted key; `name` is its folder."""

    name: str
    values: Mapping[str, Any]
    config: Config


def count_variants(sweep: Mapping[str, Sequence[Any]]) -> int:
    """Return how many combinations a sweep has."""
    total = 1
    for values in sweep.values():
        total *= len(values)
    return total


def variants(config: Config, sweep: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """Return every combination of a sweep's values, in order, the last key fastest.

    ConfigError for a key or value that the configuration does not take.
    """
    found = []
    for combination in itertools.product(*sweep.values()):
        values = dict(zip(sweep, combination, strict=True))
        document = config.model_dump(mode="json")
        for key, value in values.items():
            with_value(document, key, value, "sweep")
        found.append(Variant(variant_name(values), values, parse_config(document, "sweep")))
    return found


def variant_name(values: Mapping[str, Any]) -> str:
    """Return a folder name that tells the values; it stays when values are added to the sweep.

    >>> variant_name({"detection.configuration.contrast": 7.5, "gridding.smoothing_um": 150})
    'contrast=7.5,smoothing_um=150'
    """
    last = [key.rpartition(".")[2] for key in values]
    shown = last if len(set(last)) == len(last) else list(values)
    text = ",".join(f"{key}={value}" for key, value in zip(shown, values.values(), strict=True))
    name = re.sub(r"[^\w.,=+-]+", "_", text)
    if name == text and len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:8]
    return f"{name[:LONGEST_NAME]}-{digest}"


def share(jobs: Sequence[SeriesJob]) -> list[SeriesJob]:
    """Return the jobs, each told from which earlier one of its series it may take a stage's outputs."""
    leaders: dict[tuple[Path, str, str], RunFolder] = {}
    told = []
    for job in jobs:
        shared = {}
        for stage, sections in _deciding().items():
            decided_by = repr([(name, getattr(job.config, name)) for name in sorted(sections)])
            leader = leaders.setdefault((job.source, stage, decided_by), job.run)
            if leader is not job.run:
                shared[stage] = leader
        told.append(replace(job, shared=shared))
    return told


def _deciding() -> dict[str, set[str]]:
    """Return the sections of the configuration that decide a stage, with those of all it builds on."""
    found: dict[str, set[str]] = {}
    for stage in STAGES:
        if stage.name in READS:
            found[stage.name] = READS[stage.name].union(*(found[name] for name in stage.after))
    return found
