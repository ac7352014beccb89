"""Statistics of a batch in progress: how far, how fast, what runs where, what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.runs.schedule import STEPS, Event
from pipeline.stages.job import SeriesJob
from pipeline.store.tasks import TaskId

MEGA = 1e6
LAST = STEPS[-1].name


class Tally:
    """Counts the events of a batch.

    Parameters
    ----------
    jobs : sequence of SeriesJob
        Series of the batch.
    begun : float
        Start of the batch, s, on the clock of all other times.
    """

    def __init__(self, jobs: Sequence[SeriesJob], begun: float) -> None:
        self.begun = begun
        self.series = len(jobs)
        self.totals = {
            step.name: sum(len(job.sections) if step.scope == "section" else 1 for job in jobs)
            for step in STEPS
        }
        self.pixels = {job.name: job.pixels for job in jobs}
        self.done: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        self.running: dict[tuple[str, str], tuple[float, str]] = {}
        self.failures: list[str] = []
        self.fresh = 0  # tasks that were computed in this run
        self.fresh_sections = 0  # of these, sections that were detected
        self.fresh_values = 0  # and the values that their images store

    def on_task(self, event: Event, now: float) -> None:
        """Count a task that starts or ends.

        Parameters
        ----------
        event : Event
            The task.
        now : float
            Time, s.
        """
        receipt = event.receipt
        if receipt is None:
            self.running[event.series, event.task] = (now, event.where)
            return
        self.running.pop((event.series, event.task), None)
        self.done[event.step] += 1
        self.states[receipt.state] += 1
        if receipt.state == "failed":
            self.failures.append(f"{event.series} {event.task}: {receipt.message}")
        if receipt.ok and not receipt.stands and not receipt.taken_from:
            self.fresh += 1
            if event.step == "detect":
                number = TaskId.parse(event.task).section_number or 0
                self.fresh_sections += 1
                self.fresh_values += self.pixels.get(event.series, {}).get(number, 0)

    def line(self, now: float) -> str:
        """Return the progress of the batch in one line.

        Parameters
        ----------
        now : float
            Time, s.

        Returns
        -------
        str
            Tasks, series, failures, throughput and an estimate of the time left.
        """
        done, total = sum(self.done.values()), sum(self.totals.values())
        parts = [f"{done}/{total} tasks", f"{self.done[LAST]}/{self.series} series"]
        if self.states["failed"]:
            parts.append(f"{self.states['failed']} failed")
        spent = max(now - self.begun, 1e-9)
        if self.fresh_sections:
            parts.append(f"{60 * self.fresh_sections / spent:.3g} sections/min")
            parts.append(f"{self.fresh_values / MEGA / spent:.3g} M values/s")
        if self.fresh and done < total:
            parts.append(f"about {duration(spent / done * (total - done))} left")
        return ", ".join(parts)

    def running_lines(self, now: float, most: int) -> list[str]:
        """Return which tasks run where and for how long, the longest first.

        Parameters
        ----------
        now : float
            Time, s.
        most : int
            Most tasks that have a line each.

        Returns
        -------
        list of str
            Lines, with one on how many more run where there are more.
        """
        ordered = sorted(self.running.items(), key=lambda item: item[1][0])
        lines = [
            f"{series} {task}{f' on {where}' if where else ''}, {duration(now - begun)}"
            for (series, task), (begun, where) in ordered[:most]
        ]
        return lines + ([f"and {len(ordered) - most} more"] if len(ordered) > most else [])


def duration(seconds: float) -> str:
    """Format a duration in s, min or h.

    Parameters
    ----------
    seconds : float
        Duration, s.

    Returns
    -------
    str
        Text with at most two units.

    Examples
    --------
    >>> duration(3.2), duration(125), duration(7300)
    ('3 s', '2 min 5 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
