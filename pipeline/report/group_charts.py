"""Charts of a comparison of groups: volcano, animals by structure, heat map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.model import Int64
from pipeline.groups.comparison import Compared
from pipeline.groups.power import LEVEL
from pipeline.report.coarse_atlas import coarse_structures, safe_colour
from pipeline.report.group_comparison import GroupComparison
from pipeline.report.text import factor

WIDTH, HEIGHT = 640.0, 400.0  # of the volcano, SVG units
PLOT = (52.0, 14.0, WIDTH - 14.0, HEIGHT - 44.0)  # left, top, right, bottom
LABELLED = 16  # structures of smallest p that the volcano names, where they are found
LABEL_PX = 13.0  # height of a line of text
STRIP_WIDTH, STRIP_HEIGHT = 210.0, 170.0
STRIP_PLOT = (40.0, 10.0, STRIP_WIDTH - 8.0, STRIP_HEIGHT - 22.0)
HEAT_WIDTH, ROW_PX = 1180.0, 17.0
HEAT_LEFT, HEAT_TOP = 92.0, 26.0
FULL_COLOUR = math.log(2)  # departure from the mean that has the darkest colour of the heat map
LOW, MIDDLE, HIGH = (
    (33, 102, 172),
    (247, 247, 245),
    (178, 24, 43),
)  # ColorBrewer RdBu, safe for the colour-blind
MOST_TICKS = 6
MOST_FACTORS = 3  # ticks on either side of 1
FACTORS = (
    (1.1, 1.2, 1.3, 1.4), (1.25, 1.5, 2, 2.5), (1.5, 2, 3, 4), (2, 3, 5, 8), (2, 5, 10, 20),
    (5, 20, 100, 500), (10, 1e3, 1e5),
)  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """A point of a chart, in SVG units."""

    x: float
    y: float
    kind: str
    title: str
    label: str = ""
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: str = "start"
    size: float = 3.2
    low: float = 0.0  # ends of a whisker
    high: float = 0.0


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: place in SVG units, and text."""

    at: float
    text: str


