"""build: sections of a small brain into a volume, held against where their pixels come from."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from brains import SHAPE, UM, brain, write_reference
from conftest import Ish
from serial_sections import SIZE, THICKNESS_UM, write_sections

from pipeline.atlas_building import Publication, build, building
from pipeline.atlas_building.reconstruction import place
from pipeline.core.errors import DataError
from pipeline.core.model import Alignment2d, Alignment3d, SectionAlignment, SeriesAlignment
from pipeline.formats.images.files import write_image
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.geometry.sync import image_to_reference
from pipeline.inputs.alignments import open_alignment

NUMBERS = list(range(14, 74, 2))
LOST, HOLED = 30, 40


def volume(folder: Path, name: str) -> np.ndarray:
    """Return a volume of a result, [P, I, R]."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / name))).transpose(2, 1, 0)


def described(folder: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((folder / "reference.json").read_text())


def errors(result: Path, truth: dict[int, np.ndarray], *, rigid: bool) -> np.ndarray:
    """Return how far the pixels of tissue lie from the truth, um, up to one rigid motion where asked."""
    series = open_alignment(result / "41")
    status = {
        s["section_number"]: s["status"]
        for s in json.loads((result / "41" / "section_data_set.json").read_text())["section_images"]
    }
    found, wanted = [], []
    y, x = np.meshgrid(np.arange(10, SIZE[0] - 10, 8), np.arange(10, SIZE[1] - 10, 8), indexing="ij")
    pixels = np.stack([x.ravel(), y.ravel()], axis=1).astype(float)
    for number, places in truth.items():
        if status[number] not in ("pass", "check"):
            continue
        at = places[y.ravel(), x.ravel()]
        inside = np.hypot((at[:, 0] - 3500) / 2300, (at[:, 1] - 4000) / 2700) < 0.8
        found.append(image_to_reference(series, number, pixels[inside]))
        wanted.append(np.column_stack([np.full(inside.sum(), number * THICKNESS_UM), at[inside]]))
    a, b = np.concatenate(found), np.concatenate(wanted)
    if rigid:
        u, _, vt = np.linalg.svd((a - a.mean(0)).T @ (b - b.mean(0)))
        a = (a - a.mean(0)) @ (u @ vt) + b.mean(0)
    return np.linalg.norm(a - b, axis=1)


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, np.ndarray]]:
    folder = tmp_path_factory.mktemp("free")
    truth = write_sections(folder / "series", NUMBERS, lost=(LOST,), holed=(HOLED,))
    publication = Publication(formats=("nifti",), command="ish reference build …")
    return build([folder / "series"], folder / "out", spacing_um=100.0, publication=publication), truth


def test_sections_without_an_anchor_lie_where_they_were_cut(free: tuple[Path, dict[int, np.ndarray]]) -> None:
    away = errors(*free, rigid=True)
    assert np.median(away) < 60.0  # a pixel is 100 um; the sections were shifted by up to 200 and turned by 6
    assert np.percentile(away, 95) < 150.0


def test_the_frame_is_the_brains_own(free: tuple[Path, dict[int, np.ndarray]]) -> None:
    result, _ = free
    document = described(result)
    assert document["frame"]["kind"] == "own"
    assert document["verb"] == "build"
    assert document["midline_um"] == pytest.approx(document["shape"][2] * 50.0, abs=50.0)
    tissue = np.argwhere(volume(result, "average_template_100.nrrd") > 30)
    assert np.abs(tissue.min(axis=0)[1:] * 100 - 500).max() < 300
    series = open_alignment(result / "41")
    first, last = (image_to_reference(series, n, [[50.0, 45.0]])[0] for n in (NUMBERS[0], NUMBERS[-1]))
    assert last[0] - first[0] == pytest.approx(THICKNESS_UM * (NUMBERS[-1] - NUMBERS[0]))
    assert (result / "average_template_100.nii.gz").is_file()
    assert not any("section_order" in line for line in document["cannot_know"])
    assert any("slow bend" in line for line in document["cannot_know"])


