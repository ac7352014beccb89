"""Which pixels of a section express.

A detector is one frozen dataclass with `name`, `halo_um` and ``detector(pixels, context) -> mask``, the
same ``of_darkness``, and one word in `DETECTORS`. The way of a section:

1. ``measure_section(reduced, valid, um)`` on the image reduced to about `STATISTICS_UM` gives its
   `SectionContext`: numbers and outlines only;
2. ``pool_contexts(contexts)`` settles them over the series;
3. ``detector(pixels, replace(context, resolution_um=...))`` marks the section at full resolution. A tile
   takes ``context.at(x_px, y_px)`` and `halo_um` of surroundings, and gives what the whole image gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.core.did_you_mean import unknown_word
from pipeline.core.model import Bool, UInt8
from pipeline.detection.adaptive import Adaptive
from pipeline.detection.baselines import Global, Otsu
from pipeline.detection.chromogen import Chromogen
from pipeline.detection.plain import Plain
from pipeline.sections.measure import STATISTICS_UM, measure_section, statistics_step
from pipeline.sections.scan import check_background, scan_rectangle, valid_region
from pipeline.sections.statistics import OUTLINES, Artifact, SectionContext, pool_contexts

__all__ = [
    "DETECTORS",
    "OUTLINES",
    "STATISTICS_UM",
    "Artifact",
    "Detector",
    "SectionContext",
    "check_background",
    "make_detector",
    "measure_section",
    "pool_contexts",
    "scan_rectangle",
    "statistics_step",
    "valid_region",
]


class Detector(Protocol):
    """What every detector is."""

    @property
    def name(self) -> str:
        """The word in `DETECTORS`."""

    @property
    def halo_um(self) -> float:
        """How much of its surroundings a tile needs on every side."""

    @property
    def reads_colour(self) -> bool:
        """Whether it sees more in RGB than in its darkness; else `of_darkness` gives the same mask."""

    def __call__(self, pixels: npt.NDArray[np.uint8], context: SectionContext) -> Bool:
        """Return the expressing pixels, (H, W) bool, of pixels (H, W[, 3]) uint8."""

    def of_darkness(self, dark: UInt8, context: SectionContext) -> Bool:
        """Return the expressing pixels of a grey image given as 255 - luma, (H, W) uint8."""


DETECTORS: dict[str, Any] = {kind.name: kind for kind in (Adaptive, Plain, Chromogen, Global, Otsu)}


def make_detector(name: str, configuration: Mapping[str, Any]) -> Detector:
    """Build a detector from its line of YAML.

    Raises
    ------
    ConfigError
        for a name or a parameter that is not known, with the nearest that is; for a value out of range.

    >>> make_detector("adaptive", {"window_um": 80}).name
    'adaptive'
    """
    kind = DETECTORS[_known("detection.name", name, list(DETECTORS))]
    parameters = [field.name for field in fields(kind)]
    for key in configuration:
        _known("detection.configuration", key, parameters)
    detector: Detector = kind(**configuration)
    return detector


def _known(where: str, word: str, words: list[str]) -> str:
    if word in words:
        return word
    raise unknown_word(where, word, words)
