"""Parameter sweeps: the product of lists of values, and which variants share which stages."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError
from pipeline.inputs.config import Config, parse_config, with_value
from pipeline.stages.job import SeriesJob
from pipeline.stages.table import STAGES
from pipeline.store.run import RunFolder
from pipeline.system.files import shown

# Sections of the configuration that a stage reads itself; `_deciding` adds those of earlier stages. They only
# tell which run to look at: a result is taken over only where its digest agrees.
READS = {
    "measure": {"series"},
    "pool": set(),
    "detect": {"detection"},
    "align": {"alignment", "reference"},
    "grid": {"gridding", "reference"},
    "unionize": {"unionize", "reference"},
}
LONGEST_NAME = 80  # characters of a folder name, before the hash


@dataclass(frozen=True)
class Variant:
    """One combination of the values of a sweep.

    Attributes
    ----------
    name : str
        Name of its folder.
    values : mapping of str to Any
        Value by dotted key of the configuration.
    config : Config
        Configuration with the values applied.
    """

    name: str
    values: Mapping[str, Any]
    config: Config


def count_variants(sweep: Mapping[str, Sequence[Any]]) -> int:
    """Return the number of combinations of a sweep.

    Parameters
    ----------
    sweep : mapping of str to sequence
        Values by dotted key.

    Returns
    -------
    int
        Product of the numbers of values; 1 for an empty sweep.
    """
    total = 1
    for values in sweep.values():
        total *= len(values)
    return total


def variants(config: Config, sweep: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """Return every combination of a sweep's values, the last key fastest.

    Parameters
    ----------
    config : Config
        Configuration that the values are applied to.
    sweep : mapping of str to sequence
        Values by dotted key.

    Returns
    -------
    list of Variant
        The combinations, in order.

    Raises
    ------
    ConfigError
        Where the configuration does not take a key or a value, or two combinations have one folder name.
    """
    found = []
    folders: dict[str, Mapping[str, Any]] = {}
    for combination in itertools.product(*sweep.values()):
        values = dict(zip(sweep, combination, strict=True))
        document = config.model_dump(mode="json")
        for key, value in values.items():
            with_value(document, key, value, "sweep")
        name = variant_name(values)
        first = folders.setdefault(name.casefold(), values)  # some file systems do not tell case
        if first is not values:
            raise ConfigError(_one_folder(name, first, values))
        found.append(Variant(name, values, parse_config(document, "sweep")))
    return found


def _one_folder(name: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Return the message for two combinations that would be written into one folder."""
    key = next((key for key in first if repr(first[key]) != repr(second[key])), next(iter(first)))
    return (
        f"sweep: {key}: expected values with a folder each, got {shown(first[key])} and"
        f" {shown(second[key])}, both {shown(name)}; leave one out"
    )


def variant_name(values: Mapping[str, Any]) -> str:
    """Return a folder name that shows the values, and stays the same when values are added to the sweep.

    Parameters
    ----------
    values : mapping of str to Any
        Value by dotted key.

    Returns
    -------
    str
        Keys (their last parts where these are unique) and values; a hash is appended to a name that is long
        or has characters replaced.

    Examples
    --------
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
    """Assign to each job the earlier runs whose stage outputs it may reuse.

    Two jobs share a stage where they have the same series and the same configuration of that stage and of all
    stages before it.

    Parameters
    ----------
    jobs : sequence of SeriesJob
        Jobs of all variants.

    Returns
    -------
    list of SeriesJob
        The jobs with `shared` filled in.
    """
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
    """Return the configuration sections that decide each stage, those of earlier stages included."""
    found: dict[str, set[str]] = {}
    for stage in STAGES:
        if stage.name in READS:
            found[stage.name] = READS[stage.name].union(*(found[name] for name in stage.after))
    return found
