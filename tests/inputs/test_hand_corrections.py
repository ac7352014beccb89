"""QuickNII's files: facts of the format, round trips, and a person's sections that stay where they are."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import CONFIG, ID, Ish, vouch

from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import Alignment2d, Deformation, SectionAlignment, SeriesAlignment, Status
from pipeline.exports.forms import export, read_data_set
from pipeline.formats.alignments.alignment_json import read_alignment, write_alignment
from pipeline.formats.alignments.quicknii import (
    TARGET_VOXELS,
    Slice,
    anchoring_of,
    parse_quicknii,
    to_reference_of,
)
from pipeline.formats.manifests.series import read_series
from pipeline.geometry import affine, deformation
from pipeline.geometry.hand_placement import Correction, marker_shift, markers_of, placed
from pipeline.inputs.alignments import read_placement
from pipeline.inputs.hand_corrections import read_corrections, read_given
from pipeline.inputs.pixels import probe_any
from pipeline.store.run import RunFolder


def reference_points(alignment: SeriesAlignment, number: int, z_um: float, points: np.ndarray) -> np.ndarray:
    section = alignment.of(number)
    assert section is not None
    volume = deformation.section_to_volume(section, points, z_um)
    return affine.apply(alignment.alignment3d.volume_to_reference, volume)


def test_an_asymmetric_landmark_lies_where_the_authors_converter_puts_it() -> None:
    """QuickNII voxel (x, y, z) RAS is PIR ((527 - y) 25, (319 - z) 25, x 25) um."""
    assert TARGET_VOXELS == (456, 528, 320)
    w, h = 1000, 600
    # a coronal picture, brain left on the left: right across, inferior down, at y = 300
    plane = to_reference_of([0, 300, 319, 456, 0, 0, 0, 0, -320], (w, h))
    left_top = plane @ [0.0, 0.0, 1.0]
    np.testing.assert_allclose(left_top, [(527 - 300) * 25, 0.0, 0.0])
    np.testing.assert_allclose(plane @ [100.0, 300.0, 1.0], [5675.0, 160 * 25.0, 45.6 * 25.0])
    piece = Slice(8, (w, h), plane, np.zeros((0, 4)))
    np.testing.assert_allclose(anchoring_of(piece), [0, 300, 319, 456, 0, 0, 0, 0, -320], atol=1e-9)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_quicknii_round_trip_keeps_every_place(run: Path, tmp_path: Path) -> None:
    path = export(run, "quicknii", tmp_path / "out").files[0]
    data_set = read_data_set(RunFolder(run))
    before = read_alignment(run / "alignment.json")
    after = read_given(path, data_set)
    assert after is not None
    for image in data_set.section_images:
        points = np.random.default_rng(0).uniform(0, [image.width_px, image.height_px], (50, 2))
        z = data_set.z_um(image.section_number)
        pair = [reference_points(a, image.section_number, z, points) for a in (before, after)]
        np.testing.assert_allclose(pair[1], pair[0], atol=0.1)


def test_reduced_pictures_and_their_numbers_are_understood(run: Path, tmp_path: Path) -> None:
    """A picture a quarter the size, its number in the name: the same plane."""
    path = export(run, "quicknii", tmp_path / "out").files[0]
    document = json.loads(path.read_text())
    for piece in document["slices"]:
        piece["filename"] = f"pic_s{piece.pop('nr'):03d}_x.jpg"
        piece["width"], piece["height"] = piece["width"] / 4, piece["height"] / 4
    small = tmp_path / "small.json"
    small.write_text(json.dumps(document))
    data_set = read_data_set(RunFolder(run))
    found, expected = (read_corrections(p, data_set) for p in (small, path))
    assert found.keys() == expected.keys()
    assert len(found) == 6
    for number in found:
        np.testing.assert_allclose(found[number].to_reference, expected[number].to_reference, atol=1e-6)


def test_the_image_of_a_slice_decides_before_its_number(rendered: Path, run: Path, tmp_path: Path) -> None:
    """DeepSlice counts pictures where their names hold no number."""
    path = export(run, "quicknii", tmp_path / "out").files[0]
    data_set = read_series(rendered / "series", probe_any).data_set
    expected = read_corrections(path, data_set)
    document = json.loads(path.read_text())
    for count, piece in enumerate(document["slices"]):
        piece["filename"] = str(Path(piece["filename"]).with_suffix(".png"))
        piece["nr"] = count + 1
    path.write_text(json.dumps(document))
    found = read_corrections(path, data_set)
    assert found.keys() == expected.keys() == {i.section_number for i in data_set.section_images}
    for number in found:
        np.testing.assert_allclose(found[number].to_reference, expected[number].to_reference)


def test_deformations_are_exported_as_markers_and_read_back(run: Path, tmp_path: Path) -> None:
    alignment = read_alignment(run / "alignment.json")
    data_set = read_data_set(RunFolder(run))
    image = data_set.section_images[2]
    spacing = 2000.0 / image.resolution_um
    rng = np.random.default_rng(1)
    nodes = np.concatenate([rng.normal(0, 160, (2, 8, 8)), np.zeros((1, 8, 8))]).astype(np.float32)
    field = Deformation(nodes, spacing)
    sections = tuple(
        replace(s, deformation=field) if s.alignment2d.section_number == image.section_number else s
        for s in alignment.sections
    )
    deformed = replace(alignment, sections=sections, deformable="in_plane")
    write_alignment(run / "alignment.json", deformed)
    RunFolder(run).write_deformations({image.section_number: field}, "")
    vouch(run)
    done = export(run, "quicknii", tmp_path / "out")
    assert "is deformed: planes, and in-plane deformations as markers" in done.left_out[0]
    after = read_given(done.files[0], data_set)
    assert after is not None
    inner = rng.uniform(0.3, 0.7, (200, 2)) * [image.width_px, image.height_px]
    z = data_set.z_um(image.section_number)
    pair = [reference_points(a, image.section_number, z, inner) for a in (deformed, after, alignment)]
    away = np.linalg.norm(pair[1] - pair[0], axis=1)
    assert np.median(away) < 20.0 < 50.0 < np.median(np.linalg.norm(pair[2] - pair[0], axis=1))


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (301, [0, 100, 200, 300]),
        (351, [25, 125, 225, 325]),
        (300, [49.5, 149.5, 249.5]),
        (51, [25]),
        (1, [0]),
    ],
)
def test_markers_are_centred_in_the_frame(width: int, expected: list[float]) -> None:
    """One every millimetre, as far from the left edge as from the right one."""
    field = Deformation(np.zeros((3, 9, 9), np.float32), 50.0)
    plane = Alignment2d(7, np.array([[10.0, 0.0, 0.0], [0.0, 10.0, 0.0]]))
    section = SectionAlignment(plane, Status.PASS, {}, field)
    markers = markers_of(section, (width, 201), 10.0)
    np.testing.assert_allclose(np.unique(markers[:, 2]), expected)
    np.testing.assert_allclose(np.unique(markers[:, 3]), [0, 100, 200])
    assert len(markers) == 3 * len(expected)


def test_markers_move_what_they_mark() -> None:
    """A marker (x, y, x', y'): what the plane has at (x, y) shows at (x', y'); corners 10 % out stay."""
    markers = np.array([[40.0, 50.0, 60.0, 45.0]])
    correction = Correction(np.diag([10.0, 10.0, 1.0]), (100, 80), 10.0, markers)
    at = np.array([[60.0, 45.0], [-10.0, -8.0], [110.0, 88.0]])
    np.testing.assert_allclose(
        marker_shift(correction, at), [[-20.0, 5.0], [0.0, 0.0], [0.0, 0.0]], atol=1e-9
    )


def test_a_tilted_plane_is_kept_exactly(run: Path) -> None:
    """A hand may tilt a section out of the series' planes: that becomes a displacement along z."""
    alignment = read_alignment(run / "alignment.json")
    data_set = read_data_set(RunFolder(run))
    image = data_set.section_images[3]
    z = data_set.z_um(image.section_number)
    plane = np.array([[11.0, 3.0, 2000.0], [-2.0, 12.0, 900.0], [1.5, -0.7, 3300.0]])
    correction = Correction(plane, (image.width_px, image.height_px), image.resolution_um, np.zeros((0, 4)))
    section = placed(image.section_number, correction, alignment.alignment3d, z)
    assert isinstance(section, SectionAlignment)
    points = np.random.default_rng(0).uniform(0, [image.width_px, image.height_px], (50, 2))
    moved = replace(alignment, sections=(section,))
    expected = np.column_stack([points, np.ones(50)]) @ plane.T
    np.testing.assert_allclose(reference_points(moved, image.section_number, z, points), expected, atol=0.05)


