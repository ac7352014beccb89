"""From nothing: rendered phantom series find their place, hints are used, what does not fit is refused."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline.core.errors import AlignmentError, ConfigError
from pipeline.core.model import SeriesAlignment, Status
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry import affine
from pipeline.phantom import (
    RenderOptions,
    Scene,
    StructureExpression,
    build_scene,
    coronal_geometry,
    phantom_reference,
    render_section,
    sagittal_geometry,
    true_alignment,
)
from pipeline.registration import ALIGNERS, AlignmentOptions, SectionThumbnail, align_series, reconstruct
from pipeline.registration.model.painted_atlas import atlas_of
from pipeline.registration.model.state import TransformState
from pipeline.registration.result import canonical

PIXEL_UM = 60.0
SAGITTAL = AlignmentOptions(
    plane_of_section="sagittal", hemisphere="left", section_order="lateral_to_medial", image_up="superior"
)
CORONAL = AlignmentOptions(section_order="caudal_to_rostral", image_up="superior")


@pytest.fixture(scope="module")
def reference() -> ReferenceSpace:
    return phantom_reference(100.0)


def rendered(
    reference: ReferenceSpace, plane: str, sections: int, seed: int = 3
) -> tuple[Scene, list[SectionThumbnail]]:
    cut = sagittal_geometry if plane == "sagittal" else coronal_geometry
    pose = {"extra_rotation_deg": 4.0, "extra_shift_um": 150.0}
    options = RenderOptions(seed=seed, texture=0.2, stain_gain=0.3, **pose)
    geometry = cut(reference, sections, PIXEL_UM)
    scene = build_scene(reference, geometry, StructureExpression({}), options)
    drawn = [
        SectionThumbnail(
            image.section_number,
            geometry.data_set.z_um(image.section_number),
            render_section(scene, k).pixels,
            PIXEL_UM,
            np.eye(2, 3),
        )
        for k, image in enumerate(scene.images)
    ]
    return scene, drawn


@pytest.fixture(scope="module")
def sagittal(reference: ReferenceSpace) -> tuple[Scene, list[SectionThumbnail]]:
    return rendered(reference, "sagittal", 9)


@pytest.fixture(scope="module")
def coronal(reference: ReferenceSpace) -> tuple[Scene, list[SectionThumbnail]]:
    return rendered(reference, "coronal", 12)


@pytest.fixture(scope="module")
def aligned(reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]]) -> SeriesAlignment:
    return align_series(sagittal[1], reference, SAGITTAL)


def places(alignment: SeriesAlignment, number: int, z_um: float, points: np.ndarray) -> np.ndarray:
    section = alignment.of(number)
    assert section is not None
    plane = affine.apply(section.alignment2d.section_to_volume, points)
    z = np.full(len(points), z_um)
    return affine.apply(alignment.alignment3d.volume_to_reference, np.column_stack([plane, z]))


def errors_um(scene: Scene, found: SeriesAlignment) -> np.ndarray:
    """Distance of the corners of the middle half of every section from their true places."""
    truth, away = true_alignment(scene), []
    for image in scene.images:
        w, h = image.width_px, image.height_px
        points = np.array([[x * w, y * h] for x in (0.25, 0.5, 0.75) for y in (0.25, 0.5, 0.75)])
        z = scene.geometry.data_set.z_um(image.section_number)
        pair = [places(a, image.section_number, z, points) for a in (found, truth)]
        away.append(np.linalg.norm(pair[0] - pair[1], axis=1))
    return np.concatenate(away)


def test_a_sagittal_series_finds_its_place(
    sagittal: tuple[Scene, list[SectionThumbnail]], aligned: SeriesAlignment
) -> None:
    away = errors_um(sagittal[0], aligned)
    assert np.median(away) < 40.0
    assert np.percentile(away, 95) < 90.0
    assert {s.status for s in aligned.sections} == {Status.PASS}
    assert aligned.measures["median_dice"] > 0.95
    assert [note.startswith("assumed: the left hemisphere") for note in aligned.notes] == [True]
    assert aligned.alignment3d.reference_space_id == 10
    assert aligned.sections[0].measures.keys() >= {"dice", "boundary_um", "pose_deviation_um"}


def test_threads_and_order_of_input_change_nothing(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]], aligned: SeriesAlignment
) -> None:
    again = align_series(sagittal[1][::-1], reference, replace(SAGITTAL, threads=1))
    assert np.array_equal(again.alignment3d.volume_to_reference, aligned.alignment3d.volume_to_reference)
    for one, other in zip(again.sections, aligned.sections, strict=True):
        assert np.array_equal(one.alignment2d.section_to_volume, other.alignment2d.section_to_volume)
        assert one.measures == other.measures


def test_a_coronal_series_finds_its_order_and_turn_from_the_images(
    reference: ReferenceSpace, coronal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    """Upside down and numbered from the front: the same places as the series as it was drawn."""
    scene, drawn = coronal
    top = max(t.section_number for t in drawn) + 2
    thickness = drawn[0].z_um / drawn[0].section_number
    turned = [
        replace(
            t,
            section_number=top - t.section_number,
            z_um=(top - t.section_number) * thickness,
            pixels=t.pixels[::-1, ::-1],
        )
        for t in drawn
    ]
    found = align_series(turned, reference, AlignmentOptions())
    assert "rostral_to_caudal, image_up inferior" in found.notes[0]
    assert found.alignment3d.volume_to_reference[0, 2] > 0
    truth, away = true_alignment(scene), []
    for t in drawn:
        h, w = t.pixels.shape[:2]
        points = np.array([[0.3 * w, 0.4 * h], [0.6 * w, 0.6 * h]])
        back = np.array([w - 1, h - 1]) - points
        number = top - t.section_number
        ours = places(found, number, number * thickness, back)
        away.append(np.linalg.norm(ours - places(truth, t.section_number, t.z_um, points), axis=1))
    assert np.median(away) < 60.0


def _turned(t: SectionThumbnail, angle: float) -> tuple[SectionThumbnail, np.ndarray]:
    """The section on a larger slide, turned by any angle; with the map from old to new pixels."""
    h, w = t.pixels.shape[:2]
    side = int(np.hypot(h, w)) + 2
    matrix = affine.rigid2d(angle, (0.5 * (side - w), 0.5 * (side - h)), (0.5 * (w - 1), 0.5 * (h - 1)))
    glass = tuple(float(v) for v in np.median(t.pixels[:3].reshape(-1, 3), axis=0))
    pixels = cv2.warpAffine(t.pixels, matrix, (side, side), borderValue=glass)
    return replace(t, pixels=pixels), matrix


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_sections_turned_each_by_its_own_angle_are_placed(
    plane: str, reference: ReferenceSpace, request: pytest.FixtureRequest
) -> None:
    scene, drawn = request.getfixturevalue(plane)
    rng = np.random.default_rng(5)
    turned = [_turned(t, float(rng.uniform(-180, 180))) for t in drawn]
    options = AlignmentOptions(plane_of_section=plane, hemisphere=scene.geometry.data_set.hemisphere)  # type: ignore[arg-type]
    found = align_series([t for t, _ in turned], reference, options)
    assert "a separate rotation for every section" in found.notes[0]
    truth, away = true_alignment(scene), []
    for t, (_, matrix) in zip(drawn, turned, strict=True):
        h, w = t.pixels.shape[:2]
        points = np.array([[0.3 * w, 0.4 * h], [0.6 * w, 0.6 * h]])
        ours = places(found, t.section_number, t.z_um, affine.apply(matrix, points))
        away.append(np.linalg.norm(ours - places(truth, t.section_number, t.z_um, points), axis=1))
    assert np.median(away) < 60.0
    assert np.max(away) < 300.0


def test_a_mirrored_sagittal_series_is_seen(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]], aligned: SeriesAlignment
) -> None:
    drawn = [replace(t, pixels=t.pixels[:, ::-1]) for t in sagittal[1]]
    found = align_series(drawn, reference, SAGITTAL)
    assert "the images contradict the manifest" in found.notes[0]
    assert "mirrored" in found.notes[0]
    w = drawn[4].pixels.shape[1]
    point = np.array([[0.4 * w, 40.0]])
    number, z = drawn[4].section_number, drawn[4].z_um
    ours = places(found, number, z, np.array([w - 1, 0.0]) + point * [-1.0, 1.0])
    assert ours == pytest.approx(places(aligned, number, z, point), abs=60.0)


def test_a_wrong_hint_is_overruled_and_reported(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]], aligned: SeriesAlignment
) -> None:
    wrong = replace(SAGITTAL, section_order="medial_to_lateral", image_up="inferior")
    found = align_series(sagittal[1], reference, wrong)
    assert "contradict the manifest's section_order medial_to_lateral, image_up inferior" in found.notes[0]
    number, z = sagittal[1][4].section_number, sagittal[1][4].z_um
    point = np.array([[90.0, 60.0]])
    assert places(found, number, z, point) == pytest.approx(places(aligned, number, z, point), abs=60.0)


def test_a_wrong_turn_of_single_sections_is_overruled_and_reported(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]], aligned: SeriesAlignment
) -> None:
    drawn = list(sagittal[1])
    drawn[3] = replace(drawn[3], rotate_deg=12.0)  # by eye: near enough
    drawn[4] = replace(drawn[4], rotate_deg=90.0)
    found = align_series(drawn, reference, SAGITTAL)
    (note,) = (n for n in found.notes if "rotate_deg" in n)
    number, z = drawn[4].section_number, drawn[4].z_um
    right = float(re.search(rf"\(section {number}: 90, found about (-?\d+)\)", note)[1])  # type: ignore[index]
    assert abs(right) <= 20
    point = np.array([[90.0, 60.0]])
    assert places(found, number, z, point) == pytest.approx(places(aligned, number, z, point), abs=60.0)


def test_hints_of_single_sections_are_honoured(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]], aligned: SeriesAlignment
) -> None:
    drawn = list(sagittal[1])
    drawn[2] = replace(drawn[2], pixels=np.rot90(drawn[2].pixels), rotate_deg=90.0)
    drawn[5] = replace(drawn[5], pixels=drawn[5].pixels[:, ::-1], flip="horizontal")
    found = align_series(drawn, reference, SAGITTAL)
    dets = [np.linalg.det(s.alignment2d.section_to_volume[:, :2]) for s in found.sections]
    assert [d < 0 for d in dets] == [k == 5 for k in range(9)]
    for k, back in ((2, lambda p, h, w: [p[1], w - 1 - p[0]]), (5, lambda p, h, w: [w - 1 - p[0], p[1]])):
        h, w = sagittal[1][k].pixels.shape[:2]
        for point in ([0.3 * w, 0.4 * h], [0.7 * w, 0.6 * h]):
            number, z = drawn[k].section_number, drawn[k].z_um
            ours = places(found, number, z, np.array([back(point, h, w)]))
            assert ours == pytest.approx(places(aligned, number, z, np.array([point])), abs=60.0)


def test_blank_and_failed_sections_come_back_as_failed_near_their_neighbours(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    drawn = list(sagittal[1])
    drawn[3] = replace(drawn[3], pixels=np.full_like(drawn[3].pixels, 240))
    drawn[6] = replace(drawn[6], failed=True)
    found = align_series(drawn, reference, SAGITTAL)
    assert [s.status is Status.FAIL for s in found.sections] == [k in (3, 6) for k in range(9)]
    away = errors_um(sagittal[0], found).reshape(9, -1)
    assert np.median(away) < 40.0
    assert np.median(away[[3, 6]]) < 800.0
    assert any("2 of 9 sections could not be placed" in note for note in found.notes)
    volume = reconstruct(drawn, found, 100.0)
    shown = np.isfinite(volume.stain).any(axis=(1, 2))
    assert shown.sum() == 7
    assert volume.stain[shown].shape[0] == 7


def test_a_section_with_a_piece_lost_stays_in_place(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    drawn = list(sagittal[1])
    pixels = drawn[4].pixels.copy()
    pixels[:, : pixels.shape[1] // 3] = 240
    drawn[4] = replace(drawn[4], pixels=pixels)
    found = align_series(drawn, reference, SAGITTAL)
    away = errors_um(sagittal[0], found).reshape(9, -1)
    assert np.median(away[4]) < 120.0
    assert found.sections[4].measures["dice"] < 0.9


def test_the_reconstructed_volume_lies_where_the_alignment_says(
    sagittal: tuple[Scene, list[SectionThumbnail]], aligned: SeriesAlignment
) -> None:
    volume = reconstruct(sagittal[1], aligned, 100.0)
    first = sagittal[1][0]
    assert volume.origin_um[2] == first.z_um
    stain = np.nan_to_num(volume.stain[0])
    y, x = np.unravel_index(np.argmax(stain), stain.shape)
    at = np.array(volume.origin_um[:2]) + 100.0 * np.array([x, y])
    section = aligned.of(first.section_number)
    assert section is not None
    px = affine.apply(section.alignment2d.volume_to_section, at)
    column, row = np.rint(px).astype(int)
    assert first.pixels[row - 1 : row + 2, column - 1 : column + 2].min() < 200


@pytest.mark.parametrize("name", sorted(ALIGNERS))
def test_every_aligner_keeps_to_the_interface(
    name: str, reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    found = align_series(sagittal[1], reference, replace(SAGITTAL, aligner=name))
    assert len(found.sections) == 9
    assert np.median(errors_um(sagittal[0], found)) < 250.0
    assert np.isfinite([list(s.measures.values()) for s in found.sections]).all()


def test_canonical_form_moves_nothing(reference: ReferenceSpace) -> None:
    atlas = atlas_of(reference, "coronal", "both")
    rng = np.random.default_rng(0)
    z = np.array([100.0, 400.0, 900.0])
    sections = rng.normal(size=(3, 2, 3)) + np.array([[60.0, 5.0, 10.0], [-4.0, 61.0, 20.0]])
    volume = np.array([[0.1, 0.05, -1.0, 5e3], [0.02, 1.1, 0.1, 30.0], [1.0, 0.1, 0.2, 60.0]])
    state = TransformState(sections, z, volume)
    upright = canonical(state, atlas)
    for k in range(3):
        assert upright.plane(k, np.eye(2, 3)) == pytest.approx(state.plane(k, np.eye(2, 3)))
    linear = upright.volume[:, :3]
    assert linear[:, 2] @ linear[:, :2] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert linear[2, 1] == pytest.approx(linear[1, 0])  # in the plane (r, i) no turn


def test_too_few_sections_are_counted_and_named(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    drawn = sagittal[1][:6]
    bad = [replace(drawn[0], failed=True), replace(drawn[1], pixels=np.full_like(drawn[1].pixels, 240))]
    numbers = [t.section_number for t in drawn[:2]]
    expected = rf"4 usable sections, needs at least 6; failed: {numbers[0]}; without tissue: {numbers[1]}"
    with pytest.raises(AlignmentError, match=expected):
        align_series([*bad, *drawn[2:]], reference, SAGITTAL)


def test_blank_series_and_double_numbers_are_refused(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    blank = [replace(t, pixels=np.full_like(t.pixels, 240)) for t in sagittal[1]]
    with pytest.raises(AlignmentError, match="no tissue found in any of the 9 sections"):
        align_series(blank, reference, SAGITTAL)
    with pytest.raises(AlignmentError, match="must be unique"):
        align_series([*sagittal[1], sagittal[1][0]], reference, SAGITTAL)
    with pytest.raises(ConfigError, match="unknown aligner 'magic'"):
        align_series(sagittal[1], reference, replace(SAGITTAL, aligner="magic"))


def test_a_reference_that_cannot_hold_the_tissue_is_named(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    large = [replace(t, resolution_um=3 * PIXEL_UM) for t in sagittal[1]]
    with pytest.raises(
        AlignmentError, match=r"mm2 of tissue in a section do not fit the reference.*resolution_um"
    ):
        align_series(large, reference, SAGITTAL)
    long = [replace(t, z_um=10 * t.z_um) for t in sagittal[1]]
    with pytest.raises(AlignmentError, match=r"um long, but the reference only .* um across.*thickness"):
        align_series(long, reference, SAGITTAL)
    stretched = [replace(t, z_um=2 * t.z_um) for t in sagittal[1]]
    with pytest.raises(AlignmentError, match=r"do not fit the sagittal planes.*scales"):
        align_series(stretched, reference, SAGITTAL)


def test_of_unusual_scales_no_section_passes(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    """A thickness that is thrice too large: where the fit stops inside the limits, all of it is doubtful."""
    stretched = [replace(t, z_um=3 * t.z_um) for t in sagittal[1]]
    found = align_series(stretched, reference, SAGITTAL)
    assert any("outside the usual range" in note for note in found.notes)
    assert {s.status for s in found.sections} <= {Status.CHECK, Status.FAIL}


def test_the_wrong_plane_is_refused_with_what_was_seen(
    reference: ReferenceSpace,
    sagittal: tuple[Scene, list[SectionThumbnail]],
    coronal: tuple[Scene, list[SectionThumbnail]],
) -> None:
    with pytest.raises(AlignmentError, match=r"declared coronal|do not fit the coronal planes"):
        align_series(sagittal[1], reference, AlignmentOptions())
    with pytest.raises(AlignmentError, match=r"declared sagittal|do not fit the sagittal planes"):
        align_series(coronal[1], reference, AlignmentOptions(plane_of_section="sagittal", hemisphere="left"))


def test_another_organ_is_refused(reference: ReferenceSpace) -> None:
    y, x = np.ogrid[:200, :260]
    rng = np.random.default_rng(0)
    drawn = []
    for k in range(7):
        tissue = np.zeros((200, 260), bool)
        for _ in range(5):
            cy, cx = rng.uniform(40, 160), rng.uniform(40, 220)
            tissue |= (y - cy) ** 2 + (x - cx) ** 2 < rng.uniform(10, 35) ** 2
        pixels = np.where(tissue, 170, 240) + rng.normal(0, 2, tissue.shape)
        number = 8 * k + 8
        drawn.append(SectionThumbnail(number, 25.0 * number, pixels.astype(np.uint8), PIXEL_UM, np.eye(2, 3)))
    with pytest.raises(AlignmentError, match="do not fit"):
        align_series(drawn, reference, CORONAL)
