"""What a stage is and what it works on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import DataError
from pipeline.core.model import SectionDataSet, SectionImage, SeriesAlignment
from pipeline.inputs.config import Config
from pipeline.store.run import Receipt, RunFolder

Upstream = Mapping[str, Receipt]
# Measured on a section of 170 million values: 1 and 2.9 bytes a value; what a codec holds comes on top.
BYTES_PER_VALUE = {"measure": 2.0, "detect": 5.0}
BASE_MB = 60.0
MB = 1024.0**2


@dataclass(frozen=True, eq=False)
class SeriesJob:
    """One series on its way through the pipeline: what is read, what decides, where it goes.

    `files` holds the checksum of every input file, `stamps` its size and time of change when that was
    taken, `pixels` how many values it stores; `redo` names stages that run again though done; `shared`
    names the run whose outputs of a stage serve here too, where both come to the same digest; `siblings`
    are the series of its specimen that it is aligned with, itself among them; `threads` is how many a task of
    the whole series may take, because no other series asks for those workers; `memory_mb` what all tasks may
    take together.
    """

    source: Path
    run: RunFolder
    data_set: SectionDataSet
    config: Config
    given: SeriesAlignment | None = None
    reference_directory: Path | None = None
    warnings: tuple[str, ...] = ()
    redo: frozenset[str] = frozenset()
    files: Mapping[str, str] = field(default_factory=dict)
    stamps: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    pixels: Mapping[int, int] = field(default_factory=dict)
    shared: Mapping[str, RunFolder] = field(default_factory=dict)
    siblings: tuple[SeriesJob, ...] = ()
    label: str = ""
    threads: int = 1
    memory_mb: float = math.inf

    @property
    def name(self) -> str:
        """What the series is called in this batch: its label, else its id."""
        return self.label or self.run.path.name

    @property
    def sections(self) -> tuple[SectionImage, ...]:
        """The sections of the manifest that take part, in ascending order of section number."""
        return self.data_set.section_images


def _nothing(job: SeriesJob, section: SectionImage | None, upstream: Upstream) -> str:
    return ""


@dataclass(frozen=True)
class Stage:
    """One step: how it runs, what decides its outcome, what it writes, and what may stop it.

    Parameters
    ----------
    run : (job, section, upstream, digest) -> facts     read, compute, write; facts go into the receipt
    key : (job, section, upstream) -> JSON value        everything that decides the outcome
    outputs : (job, section) -> paths                   what must exist for the step to count as done
    blocked : (job, section, upstream) -> reason        why the step cannot run; empty where it can
    also : names                                        outputs that a run may or may not have
    """

    name: str
    scope: Literal["section", "series"]
    after: tuple[str, ...]
    run: Callable[[SeriesJob, Any, Upstream, str], dict[str, Any]]
    key: Callable[[SeriesJob, Any, Upstream], Any]
    outputs: Callable[[SeriesJob, Any], Sequence[Path]]
    blocked: Callable[[SeriesJob, Any, Upstream], str] = _nothing
    also: tuple[str, ...] = ()


def section_mb(stage: str, values: int) -> float | None:
    """Return about how many MB a task on so many stored values needs at its peak; None of other tasks."""
    per_value = BYTES_PER_VALUE.get(stage)
    return None if per_value is None else BASE_MB + per_value * values / MB


def check_memory(job: SeriesJob, section: SectionImage, values: int) -> None:
    """Raise DataError for an image that needs more memory than a run may take."""
    need_mb = max(section_mb(stage, values) or 0.0 for stage in BYTES_PER_VALUE)
    if need_mb > job.memory_mb:
        raise DataError(
            f"{section.path}: needs about {need_mb:.0f} MB, the tasks of this run may take"
            f" {job.memory_mb:.0f} MB together; is it the right image? --memory sets another limit"
        )


def task_name(stage: Stage | str, section: SectionImage | int | None = None) -> str:
    """Return the name of a task: `detect-70`, or `grid` for a whole series."""
    name = stage if isinstance(stage, str) else stage.name
    if section is None:
        return name
    number = section if isinstance(section, int) else section.section_number
    return f"{name}-{number:05d}"
