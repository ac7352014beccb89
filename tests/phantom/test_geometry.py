"""Where sections lie: Allen's conventions, any resolution, the real geometry of a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import ConfigError
from pipeline.core.model import Bool, Float64, SectionImage
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.manifests.allen_xml import read_data_set_xml
from pipeline.formats.manifests.source import SeriesSource
from pipeline.geometry import affine
from pipeline.phantom import (
    Cut,
    SeriesGeometry,
    coronal_geometry,
    drawn,
    geometry_from,
    phantom_reference,
    reversed_numbers,
    sagittal_geometry,
    turned,
    with_margin,
)
from pipeline.phantom.cut import labels_at
from pipeline.sections.scan import valid_region


@pytest.fixture(scope="module")
def brain() -> ReferenceSpace:
    return phantom_reference(100.0)


def to_reference(geometry: SeriesGeometry, image: SectionImage, pixels: Float64) -> Float64:
    """Map drawn pixels by the known alignment, one matrix after the other."""
    xy = affine.apply(geometry.drawn_to_volume(image), pixels)
    z = np.full(len(xy), geometry.data_set.z_um(image.section_number))
    return affine.apply(geometry.alignment.alignment3d.volume_to_reference, np.column_stack([xy, z]))


def middle(geometry: SeriesGeometry, image: SectionImage) -> Float64:
    width, height = geometry.size_px(image)
    return to_reference(geometry, image, np.array([[width / 2, height / 2]]))[0]


def seen(brain: ReferenceSpace, geometry: SeriesGeometry, image: SectionImage) -> Float64:
    width, height = geometry.size_px(image)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return labels_at(brain, to_reference(geometry, image, np.column_stack([x.ravel(), y.ravel()]))) > 0


def test_sagittal_series_is_the_left_hemisphere_from_lateral_to_medial(brain: ReferenceSpace) -> None:
    geometry = sagittal_geometry(brain, 20, 40.0)
    data_set = geometry.data_set
    centres = np.array([middle(geometry, image) for image in data_set.section_images])
    assert data_set.plane_of_section == "sagittal"
    assert data_set.reference_space_id == 10
    assert data_set.spacing_um == 200.0
    assert (np.diff(centres[:, 2]) > 150).all()
    assert (centres[:, 2] < 5700).all()
    turn = geometry.alignment.alignment3d.volume_to_reference[:, :3]
    assert np.array_equal(np.abs(turn).argmax(axis=0), [0, 1, 2])
    assert (np.diag(turn) > 0.9).all()


def test_coronal_series_runs_from_caudal_to_rostral(brain: ReferenceSpace) -> None:
    geometry = coronal_geometry(brain, 30, 60.0)
    centres = np.array([middle(geometry, image) for image in geometry.data_set.section_images])
    assert geometry.data_set.reference_space_id == 9
    assert (np.diff(centres[:, 0]) < -150).all()
    turn = geometry.alignment.alignment3d.volume_to_reference[:, :3]
    assert np.array_equal(np.abs(turn).argmax(axis=0), [2, 1, 0])
    assert turn[2, 0] > 0.9
    assert turn[0, 2] < -0.9


@pytest.mark.parametrize("cut", [sagittal_geometry, coronal_geometry])
def test_frames_hold_the_tissue_and_matrices_are_rigid(
    brain: ReferenceSpace, cut: Callable[..., SeriesGeometry]
) -> None:
    geometry = cut(brain, 6, 50.0, seed=4)
    for image in geometry.data_set.section_images:
        width, height = geometry.size_px(image)
        tissue = seen(brain, geometry, image).reshape(height, width)
        assert tissue.any()
        border = np.concatenate([tissue[0], tissue[-1], tissue[:, 0], tissue[:, -1]])
        assert not border.any()
        linear = geometry.drawn_to_volume(image)[:, :2] / 50.0
        assert np.allclose(linear @ linear.T, np.eye(2))
        assert np.linalg.det(linear) > 0


def test_too_many_sections_are_cut_closer(brain: ReferenceSpace) -> None:
    assert sagittal_geometry(brain, 40, 100.0).data_set.spacing_um == 100.0
    assert coronal_geometry(brain, 100, 100.0).data_set.spacing_um == 100.0
    with pytest.raises(ConfigError, match="at least one"):
        sagittal_geometry(brain, 0)


def test_interleaved_series_share_a_volume(brain: ReferenceSpace) -> None:
    one = coronal_geometry(brain, 20, 60.0, 1, Cut(first_number=10, brain_seed=5))
    two = coronal_geometry(brain, 20, 60.0, 2, Cut(first_number=11, brain_seed=5))
    first, second = (g.alignment.alignment3d.volume_to_reference for g in (one, two))
    assert np.array_equal(first, second)
    assert one.data_set.specimen == two.data_set.specimen
    assert two.data_set.section_images[0].section_number == 11


def test_reversed_numbers_show_the_same_places(brain: ReferenceSpace) -> None:
    geometry = sagittal_geometry(brain, 5, 60.0)
    other = reversed_numbers(geometry)
    numbers = [image.section_number for image in other.data_set.section_images]
    assert numbers == sorted(numbers)
    assert other.data_set.section_order == "medial_to_lateral"
    assert other.alignment.alignment3d.volume_to_reference[2, 2] < 0
    images = geometry.data_set.section_images
    for image, twin in zip(images, reversed(other.data_set.section_images), strict=True):
        assert np.allclose(middle(geometry, image), middle(other, twin))


def test_margin_moves_no_pixel(brain: ReferenceSpace) -> None:
    geometry = sagittal_geometry(brain, 3, 60.0)
    wide = with_margin(geometry, 1000.0)
    image, larger = geometry.data_set.section_images[1], wide.data_set.section_images[1]
    pad = (larger.width_px - image.width_px) // 2
    assert pad == 17
    at = np.array([[30.0, 40.0]])
    assert np.allclose(to_reference(geometry, image, at), to_reference(wide, larger, at + pad))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_turned_pictures_show_the_same_places(
    brain: ReferenceSpace, quarter_turns: int, mirrored: bool
) -> None:
    geometry = sagittal_geometry(brain, 2, 80.0)
    other = turned(geometry, quarter_turns, mirrored=mirrored)
    image, twin = geometry.data_set.section_images[1], other.data_set.section_images[1]
    picture = seen(brain, geometry, image).reshape(image.height_px, image.width_px)
    expected = np.rot90(picture[:, ::-1] if mirrored else picture, -quarter_turns)
    assert np.array_equal(seen(brain, other, twin).reshape(twin.height_px, twin.width_px), expected)
    assert (np.linalg.det(other.drawn_to_volume(twin)[:, :2]) < 0) == mirrored


BOX, DARK = (20.0, 30.0, 61.0, 40.0), ((30.0, 40.0), (50.0, 40.0), (50.0, 47.0), (30.0, 47.0))


def marked(geometry: SeriesGeometry) -> SeriesGeometry:
    """The series with a tissue box and a dark rectangle in every section."""
    images = tuple(
        replace(image, tissue_box_px=BOX, dark_polygons_px=(DARK,))
        for image in geometry.data_set.section_images
    )
    return replace(geometry, data_set=replace(geometry.data_set, section_images=images))


def counted(geometry: SeriesGeometry) -> Bool:
    """Which pixels of the second section count."""
    image = geometry.data_set.section_images[1]
    shape = (image.height_px, image.width_px)
    return valid_region(shape, image.tissue_box_px, image.dark_polygons_px, None)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_box_and_dark_polygons_turn_with_the_picture(
    brain: ReferenceSpace, quarter_turns: int, mirrored: bool
) -> None:
    geometry = marked(sagittal_geometry(brain, 2, 80.0))
    before = counted(geometry)
    assert before.sum() == 61 * 40 - 21 * 8
    after = counted(turned(geometry, quarter_turns, mirrored=mirrored))
    assert np.array_equal(after, np.rot90(before[:, ::-1] if mirrored else before, -quarter_turns))


def test_box_and_dark_polygons_shift_with_a_margin(brain: ReferenceSpace) -> None:
    geometry = marked(sagittal_geometry(brain, 2, 80.0))
    assert np.array_equal(counted(with_margin(geometry, 400.0)), np.pad(counted(geometry), 5))


def test_box_and_dark_polygons_scale_with_the_pixels(brain: ReferenceSpace) -> None:
    geometry = marked(sagittal_geometry(brain, 2, 80.0))
    scaled = geometry_from(geometry.data_set, geometry.alignment, 100.0)
    old, new = geometry.data_set.section_images[1], scaled.data_set.section_images[1]
    (dark,) = new.dark_polygons_px
    places = to_reference(geometry, old, np.array(DARK)), to_reference(scaled, new, np.array(dark))
    assert np.allclose(*places)
    # The edges lie half a pixel before the centres; they are rounded to 1/16 px.
    assert new.tissue_box_px == pytest.approx((16.1, 24.1, 48.8, 32.0), abs=1 / 16)


@pytest.mark.parametrize("left", range(20))
def test_a_box_to_the_edge_never_leaves_the_scaled_frame(brain: ReferenceSpace, left: int) -> None:
    geometry = sagittal_geometry(brain, 1, 80.0)
    (image,) = geometry.data_set.section_images
    box = (float(left), 0.0, float(image.width_px - left), float(image.height_px))
    data_set = replace(geometry.data_set, section_images=(replace(image, tissue_box_px=box),))
    (scaled,) = geometry_from(data_set, geometry.alignment, 100.0).data_set.section_images
    assert scaled.tissue_box_px is not None
    x, y, width, height = scaled.tissue_box_px
    assert (x + width, y + height) == (scaled.width_px, scaled.height_px)  # the reader refuses more


def test_real_geometry_at_a_quarter_and_at_any_resolution(ish_data: Path) -> None:
    source = read_data_set_xml(ish_data / "ish/prox1_69289763/data_set.xml")
    assert source.alignment is not None
    quarter = geometry_from(source.data_set, source.alignment, 4.196)
    image = next(i for i in quarter.data_set.section_images if i.section_number == 70)
    assert quarter.factor == 4
    assert quarter.size_px(image) == (2980, 1888)
    coarse = geometry_from(source.data_set, source.alignment, 17.0)
    small = next(i for i in coarse.data_set.section_images if i.section_number == 70)
    assert coarse.factor == 1
    assert coarse.resolution_um(small) == 17.0
    odd = geometry_from(source.data_set, source.alignment, 13.0)
    third = next(i for i in odd.data_set.section_images if i.section_number == 70)
    assert odd.factor == 1
    assert odd.resolution_um(third) == 13.0
    full = np.array([[4000.0, 3000.0]])
    for geometry, shown in ((quarter, image), (coarse, small), (odd, third)):
        scale = image.resolution_um / geometry.resolution_um(shown)
        assert np.allclose(to_reference(geometry, shown, full * scale), _served(source, full), atol=1e-6)
    own = drawn(quarter)
    assert own.factor == 1
    assert own.size_px(own.data_set.section_images[0]) == quarter.size_px(quarter.data_set.section_images[0])


def _served(source: SeriesSource, full: Float64) -> Float64:
    assert source.alignment is not None
    section = source.alignment.of(70)
    assert section is not None
    xy = affine.apply(section.alignment2d.section_to_volume, full)
    z = source.data_set.z_um(70)
    return affine.apply(source.alignment.alignment3d.volume_to_reference, np.append(xy[0], z))


def test_geometry_needs_an_alignment(brain: ReferenceSpace) -> None:
    geometry = sagittal_geometry(brain, 2, 60.0)
    empty = replace(geometry.alignment, sections=())
    with pytest.raises(ConfigError, match="aligned"):
        geometry_from(geometry.data_set, empty, 60.0)
