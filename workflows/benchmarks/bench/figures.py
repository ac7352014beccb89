"""Figures of a server and what they must be: rates, times, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.http_load import Load, load
from bench.serving import Server

SLACK = 0.2  # machines differ by this much: what misses its goal by more counts as a failure


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Parameters
    ----------
    what : str
    value, goal : float, in `unit`   goal 0: there is none
    unit : str                       "/s" and "points/s": more is better; else less is better
    cpu_ms : float, ms               CPU time that the server took for one request
    note : str
    """

    what: str
    value: float
    goal: float
    unit: str
    cpu_ms: float = 0.0
    note: str = ""

    @property
    def share(self) -> float:
        """How far the goal is reached; 1 or more: it is."""
        if not self.goal:
            return 1.0
        return self.value / self.goal if self.unit.endswith("/s") else self.goal / max(self.value, 1e-9)

    @property
    def mark(self) -> str:
        """The word for it in the table."""
        if not self.goal:
            return ""
        return "ok" if self.share >= 1 else "near" if self.holds else "SHORT"

    @property
    def holds(self) -> bool:
        """Whether the goal is reached but for what machines differ."""
        return self.share >= 1 / (1 + SLACK)


@dataclass(frozen=True)
class Turns:
    """Loads of the same kind, one after another, and the CPU time that the server took for one request."""

    loads: Sequence[Load]
    cpu_ms: float

    @property
    def rate(self) -> float:
        """Median answers a second."""
        return median(one.rate for one in self.loads)

    @property
    def p50_ms(self) -> float:
        """Median of the median times to an answer."""
        return median(one.p50_ms for one in self.loads)

    @property
    def spread(self) -> str:
        """What differed between turns, in words."""
        rates = [one.rate for one in self.loads]
        p95 = median(one.p95_ms for one in self.loads)
        return f"{min(rates):.0f}-{max(rates):.0f}/s, p95 {p95:.1f} ms"


def turns(
    server: Server,
    requests: Sequence[bytes],
    rounds: int,
    *,
    at_once: int = 8,
    seconds: float = 2.0,
    count: int = 0,
) -> Turns:
    """Ask a server again and again; the first time warms up and does not count."""
    most = 0.0 if count else seconds
    load(server.port, requests, at_once=at_once, seconds=most / 2, count=count)
    before = server.cpu_s()
    loads = [load(server.port, requests, at_once=at_once, seconds=most, count=count) for _ in range(rounds)]
    asked = sum(len(one.latencies_s) for one in loads)
    return Turns(loads, 1e3 * (server.cpu_s() - before) / asked)


def rate(what: str, found: Turns, goal: float, note: str = "") -> Figure:
    """Return a rate as a figure."""
    return Figure(what, found.rate, goal, "/s", found.cpu_ms, "; ".join(filter(None, (found.spread, note))))


def latency(what: str, found: Turns, goal: float, note: str = "") -> Figure:
    """Return the median time to an answer as a figure."""
    return Figure(what, found.p50_ms, goal, "ms", found.cpu_ms, "; ".join(filter(None, (found.spread, note))))


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as text, a line each."""
    cells = [("", "what", "figure", "goal", "server CPU", "note")]
    for one in figures:
        most = ">=" if one.unit.endswith("/s") else "<="
        goal = f"{most} {one.goal:g} {one.unit}" if one.goal else ""
        cpu = f"{one.cpu_ms:.3g} ms" if one.cpu_ms else ""
        cells.append((one.mark, one.what, f"{one.value:.4g} {one.unit}", goal, cpu, one.note))
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
    lines = ["  ".join(t.ljust(n) for t, n in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join(lines)
