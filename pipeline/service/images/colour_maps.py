"""Colours of masks, and the filters of the original's image download: window, gain, contrast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pipeline.core.model import Float64, UInt8

# Corners of each map: (value, (R, G, B)), straight between them. The original names the maps and describes
# `expression` as blue, green, red from low to high; it publishes no tables.
Corner = tuple[float, tuple[float, float, float]]
JET: tuple[Corner, ...] = (
    (0, (0, 0, 128)),
    (32, (0, 0, 255)),
    (96, (0, 255, 255)),
    (160, (255, 255, 0)),
    (224, (255, 0, 0)),
    (255, (128, 0, 0)),
)
HOT: tuple[Corner, ...] = (
    (0, (0, 0, 0)),
    (96, (255, 0, 0)),
    (192, (255, 255, 0)),
    (255, (255, 255, 255)),
)
EXPRESSION: tuple[Corner, ...] = (
    (0, (0, 0, 0)),
    (1, (0, 0, 255)),
    (64, (0, 255, 255)),
    (128, (0, 255, 0)),
    (192, (255, 255, 0)),
    (255, (255, 0, 0)),
)
RED_TEMPERATURE: tuple[Corner, ...] = (
    (0, (0, 0, 0)),
    (176, (255, 0, 0)),
    (190, (255, 32, 0)),
    (255, (255, 255, 255)),
)


def _ramp(red: float, green: float, blue: float) -> tuple[Corner, ...]:
    return ((0, (0, 0, 0)), (255, (red, green, blue)))


def _table(corners: Sequence[Corner]) -> UInt8:
    """Return the colours of 0 to 255, (256, 3) uint8."""
    at = [value for value, _ in corners]
    colours = np.array([colour for _, colour in corners], np.float64)
    columns = [np.interp(np.arange(256), at, colours[:, c]) for c in range(3)]
    table = np.rint(np.stack(columns, axis=1)).astype(np.uint8)
    table.flags.writeable = False
    return table


NAMES: Mapping[int, str] = {
    0: "gray", 1: "hotmetal", 2: "jet", 3: "redtemp", 4: "expression", 5: "red", 6: "blue", 7: "green",
    8: "aba", 9: "aibsmap_alt", 10: "colormap", 11: "projection",
}  # fmt: skip
_BY_NAME: Mapping[str, UInt8] = {
    "gray": _table(_ramp(255, 255, 255)),
    "hotmetal": _table(HOT),
    "jet": _table(JET),
    "redtemp": _table(RED_TEMPERATURE),
    "expression": _table(EXPRESSION),
    "red": _table(_ramp(255, 0, 0)),
    "blue": _table(_ramp(0, 0, 255)),
    "green": _table(_ramp(0, 255, 0)),
}
# Maps that the original only names look like the map that they stand for there.
_ALIASES = {"aba": "expression", "aibsmap_alt": "expression", "colormap": "jet", "projection": "expression"}


def colour_map(number: int) -> UInt8:
    """Return the colours of one of the original's maps.

    Parameters
    ----------
    number : int
        The number that clients send, a key of `NAMES`.

    Returns
    -------
    (256, 3) uint8
        RGB of the values 0 to 255; `expression` (4) is black at 0, then blue, green, red.

    Examples
    --------
    >>> colour_map(4)[[0, 1, 128, 255]].tolist()
    [[0, 0, 0], [0, 0, 255], [0, 255, 0], [255, 0, 0]]
    """
    name = NAMES[number]
    return _BY_NAME[_ALIASES.get(name, name)]


def coloured(grey: UInt8, number: int) -> UInt8:
    """Colour grey values by a map.

    Parameters
    ----------
    grey : (h, w) uint8
        Values.
    number : int
        As of `colour_map`.

    Returns
    -------
    (h, w, 3) uint8
        RGB.
    """
    return np.asarray(colour_map(number)[grey])


def window(lower: float, upper: float) -> UInt8:
    """Return the table that stretches lower to upper over 0 to 255.

    Parameters
    ----------
    lower, upper : float
        Values that become 0 and 255; upper is larger.

    Returns
    -------
    (256,) uint8
        New value of each value.

    Examples
    --------
    >>> window(0, 510)[[0, 100, 255]].tolist()
    [0, 50, 128]
    """
    return _as_table(lambda v: (v * 255.0 - lower) / (upper - lower))


def gain(factor: float) -> UInt8:
    """Return the table that multiplies values.

    Parameters
    ----------
    factor : float
        0 or more.

    Returns
    -------
    (256,) uint8
        New value of each value.
    """
    return _as_table(lambda v: v * factor)


def contrast(amount: float, bias: float) -> UInt8:
    """Return the table of a gain and a bias curve; 0.5 and 0.5 change nothing.

    Parameters
    ----------
    amount : float
        Contrast, 0 to 1; more than 0.5 steepens the middle, less flattens it.
    bias : float
        Brightness of the middle, 0 to 1; more than 0.5 brightens it.

    Returns
    -------
    (256,) uint8
        New value of each value.

    Notes
    -----
    The curves are those of Schlick, "Fast alternatives to Perlin's bias and gain functions", Graphics Gems IV
    (1994). That the original uses gain and bias with 0.5 as the middle is all that is published.
    """
    steepness = min(max(1.0 - amount, 1e-6), 1.0 - 1e-6)
    middle = min(max(bias, 1e-6), 1.0 - 1e-6)

    def curve(v: Float64) -> Float64:
        low = np.minimum(v, 1.0 - v)
        gained = low / ((1.0 / steepness - 2.0) * (1.0 - 2.0 * low) + 1.0)
        gained = np.where(v < 0.5, gained, 1.0 - gained)
        return np.asarray(gained / ((1.0 / middle - 2.0) * (1.0 - gained) + 1.0))

    return _as_table(curve)


def _as_table(function: Callable[[Float64], Float64]) -> UInt8:
    values = function(np.arange(256) / 255.0)
    return np.floor(np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
