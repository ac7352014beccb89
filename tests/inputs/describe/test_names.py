"""Section numbers from file names: what microscopes and people write, and when to ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigError
from pipeline.inputs.describe.names import read_numbers, readings, stem

COUNTED = range(1, 21)
SAMPLED = range(6, 158, 8)


@pytest.mark.parametrize(
    ("form", "numbers"),
    [
        ("Slide3_2024-05-01_{:03d}_10x.jpg", COUNTED),
        ("Slide3_20240501_{:03d}_10x.jpg", COUNTED),
        ("2024-05-01 13-22-07 {:03d}.tif", COUNTED),
        ("Image{}.tif", COUNTED),
        ("Image{:04d} - 2.5x.tif", COUNTED),
        ("Prox1_s{:04d}_D12.jpg", SAMPLED),
        ("Prox1_S{}.ome.tif", SAMPLED),
        ("Brain 7 Section {:02d} 20um.png", COUNTED),
        ("slice-{:03d}_4x_c1.tiff", COUNTED),
        ("{:03d}.zarr", COUNTED),
        ("m12_Gad1_{}_0.65um.jp2", SAMPLED),
    ],
)
def test_names_that_are_clear(form: str, numbers: range) -> None:
    names = [form.format(n) for n in numbers]
    assert read_numbers(names).numbers == dict(zip(names, numbers, strict=True))


@pytest.mark.parametrize(
    ("form", "offered"),
    [
        ("Prox1_{section}_{count:04d}_D.jpg", {"6, 14, 22 …", "1, 2, 3 …"}),
        ("scan{count}-slot{slot:03d}.tif", {"1, 2, 3 …", "3, 6, 9 …"}),
    ],
)
def test_several_numbers_are_a_question(form: str, offered: set[str]) -> None:
    names = [form.format(count=n, section=6 + 8 * (n - 1), slot=3 * n) for n in range(1, 21)]
    found = readings(names)
    assert {reading.examples() for reading in found} == offered
    with pytest.raises(ConfigError, match="more than one") as caught:
        read_numbers(names)
    for reading in found:  # each offered pattern answers the question
        assert reading.pattern in str(caught.value)
        assert read_numbers(names, reading.pattern).numbers == reading.numbers


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a_1.jpg", "a_2.jpg", "overview.jpg"], "overview.jpg has no number"),
        (["a_1.jpg", "a_2.jpg", "a_3.jpg", "a_3.tif"], "a_3.jpg and a_3.tif have the same number"),
        (["b_s3_001.jpg", "b_s3_002.jpg", "b_s4_003.jpg", "b_s5_004.jpg"], "b_s3_001.jpg and b_s3_002.jpg"),
        ([f"IMG_20240501_1322{n:02d}.jpg" for n in range(9)], "dates and lengths aside"),
        (["x1.jpg", "x100000.jpg"], "up to 4 digits"),
        ([f"Slide{n // 4}_Section{n % 4}.jpg" for n in range(9)], r"two together do: --pattern '\(\\d"),
    ],
)
def test_names_that_identify_nothing(names: list[str], message: str) -> None:
    assert readings(names) == ()
    with pytest.raises(ConfigError, match=message):
        read_numbers(names)


def test_a_scan_counter_never_stands_in_for_sections_within_a_slide() -> None:
    names = [f"Slide{n // 4}_Section{n % 4}_img{n:04d}.jpg" for n in range(9)]
    assert readings(names) == ()


def test_a_pattern_of_two_groups_numbers_the_images_in_order() -> None:
    names = [f"Slide{slide}_Section{place}.jpg" for slide in (10, 9) for place in (2, 1)]
    numbers = read_numbers(names, r"Slide(\d+)_Section(\d+)").numbers
    assert sorted(numbers, key=lambda name: numbers[name]) == [
        "Slide9_Section1.jpg", "Slide9_Section2.jpg", "Slide10_Section1.jpg", "Slide10_Section2.jpg",
    ]  # fmt: skip
    assert sorted(numbers.values()) == [1, 2, 3, 4]


def test_a_pattern_leaves_out_what_it_does_not_match() -> None:
    reading = read_numbers(["overview.jpg", "a_7.jpg", "a_9.jpg"], r"a_(\d+)")
    assert (dict(reading.numbers), reading.left_out) == ({"a_7.jpg": 7, "a_9.jpg": 9}, ("overview.jpg",))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "not a regular expression"),
        (r"a\d", "expected a group"),
        ("(a)", "expected digits"),
        (r"z(\d+)", "matches none of 2 names"),
        (r"(\d)\d", "both give 1"),
    ],
)
def test_patterns_that_cannot_work(pattern: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_numbers(["a11.jpg", "a12.jpg"], pattern)


@given(st.sets(st.integers(0, 9999), min_size=2, max_size=30), st.integers(1, 4))
def test_any_numbers_come_back(numbers: set[int], digits: int) -> None:
    names = {f"gene9_{n:0{digits}d}_5x.tif": n for n in numbers}
    assert read_numbers(list(names)).numbers == names


def test_the_stem_ends_where_the_name_of_the_format_begins() -> None:
    assert [stem(name) for name in ("a.1.ome.tif", "a.ome.zarr", "b.JPG", "c")] == ["a.1", "a", "b", "c"]
