"""A phantom series on disk: a series as any other, its truth beside it and not in it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import ConfigError
from pipeline.formats.alignments.alignment_json import read_alignment
from pipeline.formats.images.files import read_image
from pipeline.formats.manifests.series import read_series
from pipeline.formats.volumes.metaimage import read_grid
from pipeline.phantom import (
    RenderOptions,
    Scene,
    SeriesGeometry,
    build_scene,
    phantom_reference,
    pixel_map,
    render_section,
    sagittal_geometry,
    true_alignment,
)
from pipeline.phantom.write_series import WRITTEN, SeriesForm, write_phantom_series

PLAIN = SeriesForm(truth_masks=False)
OPTIONS = RenderOptions(seed=1, extra_rotation_deg=3.0, missing=0.25)


@pytest.fixture(scope="module")
def scene() -> Scene:
    reference = phantom_reference(100.0)
    return build_scene(reference, sagittal_geometry(reference, 4, 30.0, seed=1), options=OPTIONS)


@pytest.fixture(scope="module")
def written(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_series(tmp_path_factory.mktemp("phantom"), scene, SeriesForm(image="png"))


def test_reads_as_a_series(written: Path, scene: Scene) -> None:
    source = read_series(written)
    assert [i.section_number for i in source.data_set.section_images] == [
        i.section_number for i in scene.images
    ]
    missing = {i.section_number for i in source.data_set.section_images if i.path is None}
    assert missing == scene.missing
    assert len(missing) == 1
    assert source.data_set.plane_of_section == "sagittal"
    for index, image in enumerate(source.data_set.section_images):
        if image.path is not None:
            assert np.array_equal(read_image(image.path), render_section(scene, index).pixels)
            assert image.resolution_um == 30.0


def test_truth_is_not_in_the_series(written: Path, scene: Scene) -> None:
    given = read_alignment(written / "alignment.json")
    for section in given.sections:
        expected = scene.geometry.alignment.of(section.alignment2d.section_number)
        assert expected is not None
        assert np.allclose(section.alignment2d.section_to_volume, expected.alignment2d.section_to_volume)
    names = {path.name for path in written.iterdir()}
    images = {
        f"section_s{i.section_number:04d}.png" for i in scene.images if i.section_number not in scene.missing
    }
    assert names == images | {"sections.csv", "section_data_set.yaml", "alignment.json"}
    truth = written.parent / "truth"
    assert truth.is_dir()
    assert not any(truth == parent for parent in written.parents)


def test_true_alignment_masks_and_places(written: Path, scene: Scene) -> None:
    truth = written.parent / "truth"
    stored, expected = read_alignment(truth / "alignment.json"), true_alignment(scene)
    for one, two in zip(stored.sections, expected.sections, strict=True):
        assert np.allclose(one.alignment2d.section_to_volume, two.alignment2d.section_to_volume)
    index = next(k for k, i in enumerate(scene.images) if i.section_number not in scene.missing)
    number, shown = scene.images[index].section_number, render_section(scene, index)
    arrays = np.load(truth / f"section_{number:04d}.npz")
    assert np.array_equal(arrays["nodes"], pixel_map(scene, scene.images[index]).nodes)
    assert int(arrays["step_px"]) == shown.truth.pixel_map.step_px
    assert np.array_equal(
        read_image(truth / f"section_{number:04d}_expressing.png") > 0, shown.truth.expressing
    )
    assert np.array_equal(read_image(truth / f"section_{number:04d}_tissue.png") > 0, shown.truth.tissue)
    assert np.array_equal(read_image(truth / f"section_{number:04d}_artifacts.png"), shown.truth.artifacts)


def test_true_grid_and_table_add_up(written: Path, scene: Scene) -> None:
    truth = written.parent / "truth"
    present = [k for k, i in enumerate(scene.images) if i.section_number not in scene.missing]
    sections = [render_section(scene, k).truth for k in present]
    voxels = sections[0].voxels
    for other in sections[1:]:
        voxels = voxels + other.voxels
    assert np.allclose(read_grid(truth / "energy.mhd"), voxels.energy, equal_nan=True)
    with (truth / "structure_energy.csv").open(encoding="utf-8") as file:
        rows = {(int(r["structure_id"]), int(r["hemisphere_id"])): r for r in csv.DictReader(file)}
    inside = scene.ids > 0
    for name in ("sum_pixels", "sum_expressing_pixels", "sum_expressing_pixel_intensity"):
        total = sum(getattr(s.structures, name)[:, inside].sum() for s in sections)
        assert float(rows[997, 3][name]) == pytest.approx(total)
        halves = [float(rows[997, side][name]) for side in (1, 2) if (997, side) in rows]
        assert sum(halves) == pytest.approx(total)
    root = rows[997, 3]
    ratio = float(root["sum_expressing_pixel_intensity"]) / float(root["sum_pixels"])
    assert float(root["expression_energy"]) == pytest.approx(ratio)


def test_the_form_of_a_real_data_set(scene: Scene, tmp_path: Path) -> None:
    """`data_set.xml` with images at a quarter of the manifest's resolution; sums count manifest pixels."""
    full = sagittal_geometry(scene.reference, 2, 10.0, seed=1)
    quarter = SeriesGeometry(full.data_set, full.alignment, 4)
    made = build_scene(scene.reference, quarter)
    series = write_phantom_series(tmp_path, made, SeriesForm(manifest="xml", image="jpeg", truth_masks=False))
    source = read_series(series)
    assert source.alignment is not None
    for image in source.data_set.section_images:
        assert image.path is not None
        assert image.path.name == f"section_s{image.section_number:04d}.jpg"
        assert read_image(image.path).shape[1] == image.width_px // 4
    assert not list((tmp_path / "truth").glob("*.png"))
    with (tmp_path / "truth/structure_energy.csv").open(encoding="utf-8") as file:
        root = next(
            r for r in csv.DictReader(file) if r["structure_id"] == "997" and r["hemisphere_id"] == "3"
        )
    drawn = sum(render_section(made, k).truth.structures.sum_pixels[:, made.ids > 0].sum() for k in (0, 1))
    assert float(root["sum_pixels"]) == 16 * drawn


