"""`ish init`: what a folder of images becomes, what is asked, and what is refused."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import yaml

from pipeline.core.errors import ConfigError
from pipeline.core.model import UInt8
from pipeline.formats.images.files import read_image, write_image
from pipeline.formats.manifests.series import read_series
from pipeline.inputs.describe.draft import (
    Answers,
    check_answers,
    draft,
    image_names,
    keep_old,
    made_id,
    open_questions,
    summary,
    survey,
)
from pipeline.inputs.describe.names import read_numbers
from pipeline.inputs.describe.pictures import contact_sheet, doubts, largest_boxes, look, tissue_pieces
from pipeline.inputs.pixels import probe_any
from pipeline.store.masks import write_image as write_ome_zarr

Ish = Callable[..., int]
ANSWERS = ("--thickness-um", 25, "--resolution-um", 20, "--spacing", 8)
GLASS, TISSUE = (235, 230, 232), (190, 165, 200)
PLAIN = Answers(plane="coronal", thickness_um=25.0, resolution_um=20.0, spacing=8)


def section(width: int = 480, height: int = 360, pieces: int = 1) -> UInt8:
    """Draw ovals of tissue on glass; at 20 um a pixel one is 5 x 4 mm and more."""
    rng = np.random.default_rng(width + height)
    pixels = np.full((height, width, 3), GLASS, np.uint8)
    for k in range(pieces):
        centre = (round(width * (k + 0.5) / pieces), height // 2)
        axes = (round(0.42 * width / pieces) - 4 * k, round(0.33 * height))
        cv2.ellipse(pixels, centre, axes, 0, 0, 360, TISSUE, -1)
    return np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five plain JPEGs that state no pixel size, as a microscope names them."""
    for n in range(1, 6):
        write_image(tmp_path / f"Slide3_2024-05-01_{n:03d}_10x.jpg", section(480 + 10 * n))
    return tmp_path


def drafted(folder: Path, answers: Answers = PLAIN):  # type: ignore[no-untyped-def]
    found = survey(folder, read_numbers(image_names(folder)))
    check_answers(found, answers)
    return draft(found, answers)


def test_the_manifest_that_is_written_is_the_one_that_is_read(folder: Path, ish: Ish) -> None:
    words = (
        "--plane",
        "sagittal",
        "--thickness-um",
        25,
        "--resolution-um",
        20,
        "--spacing",
        8,
        "--gene",
        "Prox1",
    )
    assert ish("init", folder, *words, "--id", 77, "--hemisphere", "right", "--image-up", "superior") == 0
    source = read_series(folder, probe_any)
    data_set = source.data_set
    assert source.warnings == ()
    assert [s.section_number for s in data_set.section_images] == [8, 16, 24, 32, 40]
    assert (data_set.id, data_set.gene, data_set.hemisphere, data_set.image_up) == (
        77,
        "Prox1",
        "right",
        "superior",
    )
    assert (data_set.reference_space_id, data_set.spacing_um) == (10, 200.0)
    assert {s.resolution_um for s in data_set.section_images} == {20.0}
    assert [s.width_px for s in data_set.section_images] == [490, 500, 510, 520, 530]
    assert read_image(folder / "ish_init.png").shape[2] == 3