def test_corrected_sections_stay_and_the_rest_is_solved(
    ish: Ish, rendered: Path, run: Path, tmp_path: Path
) -> None:
    data_set = read_data_set(RunFolder(run))
    exported = export(run, "quicknii", tmp_path / "out").files[0]
    document = json.loads(exported.read_text())
    number = data_set.section_images[2].section_number
    wanted = next(piece for piece in document["slices"] if piece["nr"] == number)
    wanted["anchoring"][1] += 12.0  # 300 um towards anterior
    mended = tmp_path / "mended.json"
    mended.write_text(json.dumps(document))
    config = CONFIG
    words = [
        "alignment.name=joint", "reference.resolution_um=100",
        "alignment.configuration.stain_sigma_um=[150.0]",
        f"alignment.configuration.corrections={mended}",
        f"alignment.configuration.corrected_sections=[{number}]",
    ]  # fmt: skip
    options = [part for word in words for part in ("--set", word)]
    assert ish("run", config, "--input", rendered / "series", "--output", tmp_path / "runs", *options) == 0
    found = read_placement(RunFolder(tmp_path / "runs" / ID))
    correction = read_corrections(mended, data_set)[number]
    points = np.random.default_rng(0).uniform(0, correction.size_px, (50, 2))
    expected = np.column_stack([points, np.ones(50)]) @ correction.to_reference.T
    ours = reference_points(found, number, data_set.z_um(number), points)
    np.testing.assert_allclose(ours, expected, atol=0.5)
    truth = read_alignment(run / "alignment.json")
    for image in data_set.section_images:
        if image.section_number != number:
            z = data_set.z_um(image.section_number)
            pair = [reference_points(a, image.section_number, z, points) for a in (found, truth)]
            assert np.median(np.linalg.norm(pair[0] - pair[1], axis=1)) < 250.0
            assert found.of(image.section_number).measures.get("by_hand") is None  # type: ignore[union-attr]
    assert found.of(number).measures["by_hand"] == 1.0  # type: ignore[union-attr]


def test_what_cannot_be_taken_is_named(run: Path, tmp_path: Path) -> None:
    data_set = read_data_set(RunFolder(run))
    path = export(run, "quicknii", tmp_path / "out").files[0]
    document = json.loads(path.read_text())
    with pytest.raises(ConfigError, match="no such file"):
        read_corrections(tmp_path / "none.json", data_set)
    with pytest.raises(ConfigError, match="does not place section 12345"):
        read_corrections(path, data_set, [12345])
    rat = {**document, "target-resolution": [512, 1024, 512]}
    with pytest.raises(DataError, match=r"expected the target of 456x528x320.*512, 1024, 512"):
        parse_quicknii(rat, "x.json")
    document["slices"][0]["anchoring"] = [1.0, 2.0]
    with pytest.raises(DataError, match="expected 9 finite numbers of anchoring"):
        parse_quicknii(document, "x.json")
    for piece in document["slices"]:
        piece.pop("anchoring")
    with pytest.raises(DataError, match="slices with an anchoring"):
        parse_quicknii(document, "x.json")