@dataclass(frozen=True)
class Volcano:
    """Effects against p values."""

    marks: tuple[Mark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    zero: float
    threshold: float | None
    plot: tuple[float, float, float, float] = PLOT
    size: tuple[float, float] = (WIDTH, HEIGHT)


@dataclass(frozen=True)
class Strip:
    """The animals of one structure."""

    label: str
    name: str
    called: bool
    effect: str
    q: str
    marks: tuple[Mark, ...]
    means: tuple[tuple[float, float, float, str], ...]  # left, right, y, class
    ticks: tuple[Tick, ...]
    plot: tuple[float, float, float, float] = STRIP_PLOT
    size: tuple[float, float] = (STRIP_WIDTH, STRIP_HEIGHT)


@dataclass(frozen=True)
class Cell:
    """A cell of the heat map."""

    x: float
    y: float
    colour: str
    title: str


@dataclass(frozen=True)
class Band:
    """A coarse structure along the heat map."""

    x: float
    width: float
    colour: str
    text: str


@dataclass(frozen=True)
class HeatMap:
    """Departure of every animal from the mean of all, by structure."""

    cells: tuple[Cell, ...]
    bands: tuple[Band, ...]
    names: tuple[Tick, ...]  # animals, along y
    stars: tuple[Tick, ...]  # structures with q below .05, along x
    breaks: tuple[float, ...]  # between groups, along y
    cell: tuple[float, float]
    size: tuple[float, float]
    left: float = HEAT_LEFT
    top: float = HEAT_TOP


def volcano(found: Compared, labels: Sequence[str], names: Sequence[str]) -> Volcano:
    """Return effects against p values.

    Parameters
    ----------
    found : Compared
        The comparison.
    labels, names : sequence of str
        Acronyms and names of its rows.

    Returns
    -------
    Volcano
        Marks in SVG units.
    """
    left, top, right, bottom = PLOT
    effect, p_value = found.tests.effect, np.maximum(found.tests.p_value, 1e-300)
    widest = max(float(np.abs(effect).max(initial=0.0)) * 1.08, math.log(1.5))
    highest = max(float(-np.log10(p_value).min(initial=1.0)) * 1.06, 2.5)
    x = left + (effect + widest) / (2 * widest) * (right - left)
    y = bottom + np.log10(p_value) / highest * (bottom - top)
    called = found.q_value < LEVEL
    order = [row for row in np.argsort(p_value).tolist() if called[row]][:LABELLED]
    dots = [(float(x[row]) - 4, float(x[row]) + 4, float(y[row])) for row in np.flatnonzero(called).tolist()]
    places = _label_places(x, y, order, labels, dots)
    marks = [
        Mark(
            round(float(x[row]), 1),
            round(float(y[row]), 1),
            _kind(called[row], effect[row]),
            f"{labels[row]}{f', {names[row]}' if names[row] else ''}: {factor(effect[row])},"
            f" p {found.tests.p_value[row]:.2g}, q {found.q_value[row]:.2g}",
            *places.get(row, ("", 0.0, 0.0, "start")),
        )
        for row in np.argsort(called, kind="stable").tolist()
    ]
    step = max(1, math.ceil(highest / MOST_TICKS))
    ticks_y = [
        Tick(round(bottom - n / highest * (bottom - top), 1), _tenth(n))
        for n in range(0, int(highest) + 1, step)
    ]
    cut = max((float(p) for p, q in zip(p_value, found.q_value, strict=True) if q < LEVEL), default=None)
    line = None if cut is None else round(bottom + math.log10(cut) / highest * (bottom - top), 1)
    return Volcano(
        tuple(marks),
        _factor_ticks(-widest, widest, left, right),
        tuple(ticks_y),
        round((left + right) / 2, 1),
        line,
    )


def _kind(called: bool, effect: float) -> str:
    if not called:
        return "none"
    return "up" if effect > 0 else "down"


def _tenth(n: int) -> str:
    return {0: "1", 1: ".1", 2: ".01", 3: ".001"}.get(n, f"1e-{n}")


def _label_places(
    x: np.ndarray,
    y: np.ndarray,
    order: Sequence[int],
    labels: Sequence[str],
    taken: list[tuple[float, float, float]],
) -> dict[int, tuple[str, float, float, str]]:
    """Return label, place and anchor of named marks.

    A label that would cover what is taken (left, right, y) moves, or is left out.
    """
    places = {}
    for row in order:
        width = 6.6 * len(labels[row])
        outward = x[row] >= (PLOT[0] + PLOT[2]) / 2
        for right_side in (outward, not outward):
            for shift in (0.0, -9.0, 9.0, -16.0, 16.0):
                start = float(x[row]) + 6 if right_side else float(x[row]) - 6 - width
                at = float(y[row]) + shift
                free = all(
                    start > b or start + width < a or abs(at - other) >= LABEL_PX for a, b, other in taken
                )
                if row not in places and free and start > PLOT[0] and start + width < WIDTH and at > 10:
                    taken.append((start, start + width, at))
                    anchor = "start" if right_side else "end"
                    places[row] = (
                        labels[row],
                        round(float(x[row]) + (6 if right_side else -6), 1),
                        round(at, 1),
                        anchor,
                    )
    return places


def _factor_ticks(low: float, high: float, first: float, last: float) -> tuple[Tick, ...]:
    """Return ticks at round factors along a logarithmic axis."""
    shown = next(
        (f for f in FACTORS if sum(math.log(size) <= high for size in f) <= MOST_FACTORS), FACTORS[-1]
    )
    steps = [
        (0.0, "1"),
        *((s * math.log(f), f"{sign}{f:g}") for f in shown for s, sign in ((-1, "÷"), (1, "×"))),
    ]
    return tuple(
        Tick(round(first + (at - low) / (high - low) * (last - first), 1), text)
        for at, text in sorted(steps)
        if low <= at <= high
    )


def strips(
    found: Compared,
    member: Int64,
    labels: Sequence[str],
    names: Sequence[str],
    animals: Sequence[str],
    order: Sequence[int],
) -> list[Strip]:
    """Return the animals of every structure, as points with their own error.

    Parameters
    ----------
    found : Compared
        The comparison.
    member : (animals,) int64
        Group of each animal.
    labels, names : sequence of str
        Acronyms and names of its rows.
    animals : sequence of str
        Names of the animals.
    order : sequence of int
        Rows to show, in this order.

    Returns
    -------
    list of Strip
        In that order; values are relative to the first group's mean.
    """
    return [_strip(found, member, labels[row], names[row], animals, row) for row in order]


def _strip(found: Compared, member: Int64, label: str, name: str, animals: Sequence[str], row: int) -> Strip:
    top, bottom = STRIP_PLOT[1], STRIP_PLOT[3]
    weights, values = found.weights[row], found.values[row]
    centres = [_mean(values, weights, member == n) for n in (0, 1)]
    relative = values - centres[0]
    shown = np.isfinite(values) & (member < 2)
    reach = max(float(np.abs(relative[shown]).max(initial=0.0)) * 1.12, math.log(1.3))
    scale = (bottom - top) / (2 * reach)
    marks: list[Mark] = []
    for group in (0, 1):
        own = np.flatnonzero(shown & (member == group)).tolist()
        for n, x in zip(own, _beside(_column(group), len(own)), strict=True):
            share = math.sqrt(float(weights[n] / weights[shown].max()))
            marks.append(
                _animal_mark(
                    f"g{group}", animals[n], x, float(relative[n]), found.errors[row, n], share, scale
                )
            )
    means = []
    for group, centre in enumerate(centres):
        x, y = _column(group), (top + bottom) / 2 - (centre - centres[0]) * scale
        means.append((round(x - 42, 1), round(x + 42, 1), round(y, 1), f"g{group}"))
    tests, q = found.tests, float(found.q_value[row])
    low, high = (factor(float(end[row])) for end in (tests.lower, tests.upper))
    ticks = tuple(
        Tick(round(bottom + top - t.at, 1), t.text) for t in _factor_ticks(-reach, reach, top, bottom)
    )
    effect = f"{factor(float(tests.effect[row]))} ({low} to {high})"
    return Strip(label, name, q < LEVEL, effect, f"q {q:.2g}", tuple(marks), tuple(means), ticks)


def _column(group: int) -> float:
    """Return the middle of a group's animals along x."""
    return STRIP_PLOT[0] + (STRIP_PLOT[2] - STRIP_PLOT[0]) * (0.27 + 0.46 * group)


def _beside(middle: float, count: int) -> list[float]:
    """Return the places of a number of animals beside each other."""
    step = min(12.0, 70 / max(count, 1))
    return [middle + (place - (count - 1) / 2) * step for place in range(count)]


def _animal_mark(
    kind: str, animal: str, x: float, departure: float, error: float, share: float, scale: float
) -> Mark:
    """Return the dot of an animal, with a whisker of its own error where it states one."""
    top, bottom = STRIP_PLOT[1], STRIP_PLOT[3]
    y = (top + bottom) / 2 - departure * scale
    half = float(error) * scale if math.isfinite(error) else 0.0
    own = f", own error {100 * float(error):.0f} %, weight {share * share:.2f}" if half else ""
    return Mark(
        round(x, 1),
        round(y, 1),
        kind,
        f"{animal}: {factor(departure)}{own}",
        size=round(1.8 + 2.6 * share, 1),
        low=round(max(y - half, top), 1),
        high=round(min(y + half, bottom), 1),
    )


def _mean(values: np.ndarray, weights: np.ndarray, members: np.ndarray) -> float:
    used = members & (weights > 0)
    return float(np.average(values[used], weights=weights[used]))


def heat_map(comparison: GroupComparison, labels: Sequence[str]) -> HeatMap:
    """Return the departure of every animal from the mean of all, by structure.

    Parameters
    ----------
    comparison : GroupComparison
        The comparison.
    labels : sequence of str
        Acronyms of its rows.

    Returns
    -------
    HeatMap
        Cells in SVG units; animals by group along y, structures in the order of the hierarchy along x.
    """
    found, member = comparison.result, comparison.member
    order = [n for group in range(len(comparison.groups)) for n in np.flatnonzero(member == group).tolist()]
    width = (HEAT_WIDTH - HEAT_LEFT) / max(len(labels), 1)
    apart = found.values - np.nanmean(found.values, axis=1, keepdims=True)
    cells = [
        Cell(
            round(HEAT_LEFT + row * width, 2),
            HEAT_TOP + line * ROW_PX,
            _diverging(float(apart[row, n])),
            f"{labels[row]}, {comparison.animals[n]}: {factor(float(apart[row, n]))}",
        )
        for line, n in enumerate(order)
        for row in range(len(labels))
        if math.isfinite(apart[row, n])
    ]
    breaks = np.flatnonzero(np.diff(member[order])) + 1
    names = tuple(
        Tick(HEAT_TOP + (line + 0.72) * ROW_PX, comparison.animals[n]) for line, n in enumerate(order)
    )
    stars = [
        Tick(round(HEAT_LEFT + (row + 0.5) * width, 2), labels[row])
        for row in np.flatnonzero(found.q_value < LEVEL).tolist()
    ]
    height = HEAT_TOP + len(order) * ROW_PX + 14
    return HeatMap(
        tuple(cells),
        _bands(comparison, width),
        names,
        tuple(stars),
        tuple(float(HEAT_TOP + n * ROW_PX) for n in breaks),
        (round(width + 0.05, 2), ROW_PX),
        (HEAT_WIDTH, height),
    )


def _bands(comparison: GroupComparison, width: float) -> tuple[Band, ...]:
    """Return the coarse structures along the heat map, neighbours of one structure joined."""
    ontology = comparison.ontology
    if ontology is None:
        return ()
    coarse = {s.id: s for s in coarse_structures(ontology)}
    owners = []
    for structure, _ in comparison.keys:
        path = ontology.path(structure) if structure in ontology.by_id else ()
        owners.append(next((a for a in path if a in coarse), None))
    bands: list[Band] = []
    start = 0
    for at in range(1, len(owners) + 1):
        if at < len(owners) and owners[at] == owners[start]:
            continue
        owner = owners[start]
        if owner is not None:
            length, text = (at - start) * width, coarse[owner].acronym
            bands.append(
                Band(
                    round(HEAT_LEFT + start * width, 2),
                    round(length, 2),
                    f"#{safe_colour(coarse[owner].color)}",
                    text if length > 7.5 * len(text) else "",
                )
            )
        start = at
    return tuple(bands)


def _diverging(departure: float) -> str:
    """Return the colour of a departure from the mean, natural logarithm."""
    share = max(-1.0, min(1.0, departure / FULL_COLOUR))
    end = HIGH if share > 0 else LOW
    mixed = [round(m + (e - m) * abs(share)) for m, e in zip(MIDDLE, end, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)
