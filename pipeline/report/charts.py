"""Data of the charts: energy of the coarse structures, and the poses along the series."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.errors import MissingResultError
from pipeline.core.model import BOTH, LEAST_COVERAGE, LEFT, RIGHT, WIDE_INTERVAL, Float64, Structure
from pipeline.geometry import affine
from pipeline.report.coarse_atlas import safe_colour
from pipeline.report.contents import RunContents

SIDES = ((BOTH, "both"), (LEFT, "left"), (RIGHT, "right"))  # in the order of the bars
MOST_WHISKER = 2.0  # end of the longest whisker over the highest bar
TINY = 1e-9  # a span smaller than this, relative to its ends, counts as zero
WIDTH, HEIGHT = 360.0, 170.0  # of a chart, SVG units
PLOT = (52.0, 12.0, WIDTH - 10.0, HEIGHT - 30.0)  # left, top, right, bottom


@dataclass(frozen=True)
class Bar:
    """Energy of one structure in one hemisphere; None where there is no data."""

    side: str
    energy: float | None
    coverage: float | None
    share: float  # of the axis, 0-1
    section_energy: float | None = None  # of the sections without the grid
    section_share: float = 0.0  # of the axis, 0-1
    interval: tuple[float, float] | None = None  # of the energy, 90 %
    whisker: tuple[float, float] = (0.0, 0.0)  # the same as shares of the axis, 0-1
    section_interval: tuple[float, float] | None = None

    @property
    def thin(self) -> bool:
        """Whether the energy says little about the structure: few voxels with data, or a wide interval."""
        wide = self.interval is not None and self.interval[1] > WIDE_INTERVAL * self.interval[0]
        return wide or (self.coverage is not None and self.coverage < LEAST_COVERAGE)


@dataclass(frozen=True)
class BarGroup:
    """A structure with its bars: both hemispheres, left, right."""

    acronym: str
    name: str
    colour: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class BarChart:
    """Bars on an axis that ends at `top`."""

    groups: tuple[BarGroup, ...]
    ticks: tuple[tuple[float, str], ...]  # (share of the axis, text)
    top: float

    @property
    def has_intervals(self) -> bool:
        """Whether any structure has an interval; runs of earlier versions have none."""
        return any(bar.interval is not None for group in self.groups for bar in group.bars)

    @property
    def has_section_energy(self) -> bool:
        """Whether any structure has a section energy; runs of earlier versions have none."""
        return any(bar.section_energy is not None for group in self.groups for bar in group.bars)


def bar_chart(rows: Sequence[Mapping[str, Any]], structures: Sequence[Structure]) -> BarChart:
    """Return the energy of coarse structures as bars.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of the StructureUnionize table.
    structures : sequence of Structure
        The structures to show, in order.

    Returns
    -------
    BarChart
        Three bars per structure on a common axis that starts at 0.
    """
    found = {(row["structure_id"], row["hemisphere_id"]): row for row in rows}
    energies = [
        _energy(found.get((s.id, h)), name)
        for s in structures
        for h, _ in SIDES
        for name in ("expression_energy", "section_energy")
    ]
    highest = max((e for e in energies if e is not None), default=0.0)
    uppers = (_energy(found.get((s.id, h)), "expression_energy_upper") for s in structures for h, _ in SIDES)
    # Whiskers fit on the axis, unless one would squeeze the bars together.
    ends = [min(upper, MOST_WHISKER * highest) for upper in uppers if upper is not None]
    ticks = nice_ticks(0.0, max([highest, *ends]) or 1.0)
    top = ticks[-1]
    groups = tuple(
        BarGroup(
            s.acronym,
            s.name,
            safe_colour(s.color),
            tuple(_bar(found.get((s.id, h)), n, top) for h, n in SIDES),
        )
        for s in structures
    )
    return BarChart(groups, tuple((t / top, f"{t:g}") for t in ticks), top)


def _energy(row: Mapping[str, Any] | None, name: str = "expression_energy") -> float | None:
    """Return an energy of a row; None where it has none, or its run is of a version without it."""
    energy = None if row is None else row.get(name)
    return None if energy is None or math.isnan(energy) else float(energy)


def _bar(row: Mapping[str, Any] | None, side: str, top: float) -> Bar:
    """Return the bar of a row on an axis that ends at `top`."""
    energy, section = _energy(row), _energy(row, "section_energy")
    if row is None or energy is None:
        return Bar(side, None, None, 0.0)
    interval = _interval(row, "expression_energy")
    low, high = interval or (energy, energy)
    return Bar(
        side,
        energy,
        float(row["coverage"]),
        energy / top,
        section,
        (section or 0.0) / top,
        interval,
        (min(low / top, 1.0), min(high / top, 1.0)),
        _interval(row, "section_energy"),
    )


def _interval(row: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Return the interval of an energy; None where it has none, or its run is of a version without it."""
    low, high = _energy(row, f"{name}_lower"), _energy(row, f"{name}_upper")
    return None if low is None or high is None else (low, high)


def nice_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return evenly spaced round values that enclose low..high.

    The step is 1, 2, 2.5 or 5 times a power of ten, in the manner of Heckbert (1990), "Nice numbers for
    graph labels", Graphics Gems.

    Parameters
    ----------
    low : float
        Lower end of the data.
    high : float
        Upper end of the data.
    about : int
        Wanted number of steps.

    Returns
    -------
    list of float
        Ticks; the first is at or below `low`, the last at or above `high`.

    Examples
    --------
    >>> nice_ticks(0.0, 7.3)
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    span = high - low
    if span < TINY * max(1.0, abs(low), abs(high)):
        span = abs(high) or 1.0
    raw = max(span, TINY) / about
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(round(n * step, 12)) for n in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True)
class Mark:
    """One section on a curve, in SVG units."""

    x: float
    y: float
    status: str
    text: str


