"""Section cards: everything drawn lies where it should on a section of known geometry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report.test_outlines import rings
from report.test_pictures import decoded
from report.test_report_runs import (
    BRAIN_UM,
    CELLS_PX,
    CENTRE_UM,
    FACTOR,
    NUMBERS,
    REDUCE,
    RESOLUTION_UM,
    STORED_PX,
    THALAMUS_UM,
    THICKNESS_UM,
    ball_reference,
    make_run,
    rewrite,
    section_to_volume,
)

from pipeline.core.model import ExpressionSums
from pipeline.geometry import affine
from pipeline.quantification.cells import SectionCells
from pipeline.report import crops
from pipeline.report.coarse_atlas import FIRST, OUTSIDE, coarse_atlas
from pipeline.report.contents import read_contents
from pipeline.report.crops import source_path, strongest_window
from pipeline.report.frames import read_thumbnail
from pipeline.report.sections import Card, cards
from pipeline.store.tasks import Receipt

PIXEL_UM = RESOLUTION_UM * FACTOR * REDUCE


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Card]:
    contents = read_contents(make_run(tmp_path_factory.mktemp("sections")))
    return {card.section.number: card for card in cards(contents, coarse_atlas(ball_reference()))}


@pytest.mark.parametrize("number", NUMBERS)
def test_outlines_lie_on_the_structures(drawn: dict[int, Card], number: int) -> None:
    """Both balls are cut at z = number x thickness: circles of known radius about a known pixel."""
    atlas = coarse_atlas(ball_reference())
    picture = drawn[number].picture.content
    assert picture is not None
    section_px = affine.apply(affine.invert(section_to_volume(number)), CENTRE_UM[[2, 1]])
    centre = (section_px / FACTOR + 0.5) / REDUCE
    height = number * THICKNESS_UM - CENTRE_UM[0]
    thalamus = FIRST + [s.acronym for s in atlas.structures].index("TH")
    for code, radius in ((OUTSIDE, BRAIN_UM), (thalamus, THALAMUS_UM)):
        (path,) = (o.path for o in picture.outlines.content or () if o.code == code)
        (ring,) = rings(path)
        expected = np.sqrt(radius**2 - height**2)
        inside = (ring > 1).all(axis=1) & (ring < np.array([picture.width, picture.height]) - 1).all(axis=1)
        distance = np.hypot(*(ring[inside] - centre).T) * PIXEL_UM
        np.testing.assert_allclose(distance, expected, atol=100.0)
        assert abs(distance.mean() - expected) < 25.0
        if inside.all():
            np.testing.assert_allclose((ring.min(axis=0) + ring.max(axis=0)) / 2, centre, atol=2.0)


def test_the_two_ways_to_a_picture_agree(tmp_path: Path) -> None:
    contents = read_contents(make_run(tmp_path, numbers=(40,)))
    thumbnail = read_thumbnail(contents, contents.sections[0])
    index = np.array([[0.0, 0.0], [7.0, 11.0]])
    np.testing.assert_allclose(
        thumbnail.picture_points(affine.apply(thumbnail.to_section, index)), index + 0.5
    )
    assert thumbnail.pixel_um == PIXEL_UM


def test_box_polygons_artifacts_and_expression_lie_where_the_manifest_says(drawn: dict[int, Card]) -> None:
    picture = drawn[40].picture.content
    assert picture is not None
    scale = FACTOR * REDUCE
    np.testing.assert_allclose(picture.box, np.array([300, 60, 1800, 1680]) / scale)
    first = [float(v) for v in picture.dark_polygons[0].split()[0].split(",")]
    np.testing.assert_allclose(first, [360 / scale, 720 / scale], atol=0.2)
    first = [float(v) for v in picture.missing[0].split()[0].split(",")]
    np.testing.assert_allclose(first, [600 / scale, 720 / scale], atol=0.2)
    assert picture.artifacts == ("0.0,0.0 10.0,0.0 10.0,10.0",)
    overlay = picture.overlay.content
    assert overlay is not None
    mask = decoded(overlay.uri)[..., 3] > 0
    pixel = overlay.width / mask.shape[1]
    middle = np.argwhere(mask).mean(axis=0)[::-1] * pixel
    np.testing.assert_allclose(middle, np.array(CELLS_PX) / REDUCE, atol=4.0)
    assert picture.mm * PIXEL_UM == pytest.approx(1000.0)
    assert picture.width_um == pytest.approx(picture.width * PIXEL_UM)


def test_the_cell_scale_view_shows_source_and_mask_of_one_place(drawn: dict[int, Card]) -> None:
    close = drawn[52].crop.content
    assert close is not None
    assert close.source.content is not None, close.source.reason
    window = close.window
    assert window.width == window.height == 100
    assert window.x < CELLS_PX[0] < window.x + window.width
    assert window.y < CELLS_PX[1] < window.y + window.height
    mask = decoded(close.mask).max(axis=-1) > 0
    source = decoded(close.source.content).mean(axis=-1)
    assert mask.shape == source.shape == (100, 100)
    assert source[mask].mean() < source[~mask].mean() - 40, "cells are dark in the source where the mask is"


def test_flagged_sections_come_first_and_each_comes_once(drawn: dict[int, Card]) -> None:
    assert list(drawn) == [44, 60, 64, 40, 48, 52, 56]
    assert dict(drawn[48].figures) == {
        "expressing": "0.10 %", "mean intensity": "120", "Dice with annotation": "0.91", "odd_<b>": "2",
        "lost": "–",
    }  # fmt: skip
    assert drawn[64].picture.reason == "no image file"


def test_without_reference_alignment_or_source_the_rest_is_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path, numbers=(40, 44))
    rewrite(run, "provenance.json", inputs={})
    run.write_receipt(Receipt("align", "failed", "", "too few sections"))
    run.write_receipt(Receipt("detect-00044", "failed", "", "out of memory"))
    found = {card.section.number: card for card in cards(read_contents(run), None)}
    picture = found[40].picture.content
    assert picture is not None
    assert [outline.code for outline in picture.outlines.content or ()] == [0]  # what was taken for tissue
    close = found[40].crop.content
    assert close is not None
    assert "no longer where the run read it" in close.source.reason
    other = found[44].picture.content
    assert other is not None
    assert "has no mask" in other.overlay.reason
    assert found[44].section.flags == ("out of memory", "uneven light")


def test_sources_are_read_up_to_a_limit_flagged_ones_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = read_contents(make_run(tmp_path, numbers=(40, 44, 48)))
    monkeypatch.setattr(crops, "SOURCE_PIXELS", STORED_PX[0] * STORED_PX[1])
    assert crops.choose_sources(contents, crops.choose_windows(contents)) == {44}
    found = {card.section.number: card.crop.content for card in cards(contents, None)}
    assert found[44] is not None
    assert found[44].source.content is not None
    assert found[40] is not None
    assert "megapixels of sources" in found[40].source.reason


def test_the_strongest_window_against_trying_them_all() -> None:
    rng = np.random.default_rng(3)
    intensity = (rng.random((20, 30)) ** 8 * 1000).astype(np.int64)
    sums = ExpressionSums(intensity + 1, intensity, intensity, intensity)
    found = strongest_window(SectionCells(sums, 10, 1, 1.0, (0, 0, 300, 200)), (300, 200), 50)
    assert found is not None
    tried = [intensity[r : r + 5, c : c + 5].sum() for r in range(16) for c in range(26)]
    assert intensity[found.y // 10 : found.y // 10 + 5, found.x // 10 : found.x // 10 + 5].sum() == max(tried)
    nothing = ExpressionSums(sums.sum_pixels, *(np.zeros((20, 30)) for _ in range(3)))
    assert strongest_window(SectionCells(nothing, 10, 1, 1.0, (0, 0, 1, 1)), (300, 200), 50) is None


def test_a_small_image_is_shown_whole() -> None:
    one = np.ones((1, 1))
    found = strongest_window(
        SectionCells(ExpressionSums(one, one, one, one), 8, 1, 1.0, (0, 0, 7, 5)), (7, 5), 96
    )
    assert found is not None
    assert (found.x, found.y, found.width, found.height) == (0, 0, 7, 5)


def test_a_source_is_never_guessed(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "s.jpg").touch()
    one = str(tmp_path / "a" / "s.jpg")
    assert source_path([one, str(tmp_path / "other.jpg")], "s.jpg") == Path(one)
    for inputs in ([one, str(tmp_path / "b" / "s.jpg")], [], [str(tmp_path / "gone" / "s.jpg")]):
        with pytest.raises(FileNotFoundError, match="no longer where"):
            source_path(inputs, "s.jpg")
