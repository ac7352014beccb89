"""symmetrise: the midline of a brain of known place, and a result that mirrors itself exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from brains import MIDDLE_UM, ONTOLOGY, SHAPE, UM, brain, places, write_reference
from hypothesis import given, strategies
from scipy import ndimage
from scipy.spatial.transform import Rotation

from pipeline.atlas_building import average, symmetrise
from pipeline.atlas_building.displacement import Displacement, determinants
from pipeline.atlas_building.halfway import Stage, antisymmetric, halfway_warp
from pipeline.atlas_building.midline import MidlinePlane, find_plane, find_surface
from pipeline.atlas_building.mirroring import mirrored_labels, mirrored_template
from pipeline.atlas_building.sources import open_annotation, open_volume, tissue_mask
from pipeline.atlas_building.straightening import find_midline
from pipeline.core.errors import ConfigError, DataError
from pipeline.formats.volumes.nrrd_writer import read_vectors, write_nrrd
from pipeline.formats.volumes.volume_files import Volume, read_volume
from pipeline.inputs.references import read_reference

CENTRE = np.array([4300.0, 3500.0, MIDDLE_UM])


def placed(turn: tuple[float, float, float], shift: tuple[float, float, float], bend_um: float = 0.0):  # type: ignore[no-untyped-def]
    """Return grey, labels and R of each voxel in the brain's own frame, of a turned, shifted, bent brain."""
    rotation = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    own = (places() - CENTRE - np.array(shift)) @ rotation + CENTRE
    own[..., 2] += bend_um * np.sin(own[..., 0] / 1500.0)
    return *brain(own), own[..., 2]


