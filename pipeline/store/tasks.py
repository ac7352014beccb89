"""Tasks of a run: their names, and the receipt that each leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.system.seals import Seals

STATES = ("done", "failed", "left out")
PURPOSES = {  # what each stage does, in order, as shown on the page of a run
    "measure": "Reduce a section and take its statistics",
    "pool": "Pool the statistics of a series",
    "detect": "Find expressing pixels, write them with their intensity, and sum the section over fine cells",
    "align": "Place every measured section in the reference space and write alignment.json",
    "grid": "Gather the sums of all sections that are detected and aligned on the 200 um grid",
    "unionize": "Sum the grid over the structure hierarchy and write the table",
    "summarise": "Write the outcome of the series and of every section, with the provenance",
}
SECTION_STAGES = ("measure", "detect")  # stages with one task for each section


@dataclass(frozen=True, order=True)
class TaskId:
    """One stage of one section, or of a whole series.

    >>> str(TaskId("detect", 70)), TaskId.parse("detect-00070").section_number, TaskId.parse("grid").stage
    ('detect-00070', 70, 'grid')
    """

    stage: str
    section_number: int | None = None

    def __str__(self) -> str:
        return self.stage if self.section_number is None else f"{self.stage}-{self.section_number:05d}"

    @classmethod
    def parse(cls, name: str) -> TaskId:
        """Parse the name of a task, as in receipts and keys of a graph.

        Parameters
        ----------
        name : str
            Stage, or stage and section number such as detect-00070.

        Returns
        -------
        TaskId
            The task.
        """
        stage, _, number = name.partition("-")
        return cls(stage, int(number) if number.isdecimal() else None)


NOT_STORED = {"stands", "unsealed"}  # fields of a receipt that its file does not hold


@dataclass(frozen=True)
class Receipt:
    """Record of a finished task; its digest decides whether the task must run again.

    Attributes
    ----------
    task : str
        Task name.
    state : {"done", "failed", "left out"}
        Outcome.
    digest : str
        Digest of everything that decides the outcome.
    message : str
        Reason for failing or being left out.
    facts : dict of str to Any
        Results that later stages and the report need.
    wall_s, cpu_s : float
        Wall and CPU time, s.
    peak_mb : float
        Peak memory of the process, MB.
    where : str
        Host and process that ran it.
    taken_from : str
        Run whose outputs were taken over instead; empty where it was computed.
    outputs : Seals
        Size in bytes and digest of every file it wrote, by path in the run folder.
    parts : dict of str to str
        Digests of code, configuration and each input, which `digest` combines.
    stands : bool
        Whether the receipt is from an earlier run and nothing was done now; never stored.
    unsealed : bool
        Whether it was read without a seal, as version 0.1 wrote it; never stored.
    """

    task: str
    state: Literal["done", "failed", "left out"]  # one of STATES
    digest: str
    message: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    where: str = ""
    taken_from: str = ""
    outputs: Seals = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    stands: bool = False  # from an earlier run
    unsealed: bool = False

    @property
    def ok(self) -> bool:
        """Whether the task is done and its output is valid."""
        return self.state == "done"

    @property
    def id(self) -> TaskId:
        """Stage and section number of the task."""
        return TaskId.parse(self.task)


def task_name(stage: str, section_number: int | None = None) -> str:
    """Return the name of a task.

    Parameters
    ----------
    stage : str
        Stage.
    section_number : int or None
        Section; None for a task on the whole series.

    Returns
    -------
    str
        Name.

    Examples
    --------
    >>> task_name("detect", 70), task_name("grid")
    ('detect-00070', 'grid')
    """
    return str(TaskId(stage, section_number))
