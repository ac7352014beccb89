"""Projections and charts: the numbers behind the drawings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.test_pictures import decoded
from report.test_report_runs import ball_reference, make_run

from pipeline.core.model import BOTH, LEFT, RIGHT, Structure
from pipeline.geometry import affine
from pipeline.report.charts import PLOT, bar_chart, nice_ticks, pose, pose_charts
from pipeline.report.contents import read_contents
from pipeline.report.projections import brightest, project, projections


def test_projection_against_a_loop() -> None:
    values = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    values[values < 0.3] = -1
    values[:, 2, 3] = -1
    for axis in range(3):
        moved = np.moveaxis(values, axis, -1)
        expected = [[max(moved[i, j]) for j in range(moved.shape[1])] for i in range(moved.shape[0])]
        np.testing.assert_array_equal(project(values, axis), np.array(expected, np.float32))
    assert project(values, 0)[2, 3] == -1


def test_projections_lie_as_their_axes_say() -> None:
    grid = np.full((67, 41, 58), -1, np.float32)
    grid[10:50, 5:35, 5:50] = 0
    grid[12, 30, 7] = 9.0
    energy, density = projections({"energy": grid, "density": grid / 9}, ball_reference())
    assert (energy.quantity, density.quantity) == ("energy", "density")
    assert (energy.highest, energy.maximum) == (9.0, 9.0)
    place = {"P": 12, "I": 30, "R": 7}
    for view in energy.views:
        picture = decoded(view.uri)
        brightest_at = np.unravel_index(picture[..., :3].astype(int).sum(axis=-1).argmax(), picture.shape[:2])
        assert brightest_at == (place[view.down], place[view.right])
        assert (picture.shape[1], picture.shape[0]) == (view.width, view.height)
        assert picture[0, 0, 3] == 0
        assert view.outline.startswith("M")
    assert [v.along + v.down + v.right for v in energy.views] == ["PIR", "IPR", "RIP"]


def test_an_empty_grid_gives_empty_pictures() -> None:
    grid = np.full((67, 41, 58), -1, np.float32)
    energy, _ = projections({"energy": grid, "density": grid}, None)
    assert (energy.highest, energy.maximum) == (0.0, 0.0)
    assert all((decoded(v.uri)[..., 3] == 0).all() and v.outline == "" for v in energy.views)
    assert brightest(np.zeros(3, np.float32)) == 0.0


def _row(
    structure_id: int, hemisphere_id: int, energy: float | None, coverage: float = 1.0
) -> dict[str, Any]:
    return {
        "structure_id": structure_id, "hemisphere_id": hemisphere_id, "expression_energy": energy,
        "coverage": coverage,
    }  # fmt: skip


def test_bars_stand_for_their_rows() -> None:
    structures = [Structure(1, "A", "a", None, 0, "70FF71"), Structure(2, "B", "b", 1, 1, "x")]
    rows = [_row(1, BOTH, 3.0), _row(1, LEFT, 7.3, 0.1), _row(1, RIGHT, math.nan), _row(2, BOTH, None)]
    chart = bar_chart(rows, structures)
    assert chart.top == 8.0
    assert [(b.side, b.energy, b.share) for b in chart.groups[0].bars] == [
        ("both", 3.0, 0.375), ("left", 7.3, pytest.approx(7.3 / 8)), ("right", None, 0.0),
    ]  # fmt: skip
    assert [b.thin for b in chart.groups[0].bars] == [False, True, False]
    assert all(b.energy is None for b in chart.groups[1].bars)
    assert chart.groups[1].colour == "AAAAAA"
    assert bar_chart([], structures).top == 1.0


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_their_range_in_even_steps(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    slack = 1e-6 * max(abs(low), span, 1)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + span - slack
    assert 2 <= len(ticks) <= 8
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-3)


@given(
    st.floats(-179, 179), st.floats(0.7, 1.4), st.booleans(),
    st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)),
)  # fmt: skip
def test_a_pose_comes_back(angle: float, scale: float, mirrored: bool, place: tuple[float, float]) -> None:
    um = 4.0
    flip = affine.scaling([-1.0 if mirrored else 1.0, 1.0])
    to_um = affine.compose(affine.rigid2d(angle, (0.0, 0.0)), affine.scaling([scale * um] * 2), flip)
    centre = affine.apply(to_um, [499.5, 399.5])
    to_um[:, 2] += np.array(place) - centre
    found = pose(to_um, (1000, 800), um)
    assert found[0] == pytest.approx(angle, abs=1e-6)
    np.testing.assert_allclose(found[1], place, atol=1e-6)
    assert found[2] == pytest.approx(scale)
    assert found[3] is mirrored


def test_pose_curves_follow_the_series(tmp_path: Any) -> None:
    found = pose_charts(read_contents(make_run(tmp_path)))
    rotation, shift, scale = found.charts
    assert found.mirrored == 0
    y = [mark.y for mark in rotation.series[0].marks]
    assert y == sorted(y, reverse=True), "each section is turned further than the one before"
    assert [mark.status for mark in rotation.series[0].marks] == ["pass"] * 5 + ["fail"]
    assert rotation.series[0].line.count(",") == 5, "the line leaves failed sections out"
    assert [s.name for s in shift.series] == ["x", "y"]
    assert len({mark.y for mark in scale.series[0].marks}) == 1
    left, top, right, bottom = PLOT
    marks = [m for chart in found.charts for s in chart.series for m in s.marks]
    assert all(left <= m.x <= right and top <= m.y <= bottom for m in marks)


def test_a_lone_section_has_a_curve_too(tmp_path: Any) -> None:
    found = pose_charts(read_contents(make_run(tmp_path, numbers=(40,))))
    assert all(len(s.marks) == 1 for c in found.charts for s in c.series)