def off_midline(midline: dict, own_r: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Return how far the surface of a midline.json lies from the true midline, um, where there is tissue."""
    surface = midline["surface"]
    p, i = np.meshgrid(surface["p_um"], surface["i_um"], indexing="ij")
    at = np.stack([p, i, np.array(surface["r_um"])]) / UM
    tissue = ndimage.map_coordinates((own_r * 0 + 1.0), at, order=1) > 0.9
    inside = ((p - CENTRE[0]) / 2800.0) ** 2 + ((i - CENTRE[1]) / 2000.0) ** 2 < 1
    return np.abs(ndimage.map_coordinates(own_r, at, order=1) - MIDDLE_UM)[tissue & inside]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A turned and bent reference, made symmetric."""
    folder = tmp_path_factory.mktemp("symmetrise")
    grey, labels, own_r = placed((3.0, -4.0, 2.0), (100.0, 0.0, 250.0), 120.0)
    reference = write_reference(folder / "ref", grey, labels)
    return symmetrise(reference, folder / "out"), own_r


def test_the_plane_of_a_rigidly_placed_brain_is_found() -> None:
    grey, _, _ = placed((4.0, -5.0, 3.0), (0.0, 100.0, -300.0))
    volume = Volume(grey, (UM,) * 3, Path("a"))
    plane = find_plane(grey, tissue_mask(volume), UM)
    rotation = Rotation.from_euler("xyz", (4.0, -5.0, 3.0), degrees=True).as_matrix()
    assert np.degrees(np.arccos(plane.normal @ rotation[:, 2])) < 0.15
    assert abs((CENTRE + np.array([0.0, 100.0, -300.0]) - plane.point_um) @ plane.normal) < 12.0
    frame = plane.frame()
    assert np.allclose(frame @ frame.T, np.eye(3))
    assert np.allclose(frame[2], plane.normal)


def test_the_surface_follows_a_bend_and_runs_on_smoothly() -> None:
    grey, labels = brain(places() + np.array([0.0, 0.0, 1.0]) * 100.0 * np.sin(places()[..., :1] / 1800.0))
    surface = find_surface(grey, labels > 0, UM, MIDDLE_UM)
    p, i = (np.arange(n) * UM for n in SHAPE[:2])
    apart = surface.across(p, i) + 100.0 * np.sin(p / 1800.0)[:, None]
    inside = ((p[:, None] - CENTRE[0]) / 2800.0) ** 2 + ((i - CENTRE[1]) / 2000.0) ** 2 < 1
    assert np.median(np.abs(apart[inside])) < UM / 8
    beyond = surface.across(np.array([p[-1], p[-1] + 500.0, p[-1] + 1000.0]), i[:1])[:, 0]
    assert beyond[2] - beyond[1] == pytest.approx(beyond[1] - beyond[0])


def test_the_result_mirrors_itself_exactly(result: tuple[Path, np.ndarray]) -> None:
    space = read_reference(result[0])
    assert space.template is not None
    for volume in (space.annotation, space.template):
        assert volume.shape[2] % 2 == 0
        assert np.array_equal(volume[..., 1:], volume[..., 1:][..., ::-1])
        assert not volume[..., 0].any()
    assert space.midline_um == volume.shape[2] * UM / 2
    assert set(np.unique(space.annotation)) == {0, 8, 312782546}
    assert space.ontology == ONTOLOGY


def test_the_midline_is_where_it_was_drawn(result: tuple[Path, np.ndarray]) -> None:
    folder, own_r = result
    midline = json.loads((folder / "midline.json").read_text())
    apart = off_midline(midline, own_r)
    assert np.median(apart) < 15.0
    assert np.percentile(apart, 95) < 60.0
    surface = midline["surface"]
    assert np.diff(surface["p_um"]).max() <= 200.0 + 1e-6
    assert np.ptp(np.diff(surface["i_um"])) < 1e-6
    assert (surface["p_um"][-1], surface["i_um"][-1]) == (SHAPE[0] * UM, SHAPE[1] * UM)
    assert np.isfinite(np.array(surface["r_um"])).all()
    assert np.linalg.norm(midline["plane"]["normal"]) == pytest.approx(1.0)
    assert midline["plane"]["normal"][2] > 0


def test_the_input_resampled_with_the_displacement_is_its_own_mirror_image(
    result: tuple[Path, np.ndarray],
) -> None:
    folder, _ = result
    described = json.loads((folder / "reference.json").read_text())
    alike = described["quality"]["correlation with the own mirror image"]
    assert alike["after the half-way warp"] > max(0.97, alike["about the plane"])
    forth, back = (
        Displacement(*read_vectors(folder / f"{name}.nrrd"))
        for name in ("source_to_target", "target_to_source")
    )
    assert min(determinants(forth).min(), determinants(back).min()) > 0
    grey = open_volume(folder.parent / "ref")
    points = np.argwhere(tissue_mask(grey)) * UM
    assert np.median(np.linalg.norm(back.apply(forth.apply(points)) - points, axis=1)) < 5.0
    vectors = sitk.Cast(sitk.ReadImage(str(folder / "target_to_source.nrrd")), sitk.sitkVectorFloat64)
    target = sitk.ReadImage(str(folder / "average_template_200.nrrd"))
    source = sitk.ReadImage(str(folder.parent / "ref" / "average_template_200.nrrd"))
    moved = sitk.Resample(source, target, sitk.DisplacementFieldTransform(vectors), sitk.sitkLinear, 0.0)
    values = sitk.GetArrayFromImage(moved)[1:]  # R first; plane 0 has no partner
    assert np.corrcoef(values.ravel(), values[::-1].ravel())[0, 1] > 0.97


def test_a_perfectly_symmetric_brain_keeps_its_plane() -> None:
    grey, _ = brain()
    midline = find_midline(Volume(grey, (UM,) * 3, Path("a")), UM)
    assert not midline.surface.coefficients.any()
    assert midline.alike["about the plane"] > 0.999
    assert abs(midline.frame.plane.point_um[2] - MIDDLE_UM) < 2.0
    assert determinants(midline.to_source).min() > 0.99


def test_one_hemisphere_is_refused(tmp_path: Path) -> None:
    grey, _ = brain()
    grey[:, :, 19:] = 0.0
    write_nrrd(tmp_path / "half_200.nrrd", grey, UM)
    with pytest.raises(DataError, match="expected two hemispheres that match"):
        symmetrise(tmp_path / "half_200.nrrd", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_of_another_box_are_refused(tmp_path: Path) -> None:
    grey, labels = brain()
    write_nrrd(tmp_path / "a_200.nrrd", grey, UM)
    other = write_reference(tmp_path / "ref", grey[:30], labels[:30])
    with pytest.raises(DataError, match="expected labels on the box of"):
        symmetrise(tmp_path / "a_200.nrrd", tmp_path / "out", annotation=other)
    with pytest.raises(ConfigError, match="--half both: expected one of average, left, right"):
        symmetrise(tmp_path / "a_200.nrrd", tmp_path / "out", half="both")


def test_labels_without_an_ontology_are_structures_below_a_root(tmp_path: Path) -> None:
    grey, labels = brain()
    write_nrrd(tmp_path / "a_200.nrrd", grey, UM)
    tifffile.imwrite(tmp_path / "labels.tif", labels, photometric="minisblack")
    with pytest.raises(DataError, match=r"labels\.tif: expected a voxel size .* add --spacing-um"):
        symmetrise(tmp_path / "a_200.nrrd", tmp_path / "out", annotation=tmp_path / "labels.tif")
    symmetrise(tmp_path / "a_200.nrrd", tmp_path / "out", annotation=tmp_path / "labels.tif", spacing_um=UM)
    space = read_reference(tmp_path / "out")
    assert {s.id: s.parent_id for s in space.ontology.structures} == {997: None, 8: 997, 312782546: 997}
    assert set(np.unique(space.annotation)) == {0, 8, 312782546}


def test_a_volume_without_tissue_is_refused(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "a_200.nrrd", np.full((20, 20, 20), 7.0, np.float32), UM)
    with pytest.raises(DataError, match="expected tissue that differs from its surroundings, got none"):
        symmetrise(tmp_path / "a_200.nrrd", tmp_path / "out")


def test_numbers_that_are_not_finite_count_as_surroundings_bright_or_dark(tmp_path: Path) -> None:
    grey = brain()[0] + 50.0
    for sign in (1.0, -1.0):
        spoilt = sign * grey
        spoilt[:4] = np.nan
        spoilt[20, 0, 3] = np.inf
        write_nrrd(tmp_path / "a_200.nrrd", spoilt, UM)
        found = open_volume(tmp_path / "a_200.nrrd")
        assert np.abs(found.values - sign * grey)[:4].max() < 1.0
        assert not tissue_mask(found)[:4].any()
    write_nrrd(tmp_path / "a_200.nrrd", np.where(grey > 60, grey, np.nan), UM)
    assert np.isin(open_volume(tmp_path / "a_200.nrrd").values[:, :, 0], 0.0).all()


@pytest.mark.parametrize("spacing_um", [4200.0, 90_000.0, float("inf")])
def test_voxels_that_the_box_has_no_room_for_are_refused(tmp_path: Path, spacing_um: float) -> None:
    write_nrrd(tmp_path / "a_200.nrrd", brain()[0], UM)
    with pytest.raises(DataError, match=r"expected at most 3600 um, two voxels along each axis of .*a_200"):
        symmetrise(tmp_path / "a_200.nrrd", tmp_path / "out", spacing_um=spacing_um)
    write_nrrd(tmp_path / "b_200.nrrd", brain()[0], UM)
    with pytest.raises(DataError, match="expected at most 3600 um"):
        average([tmp_path / "a_200.nrrd", tmp_path / "b_200.nrrd"], tmp_path / "out", spacing_um=spacing_um)


def test_an_annotation_without_labels_is_refused(tmp_path: Path) -> None:
    grey, labels = brain()
    empty = write_reference(tmp_path / "ref", grey, 0 * labels)
    with pytest.raises(DataError, match="expected labels, got an annotation that is 0 everywhere"):
        symmetrise(empty, tmp_path / "out")
    with pytest.raises(DataError, match="nothing: expected a volume or a reference folder, got no such file"):
        open_volume(tmp_path / "nothing")


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_tissue_is_told_whether_bright_or_dark(sign: float) -> None:
    grey, labels = brain()
    noise = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    mask = tissue_mask(Volume(sign * grey + 300.0 + noise, (UM,) * 3, Path("a")))
    assert 2 * (mask & (labels > 0)).sum() / (mask.sum() + (labels > 0).sum()) > 0.9


def test_the_half_that_is_asked_for_is_mirrored() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 2, 6)
    left, right = (mirrored_template(values, half) for half in ("left", "right"))
    assert left[0, 0].tolist() == [0, 1, 2, 3, 2, 1]
    assert right[0, 0].tolist() == [0, 5, 4, 3, 4, 5]
    assert np.array_equal(mirrored_template(values, "average"), (left + right) / 2)


def test_where_halves_disagree_the_nearer_structure_is_taken() -> None:
    row = np.zeros((1, 1, 12), np.uint32)
    row[..., 1:6] = [4, 4, 4, 7, 7]  # left, from the outside inwards; 6 is the midline
    row[..., 6:] = [7, 7, 7, 7, 4, 4]
    # From the midline outwards: left 7 7 7 4 4 4, right 7 7 7 7 4 4.
    own = mirrored_labels(row, "average")
    assert np.array_equal(own[..., 1:], own[..., 1:][..., ::-1])
    assert set(np.unique(own[..., 1:])) == {4, 7}
    lone = np.zeros((3, 3, 12), np.uint32)
    lone[1, 1, 9] = 5  # in one half alone, far from anything alike in the other
    assert (mirrored_labels(lone, "average") == 5).sum() in (0, 2)


@given(strategies.integers(0, 2**16))
def test_mirrored_labels_are_symmetric_and_new_to_no_half(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 4, (4, 3, 8)).astype(np.uint32)
    own = mirrored_labels(labels, "average")
    assert np.array_equal(own[..., 1:], own[..., 1:][..., ::-1])
    left, right = labels[:, :, 4:0:-1], labels[:, :, 4:]
    assert ((own[:, :, 4:] == left) | (own[:, :, 4:] == right)).all()
    agree = left == right
    assert np.array_equal(own[:, :, 4:][agree], left[agree])


def test_the_halfway_warp_moves_both_halves_oppositely_and_makes_them_alike() -> None:
    draw = np.random.default_rng(3)
    texture = ndimage.gaussian_filter(draw.normal(size=(24, 22, 25)).astype(np.float32), 1.5)
    symmetric = (texture + texture[:, :, ::-1]) / texture.std()
    bump = np.stack(
        [ndimage.gaussian_filter(draw.normal(size=symmetric.shape), 4.0) for _ in range(3)], axis=-1
    )
    at = np.stack(np.meshgrid(*map(np.arange, symmetric.shape), indexing="ij"), axis=-1) + bump / bump.std()
    image = ndimage.map_coordinates(symmetric, np.moveaxis(at, -1, 0), np.float32, 1, mode="nearest")
    field = halfway_warp(image, (Stage(2, 0.7, 1.5, 20), Stage(1, 0.7, 1.5, 20)))
    assert np.allclose(antisymmetric(field), field, atol=1e-5)
    at = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1) + field
    made = ndimage.map_coordinates(image, np.moveaxis(at, -1, 0), np.float32, 1, mode="nearest")
    inner = (slice(4, -4), slice(4, -4), slice(4, -4))
    before, after = (np.corrcoef(v[inner].ravel(), v[:, :, ::-1][inner].ravel())[0, 1] for v in (image, made))
    assert after > 0.93
    assert after > before + 0.1


