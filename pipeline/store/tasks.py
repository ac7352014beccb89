"""Tasks of a run: how they are named, and the receipt that each leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.system.seals import Seals

STATES = ("done", "failed", "left out")
PURPOSES = {  # of every stage of a run, in order; the page of a run shows them
    "measure": "Reduce a section and take its statistics",
    "pool": "Pool the statistics of a series",
    "detect": "Find expressing pixels, write them with their intensity, and sum the section over fine cells",
    "align": "Place every measured section in the reference space and write alignment.json",
    "grid": "Gather the sums of all sections that are detected and aligned on the 200 um grid",
    "unionize": "Sum the grid over the structure hierarchy and write the table",
    "summarise": "Write what became of the series and of every section, and how it was made",
}
SECTION_STAGES = ("measure", "detect")  # that have a task a section


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
        """Return the task of a name, as receipts and keys of a graph have it."""
        stage, _, number = name.partition("-")
        return cls(stage, int(number) if number.isdecimal() else None)


@dataclass(frozen=True)
class Receipt:
    """What a finished task says of itself; its digest decides whether it must run again.

    `where` is host and process that ran it; `taken_from` the run whose outputs it took over instead;
    `outputs` are size and digest of every file that it wrote, by path in the run folder; `code`,
    `configuration` and `inputs` are digests of the three parts of `digest`. `stands` is told of in a run
    alone, never kept.
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
    stands: bool = False  # from an earlier run: nothing was done now

    @property
    def ok(self) -> bool:
        """Whether the task's output stands."""
        return self.state == "done"

    @property
    def id(self) -> TaskId:
        """The task, taken apart."""
        return TaskId.parse(self.task)


def task_name(stage: str, section_number: int | None = None) -> str:
    """Return the name of a task.

    >>> task_name("detect", 70), task_name("grid")
    ('detect-00070', 'grid')
    """
    return str(TaskId(stage, section_number))
