"""Averages of brains: the mean shape recovered, its displacement exactly zero, refusals in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies
from matched_brains import SHAPE, UM, bent, greys, waves, write_annotated

from pipeline.atlas_building import average
from pipeline.atlas_building.averaging import names_of
from pipeline.atlas_building.displacement import Displacement, determinants, invert
from pipeline.atlas_building.matching.group import centred_affines
from pipeline.atlas_building.points import read_displacement
from pipeline.core.errors import DataError
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.formats.volumes.volume_files import read_volume
from pipeline.inputs.references import read_reference

OWN = greys(1)
SEEDS = (11, 12, 13)
BRIGHT = {11: 1.0, 12: 1.3, 13: 0.8}


def shape_of(seed: int) -> Displacement:
    return waves(seed, 130.0)


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the average of three references of known shape and other brightness, which lie beside it."""
    folder = tmp_path_factory.mktemp("averaged")
    brains = []
    for seed in SEEDS:
        grey, labels = bent(shape_of(seed), OWN)
        brains.append(write_annotated(folder / f"brain_{seed}", grey * BRIGHT[seed], labels))
    return average(brains, folder / "out")


def test_the_mean_shape_is_found(averaged: Path) -> None:
    _, labels = bent(None, OWN)
    points = np.argwhere(labels > 0)[::7] * UM
    own = [invert(shape_of(seed), SHAPE, UM).apply(points) for seed in SEEDS]  # of a point, in each brain
    mean = np.mean(own, axis=0)
    found = [
        read_displacement(averaged / "brains" / f"brain_{seed}", "source_to_target").apply(place)
        for seed, place in zip(SEEDS, own, strict=True)
    ]
    before = [np.median(np.linalg.norm(place - mean, axis=1)) for place in own]
    after = [np.median(np.linalg.norm(place - mean, axis=1)) for place in found]
    assert max(after) < 0.4 * UM
    assert max(after) < 0.5 * min(before)
    assert np.median(np.linalg.norm(np.mean(found, axis=0) - mean, axis=1)) < 0.1 * UM


def test_the_mean_displacement_is_zero_and_nothing_folds(averaged: Path) -> None:
    fields = [read_displacement(averaged / "brains" / f"brain_{seed}", "target_to_source") for seed in SEEDS]
    assert np.abs(np.mean([field.vectors for field in fields], axis=0)).max() < 1e-3
    assert min(determinants(field).min() for field in fields) > 0
    for seed, field in zip(SEEDS, fields, strict=True):
        back = read_displacement(averaged / "brains" / f"brain_{seed}", "source_to_target")
        assert determinants(back).min() > 0
        points = np.argwhere(bent(None, OWN)[1] > 0)[::7] * UM
        assert np.median(np.linalg.norm(back.apply(field.apply(points)) - points, axis=1)) < 5.0


def test_the_folder_is_a_reference_with_the_labels_that_most_brains_have(averaged: Path) -> None:
    space = read_reference(averaged)
    fields = [read_displacement(averaged / "brains" / f"brain_{seed}", "target_to_source") for seed in SEEDS]
    points = np.argwhere(np.ones(SHAPE, bool)) * UM
    seen = []
    for seed, field in zip(SEEDS, fields, strict=True):
        at = np.rint(field.apply(points) / UM).astype(int)
        inside = ((at >= 0) & (at < SHAPE)).all(axis=1)
        at = np.clip(at, 0, np.array(SHAPE) - 1)
        seen.append(np.where(inside, bent(shape_of(seed), OWN)[1][tuple(at.T)], 0))
    agree = (seen[0] == seen[1]) | (seen[0] == seen[2])
    wanted = np.where(agree, seen[0], np.where(seen[1] == seen[2], seen[1], seen[0]))
    assert np.array_equal(space.annotation.ravel(), wanted)
    described = json.loads((averaged / "reference.json").read_text())
    assert (described["verb"], described["frame"]["kind"], described["midline_um"]) == (
        "average",
        "mean",
        None,
    )