def test_every_section_has_a_status_and_gaps_are_marked(free: tuple[Path, dict[int, np.ndarray]]) -> None:
    result, _ = free
    document = json.loads((result / "41" / "section_data_set.json").read_text())
    status = {s["section_number"]: s["status"] for s in document["section_images"]}
    assert list(status) == NUMBERS
    assert status[LOST] == "missing"
    assert described(result)["quality"]["not used"]["no image"] == f"section {LOST}"
    assert sum(s == "pass" for s in status.values()) >= len(NUMBERS) - 3
    coverage = volume(result, "coverage_100.nrrd")
    assert set(np.unique(coverage)) == {0, 1, 2}
    series = open_alignment(result / "41")
    lost, sound, holed = (
        np.rint(image_to_reference(series, near, [[50.0, 45.0]])[0] / 100).astype(int)
        for near in (LOST - 2, 50, HOLED)
    )
    middle = coverage[:, coverage.shape[1] // 2, coverage.shape[2] // 2]
    assert middle[lost[0] + 2] == 2
    assert middle[sound[0]] == 1
    if status[HOLED] == "pass":
        assert (coverage[holed[0]] == 2).sum() * 0.01 > 0.3  # mm2 of the hole


def test_stain_is_evened_along_the_series(free: tuple[Path, dict[int, np.ndarray]]) -> None:
    template, coverage = (volume(free[0], f"{name}_100.nrrd") for name in ("average_template", "coverage"))
    assert template.dtype == np.float32
    assert 0 <= template.min() < template.max() <= 255
    means = np.array(
        [
            t[(c > 0) & (t > 40)].mean()
            for t, c in zip(template, coverage, strict=True)
            if (t > 40).sum() > 300
        ]
    )
    assert np.std(np.diff(means)) / means.mean() < 0.04  # their stain was drawn with a deviation of .2
    assert described(free[0])["quality"]["spread of the sections' stain before evening"] > 0.1


def test_silent_manifests_are_told(tmp_path: Path) -> None:
    write_sections(tmp_path / "series", NUMBERS[4:14], hints=False)
    build([tmp_path / "series"], tmp_path / "out", spacing_um=200.0)
    sentences = " ".join(described(tmp_path / "out")["cannot_know"])
    assert "states no section_order: section numbers are taken to rise from caudal to rostral" in sentences
    assert "states no image_up" in sentences
    series = open_alignment(tmp_path / "out" / "41")
    first, last = (image_to_reference(series, n, [[50.0, 45.0]])[0] for n in (NUMBERS[4], NUMBERS[13]))
    assert first[0] > last[0]  # caudal sections come first


def test_series_of_one_brain_are_merged(tmp_path: Path) -> None:
    write_sections(tmp_path / "odd", NUMBERS[4:20:2], data_set_id=41)
    write_sections(tmp_path / "even", NUMBERS[5:20:2], data_set_id=42)
    build([tmp_path / "odd", tmp_path / "even"], tmp_path / "out", spacing_um=200.0)
    quality = described(tmp_path / "out")["quality"]
    assert quality["sections"]["read"] == 16
    assert quality["distance of the sections, um"] == 200.0
    for number in (41, 42):
        document = json.loads((tmp_path / "out" / str(number) / "alignment.json").read_text())
        assert len(document["alignment2d"]) == 8


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch) -> dict[int, np.ndarray]:
    """Stand in for the alignment of a run: the truth, each section off by some 40 um."""
    truth: dict[int, np.ndarray] = {}

    def outcomes(brain_, thumbnails, anchor):  # type: ignore[no-untyped-def]
        draw, found = np.random.default_rng(3), []
        for one in thumbnails:
            places = truth[one.section_number]
            corner, right, down = places[0, 0], places[0, 1] - places[0, 0], places[1, 0] - places[0, 0]
            matrix = np.column_stack([right[::-1], down[::-1], corner[::-1] + draw.normal(0, 40, 2)])
            found.append(SectionAlignment(Alignment2d(one.section_number, matrix)))
        space = Alignment3d(9, np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]))
        return [SeriesAlignment(space, tuple(found))]

    monkeypatch.setattr(place, "_aligned", outcomes)
    return truth


def test_an_anchor_gives_frame_box_and_annotation(tmp_path: Path, aligned: dict[int, np.ndarray]) -> None:
    grey, labels = brain()
    aligned |= write_sections(tmp_path / "series", NUMBERS)
    reference = write_reference(tmp_path / "ref", grey, labels)
    build([tmp_path / "series"], tmp_path / "out", anchor=reference, spacing_um=UM)
    document = described(tmp_path / "out")
    assert document["frame"] == {"kind": "anchor", "of": str(reference)}
    assert tuple(document["shape"]) == SHAPE
    assert np.array_equal(volume(tmp_path / "out", "annotation_200.nrrd"), labels)
    assert (tmp_path / "out" / "41" / "deformation.zarr").is_dir()
    away = errors(tmp_path / "out", aligned, rigid=False)
    assert np.median(away) < 40.0  # 47 before the neighbours were heard
    template = volume(tmp_path / "out", "average_template_200.nrrd")
    inside = (labels > 0) & (volume(tmp_path / "out", "coverage_200.nrrd") == 1)
    assert np.corrcoef(template[inside], grey[inside])[0, 1] > 0.8  # sections are 200 um apart


@pytest.mark.slow
def test_sections_are_placed_on_an_anchor_of_grey_values_alone(tmp_path: Path) -> None:
    grey, _ = brain()
    truth = write_sections(tmp_path / "series", NUMBERS)
    write_nrrd(tmp_path / "anchor_200.nrrd", (300.0 - grey).astype(np.float32), UM)  # another contrast
    build([tmp_path / "series"], tmp_path / "out", anchor=tmp_path / "anchor_200.nrrd", spacing_um=UM)
    away = errors(tmp_path / "out", truth, rigid=False)
    assert np.median(away) < 150.0
    assert not (tmp_path / "out" / "annotation_200.nrrd").exists()


