"""The definition of a stage, and the data of a series on its way through all stages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast

from pipeline.core.code import reach_digest
from pipeline.core.model import SectionDataSet, SectionImage, SeriesAlignment
from pipeline.inputs.config import Config
from pipeline.inputs.references import RunReference
from pipeline.store.run import RunFolder
from pipeline.store.tasks import Receipt, TaskId

Upstream = Mapping[str, Receipt]  # receipts of earlier tasks, by task name


@dataclass(frozen=True, eq=False)
class SeriesJob:
    """One series on its way through the pipeline: inputs, parameters and place of the outputs.

    Attributes
    ----------
    source : Path
        Folder of the series.
    run : RunFolder
        Folder of its outputs.
    data_set : SectionDataSet
        Manifest, with the sections that take part.
    config : Config
        Configuration of the run.
    given : SeriesAlignment or None
        Alignment that the manifest holds.
    reference_directory : Path or None
        Reference folder; None for the phantom.
    warnings : tuple of str
        Warnings from reading the manifest and the images.
    redo : frozenset of str
        Stages that run again although they are done.
    files : mapping of str to str
        Checksum of every input image, by path.
    stamps : mapping of str to (int, int)
        Size in bytes and modification time in ns of every image when its checksum was taken, by path.
    pixels : mapping of int to int
        Number of values that an image stores, by section number.
    shared : mapping of str to RunFolder
        Run whose outputs may serve here too where both have the same digest, by stage.
    specimen_series : tuple of SeriesJob
        Series of the same specimen that it is aligned with, itself included; empty where it is aligned alone.
    label : str
        Name in the batch; empty: the id.
    threads : int
        Threads that a task on the whole series may use; above 1 where there are fewer series than workers.
    memory_mb : float
        Memory that all tasks of the run may use together, MB.
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
    specimen_series: tuple[SeriesJob, ...] = ()
    label: str = ""
    threads: int = 1
    memory_mb: float = math.inf

    @property
    def name(self) -> str:
        """Name of the series in this batch: its label, else its id."""
        return self.label or self.run.path.name

    @property
    def sections(self) -> tuple[SectionImage, ...]:
        """The sections of the manifest that take part, in ascending order of section number."""
        return self.data_set.section_images

    def section(self, number: int) -> SectionImage:
        """Return a section that takes part.

        Parameters
        ----------
        number : int
            Section number.

        Returns
        -------
        SectionImage
            The section.
        """
        return next(section for section in self.sections if section.section_number == number)

    @property
    def reference(self) -> RunReference:
        """The reference of the run, at the configured resolution if there is one."""
        return RunReference(self.reference_directory, self.config.reference.resolution_um)


@dataclass(frozen=True)
class Grounds:
    """What decides the outcome of a task, apart from the code; all values can be written as JSON.

    Attributes
    ----------
    inputs : mapping of str to Any
        Inputs by name.
    configuration : Any
        Configuration of the stage.
    """

    inputs: Mapping[str, Any]
    configuration: Any = None


def _nothing(job: SeriesJob, section: SectionImage | None, upstream: Upstream) -> str:
    return ""


@dataclass(frozen=True)
class Stage:
    """One stage: how it runs, what decides its outcome, what it writes, and what can block it.

    Attributes
    ----------
    name : str
        Name.
    scope : {"section", "series"}
        Whether it has a task for each section or one for the series.
    after : tuple of str
        Stages whose receipts it receives.
    implementation : str
        "module:function" in this folder. It is imported with the first task, so that runs start sooner.
    values : callable
        (job, section, upstream, digest) -> dict. Arguments of `run` by name.
    grounds : callable
        (job, section, upstream) -> Grounds. Everything that decides the outcome, apart from the code.
    outputs : callable
        (job, section) -> paths. What must exist for the task to count as done.
    blocked : callable
        (job, section, upstream) -> str. Reason why the task cannot run; empty where it can.
    also : tuple of str
        Optional outputs, by name.
    """

    name: str
    scope: Literal["section", "series"]
    after: tuple[str, ...]
    implementation: str
    values: Callable[[SeriesJob, Any, Upstream, str], dict[str, Any]]
    grounds: Callable[[SeriesJob, Any, Upstream], Grounds]
    outputs: Callable[[SeriesJob, Any], Sequence[Path]]
    blocked: Callable[[SeriesJob, Any, Upstream], str] = _nothing
    also: tuple[str, ...] = ()

    @property
    def run(self) -> Callable[..., Mapping[str, Any]]:
        """(**values) -> facts. Reads, computes and writes; the facts go into the receipt."""
        function = getattr(import_module(self._module), self.implementation.split(":")[1])
        return cast("Callable[..., Mapping[str, Any]]", function)

    @property
    def code(self) -> str:
        """Digest of the code that this stage can reach."""
        return reach_digest(self._module)

    @property
    def _module(self) -> str:
        return f"{__package__}.{self.implementation.split(':')[0]}"

    def task(self, section: SectionImage | None) -> TaskId:
        """Return the id of a task of this stage.

        Parameters
        ----------
        section : SectionImage or None
            Section; None for the whole series.

        Returns
        -------
        TaskId
            Stage and section number.
        """
        return TaskId(self.name, None if section is None else section.section_number)
