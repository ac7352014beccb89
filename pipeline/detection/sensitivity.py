"""The same detector with its thresholds a little lower and higher: what its marks depend on."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, cast

from pipeline.detection import Detector

# Factors on the thresholds that decide which pixels express, lower and higher.
CHANGES = {"contrast": (0.8, 1.25), "solid": (0.85, 1.2)}


def changed_detectors(detector: Detector) -> dict[str, tuple[Detector, Detector]]:
    """Return the detector with each of its thresholds lower and higher.

    Parameters
    ----------
    detector : Detector
        Any detector.

    Returns
    -------
    dict of str to (Detector, Detector)
        By name of the threshold, lower first; empty for a detector that has none of `CHANGES`.
    """
    kind = cast("Any", detector)
    own = {field.name for field in fields(kind)}
    found = {}
    for name, factors in CHANGES.items():
        if name in own:
            low, high = kind.ranges[name]
            values = [min(max(getattr(kind, name) * factor, low), high) for factor in factors]
            found[name] = (replace(kind, **{name: values[0]}), replace(kind, **{name: values[1]}))
    return found
