"""Contents of a run folder: every part is there, or the reason why it is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

from pipeline.core.errors import PipelineError
from pipeline.core.model import Float32, SectionAlignment, SeriesAlignment
from pipeline.formats.tables.tables import read_table
from pipeline.inputs.alignments import read_placement
from pipeline.store.run import MISSING_TISSUE, RunFolder
from pipeline.store.tasks import PURPOSES, Receipt, task_name

OWN_TASK = "report"  # the task that writes the page; its receipt is not shown on it
TROUBLES = ("fail", "check", "missing")  # statuses that flag a section
SHARED_SHARE, LEAST_SHARED = 0.5, 3  # a flag on more than half the sections, and more than 3, is the series'

T = TypeVar("T")
Polygons = Sequence[Sequence[Sequence[float]]]


@dataclass(frozen=True, eq=False)
class Panel(Generic[T]):
    """A part of the page: its content, or the reason why there is none."""

    content: T | None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Section:
    """One section as the run left it; `document` is its entry in `section_data_set.json`, maybe empty."""

    number: int
    status: str
    flags: tuple[str, ...]
    document: Mapping[str, Any]
    measured: bool
    detected: bool
    alignment: SectionAlignment | None
    missing: Polygons = ()  # tissue that was found missing, px of the manifest

    @property
    def quality(self) -> Mapping[str, Any]:
        """The figures of the section by name."""
        found: Mapping[str, Any] = self.document.get("quality") or {}
        return found

    @property
    def flagged(self) -> bool:
        """Whether a reader should look at it first."""
        return self.status in TROUBLES or bool(self.flags)

    @property
    def resolution_um(self) -> float:
        """Size of a manifest pixel, in um; 0 where the run does not state it."""
        return float(self.document.get("resolution_um") or 0.0)


@dataclass(frozen=True, eq=False)
class RunContents:
    """The readable parts of a run; an output counts only where a receipt of this run confirms it."""

    run: RunFolder
    receipts: Mapping[str, Receipt]
    data_set: Mapping[str, Any]
    provenance: Mapping[str, Any]
    alignment: Panel[SeriesAlignment]
    missing: Mapping[str, Polygons] = field(default_factory=dict)
    complaints: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        """Gene (or treatment) and id: how readers refer to the series."""
        gene = self.data_set.get("gene") or self.data_set.get("treatment")
        return f"{gene} · {self.identifier}" if gene else self.identifier

    @property
    def identifier(self) -> str:
        """The section data set id."""
        return str(self.data_set.get("id", self.run.path.name))

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """All sections in ascending order of section number."""
        documents = {int(d["section_number"]): d for d in self.data_set.get("section_images") or ()}
        numbers = documents or {n: {} for n in _numbers(self.receipts)}
        return tuple(self._section(n, numbers[n]) for n in sorted(numbers))

    @cached_property
    def shared_flags(self) -> Mapping[str, int]:
        """Flags that most sections carry, with their counts: they concern the series, not single sections."""
        documents = self.data_set.get("section_images") or ()
        numbers = [int(d["section_number"]) for d in documents]
        found = Counter(f for n, d in zip(numbers, documents, strict=True) for f in self._flags(n, d))
        least = max(len(documents) * SHARED_SHARE, LEAST_SHARED)
        return {flag: count for flag, count in found.items() if count > least}

    def _flags(self, number: int, document: Mapping[str, Any]) -> dict[str, None]:
        """Return the flags and messages of a section, each once, in order."""
        found = [self.receipts.get(task_name(stage, number)) for stage in ("measure", "detect")]
        messages = [r.message for r in found if r is not None and r.message]
        context = (document.get("quality") or {}).get("context") or {}
        flags = [*(document.get("flags") or ()), *messages, *(context.get("flags") or ())]
        return dict.fromkeys(str(flag) for flag in flags)

    def _section(self, number: int, document: Mapping[str, Any]) -> Section:
        """Collect what the run left of one section."""
        measure, detect = (self.receipts.get(task_name(s, number)) for s in ("measure", "detect"))
        alignment = self.alignment.content
        return Section(
            number=number,
            status=str(document.get("status", "unknown")),
            flags=tuple(flag for flag in self._flags(number, document) if flag not in self.shared_flags),
            document=document,
            measured=bool(measure and measure.ok),
            detected=bool(detect and detect.ok),
            alignment=alignment.of(number) if alignment else None,
            missing=tuple(self.missing.get(str(number), ())),
        )

    def panel(self, stage: str, build: Callable[[], T]) -> Panel[T]:
        """Build a part of the page that needs the output of a stage.

        Parameters
        ----------
        stage : str
            The stage whose output is needed.
        build : callable
            Returns the content.

        Returns
        -------
        Panel
            The content, or the reason why the stage or `build` gave none.
        """
        reason = why_absent(self.receipts, stage)
        return Panel(None, reason) if reason else attempt(build)


def attempt(build: Callable[[], T]) -> Panel[T]:
    """Build a part of the page; an error becomes the reason why it cannot be shown.

    Parameters
    ----------
    build : callable
        Returns the content.

    Returns
    -------
    Panel
        The content, or the reason why there is none.
    """
    try:
        return Panel(build())
    except PipelineError as error:
        return Panel(None, str(error))
    except Exception as error:  # a torn output must not cost the reader the rest of the page
        return Panel(None, f"cannot be shown: {type(error).__name__}: {error}")


def why_absent(receipts: Mapping[str, Receipt], stage: str) -> str:
    """Return why a stage of the series left no output of this run.

    Parameters
    ----------
    receipts : mapping of str to Receipt
        Receipts of the run by task.
    stage : str
        A stage with one task per series.

    Returns
    -------
    str
        The reason; empty where the output is there.
    """
    receipt = receipts.get(stage)
    if receipt is None:
        return f"the step “{stage}” has not run"
    if receipt.ok:
        return ""
    verb = "failed" if receipt.state == "failed" else "was left out"
    return f"the step “{stage}” {verb}: {receipt.message or 'no reason was recorded'}"


def read_contents(run: RunFolder) -> RunContents:
    """Read everything of a run except pixels and grids; missing or torn parts are noted, never raised.

    Parameters
    ----------
    run : RunFolder
        The run, finished or not.

    Returns
    -------
    RunContents
        The readable parts, with complaints about torn ones.
    """
    receipts = {name: r for name, r in run.receipts().items() if name != OWN_TASK}
    complaints: list[str] = []

    def document(name: str) -> Mapping[str, Any]:
        if why_absent(receipts, "summarise"):
            return {}
        found = attempt(lambda: run.read_document(name))
        complaints.extend([found.reason] if found.reason else [])
        return found.content or {}

    data_set, provenance = document("section_data_set.json"), document("provenance.json")
    missing: Panel[dict[str, Any]] = Panel(None)
    if not why_absent(receipts, "grid") and run.file(MISSING_TISSUE).exists():  # older runs have none
        missing = attempt(lambda: run.read_document(MISSING_TISSUE)["missing_tissue"])
        complaints.extend([missing.reason] if missing.reason else [])
    reason = why_absent(receipts, "align")
    alignment: Panel[SeriesAlignment] = (
        Panel(None, reason) if reason else attempt(lambda: read_placement(run))
    )
    own = _of_this_run(receipts, data_set)
    return RunContents(run, own, data_set, provenance, alignment, missing.content or {}, tuple(complaints))


def read_grid(contents: RunContents) -> Panel[dict[str, Float32]]:
    """Read the grids of a run.

    Parameters
    ----------
    contents : RunContents
        The run.

    Returns
    -------
    Panel of dict of str to (P, I, R) float32
        Sums and ratios by name, -1 where there is no data; or the reason why there are none.
    """
    return contents.panel("grid", contents.run.read_grid)


def read_rows(contents: RunContents) -> Panel[list[dict[str, Any]]]:
    """Read the StructureUnionize table of a run.

    Parameters
    ----------
    contents : RunContents
        The run.

    Returns
    -------
    Panel of list of dict
        One mapping per row, or the reason why there is no table.
    """

    def rows() -> list[dict[str, Any]]:
        columns = read_table(contents.run.require("structure_unionize.parquet"))
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    return contents.panel("unionize", rows)


def _numbers(receipts: Mapping[str, Receipt]) -> list[int]:
    """Return the section numbers that have receipts, sorted."""
    return sorted({n for r in receipts.values() if (n := r.id.section_number) is not None})


def _of_this_run(receipts: Mapping[str, Receipt], data_set: Mapping[str, Any]) -> dict[str, Receipt]:
    """Drop receipts of sections that an earlier run had and this one does not, and of unknown stages."""
    images = data_set.get("section_images")
    if not images:
        return dict(receipts)
    own = {None, *(int(d["section_number"]) for d in images)}
    return {name: r for name, r in receipts.items() if r.id.section_number in own and r.id.stage in PURPOSES}
