"""Numbers as text for readers."""

from __future__ import annotations

import math


def percent(share: float | None) -> str:
    """Return a share as text.

    Parameters
    ----------
    share : float or None
        A share, 0-1.

    Returns
    -------
    str
        Whole percent; a dash for None.

    Examples
    --------
    >>> percent(0.9731), percent(None)
    ('97 %', '–')
    """
    return "–" if share is None else f"{100 * share:.0f} %"


def seconds(value: float) -> str:
    """Return a duration as text.

    Parameters
    ----------
    value : float, s
        The duration.

    Returns
    -------
    str
        Seconds, minutes or hours, by length.

    Examples
    --------
    >>> seconds(0.0412), seconds(12.34), seconds(75.0), seconds(4000.0)
    ('0.04 s', '12.3 s', '1 min 15 s', '1 h 06 min')
    """
    if value < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def figure(value: float | None) -> str:
    """Return a number as text with three digits.

    Parameters
    ----------
    value : float or None
        The number.

    Returns
    -------
    str
        Three significant digits, all integer digits from 100 on; a dash for None and NaN.

    Examples
    --------
    >>> figure(0.12345), figure(1234.5), figure(None)
    ('0.123', '1234', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def factor(effect: float) -> str:
    """Return a difference of logarithms as a factor.

    Parameters
    ----------
    effect : float
        Natural logarithm of a ratio.

    Returns
    -------
    str
        Such as "× 1.50" or "÷ 2.00".

    Examples
    --------
    >>> factor(math.log(1.5)), factor(-math.log(2))
    ('× 1.50', '÷ 2.00')
    """
    size = math.exp(min(abs(effect), 20.0))
    return f"{'÷' if effect < 0 and f'{size:.2f}' != '1.00' else '×'} {size:.2f}"