def test_nothing_is_written_over_unless_forced(
    folder: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    words = (
        "init",
        folder,
        "--plane",
        "coronal",
        "--thickness-um",
        25,
        "--resolution-um",
        20,
        "--spacing",
        8,
    )
    assert ish(*words) == 0
    (folder / "sections.csv").write_text("mine")
    assert ish(*words) == 2
    assert "is there already" in capfd.readouterr().err
    assert (folder / "sections.csv").read_text() == "mine"
    assert ish(*words, "--force") == 0  # nor is its own sheet of thumbnails taken for a section
    assert len(read_series(folder, probe_any).data_set.section_images) == 5
    assert (folder / "sections.csv.old-1").read_text() == "mine"


def test_a_manifest_that_was_kept_is_never_overwritten(tmp_path: Path) -> None:
    for text in ("first", "second", "third"):
        (tmp_path / "sections.csv").write_text(text)
        keep_old(tmp_path)
    (tmp_path / "sections.csv.old-1").unlink()
    (tmp_path / "sections.csv").write_text("fourth")
    assert keep_old(tmp_path) == ["sections.csv.old-4"]
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "sections.csv.old-2": "second",
        "sections.csv.old-3": "third",
        "sections.csv.old-4": "fourth",
    }


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ((), "--plane"),
        (("--plane", "coronal"), "--thickness-um"),
        (("--plane", "coronal", "--thickness-um", 25), "--resolution-um"),
        (("--plane", "coronal", "--thickness-um", 25, "--resolution-um", 20), "--spacing"),
    ],
)
def test_what_is_missing_is_named_where_nobody_can_be_asked(
    words: tuple[object, ...], option: str, folder: Path, ish: Ish, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ish("init", folder, *words) == 2
    printed = capfd.readouterr().err.strip()
    assert printed.startswith(f"ish: {option}: expected")
    assert "\n" not in printed
    assert not (folder / "sections.csv").exists()


def test_what_is_missing_is_asked_in_a_terminal(
    folder: Path, ish: Ish, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    replies = iter(["oblique", "coronal", "25", "twenty", "20", "8", "y"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda text, **options: next(replies))
    monkeypatch.setattr("typer.confirm", lambda text, **options: next(replies) == "y")
    assert ish("init", folder) == 0
    printed = capfd.readouterr().err
    assert "expected coronal or sagittal, got 'oblique'" in printed
    assert "'twenty'" in printed
    assert next(replies, None) is None
    assert yaml.safe_load((folder / "section_data_set.yaml").read_text())["section_thickness_um"] == 25.0


def test_which_number_is_asked_in_a_terminal(
    tmp_path: Path, ish: Ish, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        write_image(tmp_path / f"scan{n + 1}_{6 + 8 * n}.png", section())
    replies = iter([9, 1])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda text, **options: next(replies))
    monkeypatch.setattr("typer.confirm", lambda text, **options: False)
    words = ("--plane", "coronal", "--thickness-um", 25, "--resolution-um", 20)
    assert ish("init", tmp_path, *words) == 1  # and no is no
    assert not (tmp_path / "sections.csv").exists()


def test_images_of_every_form_and_their_own_resolution(tmp_path: Path) -> None:
    write_image(tmp_path / "a_006.tif", section(500), resolution_um=20.0)
    tifffile.imwrite(
        tmp_path / "a_014.ome.tif", section(520)[..., 0].astype(np.uint16) * 257, photometric="minisblack",
        ome=True, metadata={"axes": "YX", "PhysicalSizeX": 18.5, "PhysicalSizeY": 18.5},
    )  # fmt: skip
    write_ome_zarr(tmp_path / "a_022.zarr", section(540)[..., 1], 21.0, {})
    write_image(tmp_path / "a_030.png", section(560), resolution_um=10.0)
    found = survey(tmp_path, read_numbers(image_names(tmp_path)))
    answers = Answers(plane="coronal", thickness_um=25.0)
    assert open_questions(found, answers) == []
    made = draft(found, answers)
    assert [round(s.resolution_um, 3) for s in made.data_set.section_images] == [20.0, 18.5, 21.0, 10.0]
    assert [made.found[n].info.bits for n in (6, 14)] == [8, 16]  # type: ignore[union-attr]
    assert made.data_set.spacing_um == 200.0
    assert all(len(seen.pieces_px) == 1 for seen in look(made))


def test_a_resolution_that_images_contradict_is_noted(tmp_path: Path) -> None:
    for n in (8, 16):
        write_image(tmp_path / f"a_{n}.png", section(), resolution_um=1.0)
    warnings = drafted(tmp_path, Answers(plane="coronal", thickness_um=25.0, resolution_um=20.0)).warnings
    assert "2 images state another pixel size, a_8.png 1 um; 20 um is used for all" in warnings


def test_numbers_that_are_sections_need_no_spacing(tmp_path: Path) -> None:
    for n in (6, 14, 30, 38):
        write_image(tmp_path / f"a_{n}.png", section(), resolution_um=20.0)
    answers = Answers(plane="coronal", thickness_um=25.0)
    assert summary(drafted(tmp_path, answers)) == (
        "4 sections, 6 to 38, every 8: 200 um apart, 0.8 mm of brain; none for 22"
    )
    assert summary(drafted(tmp_path, Answers(plane="coronal", thickness_um=25.0, spacing=8))) == summary(
        drafted(tmp_path, answers)
    )
    with pytest.raises(ConfigError, match="--spacing 4: the names count in steps of 8"):
        drafted(tmp_path, Answers(plane="coronal", thickness_um=25.0, spacing=4))


def test_a_damaged_image_is_kept_and_noted(folder: Path, ish: Ish, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "Slide3_2024-05-01_002_10x.jpg").write_bytes(b"no image")
    whole = folder / "Slide3_2024-05-01_004_10x.jpg"
    whole.write_bytes(whole.read_bytes()[:-2000])
    assert ish("init", folder, "--plane", "coronal", *ANSWERS, "--json") == 0
    printed = capfd.readouterr().err
    assert "_002_10x.jpg: expected TIFF, JPEG, PNG or JPEG 2000" in printed
    assert "_004_10x.jpg: expected a whole JPEG" in printed
    with (folder / "sections.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 5


def test_several_pieces_are_noted_and_boxed_on_request(tmp_path: Path, ish: Ish) -> None:
    for n in range(1, 4):
        write_image(tmp_path / f"a_{8 * n}.png", section(900, pieces=1 + (n == 2)), resolution_um=20.0)
    made = drafted(tmp_path, Answers(plane="coronal", thickness_um=25.0))
    looks = look(made)
    assert [len(seen.pieces_px) for seen in looks] == [1, 2, 1]
    assert any("pieces of tissue on 1 of 3 sections, first 16" in line for line in doubts(looks))
    assert largest_boxes(looks).keys() == {16}
    assert any("is it the right one everywhere?" in line for line in doubts(looks, boxed=True))
    assert ish("init", tmp_path, "--plane", "coronal", "--thickness-um", 25, "--boxes", "largest") == 0
    first, second, third = read_series(tmp_path, probe_any).data_set.section_images
    assert first.tissue_box_px is third.tissue_box_px is None
    assert second.tissue_box_px is not None
    x, _, width, _ = second.tissue_box_px
    assert x >= 0
    assert x + width < 470  # the left oval, the larger one, ends in the middle


def test_pieces_are_found_whatever_the_pixels() -> None:
    boxes, extent = tissue_pieces(section(450, 300, pieces=2), 20.0)
    assert len(boxes) == 2
    assert boxes[0][2] > boxes[1][2]
    assert 0.7 * 450 < extent[0] < 450
    assert tissue_pieces(np.full((60, 80, 3), 240, np.uint8), 40.0) == ([], (0.0, 0.0))


def test_tissue_of_an_unlikely_size_is_noted(folder: Path) -> None:
    made = drafted(folder, Answers(plane="coronal", thickness_um=25.0, resolution_um=2.0, spacing=8))
    assert any("is the pixel size right?" in line for line in doubts(look(made)))


def test_the_sheet_shows_every_image(folder: Path) -> None:
    made = drafted(folder)
    sheet = contact_sheet(made, look(made))
    tissue = np.abs(sheet.astype(int) - TISSUE).max(axis=2) < 12
    areas = cv2.connectedComponentsWithStats(tissue.astype(np.uint8))[2][1:, cv2.CC_STAT_AREA]
    assert (areas > 2000).sum() == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plane": "oblique"}, "--plane: expected coronal or sagittal"),
        ({"thickness_um": 0.025}, "--thickness-um: expected 0.5 to 1000 um"),
        ({"thickness_um": float("nan")}, "--thickness-um"),
        ({"resolution_um": 1e6}, "--resolution-um: expected 0.05 to 200 um"),
        ({"spacing": 0}, "--spacing: expected a whole number from 1"),
        ({"id": -4}, "--id: expected a whole number from 0"),
        ({"hemisphere": "upper"}, "--hemisphere: expected left or right or both"),
        ({"section_order": "lateral_to_medial"}, "--section-order: expected rostral_to_caudal"),
        ({"boxes": "all"}, "--boxes: expected none or largest"),
    ],
)
def test_answers_that_cannot_be(changes: dict[str, object], message: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        drafted(folder, Answers(**{**PLAIN.__dict__, **changes}))  # type: ignore[arg-type]


def test_folders_without_images_say_what_they_hold(tmp_path: Path) -> None:
    for name, message in {"absent": "got none", "empty": "an empty folder"}.items():
        if name == "empty":
            (tmp_path / name).mkdir()
        with pytest.raises(ConfigError, match=message):
            image_names(tmp_path / name)
    (tmp_path / "empty" / "scan.czi").write_bytes(b"ZISRAWFILE")
    with pytest.raises(ConfigError, match=r"files of \.czi; export them as TIFF or JPEG"):
        image_names(tmp_path / "empty")
    (tmp_path / "empty" / "scan.czi").unlink()
    (tmp_path / "empty" / "brain1").mkdir()
    with pytest.raises(ConfigError, match="1 folders, such as brain1"):
        image_names(tmp_path / "empty")


def test_an_id_is_made_from_where_the_folder_lies(tmp_path: Path) -> None:
    assert made_id(tmp_path) == made_id(tmp_path / "a" / "..")
    assert made_id(tmp_path / "a") != made_id(tmp_path / "b")
    assert 100_000_000 <= made_id(tmp_path) < 1_000_000_000