def test_brightness_is_evened_before_the_variance(averaged: Path) -> None:
    variance = read_volume(averaged / "variance_100.nrrd").values
    template = read_volume(averaged / "average_template_100.nrrd").values
    tissue = read_reference(averaged).annotation > 0
    assert variance.min() >= 0
    raw = np.std([OWN[1:].mean() * gain for gain in BRIGHT.values()])
    assert np.sqrt(np.median(variance[tissue])) < 0.4 * raw
    assert abs(template[tissue].mean() / (OWN[1:].mean() * np.mean(list(BRIGHT.values()))) - 1) < 0.15


@given(strategies.integers(0, 2**16))
def test_centred_affine_maps_have_the_identity_as_their_mean(seed: int) -> None:
    draw = np.random.default_rng(seed)
    maps = [np.eye(3, 4) + 0.2 * draw.uniform(-1, 1, (3, 4)) for _ in range(4)]
    centred = centred_affines(maps)
    assert np.allclose(np.mean(centred, axis=0), np.eye(3, 4))
    point = np.append(draw.uniform(-1, 1, 3), 1.0)  # maps from one brain to another stay as they were
    there = np.linalg.solve(np.vstack([centred[0], [0, 0, 0, 1]]), np.append(maps[0] @ point, 1.0))
    assert np.allclose(centred[1] @ there, maps[1] @ point)


def test_names_are_those_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "c.nrrd").mkdir()
    assert names_of([tmp_path / "a.b.nii.gz", tmp_path / "b.nrrd", tmp_path / "c.nrrd"]) == [
        "a.b",
        "b",
        "c.nrrd",
    ]
    with pytest.raises(DataError, match="expected brains of different names, got a second a beside"):
        names_of([tmp_path / "a.nrrd", tmp_path / "x" / "a.mhd"])
    with pytest.raises(DataError, match="expected two brains or more, got 1"):
        names_of([tmp_path / "a.nrrd"])


def test_a_brain_turned_too_far_is_refused(tmp_path: Path) -> None:
    grey, _ = bent(None, OWN)
    write_nrrd(tmp_path / "a_100.nrrd", grey, UM)
    turned = np.ascontiguousarray(grey[::-1, ::-1])  # by 180 degrees about R
    write_nrrd(tmp_path / "b_100.nrrd", turned, UM)
    with pytest.raises(DataError, match=r"within 30 degrees of .* and is no mirror image of it, got 1[78]"):
        average([tmp_path / "a_100.nrrd", tmp_path / "b_100.nrrd"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mirrored_brain_is_refused(tmp_path: Path) -> None:
    grey, _ = bent(None, OWN)
    write_nrrd(tmp_path / "a_100.nrrd", grey, UM)
    write_nrrd(tmp_path / "b_100.nrrd", np.ascontiguousarray(grey[:, :, ::-1]), UM)
    with pytest.raises(DataError, match=r"b_100\.nrrd: expected a brain of the handedness of .*a_100"):
        average([tmp_path / "a_100.nrrd", tmp_path / "b_100.nrrd"], tmp_path / "out")


def test_a_brain_of_the_inverse_contrast_is_refused(tmp_path: Path) -> None:
    grey, _ = bent(shape_of(11), OWN)
    other, _ = bent(shape_of(12), OWN)
    write_nrrd(tmp_path / "a_100.nrrd", grey, UM)
    write_nrrd(tmp_path / "b_100.nrrd", 250.0 - other, UM)
    with pytest.raises(
        DataError, match=r"b_100\.nrrd: expected the contrast of .*a_100.*correlation is -0\.[89]"
    ):
        average([tmp_path / "a_100.nrrd", tmp_path / "b_100.nrrd"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_voxel_size_that_is_asked_for(tmp_path: Path) -> None:
    grey, _ = bent(None, OWN)
    write_nrrd(tmp_path / "a_100.nrrd", grey, UM)
    write_nrrd(tmp_path / "b_100.nrrd", grey, UM)
    out = average([tmp_path / "a_100.nrrd", tmp_path / "b_100.nrrd"], tmp_path / "out", spacing_um=200.0)
    found = read_volume(out / "average_template_200.nrrd")
    assert found.values.shape == tuple(n // 2 for n in SHAPE)
    assert np.allclose(found.values, grey[::2, ::2, ::2], atol=2.0)
    assert not (out / "annotation_200.nrrd").exists()
