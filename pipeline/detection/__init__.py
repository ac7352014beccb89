"""Detection: which pixels of a section express.

A detector is one frozen dataclass with `name`, `halo_um` and ``detector(pixels, context) -> mask``, the
same for ``of_darkness``, and one word in `DETECTORS`. A section passes through three steps:

1. ``measure_section(reduced, valid, um)`` on the image reduced to about `STATISTICS_UM` returns its
   `SectionContext`: numbers and outlines only;
2. ``pool_contexts(contexts)`` pools them over the series;
3. ``detector(pixels, replace(context, resolution_um=...))`` marks the section at full resolution. A tile
   takes ``context.at(x_px, y_px)`` and `halo_um` of surroundings, and gives the same mask as the whole image.
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
from pipeline.detection.given import Given
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
    """The protocol of detectors."""

    @property
    def name(self) -> str:
        """Its word in `DETECTORS`."""

    @property
    def halo_um(self) -> float:
        """Width of the surroundings that a tile needs on every side, um."""

    @property
    def reads_colour(self) -> bool:
        """Whether RGB says more to it than darkness does; if not, `of_darkness` gives the same mask."""

    def __call__(self, pixels: npt.NDArray[np.uint8], context: SectionContext) -> Bool:
        """Return the expressing pixels of an image or tile.

        Parameters
        ----------
        pixels : (H, W[, 3]) uint8
            Grey or RGB; a tile begins at `context.origin_px` of its section.
        context : SectionContext
            Statistics of the section, pooled over its series, with the pixel size of `pixels`.

        Returns
        -------
        (H, W) bool
            True where a pixel expresses.
        """

    def of_darkness(self, dark: UInt8, context: SectionContext) -> Bool:
        """Return the expressing pixels of a grey image that is given as darkness.

        Parameters
        ----------
        dark : (H, W) uint8
            Darkness, 255 - luma; a tile begins at `context.origin_px` of its section.
        context : SectionContext
            Statistics of the section, pooled over its series, with the pixel size of `dark`.

        Returns
        -------
        (H, W) bool
            True where a pixel expresses.
        """


# Detectors by the word that `detection.name` gives. The conformance tests run over every entry.
DETECTORS: dict[str, Any] = {kind.name: kind for kind in (Adaptive, Plain, Chromogen, Global, Otsu, Given)}


def make_detector(name: str, configuration: Mapping[str, Any]) -> Detector:
    """Build a detector from its line of YAML.

    Parameters
    ----------
    name : str
        Word in `DETECTORS`.
    configuration : mapping of str to number
        Parameters that differ from their defaults.

    Returns
    -------
    Detector
        The detector, its parameters checked.

    Raises
    ------
    ConfigError
        For an unknown name or parameter, with the nearest known one, and for a value out of range.

    Examples
    --------
    >>> make_detector("adaptive", {"window_um": 80}).name
    'adaptive'
    """
    kind = DETECTORS[_known("detection.name", name, list(DETECTORS))]
    # Names first: the dataclass itself would raise a TypeError that names no key of the configuration.
    parameters = [field.name for field in fields(kind)]
    for key in configuration:
        _known("detection.configuration", key, parameters)
    detector: Detector = kind(**configuration)
    return detector


def _known(where: str, word: str, words: list[str]) -> str:
    """Return the word, or raise ConfigError where it is not one of those known."""
    if word in words:
        return word
    raise unknown_word(where, word, words)
