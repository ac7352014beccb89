"""Deformed sections: against a plain evaluation, inverted, and folds found wherever they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.core.errors import AlignmentError, MissingResultError
from pipeline.core.model import Alignment2d, Alignment3d, Deformation, SectionAlignment, SeriesAlignment
from pipeline.formats.alignments.alignment_json import write_alignment
from pipeline.geometry import affine, deformation, sync
from pipeline.inputs.alignments import open_alignment, read_placement
from pipeline.report.frames import Thumbnail, reference_points
from pipeline.store.run import RunFolder, write_json

TO_VOLUME = affine.compose(affine.rigid2d(20.0, (-300.0, 900.0)), affine.scaling((2.0, 2.0)))


def smooth_field(seed: int, size_um: float, z_um: float = 0.0) -> Deformation:
    rng = np.random.default_rng(seed)
    raw = np.array([ndimage.gaussian_filter(rng.standard_normal((30, 40)), 4.0) for _ in range(3)])
    scale = np.array([size_um, size_um, z_um])[:, None, None]
    return Deformation((scale * raw / np.abs(raw).max()).astype(np.float32), 50.0, (-20.0, 10.0))


def placed(seed: int = 0, size_um: float = 300.0, z_um: float = 0.0, number: int = 8) -> SectionAlignment:
    return SectionAlignment(Alignment2d(number, TO_VOLUME), deformation=smooth_field(seed, size_um, z_um))


def pixels(seed: int = 1) -> np.ndarray:
    """Inside the lattice and far beyond it."""
    return np.random.default_rng(seed).uniform(-900.0, 2900.0, (500, 2))


def test_displacement_is_bilinear_and_clamped() -> None:
    section = placed(z_um=100.0)
    assert section.deformation is not None
    at = (pixels() - section.deformation.origin_px) / 50.0
    expected = [
        ndimage.map_coordinates(c.astype(float), at[:, ::-1].T, order=1, mode="nearest")
        for c in section.deformation.displacement_um
    ]
    found = deformation.displacement_at(section.deformation, pixels())
    np.testing.assert_allclose(found, np.transpose(expected), atol=1e-4)
    volume = deformation.section_to_volume(section, pixels(), 200.0)
    plane = np.column_stack([affine.apply(TO_VOLUME, pixels()), np.full(500, 200.0)])
    np.testing.assert_allclose(volume - plane, found, atol=1e-9)


def test_the_inverse_is_exact() -> None:
    for seed in range(4):
        section = placed(seed, z_um=150.0)
        assert deformation.least_jacobian(section.alignment2d, section.deformation) > 0.1  # type: ignore[arg-type]
        volume = deformation.section_to_volume(section, pixels(), 200.0)
        back, offset = deformation.volume_to_section(section, volume, 200.0)
        np.testing.assert_allclose(back, pixels(), atol=1e-4)
        np.testing.assert_allclose(offset, 0.0, atol=1e-3)


def test_folds_are_found() -> None:
    """One node pushed past its neighbour folds the map; the same push within its cell does not."""
    for push, folds in ((90.0, False), (110.0, True)):
        nodes = np.zeros((3, 9, 9), np.float32)
        nodes[0, 4, 4] = push
        field = Deformation(nodes, 100.0)
        least = deformation.least_jacobian(Alignment2d(0, np.eye(2, 3)), field)
        assert (least <= 0) == folds
        fine = np.stack(np.meshgrid(np.linspace(250, 550, 301), np.linspace(250, 550, 301)), axis=-1)
        x = fine + deformation.displacement_at(field, fine.reshape(-1, 2))[:, :2].reshape(fine.shape)
        assert ((np.diff(x[..., 0], axis=1) <= 0).any()) == folds


def test_a_mirrored_section_does_not_count_as_folded() -> None:
    mirrored = affine.compose(TO_VOLUME, affine.scaling((-1.0, 1.0)))
    assert deformation.least_jacobian(Alignment2d(0, mirrored), smooth_field(0, 200.0)) > 0


def test_the_section_that_passes_nearest_answers() -> None:
    """Sections bent along z: the nearest surface wins, found by trying every one."""
    sections = [placed(k, 100.0, 140.0, number) for k, number in enumerate((8, 16, 24, 32))]
    z_um = np.array([200.0, 400.0, 600.0, 800.0])
    rng = np.random.default_rng(0)
    at = deformation.section_to_volume(sections[1], rng.uniform(0, 1500, (300, 2)), 0.0)
    volume = np.column_stack([at[:, :2], rng.uniform(100.0, 900.0, 300)])
    index, points = deformation.nearest_section(sections, z_um, volume)
    every = [deformation.volume_to_section(s, volume, z) for s, z in zip(sections, z_um, strict=True)]
    offsets = np.abs([offset for _, offset in every])
    assert (index != np.abs(volume[:, 2:] - z_um).argmin(axis=1)).any()
    np.testing.assert_array_equal(index, offsets.argmin(axis=0))
    np.testing.assert_array_equal(points, np.array([p for p, _ in every])[index, np.arange(300)])


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=8, unique=True),
    st.sampled_from((0.0, 40.0, 200.0)),
    st.lists(st.floats(-100.0, 1700.0), min_size=1, max_size=20),
)
def test_the_nearest_section_is_that_of_trying_every_one(
    numbers: list[int], bend: float, at: list[float]
) -> None:
    sections = [placed(k, 30.0, bend, number) for k, number in enumerate(sorted(numbers))]
    z_um = 25.0 * np.array(sorted(numbers))
    volume = np.column_stack([np.full(len(at), 4000.0), np.full(len(at), 3000.0), at])
    index, points = deformation.nearest_section(sections, z_um, volume)
    every = [deformation.volume_to_section(s, volume, z) for s, z in zip(sections, z_um, strict=True)]
    offsets = np.abs([offset for _, offset in every])
    best = offsets.argmin(axis=0)
    np.testing.assert_allclose(offsets[index, range(len(at))], offsets[best, range(len(at))], atol=1e-9)
    np.testing.assert_allclose(points, np.array([p for p, _ in every])[index, range(len(at))], atol=1e-9)


def series() -> SeriesAlignment:
    tvr = np.array([[0.02, 0.03, -0.99, 13400.0], [0.02, 1.2, 0.03, -2600.0], [1.06, -0.02, 0.016, -1000.0]])
    sections = tuple(placed(k, 200.0, 60.0, n) for k, n in enumerate((8, 16, 24)))
    return SeriesAlignment(Alignment3d(9, tvr), sections, deformable="volume")


def test_sync_follows_the_deformation_both_ways() -> None:
    geometry = sync.geometry_of(1, 25.0, series())
    points = np.random.default_rng(3).uniform(100.0, 1300.0, (200, 2))
    reference = sync.image_to_reference(geometry, 16, points)
    numbers, back = sync.reference_to_image(geometry, reference)
    assert (numbers == 16).all()
    np.testing.assert_allclose(back, points, atol=1e-3)
    again = sync.image_to_reference(geometry, 16, back)
    np.testing.assert_allclose(again, reference, atol=1e-2)
    straight = sync.SyncGeometry(1, 25.0, geometry.alignment3d, geometry.alignments2d)
    assert np.linalg.norm(sync.image_to_reference(straight, 16, points) - reference, axis=1).max() > 50.0


def test_a_run_finds_its_deformations_by_itself(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_alignment(tmp_path / "alignment.json", series())
    write_json(tmp_path / "section_data_set.json", {"id": 1, "section_thickness_um": 25.0})
    with pytest.raises(MissingResultError, match=r"deformation\.zarr"):
        read_placement(run)
    fields = {s.alignment2d.section_number: s.deformation for s in series().sections}
    run.write_deformations(fields, "digest")  # type: ignore[arg-type]
    points = np.array([[300.0, 400.0]])
    found = sync.image_to_reference(open_alignment(tmp_path), 16, points)
    expected = sync.image_to_reference(sync.geometry_of(1, 25.0, series()), 16, points)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_pages_outlines_lie_where_sync_puts_them() -> None:
    section = series().sections[1]
    pixels = np.zeros((12, 16), np.uint8)
    thumbnail = Thumbnail(pixels, pixels == 0, reduce=25, factor=4, resolution_um=1.0)
    drawn = reference_points(thumbnail, section, series().alignment3d, 400.0)
    at = affine.apply(thumbnail.to_section, [[7.0, 5.0]])
    geometry = sync.geometry_of(1, 25.0, series())
    np.testing.assert_allclose(drawn[5, 7], sync.image_to_reference(geometry, 16, at)[0], atol=1e-9)


def test_what_is_no_deformation_is_refused() -> None:
    with pytest.raises(AlignmentError, match="finite"):
        Deformation(np.full((3, 4, 4), np.nan, np.float32), 10.0)
    with pytest.raises(AlignmentError, match=r"\(2, 4, 4\)"):
        Deformation(np.zeros((2, 4, 4), np.float32), 10.0)
