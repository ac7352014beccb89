"""Rendered sections: the truth is true, and every option does what it says and nothing else."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import MIDLINE_UM, Float64
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry import affine
from pipeline.phantom import (
    GridExpression,
    RenderedSection,
    RenderOptions,
    Scene,
    SeriesGeometry,
    StructureExpression,
    build_scene,
    phantom_reference,
    pixel_map,
    render_section,
    sagittal_geometry,
    true_alignment,
)
from pipeline.phantom.cut import labels_at
from pipeline.phantom.stain import LUMA

INDEX = 4
CLEAN = RenderOptions(seed=2, noise=0, faint_cells=0)


@cache
def brain() -> ReferenceSpace:
    return phantom_reference(50.0)


@cache
def geometry() -> SeriesGeometry:
    return sagittal_geometry(brain(), 8, 16.0, seed=1)


@cache
def scene(**changes: Any) -> Scene:
    return build_scene(brain(), geometry(), options=replace(CLEAN, **changes))


@cache
def section(index: int = INDEX, **changes: Any) -> RenderedSection:
    return render_section(scene(**changes), index)


def darkness(rendered: RenderedSection) -> Float64:
    return np.asarray(255 - rendered.pixels @ LUMA)


def all_places(rendered: RenderedSection) -> Float64:
    height, width = rendered.truth.tissue.shape
    y, x = np.mgrid[:height, :width]
    return rendered.truth.pixel_map.to_reference(np.column_stack([x.ravel(), y.ravel()]))


def labels_of(rendered: RenderedSection) -> Any:
    return labels_at(brain(), all_places(rendered)).reshape(rendered.truth.tissue.shape)


def test_same_seed_same_pixels_other_seed_others() -> None:
    noisy = RenderOptions(seed=5, texture=0.2, warp_um=40, shape_um=60, dust=5, bubbles=1, tears=1, losses=1)
    first, again = (render_section(build_scene(brain(), geometry(), options=noisy), INDEX) for _ in range(2))
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.truth.pixel_map.nodes, again.truth.pixel_map.nodes)
    other = render_section(build_scene(brain(), geometry(), options=replace(noisy, seed=6)), INDEX)
    assert not np.array_equal(first.truth.expressing, other.truth.expressing)


def test_without_extras_the_given_alignment_is_the_truth() -> None:
    image = geometry().data_set.section_images[INDEX]
    pixels = np.random.default_rng(0).uniform(0, [image.width_px, image.height_px], (500, 2))
    xy = affine.apply(geometry().drawn_to_volume(image), pixels)
    volume = np.column_stack([xy, np.full(len(xy), geometry().data_set.z_um(image.section_number))])
    given = affine.apply(geometry().alignment.alignment3d.volume_to_reference, volume)
    assert np.abs(pixel_map(scene(), image).to_reference(pixels) - given).max() < 1e-6


def test_extra_pose_is_in_the_true_alignment_but_not_in_the_given_one() -> None:
    posed = scene(extra_rotation_deg=4.0, extra_shift_um=150.0)
    truth = true_alignment(posed)
    assert posed.geometry.alignment is geometry().alignment
    angles = []
    for image in posed.images:
        aligned, given = truth.of(image.section_number), geometry().alignment.of(image.section_number)
        assert aligned is not None
        assert given is not None
        pixels = np.array([[10.0, 20.0], [600.0, 300.0]])
        xy = affine.apply(aligned.alignment2d.section_to_volume, pixels)
        z = posed.geometry.data_set.z_um(image.section_number)
        mapped = affine.apply(truth.alignment3d.volume_to_reference, np.column_stack([xy, [z, z]]))
        assert np.abs(pixel_map(posed, image).to_reference(pixels) - mapped).max() < 1e-6
        turn = affine.compose(
            aligned.alignment2d.section_to_volume, affine.invert(given.alignment2d.section_to_volume)
        )
        angles.append(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))
    assert 1.0 < np.abs(angles).max() <= 4.0
    assert len(set(np.round(angles, 6))) == len(angles)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"extra_rotation_deg": 8.0, "extra_shift_um": 300.0},
        {"warp_um": 80.0},
        {"shape_um": 150.0},
        {"extra_rotation_deg": 180.0, "warp_um": 60.0, "shape_um": 100.0},
    ],
    ids=lambda changes: "+".join(changes) or "plain",
)
def test_a_bright_landmark_lies_where_the_truth_says(changes: dict[str, float]) -> None:
    """Only the granule layer expresses: what the picture shows dark must map into that structure."""
    options = replace(CLEAN, **changes)  # type: ignore[arg-type]
    only = build_scene(brain(), geometry(), StructureExpression({"DG-sg": 150.0}), options)
    shown = render_section(only, INDEX)
    dark = darkness(shown) > 150
    assert dark.sum() > 30
    layer = np.argwhere(brain().mask(["DG-sg"])) * 50.0
    places = all_places(shown)[dark.ravel()]
    nearest = np.array([np.abs(layer - place).max(axis=1).min() for place in places])
    assert (nearest <= 75.0).all(), "within the blur of one voxel and a cell"


def test_warp_and_shape_have_the_length_asked_for() -> None:
    image = geometry().data_set.section_images[INDEX]
    plain = pixel_map(scene(), image).nodes
    warped = pixel_map(scene(warp_um=60.0), image).nodes
    assert np.sqrt(np.square(warped - plain).sum(axis=-1).mean()) == pytest.approx(60.0, rel=0.1)
    normal = geometry().alignment.alignment3d.reference_to_volume[2, :3]
    assert np.abs((warped - plain) @ normal).max() < 1e-6, "a warp stays in its plane"
    shifts = [pixel_map(scene(shape_um=120.0), i).nodes - pixel_map(scene(), i).nodes for i in scene().images]
    length = np.sqrt(np.mean([np.square(s).sum(axis=-1).mean() for s in shifts]))
    assert 60.0 < length < 260.0, "120 um over the whole brain"
    assert np.abs(np.concatenate([(s @ normal).ravel() for s in shifts])).max() > 20.0


def test_series_of_one_specimen_share_its_shape() -> None:
    image = geometry().data_set.section_images[INDEX]
    one, two = (scene(seed=s, specimen_seed=9, shape_um=100.0) for s in (3, 4))
    assert np.array_equal(pixel_map(one, image).nodes, pixel_map(two, image).nodes)
    assert not np.array_equal(one.volume.darkness, two.volume.darkness)


def test_structure_sums_are_those_of_the_labels_and_masks() -> None:
    shown = section()
    labels, truth = labels_of(shown), shown.truth
    left = all_places(shown)[:, 2].reshape(labels.shape) < MIDLINE_UM
    for side, half in enumerate((left, ~left)):
        found = dict(zip(scene().ids.tolist(), truth.structures.sum_pixels[side], strict=True))
        for label, count in zip(*np.unique(labels[half], return_counts=True), strict=True):
            assert found[int(label)] == count
    assert truth.structures.sum_pixels.sum() == labels.size
    assert truth.structures.sum_expressing_pixels.sum() == truth.expressing.sum()
    measured = darkness(shown)[truth.expressing].sum()
    assert truth.structures.sum_expressing_pixel_intensity.sum() == pytest.approx(measured, rel=0.01)
    assert truth.structures.sum_pixel_intensity.sum() == pytest.approx(darkness(shown).sum(), rel=0.01)
    assert np.array_equal(truth.tissue, labels > 0)


def test_energy_of_a_grid_comes_out() -> None:
    """Two levels of energy along P; both are found again in 200 um voxels of solid tissue."""
    wanted = np.full((67, 41, 58), 4.0, np.float32)
    wanted[35:] = 30.0
    wanted[:, :10] = -1
    cut = sagittal_geometry(brain(), 3, 8.0, seed=1)
    made = build_scene(brain(), cut, GridExpression(wanted), CLEAN)
    voxels = render_section(made, 1).truth.voxels
    solid = (voxels.sum_pixels > 300) & (brain().grid_labels() > 0)
    for level, where in ((4.0, slice(0, 33)), (30.0, slice(37, 67))):
        part = np.zeros_like(solid)
        part[where, 14:34] = solid[where, 14:34]
        energy = voxels.sum_expressing_pixel_intensity[part].sum() / voxels.sum_pixels[part].sum()
        assert energy == pytest.approx(level, rel=0.12)
    assert voxels.sum_expressing_pixels[:, :8].sum() == 0


def test_energy_per_structure_comes_out() -> None:
    made = build_scene(
        brain(),
        sagittal_geometry(brain(), 3, 8.0, seed=1),
        StructureExpression({"CB": 12.0, "TH": 3.0}),
        CLEAN,
    )
    sums = render_section(made, 2).truth.structures
    for name, energy in (("TH", 3.0), ("CB", 12.0), ("OLF", 0.0)):
        inside = np.isin(made.ids, list(brain().ontology.descendants(brain().ontology.find(name).id)))
        found = sums.map(lambda array, inside=inside: array[:, inside].sum()[None]).energy[0]  # type: ignore[misc]
        assert found == pytest.approx(energy, rel=0.12, abs=0.02)


def test_sense_control_expresses_nothing() -> None:
    assert not section(sense=True).truth.expressing.any()
    assert section(sense=True, faint_cells=1.0).truth.structures.sum_expressing_pixels.sum() == 0
    assert section().truth.expressing.any()


def test_expressing_cells_are_darker_than_their_surroundings() -> None:
    with_cells, without = darkness(section()), darkness(section(sense=True))
    added = (with_cells - without)[section().truth.expressing]
    assert added.min() > 0.5 * 55 - 2
    assert added.max() < 152
    faint = darkness(section(sense=True, faint_cells=1.0)) - without
    assert 2 < faint.max() < 40
    assert (faint > 2).mean() > 0.01


def test_tissue_is_as_dark_as_real_tissue() -> None:
    found = []
    for seed in range(4):
        shown = section(seed=seed, faint_cells=1.0, noise=2.0)
        found.append(darkness(shown)[shown.truth.tissue].mean())
        assert 9 < darkness(shown)[~shown.truth.tissue].mean() < 26
    assert np.mean(found) == pytest.approx(49.0, abs=8.0)


def test_stain_does_not_follow_the_template() -> None:
    reference = brain()
    assert reference.template is not None
    correlations = []
    for seed in range(6):
        stained = scene(seed=seed).volume
        picture = stained.darkness[stained.labels[::4, ::4, ::4]]
        inside = stained.labels[::4, ::4, ::4] > 0
        template = reference.template[::4, ::4, ::4]
        correlations.append(np.corrcoef(picture[inside], template[inside])[0, 1])
    assert np.ptp(correlations) > 0.2
    assert abs(np.mean(correlations)) < 0.35


def test_stain_gain_differs_from_section_to_section() -> None:
    ratios = []
    for index in (2, 4, 6):
        plain, gained = (darkness(section(index, sense=True, **c)) for c in ({}, {"stain_gain": 0.4}))
        tissue, glass = section(index).truth.tissue, np.median(plain[~section(index).truth.tissue])
        ratios.append(((gained - glass)[tissue].mean()) / ((plain - glass)[tissue].mean()))
        assert np.median(gained[~tissue]) == pytest.approx(glass, abs=0.5)
    assert np.ptp(ratios) > 0.05
    assert all(0.55 < r < 1.45 for r in ratios)


def test_texture_has_the_size_asked_for_inside_structures() -> None:
    plain, textured = (darkness(section(sense=True, **c)) for c in ({}, {"texture": 0.25}))
    glass = np.median(plain[~section().truth.tissue])
    inside = section().truth.tissue & (plain > glass + 12)
    factor = (textured - glass)[inside] / (plain - glass)[inside]
    assert factor.std() == pytest.approx(0.25, abs=0.07)
    assert factor.mean() == pytest.approx(1.0, abs=0.08)


def test_uneven_light_gain_and_gamma() -> None:
    plain = 255 - darkness(section(sense=True))
    uneven = (255 - darkness(section(sense=True, uneven_light=0.08))) / plain
    assert uneven.min() == pytest.approx(0.92, abs=0.02)
    assert uneven.max() <= 1.09
    toned = 255 - darkness(section(sense=True, light_gain=0.9, gamma=1.1))
    assert np.abs(toned - 255 * (0.9 * plain / 255) ** 1.1).max() < 2.5


def test_noise_is_as_strong_as_asked_for() -> None:
    noise = darkness(section(noise=3.0)) - darkness(section())
    assert noise.std() == pytest.approx(3.0, rel=0.05)


def test_missing_sections_are_named_and_counted() -> None:
    lost = scene(missing=0.25).missing
    assert len(lost) == 2
    assert lost <= {image.section_number for image in geometry().data_set.section_images}
    assert scene().missing == frozenset()


@pytest.mark.parametrize(
    ("option", "code"), [("losses", 1), ("tears", 1), ("bubbles", 2), ("dust", 3), ("folds", 4)]
)
def test_artifacts_are_seen_and_marked(option: str, code: int) -> None:
    plain = section(sense=True)
    spoilt = next(
        s for s in (section(i, sense=True, **{option: 4.0}) for i in (4, 5, 6)) if s.truth.artifacts.any()
    )
    index = {image.section_number: k for k, image in enumerate(scene().images)}[spoilt.section_number]
    plain = section(index, sense=True)
    marked = spoilt.truth.artifacts == code
    assert marked.any()
    assert set(np.unique(spoilt.truth.artifacts)) == {0, code}
    difference = np.abs(darkness(spoilt) - darkness(plain))
    assert difference[spoilt.truth.artifacts == 0].max() < 1.0, "nothing changes where nothing is marked"
    assert np.median(difference[marked & plain.truth.tissue]) > 5
    assert np.array_equal(plain.truth.tissue & (spoilt.truth.artifacts != 1), spoilt.truth.tissue)


def test_in_folds_the_densities_of_two_or_three_layers_add_up() -> None:
    plain, folded = section(sense=True), section(sense=True, folds=6.0)
    where = folded.truth.artifacts == 4
    glass = np.median((255 - darkness(plain))[~plain.truth.tissue])
    once, through = (np.log10(glass / (255 - darkness(s)[where])) for s in (plain, folded))
    assert where.sum() > 100
    assert 1.5 < np.median(through / np.maximum(once, 0.01)) < 3.5
    assert np.array_equal(folded.truth.expressing, plain.truth.expressing)


def test_bands_express_solidly_and_are_part_of_the_truth() -> None:
    plain, banded = section(), section(bands=3.0)
    where = banded.truth.expressing & (darkness(banded) - darkness(section(sense=True)) > 1)
    where &= ~plain.truth.expressing
    added = (darkness(banded) - darkness(section(sense=True)))[where]
    assert where.sum() > 500
    assert np.median(added) > 58
    assert added.max() < 152
    assert not (where & ~plain.truth.tissue).any()
    assert banded.truth.structures.sum_expressing_pixels.sum() == banded.truth.expressing.sum()


def test_lost_tissue_holds_no_cells() -> None:
    spoilt = section(losses=6.0, tears=3.0)
    gone = (spoilt.truth.artifacts == 1) & section().truth.tissue
    assert gone.sum() > 100
    assert (spoilt.truth.expressing & gone).sum() < 0.02 * gone.sum()
    assert spoilt.truth.structures.sum_pixels.sum() == spoilt.truth.tissue.size


@pytest.mark.parametrize(
    "changes",
    [
        {"missing": 1.5},
        {"noise": -1.0},
        {"gamma": 0.0},
        {"uneven_light": 0.9},
        {"seed": -1},
        {"seed": 1.5},
        {"texture": "much"},
        {"sense": 1},
        {"warp_um": float("nan")},
    ],
)
def test_refuses_absurd_options(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        RenderOptions(**changes)


def test_refuses_a_section_or_grid_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="0 to 7"):
        render_section(scene(), 8)
    with pytest.raises(DataError, match="67"):
        GridExpression(np.zeros((3, 3, 3), np.float32))
    with pytest.raises(DataError, match="XYZ"):
        build_scene(brain(), geometry(), StructureExpression({"XYZ": 1.0}))
