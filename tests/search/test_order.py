"""Kept order: nothing lost, a structure is one slice a hemisphere, sets of structures are made plain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import ONTOLOGY, UNKNOWN, experiments, space

from pipeline.core.errors import DataError
from pipeline.core.reference_space import hemispheres
from pipeline.search.kernels.order import BLOCK, VoxelOrder, block_runs, topmost


def order_of(seed: int) -> VoxelOrder:
    brain = space(seed)
    return VoxelOrder.of(brain.grid_labels(), ONTOLOGY, hemispheres(brain.grid))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_every_voxel_is_kept_once(seed: int) -> None:
    order = order_of(seed)
    labels = space(seed).grid_labels().reshape(-1)
    assert sorted([*order.brain, *order.outside]) == list(range(labels.size))
    assert (labels[order.brain] > 0).all()
    assert (labels[order.outside] == 0).all()
    assert order.padded % BLOCK == order.padded_outside % BLOCK == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([s.acronym for s in ONTOLOGY.structures]))
def test_a_structure_is_one_slice_a_hemisphere(seed: int, name: str) -> None:
    case = experiments(seed, 0, brain=space(seed))
    order = order_of(seed)
    positions = order.positions([ONTOLOGY.find(name).id])
    expected = case.mask([name]).reshape(-1)[order.brain]
    assert (order.mask(positions)[: len(order.brain)] == expected).all()
    assert len(order.slices(positions)) <= 2
    right = hemispheres(case.space.grid)[order.brain % 58] == 2
    assert (np.diff(right.astype(int)) >= 0).all()  # left first


def test_split_pads_with_no_data() -> None:
    order = order_of(3)
    grid = np.arange(np.prod(order.shape), dtype=np.float32).reshape(order.shape)
    brain, outside = order.split(grid)
    assert np.isnan(brain[len(order.brain) :]).all()
    assert np.isnan(outside[len(order.outside) :]).all()
    assert sorted([*brain[~np.isnan(brain)], *outside[~np.isnan(outside)]]) == sorted(grid.reshape(-1))


def test_labels_without_a_structure_are_refused() -> None:
    with pytest.raises(DataError, match="got none but 0"):
        VoxelOrder.of(np.zeros((3, 3, 4), np.uint32), ONTOLOGY, np.array([1, 1, 2, 2], np.uint8))


def test_unknown_labels_count_for_the_root() -> None:
    labels = np.full((2, 2, 4), UNKNOWN, np.uint32)
    order = VoxelOrder.of(labels, ONTOLOGY, np.array([1, 1, 2, 2], np.uint8))
    assert order.structure_ids.tolist() == [997]
    assert order.mask(order.positions([997])).sum() == 16
    assert order.padded_outside == BLOCK  # a brain without an outside still has a row for it


@given(st.integers(0, 1000), st.integers(1, 6))
def test_block_runs_cover_every_member_and_whole_blocks(seed: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    member = rng.random(blocks * BLOCK) < rng.choice([0.0, 0.005, 0.5], blocks).repeat(BLOCK)
    runs = block_runs(member)
    covered = np.zeros(len(member), bool)
    for start, stop in runs:
        assert start % BLOCK == stop % BLOCK == 0
        covered[start:stop] = True
    assert (covered.reshape(-1, BLOCK).any(axis=1) == member.reshape(-1, BLOCK).any(axis=1)).all()


def test_topmost_leaves_out_what_lies_inside() -> None:
    assert topmost(ONTOLOGY, ["L1", "CTX", 2, "VP", "ctx"]) == (1, 5)
