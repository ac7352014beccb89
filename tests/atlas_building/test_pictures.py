"""Pictures of the page: colours that mean what their captions say, lines where the midline lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from brains import MIDDLE_UM, UM, brain

from pipeline.atlas_building import pictures
from pipeline.atlas_building.pictures import (
    LARGER,
    MIDLINE_COLOUR,
    SAME,
    SMALLER,
    beside,
    jacobian_pictures,
    magnified,
    midline_pictures,
    over,
    ratio_colours,
)
from pipeline.atlas_building.straightening import find_midline
from pipeline.atlas_building.symmetry import midline_document
from pipeline.formats.volumes.volume_files import Volume


def test_ratios_are_red_above_one_and_blue_below() -> None:
    ratio = np.array([[0.1, 0.5, 1.0, 2.0, 9.0, 1.4, 1.0]], np.float32)
    shown = np.array([[True] * 6 + [False]])
    found = ratio_colours(ratio, shown)[0].tolist()
    assert found[:5] == [[*SMALLER], [*SMALLER], [*SAME], [*LARGER], [*LARGER]]
    assert found[5][0] > found[5][2]
    assert found[6] == [0, 0, 0]


def test_what_agrees_is_grey_and_what_does_not_is_coloured() -> None:
    one = np.array([[0.0, 5.0, 10.0, 10.0, 0.0]], np.float32)
    other = np.array([[0.0, 5.0, 10.0, 0.0, 10.0]], np.float32)
    found = over(one, other, (0.0, 10.0))[0].tolist()
    assert found == [[0] * 3, [127] * 3, [255] * 3, [255, 0, 255], [0, 255, 0]]


def test_planes_are_magnified_and_lie_beside_each_other() -> None:
    plane = np.arange(6, dtype=np.uint8).reshape(2, 3)
    large = magnified(plane)
    assert np.array_equal(large[:: len(large) // 2, :: len(large) // 2], plane)
    rgb = np.zeros((4, 5, 3), np.uint8)
    both = beside(rgb, rgb)
    assert both.shape == (4, 10 + pictures.GAP_PX, 3)
    assert (both[:, 5 : 5 + pictures.GAP_PX] == 255).all()


def test_the_midline_is_drawn_where_it_lies_and_halves_agree() -> None:
    grey = Volume(brain()[0], (UM,) * 3, Path("a"))
    midline = find_midline(grey, UM)
    found = list(midline_pictures(grey, midline, midline_document(midline, grey)["surface"]))
    assert [one.title.split(",")[0] for one in found] == [
        *["The midline in the input"] * 2,
        *["The halves over each other"] * 2,
    ]
    line = (found[0].pixels == MIDLINE_COLOUR).all(axis=-1)
    times = len(line) // grey.values.shape[1]
    assert (line.sum(axis=1) == 2).all()
    assert abs(np.argwhere(line)[:, 1].mean() / times - MIDDLE_UM / UM) < 0.2
    halves = found[2].pixels.astype(int)
    assert np.abs(halves[..., 0] - halves[..., 1]).mean() < 2.0  # a symmetric brain


def test_a_jacobian_is_shown_in_tissue_alone() -> None:
    grey, _ = brain()
    found = list(jacobian_pictures(np.full(grey.shape, 2.0, np.float32), grey, UM))
    assert len(found) == 2
    colours, counts = np.unique(found[0].pixels.reshape(-1, 3), axis=0, return_counts=True)
    assert colours.tolist() == [[0, 0, 0], [*LARGER]]
    assert 0.3 < counts[1] / counts.sum() < 0.8