def test_alignment_and_hints_can_be_kept_back(scene: Scene, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    form = SeriesForm(give_alignment=False, give_hints=False)
    series = write_phantom_series(tmp_path, scene, form, lambda done, all_: seen.append((done, all_)))
    assert not (series / "alignment.json").exists()
    source = read_series(series)
    assert source.data_set.section_order is None
    assert source.data_set.image_up is None
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "name", ["notes.txt", "series/mine.txt", "truth/energy.mhd", "runs/900001/plan.json"]
)
def test_refuses_a_folder_that_holds_anything_else(scene: Scene, tmp_path: Path, name: str) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"an earlier phantom as it was written, got {name}"):
        write_phantom_series(tmp_path, scene)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text(encoding="utf-8") == "mine"


def test_an_earlier_phantom_gives_way_whole(scene: Scene, tmp_path: Path) -> None:
    write_phantom_series(tmp_path, scene, PLAIN)
    other = build_scene(scene.reference, sagittal_geometry(scene.reference, 2, 60.0, seed=2))
    series = write_phantom_series(tmp_path, other, PLAIN)
    numbers = [image.section_number for image in other.images]
    assert sorted(p.name for p in series.glob("*.jpg")) == [f"section_s{n:04d}.jpg" for n in numbers]
    assert len(list((tmp_path / "truth").glob("*.npz"))) == 2


def test_an_earlier_phantom_that_was_changed_stays(scene: Scene, tmp_path: Path) -> None:
    series = write_phantom_series(tmp_path, scene, PLAIN)
    edited = (series / "sections.csv").read_text(encoding="utf-8") + "\n"
    (series / "sections.csv").write_text(edited, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"got series/sections\.csv"):
        write_phantom_series(tmp_path, scene, PLAIN)
    assert (series / "sections.csv").read_text(encoding="utf-8") == edited


@pytest.mark.parametrize("content", ["", "[]", '{"series/mine.txt": 1}', "[" * 100_000])
def test_without_its_list_a_file_counts_as_foreign(scene: Scene, tmp_path: Path, content: str) -> None:
    (tmp_path / WRITTEN).write_text(content)
    (tmp_path / "series").mkdir()
    (tmp_path / "series/mine.txt").touch()
    with pytest.raises(ConfigError, match=r"as it was written, got series/mine\.txt"):
        write_phantom_series(tmp_path, scene)


def test_a_link_to_a_folder_is_never_written_through(scene: Scene, tmp_path: Path) -> None:
    series = write_phantom_series(tmp_path / "made", scene, PLAIN)
    moved = series.rename(tmp_path / "elsewhere")
    series.symlink_to(moved)
    with pytest.raises(ConfigError, match="got series;"):
        write_phantom_series(tmp_path / "made", scene, PLAIN)
    assert (moved / "sections.csv").exists()


def test_a_data_set_xml_has_the_alignment_only_where_asked(scene: Scene, tmp_path: Path) -> None:
    made = build_scene(scene.reference, sagittal_geometry(scene.reference, 2, 60.0, seed=1))
    for name, given in (("without", False), ("with", True)):
        form = SeriesForm(manifest="xml", truth_masks=False, give_alignment=given)
        series = write_phantom_series(tmp_path / name, made, form)
        assert (read_series(series).alignment is not None) == given
