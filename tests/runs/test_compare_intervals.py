"""Intervals in the comparison of two runs."""

from __future__ import annotations

import math

import pytest

from pipeline.runs.compare import _intervals


@pytest.mark.parametrize(
    ("b", "of_b", "beyond"),
    [
        (12.0, (11.0, 13.5), "no"),  # 2 apart; 2 above a and 1 below b are allowed: sqrt 5
        (12.5, (11.5, 14.0), "yes"),  # 2.5 apart
        (8.0, (7.0, 9.5), "no"),  # 2 apart; 1.5 below a and 1.5 above b: 2.12
        (7.5, (6.5, 9.0), "yes"),
        (99.0, None, ""),
    ],
)
def test_a_difference_is_beyond_error_where_both_half_widths_do_not_explain_it(
    b: float, of_b: tuple[float, float] | None, beyond: str
) -> None:
    found = _intervals(10.0, b, (8.5, 12.0), of_b)
    assert found["beyond error"] == beyond
    assert (found["a_lower"], found["a_upper"]) == (8.5, 12.0)
    assert math.isnan(found["b_lower"]) == (of_b is None)
