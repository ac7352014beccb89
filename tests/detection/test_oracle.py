"""The default detector against what its description reads like in scikit-image and scipy.

Surroundings and the rim of the tissue are seen at 8 um and thresholds computed at nodes, as described. What
nodes leave out is held against the truth: a rank at every one of those pixels finds no more of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import cv2
import numpy as np
import pytest
from detection_scenes import Scene, draw

from pipeline.detection import SectionContext
from pipeline.detection.adaptive import Adaptive
from pipeline.detection.plain import Plain


class EveryBlock(Plain):
    """Thresholds at every reduced pixel, not at every fourth."""

    steps: ClassVar[int] = 1


def seen(um: float, coverage: float, band_um: float, seed: int) -> tuple[Scene, SectionContext]:
    """Draw a section, and measure it at about 4 um."""
    scene = draw(um, coverage=coverage, band_um=band_um, seed=seed, size_um=(1400.0, 1800.0))
    step = round(4.0 / um)
    size = (scene.pixels.shape[1] // step, scene.pixels.shape[0] // step)
    reduced = cv2.resize(scene.pixels, size, interpolation=cv2.INTER_AREA)
    measured = Scene(reduced, scene.expressing, scene.tissue, um * step).context()
    return scene, replace(measured, resolution_um=um)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize(
    ("um", "coverage", "band_um"),
    [
        (4.0, 0.03, 0.0),
        (4.0, 0.2, 0.0),
        (4.0, 0.4, 0.0),
        (4.0, 0.02, 150.0),
        (2.0, 0.05, 150.0),
        (2.0, 0.2, 0.0),
        (2.0, 0.4, 0.0),
        (1.2, 0.2, 0.0),
        (1.2, 0.4, 0.0),
    ],
)
def test_agrees_with_scikit_image(um: float, coverage: float, band_um: float) -> None:
    scene, context = seen(um, coverage, band_um, seed=1)
    ours, theirs = Adaptive()(scene.pixels, context), Plain()(scene.pixels, context)
    assert dice(ours, theirs) >= 0.995


@pytest.mark.parametrize("um", [4.0, 2.0])
@pytest.mark.parametrize("texture", [0.10, 0.12, 0.15])
def test_agrees_with_scikit_image_in_textured_tissue(um: float, texture: float) -> None:
    scene, context = seen(um, 0.1, 150.0, seed=2)
    context = replace(context, noise=texture * context.tissue_level)
    assert Adaptive().least_background(context) > 0.5 * context.tissue_level
    ours, theirs = Adaptive()(scene.pixels, context), Plain()(scene.pixels, context)
    assert dice(ours, theirs) >= 0.995


@pytest.mark.parametrize("coverage", [0.03, 0.2, 0.4])
@pytest.mark.parametrize("um", [4.0, 2.0, 1.2])
def test_nodes_find_as_much_as_a_rank_at_every_reduced_pixel(um: float, coverage: float) -> None:
    scene, context = seen(um, coverage, 0.0, seed=1)
    ours, theirs = Adaptive()(scene.pixels, context), EveryBlock()(scene.pixels, context)
    assert dice(ours, scene.expressing) >= dice(theirs, scene.expressing) - 0.002