@dataclass(frozen=True)
class Series:
    """A named curve: marks for all sections, a line through those that did not fail."""

    name: str
    line: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Chart:
    """Curves over section numbers with their axes, in SVG units."""

    title: str
    series: tuple[Series, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Poses:
    """Charts of rotation, shift and scale, and how many sections are mirrored."""

    charts: tuple[Chart, ...]
    mirrored: int


@dataclass(frozen=True)
class Pose:
    """One Alignment2d decomposed: rotation (of the unmirrored image), middle of the image, scale."""

    number: int
    status: str
    rotation_deg: float
    middle_um: tuple[float, float]
    scale: float
    mirrored: bool


def pose(
    matrix: Float64, size_px: tuple[int, int], resolution_um: float
) -> tuple[float, Float64, float, bool]:
    """Decompose an affine matrix from px to um.

    The rotation is that of the nearest rotation matrix in the least-squares sense.

    Parameters
    ----------
    matrix : (2, 3) float64
        Pixels of the manifest to um in the volume.
    size_px : (int, int), px
        Width and height of the image.
    resolution_um : float, um
        Size of a pixel.

    Returns
    -------
    rotation : float, degrees
        Clockwise as displayed.
    middle : (2,) float64, um
        Position of the image's middle in the volume, (x, y).
    scale : float
        Scale relative to `resolution_um`.
    mirrored : bool
        Whether the matrix mirrors the image.
    """
    linear = matrix[:, :2]
    determinant = float(np.linalg.det(linear))
    turned = linear @ np.diag([math.copysign(1.0, determinant), 1.0])
    angle = math.degrees(math.atan2(turned[1, 0] - turned[0, 1], turned[0, 0] + turned[1, 1]))
    middle = affine.apply(matrix, [(size_px[0] - 1) / 2, (size_px[1] - 1) / 2])
    return angle, middle, math.sqrt(abs(determinant)) / resolution_um, determinant < 0


def _poses(contents: RunContents) -> list[Pose]:
    """Return the pose of every section that has an alignment and an entry in the manifest."""
    found = []
    for section in contents.sections:
        if section.alignment is None or not section.document:
            continue
        size = (int(section.document["width_px"]), int(section.document["height_px"]))
        matrix = section.alignment.alignment2d.section_to_volume
        angle, middle, scale, mirrored = pose(matrix, size, section.resolution_um)
        status = section.alignment.status.value
        place = (float(middle[0]), float(middle[1]))
        found.append(Pose(section.number, status, angle, place, scale, mirrored))
    return found


def pose_charts(contents: RunContents) -> Poses:
    """Return the poses of all aligned sections as curves over section number.

    Parameters
    ----------
    contents : RunContents
        The run.

    Returns
    -------
    Poses
        Charts of rotation, degrees; shift from the median position, mm; and scale.

    Raises
    ------
    MissingResultError
        Where no section has an alignment.
    """
    poses = _poses(contents)
    if not poses:
        raise MissingResultError(contents.alignment.reason or "no section has an alignment")
    # Angles are unwrapped about their circular mean: sections near 180 degrees stay together.
    turn = np.exp(1j * np.deg2rad([p.rotation_deg for p in poses]))
    typical = float(np.rad2deg(np.angle(turn.sum()))) if abs(turn.sum()) > 1e-9 else 0.0
    rotation = np.array([(p.rotation_deg - typical + 180) % 360 - 180 for p in poses]) + typical
    middle = np.array([p.middle_um for p in poses])
    shift = (middle - np.median(middle, axis=0)) / 1000
    scale = np.array([p.scale for p in poses])
    return Poses(
        (
            _chart("rotation, degrees", poses, {"rotation": rotation}, 2.0),
            _chart("shift of the image's middle, mm", poses, {"x": shift[:, 0], "y": shift[:, 1]}, 0.2),
            _chart("scale", poses, {"scale": scale}, 0.04),
        ),
        sum(p.mirrored for p in poses),
    )


def _chart(title: str, poses: Sequence[Pose], curves: Mapping[str, Float64], least: float) -> Chart:
    """Scale curves into the plot; an axis spans at least `least`, so that noise looks flat."""
    values = np.concatenate(list(curves.values()))
    middle, half = (values.min() + values.max()) / 2, max(float(np.ptp(values)), least) / 2
    y_ticks = nice_ticks(float(middle - half), float(middle + half))
    numbers = [p.number for p in poses]
    first, last = min(numbers), max(numbers)
    x_ticks = [t for t in nice_ticks(first, last, 6) if first <= t <= last]
    left, top, right, bottom = PLOT

    def x_of(v: float) -> float:
        return round(left + (right - left) * ((v - first) / (last - first) if last > first else 0.5), 2)

    def y_of(v: float) -> float:
        return round(bottom - (bottom - top) * (v - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]), 2)

    series = []
    for name, curve in curves.items():
        marks = tuple(
            Mark(x_of(p.number), y_of(float(v)), p.status, f"section {p.number}, {p.status}: {name} {v:.3g}")
            for p, v in zip(poses, curve, strict=True)
        )
        line = " ".join(f"{m.x},{m.y}" for m in marks if m.status != "fail")
        series.append(Series(name, line, marks))
    return Chart(
        title,
        tuple(series),
        tuple((x_of(t), f"{t:g}") for t in x_ticks),
        tuple((y_of(t), f"{t:g}") for t in y_ticks),
    )
