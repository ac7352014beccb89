"""Parameters of detectors: inside their ranges, or an error of one line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pipeline.core.errors import ConfigError

Ranges = Mapping[str, tuple[float, float]]  # lowest and highest value by name of the parameter


def check_ranges(detector: Any) -> None:
    """Check every field of a detector against its `ranges`.

    Parameters
    ----------
    detector : dataclass
        Detector with a class variable `ranges`: for each field the lowest and the highest value.

    Raises
    ------
    ConfigError
        For a value that is not a finite number within its range.
    """
    for field in fields(detector):
        value = getattr(detector, field.name)
        low, high = detector.ranges[field.name]
        # YAML's true and false are integers to Python.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not low <= value <= high:
            raise ConfigError(
                f"detection.configuration.{field.name}: expected a number from {low:g} to {high:g},"
                f" got {value!r}"
            )
