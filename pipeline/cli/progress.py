"""Progress bars in a terminal, plain lines in a log."""

from __future__ import annotations

from types import TracebackType

from rich import progress as rich_progress

from pipeline.cli.console import ERR, say
from pipeline.jobs import SeriesJob
from pipeline.schedule.engine import STEPS
from pipeline.store.run import Receipt


class Progress:
    """One bar a stage; listens to a run."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        columns = (
            rich_progress.TextColumn("{task.description:<10}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
        )
        self.bars = rich_progress.Progress(*columns, console=ERR, disable=quiet or not ERR.is_terminal)
        self.tasks: dict[str, rich_progress.TaskID] = {}

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def listen(self, jobs: list[SeriesJob], receipt: Receipt | None) -> None:
        """Take notice of all jobs (receipt None), then of one task's end."""
        if receipt is None:
            for stage in STEPS:
                total = sum(len(job.sections) if stage.scope == "section" else 1 for job in jobs)
                self.tasks[stage.name] = self.bars.add_task(stage.name, total=total)
            return
        stage_name = receipt.task.rpartition("-")[0] or receipt.task
        self.bars.advance(self.tasks[stage_name])
        if not self.quiet and not ERR.is_terminal:
            detail = f": {receipt.message}" if receipt.message else f" in {receipt.wall_s:.1f} s"
            say(f"{receipt.task} {receipt.state}{detail}")
