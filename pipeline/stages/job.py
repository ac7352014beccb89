"""What a stage is, and what a series carries on its way through all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.core.model import SectionDataSet, SectionImage, SeriesAlignment
from pipeline.inputs.config import Config
from pipeline.inputs.references import RunReference
from pipeline.store.run import RunFolder
from pipeline.store.tasks import Receipt, TaskId
from pipeline.system.code import reach_digest

Upstream = Mapping[str, Receipt]


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

    def section(self, number: int) -> SectionImage:
        """Return the section of a number that takes part."""
        return next(section for section in self.sections if section.section_number == number)

    @property
    def reference(self) -> RunReference:
        """The reference of the run, at the configured resolution where there is one."""
        return RunReference(self.reference_directory, self.config.reference.resolution_um)


@dataclass(frozen=True)
class Grounds:
    """What decides the outcome of a task beside the code: configuration, and inputs by what they are called.

    All are values that JSON can hold.
    """

    inputs: Mapping[str, Any]
    configuration: Any = None


def _nothing(job: SeriesJob, section: SectionImage | None, upstream: Upstream) -> str:
    return ""


@dataclass(frozen=True)
class Stage:
    """One step: how it runs, what decides its outcome, what it writes, and what may stop it.

    Parameters
    ----------
    run : (**values) -> facts                           read, compute, write; facts go into the receipt
    values : (job, section, upstream, digest) -> dict   what `run` is given, by name
    grounds : (job, section, upstream) -> Grounds       everything that decides the outcome beside the code
    outputs : (job, section) -> paths                   what must exist for the step to count as done
    blocked : (job, section, upstream) -> reason        why the step cannot run; empty where it can
    also : names                                        outputs that a run may or may not have
    """

    name: str
    scope: Literal["section", "series"]
    after: tuple[str, ...]
    run: Callable[..., dict[str, Any]]
    values: Callable[[SeriesJob, Any, Upstream, str], dict[str, Any]]
    grounds: Callable[[SeriesJob, Any, Upstream], Grounds]
    outputs: Callable[[SeriesJob, Any], Sequence[Path]]
    blocked: Callable[[SeriesJob, Any, Upstream], str] = _nothing
    also: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """A digest of the code that this stage can reach."""
        return reach_digest(self.run.__module__)

    def task(self, section: SectionImage | None) -> TaskId:
        """Return its task on a section, or on the whole series."""
        return TaskId(self.name, None if section is None else section.section_number)
