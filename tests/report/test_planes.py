"""The three planes: tissue where it was placed, nothing between the sections and beyond them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report.test_pictures import decoded
from report.test_report_runs import CENTRE_UM, NUMBERS, THICKNESS_UM, ball_reference, make_run

from pipeline.report.coarse_atlas import coarse_atlas
from pipeline.report.contents import RunContents, read_contents
from pipeline.report.planes import EMPTY, PLANE_UM, planes, read_stack
from pipeline.store.tasks import Receipt

TISSUE, GLASS = (205, 200, 215), (244, 244, 244)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> RunContents:
    return read_contents(make_run(tmp_path_factory.mktemp("planes")))


def test_points_show_the_nearest_section_that_counts(contents: RunContents) -> None:
    stack = read_stack(contents)
    np.testing.assert_array_equal(stack.z_um, np.array(NUMBERS[:-1]) * THICKNESS_UM)
    inside = [CENTRE_UM[0], CENTRE_UM[1], CENTRE_UM[2] + 1000]
    glass = [CENTRE_UM[0], CENTRE_UM[1], CENTRE_UM[2] + 3200]
    points = [inside, glass, [5000, 4000, 200.0], [NUMBERS[0] * 100 - 190.0, 4000, 5700]]
    points += [[NUMBERS[0] * 100 - 210.0, 4000, 5700], [NUMBERS[-1] * 100.0, 4000, 5700]]
    colours, there = stack.sample(np.array(points))
    assert there.tolist() == [True, True, False, True, False, False]
    np.testing.assert_allclose(colours[0].astype(int), TISSUE, atol=1)
    np.testing.assert_allclose(colours[1].astype(int), GLASS, atol=1)
    assert (colours[~there] == EMPTY).all()


def test_three_planes_with_outlines_through_the_placed_tissue(contents: RunContents) -> None:
    found = planes(contents, coarse_atlas(ball_reference()))
    assert [(v.name, v.down, v.right) for v in found] == [
        ("coronal", "I", "R"), ("horizontal", "P", "R"), ("sagittal", "I", "P"),
    ]  # fmt: skip
    coronal = decoded(found[0].uri).astype(int)
    assert coronal.shape == (found[0].height, found[0].width, 3)
    row, column = (round(v / PLANE_UM) for v in (CENTRE_UM[1], CENTRE_UM[2] + 1500))
    np.testing.assert_allclose(coronal[row, column], TISSUE, atol=8)
    assert all(len(v.outlines) >= 2 for v in found)
    sagittal = decoded(found[2].uri).astype(int)
    assert (abs(sagittal[round(CENTRE_UM[1] / PLANE_UM), round(9000 / PLANE_UM)] - EMPTY) < 8).all()


def test_planes_need_no_reference_but_an_alignment(contents: RunContents, tmp_path: Path) -> None:
    assert all(v.outlines == () for v in planes(contents, None))
    run = make_run(tmp_path, numbers=(40, 44))
    run.write_receipt(Receipt("align", "failed", "", "too few sections"))
    with pytest.raises(FileNotFoundError, match="too few sections"):
        planes(read_contents(run), None)
    run.write_receipt(Receipt("align", "done", ""))
    for number in (40, 44):
        run.write_receipt(Receipt(f"detect-{number:05d}", "failed", "", "boom"))
    with pytest.raises(FileNotFoundError, match="no section is both"):
        planes(read_contents(run), None)
