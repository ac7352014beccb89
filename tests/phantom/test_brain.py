"""The phantom brain: symmetric, nested, with the real names, the same at every resolution."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import ConfigError
from pipeline.core.model import EXTENT_UM, MIDLINE_UM
from pipeline.core.ontology import from_structure_graph
from pipeline.core.reference_space import ReferenceSpace
from pipeline.phantom import phantom_reference
from pipeline.phantom.structures import phantom_ontology


@pytest.fixture(scope="module")
def brain() -> ReferenceSpace:
    return phantom_reference(100.0)


def volume_mm3(brain: ReferenceSpace, acronym: str) -> float:
    return float(brain.mask([acronym]).sum()) * (brain.annotation_um / 1000) ** 3


def test_fills_the_box_of_the_reference(brain: ReferenceSpace) -> None:
    assert brain.extent_um == EXTENT_UM
    assert brain.grid.shape == (67, 41, 58)
    assert brain.template is not None
    assert brain.template.shape == brain.annotation.shape
    assert 420 < volume_mm3(brain, "root") < 560


def test_hemispheres_mirror_voxel_by_voxel_about_the_midline(brain: ReferenceSpace) -> None:
    positions = brain.annotation_um * np.arange(brain.annotation.shape[2])
    mirrored = np.rint((2 * MIDLINE_UM - positions[1:]) / brain.annotation_um).astype(int)
    assert np.array_equal(brain.annotation[..., 1:], brain.annotation[..., mirrored])
    assert brain.template is not None
    assert np.array_equal(brain.template[..., 1:], brain.template[..., mirrored])


@pytest.mark.parametrize("axis", [0, 1])
def test_is_not_symmetric_along_the_other_axes(brain: ReferenceSpace, axis: int) -> None:
    tissue = brain.annotation > 0
    other = np.flip(tissue, axis)
    assert (tissue & other).sum() / (tissue | other).sum() < 0.9


def test_grid_labels_mirror_between_the_28th_and_29th_plane(brain: ReferenceSpace) -> None:
    labels = brain.grid_labels()
    assert np.array_equal(labels, labels[..., ::-1])


def test_one_brain_at_every_resolution(brain: ReferenceSpace) -> None:
    finer = phantom_reference(50.0)
    assert np.array_equal(finer.annotation[::2, ::2, ::2], brain.annotation)
    assert np.array_equal(finer.grid_labels(), brain.grid_labels())


def test_every_label_is_in_the_ontology_and_many_are_there(brain: ReferenceSpace) -> None:
    labels = np.unique(phantom_reference(50.0).annotation)
    assert brain.ontology.unknown(labels) == ()
    assert labels.size > 200
    parents = {s.parent_id for s in brain.ontology.structures}
    assert len(parents & set(labels.tolist())) > 5, "some structures are labelled at the parent's level only"


@pytest.mark.parametrize(
    ("acronym", "low", "high"),
    [
        ("Isocortex", 90, 170), ("OLF", 30, 75), ("HIP", 12, 35), ("STR", 30, 80), ("TH", 12, 32),
        ("HY", 8, 25), ("MB", 20, 55), ("P", 8, 25), ("MY", 15, 40), ("CB", 35, 80), ("VS", 0.5, 8),
        ("fiber tracts", 15, 60),
    ],
)  # fmt: skip
def test_proportions_are_those_of_a_mouse(
    brain: ReferenceSpace, acronym: str, low: float, high: float
) -> None:
    assert low < volume_mm3(brain, acronym) < high


def test_granule_layer_is_a_thin_sheet_between_its_neighbours() -> None:
    brain = phantom_reference(50.0)
    layer = brain.mask(["DG-sg"])
    inner = layer.copy()
    for axis in range(3):
        inner &= np.roll(layer, 2, axis) & np.roll(layer, -2, axis)
    assert layer.sum() > 3000
    assert inner.sum() < 0.01 * layer.sum(), "nowhere five voxels thick in every direction"
    around = np.zeros_like(layer)
    for axis in range(3):
        around |= np.roll(layer, 2, axis) | np.roll(layer, -2, axis)
    near = set(np.unique(brain.annotation[around & ~layer]).tolist())
    assert {10703, 10704} <= near


def test_cortical_layers_follow_one_another_below_the_surface() -> None:
    brain = phantom_reference(50.0)
    column = brain.annotation[int(5200 / 50), :, int(2700 / 50)]
    names = [brain.ontology.by_id[int(i)].acronym for i in column if i]
    layers = list(dict.fromkeys(name for name in names if name.startswith("SSp")))
    assert layers == ["SSp1", "SSp2/3", "SSp4", "SSp5", "SSp6a", "SSp6b"]


def test_deterministic(brain: ReferenceSpace) -> None:
    again = phantom_reference(100.0)
    assert np.array_equal(again.annotation, brain.annotation)
    assert again.template is not None
    assert brain.template is not None
    assert np.array_equal(again.template, brain.template)


@pytest.mark.parametrize("spacing", [0.0, 5.0, 400.0, float("nan")])
def test_refuses_an_absurd_voxel_size(spacing: float) -> None:
    with pytest.raises(ConfigError, match="10 to 200"):
        phantom_reference(spacing)


def test_ontology_is_a_true_part_of_the_real_one(ish_data: Path) -> None:
    document = json.loads((ish_data / "reference/structure_graph_1.json").read_text(encoding="utf-8"))
    real = from_structure_graph(document).by_id
    for structure in phantom_ontology().structures:
        assert structure == real[structure.id]
