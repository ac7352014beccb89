"""Annotations carried into brains of another contrast: known bends recovered, refusals in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matched_brains import GRAPH, SHAPE, UM, apart, bent, greys, labels_at, places, waves, write_annotated

from pipeline.atlas_building import carry, carrying, map_points
from pipeline.atlas_building.displacement import Displacement, determinants, from_affine
from pipeline.atlas_building.matching.checks import check_kept_tissue
from pipeline.atlas_building.matching.contrast import GREYS, PAINTED
from pipeline.atlas_building.matching.offsets import label_offset_um
from pipeline.atlas_building.matching.working import WorkingBrain
from pipeline.atlas_building.points import read_displacement
from pipeline.core.errors import DataError
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.formats.volumes.volume_files import read_volume
from pipeline.inputs.references import read_reference

OWN, OTHER = greys(1), greys(2)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_annotated(tmp_path_factory.mktemp("source") / "ref", *bent(None, OWN))


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory, reference: Path) -> Path:
    """Return the result of a brain of another contrast and known shape, its target beside it."""
    folder = tmp_path_factory.mktemp("carried")
    write_nrrd(folder / "target_100.nrrd", bent(waves(5, 120.0), OTHER, 0.1)[0], UM)
    return carry(reference, folder / "out", to=folder / "target_100.nrrd")


def test_a_known_bend_is_found_in_another_contrast(carried: Path) -> None:
    true = waves(5, 120.0)
    _, labels = bent(true, OTHER)
    found = read_displacement(carried, "target_to_source")
    errors = apart(found, true, labels)
    assert np.median(errors) < 0.4 * UM
    assert np.percentile(errors, 95) < UM
    space = read_reference(carried)
    agree, before = (np.mean((v == labels)[labels > 0]) for v in (space.annotation, bent(None, OTHER)[1]))
    assert agree > 0.86
    assert agree > before + 0.03


def test_the_displacements_are_inverse_and_do_not_fold(carried: Path) -> None:
    there, back = (read_displacement(carried, name) for name in ("target_to_source", "source_to_target"))
    assert determinants(there).min() > 0
    assert determinants(back).min() > 0
    points = np.argwhere(bent(waves(5, 120.0), OTHER)[1] > 0) * UM
    assert np.median(np.linalg.norm(back.apply(there.apply(points)) - points, axis=1)) < 5.0
    quality = json.loads((carried / "reference.json").read_text())["quality"]
    assert quality["folds"] == 0
    assert quality["matched_by"] == PAINTED
    assert quality["jacobian_1st_percentile"] < 1 < quality["jacobian_99th_percentile"]
    assert quality["overlap_of_tissue"] > quality["overlap_of_tissue_after_affine"] - 0.01


def test_the_folder_is_a_reference_on_the_grid_of_the_target(carried: Path) -> None:
    given = read_volume(carried.parent / "target_100.nrrd").values
    assert np.array_equal(read_volume(carried / "average_template_100.nrrd").values, given)
    jacobian = read_volume(carried / "jacobian_100.nrrd").values
    field = determinants(read_displacement(carried, "target_to_source"))
    assert np.allclose(jacobian, field[: SHAPE[0], : SHAPE[1], : SHAPE[2]], atol=1e-4)
    described = json.loads((carried / "reference.json").read_text())
    assert (described["verb"], described["frame"]["kind"]) == ("carry", "target")
    assert len(described["inputs"]) == 4
    assert {path.stem for path in (carried / "meshes").glob("*.obj")} == {"997", *map(str, range(1, 25))}


def test_points_are_carried_both_ways(carried: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("x_um,y_um,z_um\n2000,1700,1900\n1500,1500,2200\n")
    map_points(carried, tmp_path / "in.csv", tmp_path / "to.csv")
    to = np.genfromtxt(tmp_path / "to.csv", delimiter=",", skip_header=1)
    np.savetxt(tmp_path / "there.csv", to[:, 3:], delimiter=",", header="x_um,y_um,z_um", comments="")
    map_points(carried, tmp_path / "there.csv", tmp_path / "back.csv", inverse=True)
    back = np.genfromtxt(tmp_path / "back.csv", delimiter=",", skip_header=1)
    assert np.abs(back[:, 3:] - to[:, :3]).max() < 5.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_greys_that_are_alike_or_inverted_are_matched_themselves(
    tmp_path: Path, reference: Path, sign: float
) -> None:
    true = waves(6, 100.0)
    grey, labels = bent(true, OWN)
    write_nrrd(tmp_path / "target_100.nrrd", sign * grey + np.where(sign < 0, 255, 0).astype(np.float32), UM)
    out = carry(reference, tmp_path / "out", to=tmp_path / "target_100.nrrd")
    assert json.loads((out / "reference.json").read_text())["quality"]["matched_by"] == GREYS
    assert np.median(apart(read_displacement(out, "target_to_source"), true, labels)) < 0.4 * UM


def test_a_known_affine_map_is_found(tmp_path: Path, reference: Path) -> None:
    turn = np.deg2rad(8)
    linear = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1.0]]) * 1.08
    matrix = np.column_stack(
        [linear, np.array([2150.0, 1750.0, 1950.0]) * (1 - 1.08) + [250.0, -200.0, 60.0]]
    )
    true = from_affine(matrix, SHAPE, UM)
    grey, labels = bent(true, OTHER)
    write_nrrd(tmp_path / "target_100.nrrd", grey, UM)
    out = carry(reference, tmp_path / "out", to=tmp_path / "target_100.nrrd")
    assert np.median(apart(read_displacement(out, "target_to_source"), true, labels)) < 0.35 * UM


def test_meshes_of_the_source_are_moved(tmp_path: Path) -> None:
    grey, labels = bent(None, OWN)
    source = write_annotated(tmp_path / "ref", grey, labels)
    (source / "meshes").mkdir()
    text = "# by hand\nv 2000 1700 1900\nv 2300.5 1700 1900\nv 2000 2000 1900\nvn 0 0 1\nf 1//1 2//1 -1//1\n"
    (source / "meshes" / "7.obj").write_text(text)
    write_nrrd(tmp_path / "target_100.nrrd", bent(waves(6, 100.0), OWN)[0], UM)
    out = carry(source, tmp_path / "out", to=tmp_path / "target_100.nrrd")
    assert [path.name for path in (out / "meshes").iterdir()] == ["7.obj"]
    lines = (out / "meshes" / "7.obj").read_text().splitlines()
    found = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    own = np.array([[2000, 1700, 1900], [2300.5, 1700, 1900], [2000, 2000, 1900]])
    assert np.allclose(found, read_displacement(out, "source_to_target").apply(own), atol=0.1)
    assert lines[-1] == "f 1 2 3"


def test_labels_without_a_template_or_a_graph(tmp_path: Path, reference: Path) -> None:
    grey, labels = bent(None, OWN)
    write_nrrd(tmp_path / "labels_100.nrrd", labels, UM)
    write_nrrd(tmp_path / "grey_100.nrrd", grey, UM)
    with pytest.raises(
        DataError, match="expected a template that the labels lie on, got none; name it with --from"
    ):
        carry(tmp_path / "labels_100.nrrd", tmp_path / "out", to=reference)
    out = carry(
        tmp_path / "labels_100.nrrd", tmp_path / "out", to=reference, source=tmp_path / "grey_100.nrrd"
    )
    space = read_reference(out)
    assert (space.annotation == labels).mean() > 0.98
    assert set(space.ontology.by_id) == {997, *range(1, 25)}


def test_labels_of_another_box_than_their_template_are_refused(tmp_path: Path, reference: Path) -> None:
    write_nrrd(tmp_path / "grey_100.nrrd", bent(None, OWN)[0][:30], UM)
    with pytest.raises(DataError, match="expected labels on the box of"):
        carry(reference, tmp_path / "out", to=reference, source=tmp_path / "grey_100.nrrd")


def test_brains_without_common_tissue_are_refused(tmp_path: Path, reference: Path) -> None:
    rod = np.zeros(SHAPE, np.float32)
    rod[2:42, 4:7, 4:7] = 100.0
    write_nrrd(tmp_path / "rod_100.nrrd", rod, UM)
    with pytest.raises(DataError, match=r"expected tissue in common with .* after the affine step"):
        carry(reference, tmp_path / "out", to=tmp_path / "rod_100.nrrd")
    assert not (tmp_path / "out").exists()


def test_brains_that_were_torn_apart_are_refused(tmp_path: Path, reference: Path) -> None:
    swapped = np.ascontiguousarray(bent(waves(6, 100.0), OWN)[0].transpose(1, 0, 2))  # no P, I, R
    write_nrrd(tmp_path / "swapped_100.nrrd", swapped, UM)
    # which of the two checks stops it depends on how the match went astray
    with pytest.raises(DataError, match=r"expected (tissue that matches|brains that match without folds)"):
        carry(reference, tmp_path / "out", to=tmp_path / "swapped_100.nrrd")
    assert not (tmp_path / "out").exists()
    check_kept_tissue(tmp_path / "a", tmp_path / "b", 0.51)
    with pytest.raises(DataError, match=r"expected tissue that matches .* are the axes of both in the order"):
        check_kept_tissue(tmp_path / "a", tmp_path / "b", 0.49)


def test_a_mirrored_brain_is_told_and_never_mirrored(tmp_path: Path, reference: Path) -> None:
    grey, _ = bent(None, OWN)
    write_nrrd(tmp_path / "mirrored_100.nrrd", np.ascontiguousarray(grey[:, :, ::-1]), UM)
    with pytest.raises(DataError, match=r"expected a brain of the handedness of .*, got a mirrored one"):
        carry(reference, tmp_path / "out", to=tmp_path / "mirrored_100.nrrd")


def test_a_fold_fails_the_verb(tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def folded(brains: object, index: object, pair: object, state: object) -> object:
        rest = state.rest.copy()  # type: ignore[attr-defined]
        rest[20:, ..., 0] -= 300.0
        return type(state)(state.affine, rest), GREYS, 0.0  # type: ignore[attr-defined, call-arg]

    monkeypatch.setattr(carrying, "match_any_contrast", folded)
    with pytest.raises(DataError, match="expected brains that match without folds, got"):
        carry(reference, tmp_path / "out", to=reference)
    assert not (tmp_path / "out").exists()


def test_what_does_not_fit_into_memory_is_refused_beforehand(
    tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.atlas_building.memory.limit_bytes", lambda: 1.001e9)
    monkeypatch.setattr(carrying, "fit_affine", None)  # nothing is computed
    message = r"ref: carry expected at most .* voxels, got 6\.34e\+04 of 100 um, which take .* GB where"
    with pytest.raises(DataError, match=message + r" .* used; take voxels of \d+ um or more, or a machine"):
        carry(reference, tmp_path / "out", to=reference)


def test_voxels_of_another_size_by_axis_become_cubic(tmp_path: Path, reference: Path) -> None:
    grey, labels = bent(None, OWN)
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(grey[::2].transpose(2, 1, 0)))
    image.SetSpacing((2 * UM, UM, UM))
    SimpleITK.WriteImage(image, str(tmp_path / "thick.nrrd"))
    out = carry(reference, tmp_path / "out", to=tmp_path / "thick.nrrd")
    space = read_reference(out)
    assert space.annotation.shape == SHAPE
    assert (space.annotation == labels).mean() > 0.9


def test_the_brains_of_these_tests_are_as_they_say() -> None:
    assert len(GRAPH["msg"][0]["children"]) == len(np.unique(labels_at(places()))) - 1  # type: ignore[arg-type]
    assert determinants(waves(5, 120.0)).min() > 0.3
    assert isinstance(waves(5, 120.0), Displacement)


def test_a_template_of_another_brain_is_told(tmp_path: Path, reference: Path) -> None:
    write_nrrd(tmp_path / "near_100.nrrd", bent(waves(10, 160.0), OWN)[0], UM)
    write_nrrd(tmp_path / "other_100.nrrd", np.roll(bent(None, OWN)[0], 4, 1), UM)
    labels, to = reference / "annotation_100.nrrd", tmp_path / "near_100.nrrd"
    out = carry(labels, tmp_path / "out", to=to, source=tmp_path / "near_100.nrrd")
    described = json.loads((out / "reference.json").read_text())
    assert 100.0 < described["quality"]["labels_off_their_template_um_median"] < 300.0
    assert any("whether it is the brain that they were drawn on" in line for line in described["cannot_know"])
    message = r"other_100\.nrrd: expected the template that the labels lie on, got one .* \d+ um from where"
    with pytest.raises(DataError, match=message):
        carry(labels, tmp_path / "no", to=to, source=tmp_path / "other_100.nrrd")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_labels_that_are_moved_are_found_to_be_so(sign: float) -> None:
    grey, labels = bent(None, OTHER, 0.1)
    brain = WorkingBrain(sign * grey, labels > 0, UM)
    offsets = [label_offset_um(brain, np.roll(labels, k, 1).astype(np.int32)) for k in range(3)]
    assert offsets[0] < 0.3 * UM
    assert 0.6 * UM < offsets[1] < 1.5 * UM
    assert 1.6 * UM < offsets[2] < 3.2 * UM
    assert np.isnan(label_offset_um(brain, np.zeros(SHAPE, np.int32)))
