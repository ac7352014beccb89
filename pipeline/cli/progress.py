"""Progress of a run: a live view in a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich import progress as rich_progress
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from pipeline.cli.batch_progress import Tally
from pipeline.cli.console import ERR, say
from pipeline.runs.api import Listener
from pipeline.runs.schedule import STEPS, Event
from pipeline.stages.job import SeriesJob
from pipeline.stages.summarise import cause_of
from pipeline.store.tasks import Receipt

BEAT_S = 30.0  # seconds between two log lines on the whole batch
MOST_RUNNING, MOST_FAILED = 8, 6  # lines of the live view on running and failed tasks


class Progress(Listener):
    """Progress callbacks that show a run on standard error.

    Parameters
    ----------
    quiet : bool
        Whether nothing but warnings is shown.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.live = not quiet and ERR.is_terminal
        self.tally = Tally((), time.monotonic())
        columns = (
            rich_progress.TextColumn("{task.description:<10}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
        )
        self.bars = rich_progress.Progress(*columns, console=ERR, auto_refresh=False)
        self.tasks: dict[str, rich_progress.TaskID] = {}
        self.view = Live(get_renderable=self._view, console=ERR, refresh_per_second=4, transient=True)
        self.last_beat = time.monotonic()
        self.noted_causes: set[str] = set()

    def __enter__(self) -> Progress:
        if self.live:
            self.view.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.view.stop()

    def say(self, line: str) -> None:
        """Print a line, above the live view if there is one.

        Parameters
        ----------
        line : str
            The line.
        """
        say(line)

    def on_begin(self, jobs: Sequence[SeriesJob]) -> None:
        """Set up the progress bars.

        Parameters
        ----------
        jobs : sequence of SeriesJob
            Series of the batch.
        """
        self.tally = Tally(jobs, time.monotonic())
        for step in STEPS:
            self.tasks[step.name] = self.bars.add_task(step.name, total=self.tally.totals[step.name])

    def on_task(self, event: Event) -> None:
        """Count a task that starts or ends, and show it.

        Parameters
        ----------
        event : Event
            The task.
        """
        self.tally.on_task(event, time.monotonic())
        if event.receipt is None:
            return
        self.bars.update(self.tasks[event.step], completed=self.tally.done[event.step])
        if not self.quiet and not self.live:
            self._log(event)

    def _log(self, event: Event) -> None:
        """Print a log line.

        One series: a line for each task. Several: a line for each finished series and each failure, and one
        on the whole batch every `BEAT_S` seconds.
        """
        receipt = event.receipt
        assert receipt is not None
        if receipt.stands or self._was_noted(receipt):
            return
        if self.tally.series == 1:
            detail = f": {receipt.message}" if receipt.message else f" in {receipt.wall_s:.1f} s"
            say(f"{receipt.task} {receipt.state}{detail}")
            return
        if receipt.state == "failed":
            say(f"{event.series}: {receipt.task} failed: {receipt.message}")
        if event.step == STEPS[-1].name:
            say(f"{event.series}: finished; {self.tally.line(time.monotonic())}")
            self.last_beat = time.monotonic()
        elif time.monotonic() - self.last_beat > BEAT_S:
            say(self.tally.line(time.monotonic()))
            self.last_beat = time.monotonic()

    def _was_noted(self, receipt: Receipt) -> bool:
        """Return whether a failure of the same cause was printed before; the summary names all sections."""
        if receipt.ok:
            return False
        cause = cause_of(receipt.message)
        known = cause in self.noted_causes
        self.noted_causes.add(cause)
        return known

    def _view(self) -> RenderableType:
        now = time.monotonic()
        lines = [Text(self.tally.line(now), style="bold"), self.bars.get_renderable()]
        lines += [Text(f"  {line}", style="dim") for line in self.tally.running_lines(now, MOST_RUNNING)]
        lines += [Text(f"  {line}", style="red") for line in self.tally.failures[-MOST_FAILED:]]
        return Group(*lines)
