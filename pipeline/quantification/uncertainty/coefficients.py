"""The calibrated coefficients of intervals, with what they were made from and the range that they hold in.

`coefficients.json` beside this module is written by `workflows/calibrate_uncertainty.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError
from pipeline.quantification.uncertainty.intervals import CENTRES, SPREADS, Coefficients

COEFFICIENTS = Path(__file__).with_name("coefficients.json")
Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Calibration:
    """Coefficients of every measure.

    Attributes
    ----------
    measures : dict of str to Coefficients
        By name of the column.
    ranges : dict of str to (float, float)
        Least and largest of the series that were fitted: `pixel_um`, `spacing_um`, `error_um`.
    provenance : dict of str to Any
        Series with digests of their truth, and the digest of the workflow that fitted them.
    """

    measures: dict[str, Coefficients]
    ranges: dict[str, tuple[float, float]]
    provenance: dict[str, Any]


def write_coefficients(
    measures: Mapping[str, Coefficients],
    ranges: Ranges,
    provenance: Mapping[str, Any],
    path: Path | None = None,
) -> None:
    """Write a calibration.

    Parameters
    ----------
    measures : mapping of str to Coefficients
        By name of the column.
    ranges : mapping of str to (float, float)
        Least and largest of the series that were fitted.
    provenance : mapping of str to Any
        What they were made from.
    path : Path or None
        Where to; None: into the package.
    """
    document = {
        "measures": {name: _rounded(asdict(one)) for name, one in measures.items()},
        "ranges": {name: [round(v, 3) for v in pair] for name, pair in ranges.items()},
        "provenance": dict(provenance),
    }
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    (path or COEFFICIENTS).write_text(text, encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 5)


@lru_cache(maxsize=4)
def read_coefficients(path: Path | None = None) -> Calibration:
    """Read a calibration.

    Parameters
    ----------
    path : Path or None
        From where; None: the one of the package.

    Returns
    -------
    Calibration
        The coefficients.

    Raises
    ------
    DataError
        Where the file is not a calibration, lacks a coefficient or has an unknown one.
    """
    where = path or COEFFICIENTS
    try:
        document = json.loads(where.read_text(encoding="utf-8"))
        measures = {name: Coefficients(**one) for name, one in document["measures"].items()}
        ranges = {name: (float(low), float(high)) for name, (low, high) in document["ranges"].items()}
        found = Calibration(measures, ranges, document["provenance"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: expected coefficients of intervals, got {error}") from None
    for name, one in measures.items():
        for expected, got in ((SPREADS, one.spreads), (CENTRES, one.centres)):
            if set(expected) != set(got):
                odd = sorted(set(expected) ^ set(got))
                raise DataError(f"{where}: {name}: expected {', '.join(expected)}; {', '.join(odd)} differ")
    return found