def test_points_mirror_about_a_plane() -> None:
    plane = MidlinePlane(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.6, 0.8]))
    points = np.random.default_rng(4).normal(size=(5, 3))
    assert np.allclose(plane.mirrored(plane.mirrored(points)), points)
    assert np.allclose(plane.mirrored(plane.point_um[None]), plane.point_um)


def test_a_reference_stands_for_its_finest_template_and_annotation(tmp_path: Path) -> None:
    grey, labels = brain()
    reference = write_reference(tmp_path / "ref", grey, labels)
    write_nrrd(reference / "average_template_100.nrrd", np.ones((88, 72, 82), np.float32), 100.0)
    assert open_volume(reference).spacing_um == (100.0,) * 3
    found = open_annotation(reference)
    assert (found.spacing_um, found.labels.shape) == ((200.0,) * 3, SHAPE)
    assert found.ontology is not None
    assert found.ontology.document == (reference / "structure_graph_1.json").read_bytes()
    (tmp_path / "bare").mkdir()
    write_nrrd(tmp_path / "bare" / "annotation_200.nrrd", labels, UM)
    assert open_annotation(tmp_path / "bare" / "annotation_200.nrrd").ontology is None
    with pytest.raises(DataError, match="expected a template in the reference folder, got none"):
        open_volume(tmp_path / "bare")
    assert read_volume(tmp_path / "bare" / "annotation_200.nrrd").values.dtype == np.uint32
