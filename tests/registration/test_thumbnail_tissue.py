"""Tissue against glass: padding, pale parts, colour, blank slides."""

import math
import re
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import ConfigError, DataError
from pipeline.registration import AlignmentOptions, SectionThumbnail
from pipeline.registration.model.state import known_with_margin, level_image
from pipeline.sections.thumbnail import reduced
from pipeline.sections.thumbnail_tissue import tissue_image


def thumbnail(pixels: np.ndarray, **more: object) -> SectionThumbnail:
    return SectionThumbnail(1, 25.0, pixels, 50.0, np.eye(2, 3), **more)  # type: ignore[arg-type]


def slide(shape: tuple[int, int] = (120, 160), glass: int = 235) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(glass + rng.normal(0, 1.5, (*shape, 3)), 0, 255)


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_section_with_a_pale_half_is_found_whole() -> None:
    pixels, truth = slide(), disc((120, 160), (60, 80), 40)
    pixels[truth] -= (60, 70, 20)
    pale = truth & (np.arange(160) > 80)[None]
    pixels[pale] += (50, 58, 16)
    found = tissue_image(thumbnail(pixels.astype(np.uint8)))
    assert dice(found.mask, truth) > 0.96
    assert found.stain[truth & ~pale].mean() > 4 * found.stain[pale].mean() > 0
    assert abs(float(found.stain[~truth].mean())) < 0.004


def test_white_padding_is_no_glass_and_uneven_light_no_tissue() -> None:
    pixels, truth = slide(), disc((120, 160), (60, 80), 40)
    pixels *= np.linspace(0.95, 1.0, 160)[None, :, None]
    pixels[truth] -= 60
    pixels[:, :12] = 255
    found = tissue_image(thumbnail(pixels.astype(np.uint8)))
    assert not found.valid[:, :12].any()
    assert found.valid[:, 13:].all()
    assert dice(found.mask, truth) > 0.96


def test_holes_are_filled_and_specks_left_out() -> None:
    pixels, truth = slide(), disc((120, 160), (60, 80), 40)
    pixels[truth & ~disc((120, 160), (60, 80), 8)] -= 60
    pixels[disc((120, 160), (15, 15), 3)] -= 100
    assert dice(tissue_image(thumbnail(pixels.astype(np.uint8))).mask, truth) > 0.97


@pytest.mark.parametrize("value", [255, 0, 235])
def test_blank_slides_show_no_tissue(value: int) -> None:
    flat = np.full((60, 80), value, np.uint8)
    assert tissue_image(thumbnail(flat)).blank
    assert tissue_image(thumbnail(slide((60, 80)).astype(np.uint8))).blank


def test_beyond_the_frame_lies_glass_but_not_where_tissue_touches_it() -> None:
    pixels = slide()
    pixels[:, :60] -= 70
    section = tissue_image(thumbnail(pixels.astype(np.uint8), valid=None))
    known = known_with_margin(section)
    pad = (known.shape[1] - 160) // 2
    assert not known[pad + 60, : pad - 1].any()
    assert known[pad + 60, pad + 160 :].all()
    image = level_image(section, known, section.mask.astype(np.float32), 100.0, 0.0)
    assert image.pixel_um == pytest.approx(100.0)
    inside = np.array([pad / 2 + 10.0, pad / 2 + 30.0, 1.0])
    assert image.to_thumbnail @ inside == pytest.approx([20.5, 60.5])


def test_bad_thumbnails_and_options_are_named() -> None:
    with pytest.raises(DataError, match=r"thumbnail of section 1: expected .* uint8, got"):
        thumbnail(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(DataError, match="valid has shape"):
        thumbnail(np.zeros((4, 4), np.uint8), valid=np.ones((3, 4), bool))
    with pytest.raises(ConfigError, match=r"lateral_to_medial.*does not fit the coronal"):
        AlignmentOptions(section_order="lateral_to_medial")
    with pytest.raises(ConfigError, match="plane_of_section: expected coronal or sagittal"):
        AlignmentOptions(plane_of_section="oblique")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("stain_pixel_um", 0.0, "a number from 1 to 1000, got 0.0"),
        ("minimum_dice", "high", "a number from 0 to 1, got 'high'"),
        ("minimum_sections", 2.5, "a whole number from 2 to 1e+06, got 2.5"),
        ("threads", True, "a whole number from 1 to 1024, got True"),
        ("strain", math.nan, "got nan"),
        ("rotation_range_deg", -1, "a number from 0 to 180, got -1"),
        ("outline_sigma_um", (), "a list of numbers from 1 to 5000, got []"),
        ("outline_sigma_um", 5.0, "a list of numbers from 1 to 5000, got 5.0"),
        ("stain_sigma_um", (100.0, "x"), "got [100.0, 'x']"),
    ],
)
def test_options_out_of_their_range_are_refused(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"alignment.configuration.{name}: expected ")) as raised:
        AlignmentOptions(**{name: value})
    assert expected in str(raised.value)


def test_hints_turn_and_mirror_about_the_centre() -> None:
    plain = thumbnail(np.zeros((5, 9), np.uint8))
    assert plain.hinted() @ [4, 2, 1] == pytest.approx([0, 0])
    assert plain.hinted(180.0) @ [8, 2, 1] == pytest.approx([-200, 0])
    turned = thumbnail(np.zeros((5, 9), np.uint8), rotate_deg=90.0)
    assert turned.hinted() @ [8, 2, 1] == pytest.approx([0, 200])  # right edge comes to lie below
    mirrored = thumbnail(np.zeros((5, 9), np.uint8), flip="horizontal", rotate_deg=90.0)
    assert mirrored.hinted() @ [8, 2, 1] == pytest.approx([0, -200])
    assert np.linalg.det(mirrored.hinted()[:, :2]) < 0


def test_reduced_thumbnails_keep_their_place_and_mean() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (11, 14, 3)).astype(np.uint8)
    valid = np.ones((11, 14), bool)
    valid[:3, :3] = False
    fine = SectionThumbnail(4, 100.0, pixels, 2.0, np.array([[6.0, 0, 2.5], [0, 6.0, 2.5]]), valid)
    coarse = reduced(fine, 40.0)
    assert coarse.pixel_um == pytest.approx(36.0)
    assert coarse.pixels.shape == (3, 4, 3)
    assert coarse.pixels[1, 2] == pytest.approx(pixels[3:6, 6:9].mean(axis=(0, 1)), abs=0.51)
    assert coarse.thumbnail_to_section @ [2, 1, 1] == pytest.approx(fine.thumbnail_to_section @ [7, 4, 1])
    assert coarse.valid is not None
    assert np.argwhere(~coarse.valid).tolist() == [[0, 0]]
    assert reduced(fine, 20.0) is fine
