"""A series of expression masks instead of photographs, and section energy in regions of one's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import CONFIG, GIVEN, ID, Ish, _call
from PIL import Image

from pipeline.detection import SectionContext, make_detector
from pipeline.formats.tables.tables import read_table
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.inputs.references import open_reference
from pipeline.runs.grid_tables import unionize_grid
from pipeline.store.run import RunFolder

ROOT, LEFT_HALF, REST = 997, 8, 312782574
TRUTH = "section_{:04d}_expressing.png"


def test_a_pixel_of_a_mask_expresses_with_its_value() -> None:
    context = SectionContext(4.0, (16.0, 4.0), (2.4, 0, 0, 0, 0, 0), 0.0, 0.0, 0.0)
    dark = np.array([[0, 1, 31, 255]], np.uint8)
    assert make_detector("given", {}).of_darkness(dark, context).tolist() == [[False, True, True, True]]
    above = make_detector("given", {"least_intensity": 31})
    assert above.of_darkness(dark, context).tolist() == [[False, False, True, True]]
    assert above(255 - dark, context).tolist() == [[False, False, True, True]]


@pytest.fixture(scope="module")
def masks(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The series of masks: the truth of the rendered one, bright on black, intensity 100."""
    folder = tmp_path_factory.mktemp("masks") / "series"
    shutil.copytree(rendered / "series", folder, ignore=shutil.ignore_patterns("*.jpg"))
    for section in (rendered / "series").glob("*.jpg"):
        number = int(section.stem.split("_s")[1])
        expressing = np.array(Image.open(rendered / "truth" / TRUTH.format(number))) > 0
        Image.fromarray(expressing * np.uint8(100)).save(folder / f"{section.stem}.png")
    table = folder / "sections.csv"
    table.write_text(table.read_text().replace(".jpg", ".png"))
    return folder


@pytest.fixture(scope="module")
def run(masks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("of-masks")
    words = "run", CONFIG, "--input", masks, "--output", output, *GIVEN, "--set", "detection.name=given"
    with pytest.MonkeyPatch.context() as patch:
        assert _call(patch, *words) == 0
    return output / ID


def test_masks_are_counted_as_they_are(run: Path, masks: Path) -> None:
    for path in masks.glob("*.png"):
        mask = np.array(Image.open(path))
        stored = RunFolder(run).read_expression(int(path.stem.split("_s")[1]))
        np.testing.assert_array_equal(np.asarray(stored), mask)
    described = json.loads((run / "section_data_set.json").read_text())
    assert {(one["status"], tuple(one["flags"])) for one in described["section_images"]} == {("pass", ())}
    table = read_table(run / "structure_unionize.parquet")
    energy, density = (np.array(table[f"section_{name}"], float) for name in ("energy", "density"))
    np.testing.assert_allclose(energy, 100 * density, rtol=1e-6)
    assert np.nanmax(energy) > 1
    lower, upper = (np.array(table[f"section_energy_{end}"], float) for end in ("lower", "upper"))
    known = np.isfinite(energy)
    assert np.all(lower[known] <= energy[known])
    assert np.all(energy[known] <= upper[known])


def test_masks_are_not_aligned(
    masks: Path, ish: Ish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "run", CONFIG, "--input", masks, "--output", tmp_path, "--set", "detection.name=given"
    assert ish(*words) == 1
    assert (
        "the images are masks, which cannot be aligned; set alignment.name=given" in capsys.readouterr().err
    )


def test_regions_of_ones_own_have_section_energy_and_intervals(finished: Path, tmp_path: Path) -> None:
    """Two regions that share the brain out between them: their sums are those of the brain."""
    space = open_reference(None, 100.0)
    inside = space.annotation > 0
    regions = np.where(inside, REST, 0).astype(np.uint32)
    regions[: inside.shape[0] // 2][inside[: inside.shape[0] // 2]] = LEFT_HALF
    own = tmp_path / "regions"
    own.mkdir()
    write_nrrd(own / "annotation_100.nrrd", regions, 100.0)
    children = [
        {"id": n, "acronym": f"R{n}", "name": f"region {n}", "children": []} for n in (LEFT_HALF, REST)
    ]
    graph = {"id": ROOT, "acronym": "all", "name": "all", "children": children}
    (own / "structure_graph_1.json").write_text(json.dumps({"msg": [graph]}))

    table = unionize_grid(finished, own).columns
    of = {
        (s, h): n for n, (s, h) in enumerate(zip(table["structure_id"], table["hemisphere_id"], strict=True))
    }
    rows = [of[(region, 3)] for region in (LEFT_HALF, REST)]
    energy, upper = table["section_energy"], table["section_energy_upper"]
    assert np.all(energy[rows] > 0)
    assert np.all(upper[rows] > energy[rows])
    low, high = sorted(energy[rows])
    assert low < energy[of[(ROOT, 3)]] < high
    whole = read_table(finished / "structure_unionize.parquet")
    (row,) = (
        n
        for n, key in enumerate(zip(whole["structure_id"], whole["hemisphere_id"], strict=True))
        if key == (ROOT, 3)
    )
    all_ = of[(ROOT, 3)]
    assert table["expression_energy"][all_] == pytest.approx(whole["expression_energy"][row], rel=1e-6)
    # each label stands for its own volume: few large ones weigh the sections a little otherwise
    assert energy[all_] == pytest.approx(whole["section_energy"][row], rel=0.05)


def test_masks_taken_for_photographs_are_warned_of(masks: Path, ish: Ish, tmp_path: Path) -> None:
    """Black on white they pass for sections: nothing is found, and that is said."""
    dark = tmp_path / "dark"
    shutil.copytree(masks, dark)
    for path in dark.glob("*.png"):
        Image.fromarray(255 - np.array(Image.open(path))).save(path)
    assert ish("run", CONFIG, "--input", dark, "--output", tmp_path / "out", *GIVEN) == 0
    described = json.loads((tmp_path / "out" / ID / "section_data_set.json").read_text())
    (warning,) = (line for line in described["warnings"] if "no tissue found in" in line)
    assert "of masks, set detection.name=given" in warning
