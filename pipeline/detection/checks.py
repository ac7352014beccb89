"""Parameters of detectors: inside their ranges, or one clear line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pipeline.core.errors import ConfigError

Ranges = Mapping[str, tuple[float, float]]


def check_ranges(detector: Any) -> None:
    """Hold every field of a detector against its `ranges`; ConfigError names what is wrong."""
    for field in fields(detector):
        value = getattr(detector, field.name)
        low, high = detector.ranges[field.name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not low <= value <= high:
            raise ConfigError(
                f"detection.configuration.{field.name}: expected a number from {low:g} to {high:g},"
                f" got {value!r}"
            )