def test_a_killed_build_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sections(tmp_path / "series", NUMBERS[6:16])
    whole = build([tmp_path / "series"], tmp_path / "whole", spacing_um=200.0)
    with monkeypatch.context() as patch:
        patch.setattr(building, "build_volume", killed)
        with pytest.raises(KeyboardInterrupt):
            build([tmp_path / "series"], tmp_path / "out", spacing_um=200.0)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".ish-build-out" / "placement.json").is_file()
    with monkeypatch.context() as patch:
        patch.setattr(building, "place_freely", killed)
        build([tmp_path / "series"], tmp_path / "out", spacing_um=200.0)
    assert not (tmp_path / ".ish-build-out").exists()
    for name in ("average_template_200.nrrd", "coverage_200.nrrd"):
        assert np.array_equal(volume(tmp_path / "out", name), volume(whole, name))
    write_sections(tmp_path / "other", NUMBERS[6:16], seed=2)
    with monkeypatch.context() as patch:  # what was kept of other inputs is not taken
        patch.setattr(building, "build_volume", killed)
        with pytest.raises(KeyboardInterrupt):
            build([tmp_path / "series"], tmp_path / "again", spacing_um=200.0)
        patch.setattr(building, "place_freely", other)
        with pytest.raises(OtherError):
            build([tmp_path / "other"], tmp_path / "again", spacing_um=200.0)


class OtherError(Exception):
    """Says that sections were placed anew."""


def killed(*given: object) -> None:
    raise KeyboardInterrupt


def other(*given: object) -> None:
    raise OtherError


def test_series_that_cannot_be_built_are_refused(
    ish: Ish, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    few, many, same = (tmp_path / name for name in ("few", "many", "same"))
    write_sections(few, NUMBERS[10:16], lost=(NUMBERS[10],), data_set_id=1)
    write_sections(many, NUMBERS[10:18], data_set_id=2)
    write_sections(same, NUMBERS[16:24], data_set_id=3)
    plain, small = tmp_path / "plain.nrrd", tmp_path / "small.nrrd"
    write_nrrd(plain, brain()[0], 1.0)
    write_nrrd(small, brain()[0], 0.4 * UM)
    large = tmp_path / "large.nrrd"
    write_nrrd(large, brain()[0], 2.5 * UM)
    reference = write_reference(tmp_path / "reference", *brain())
    masks, thin, blank = (tmp_path / name for name in ("masks", "thin", "blank"))
    for folder in (masks, thin, blank):
        write_sections(folder, NUMBERS[10:18], data_set_id=4)
    for number in NUMBERS[10:18]:
        name = f"section_s{number:04d}.png"
        tissue = cv2.imread(str(masks / name), cv2.IMREAD_GRAYSCALE) < 150
        for folder, pixels in ((masks, 255 * tissue), (blank, np.full(SIZE, 240))):
            write_image(folder / name, pixels.astype(np.uint8), quality=95, resolution_um=100.0)
    stated = thin / "section_data_set.yaml"
    stated.write_text(stated.read_text().replace("thickness_um: 100.0", "thickness_um: 0.1"))
    cases = [
        ([few], [], 1, "expected at least 6 usable sections, got 5; 1 have no image"),
        ([many, many], [], 1, "expected each series once, got it twice"),
        ([reference], [], 1, "expected a series, got a reference; name it with --anchor"),
        ([masks], [], 1, "8 cannot be read, the first, section 34: expected stained tissue on a bright"),
        ([thin], [], 1, "got all 8 over 1.6 um; is section_thickness_um in um?"),
        ([blank], [], 1, "8 show no tissue, see their images"),
        ([many], ["--anchor", reference / "annotation_200.nrrd"], 1, "expected grey values, got labels"),
        ([many, same], [], 1, "expected section numbers of its own, got sections 46 and 48 of another"),
        ([many], ["--anchor", plain], 1, "expected a voxel size in its header, got none; write it there"),
        ([many], ["--anchor", small], 1, "expected an anchor of the size of the series"),
        ([many], ["--anchor", large], 1, "expected an anchor of the size of the series"),
        ([many], ["--anchor", many, "--format", "pdf"], 2, "--format pdf: expected one of"),
        ([many], ["--spacing-um", 1], 1, "voxels, got"),
        ([tmp_path / "nothing"], [], 1, "nothing"),
        ([many], ["--format", "brainglobe"], 1, "expected an annotation, got none"),
    ]
    for series, words, status, message in cases:
        assert ish("reference", "build", *series, "--output", tmp_path / "out", *words) == status
        said = capfd.readouterr().err
        assert message in said, said
        assert said.count("\n") == 1, said
        assert not (tmp_path / "out").exists()


def test_series_of_other_brains_are_told_apart(tmp_path: Path) -> None:
    write_sections(tmp_path / "a", NUMBERS[10:18], data_set_id=2)
    write_sections(tmp_path / "b", NUMBERS[18:24], data_set_id=2)
    with pytest.raises(DataError, match="expected an id for each series"):
        build([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    text = (tmp_path / "b" / "section_data_set.yaml").read_text()
    changed = text.replace("section_thickness_um: 100.0", "section_thickness_um: 50.0")
    (tmp_path / "b" / "section_data_set.yaml").write_text(changed)
    with pytest.raises(DataError, match="expected section_thickness_um 100"):
        build([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
