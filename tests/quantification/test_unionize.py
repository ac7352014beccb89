"""Unionize against a mask-per-structure oracle, its identities, and published rows."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import DataError
from pipeline.core.model import BOTH, LEFT, RIGHT, ExpressionSums, Structure
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import structure_mask
from pipeline.quantification.unionize import LabelIndex, unionize, unionize_columns, unionize_energy

ONTOLOGY = Ontology(
    tuple(
        Structure(id_, acronym, acronym, parent, order, "FFFFFF")
        for order, (id_, acronym, parent) in enumerate(
            [(997, "root", None), (8, "grey", 997), (1, "CTX", 8), (2, "L1", 1), (3, "L2", 1), (4, "TH", 8)]
        )
    )
)
SHAPE = (5, 4, 6)
SIDE = np.array([1, 1, 1, 2, 2, 2], np.uint8)


def _case(seed: int):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 1, 2, 3, 4, 997, 555], np.uint32), SHAPE)  # 1 is a parent, 555 unknown
    covered = rng.random(SHAPE) < 0.7
    pixels = rng.random(SHAPE) * 30 * covered
    expressing = pixels * rng.random(SHAPE)
    bright = expressing * 150 * (rng.random(SHAPE) < 0.8)
    return labels, covered, ExpressionSums(pixels, expressing, bright, pixels * 60)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_equals_a_mask_per_structure(seed: int) -> None:
    labels, covered, sums = _case(seed)
    known = np.where(labels == 555, 997, labels).astype(np.uint32)
    rows = unionize(7, sums, covered, LabelIndex.of(labels, ONTOLOGY), SIDE)
    found = {(r.structure_id, r.hemisphere_id): r for r in rows}
    for structure in ONTOLOGY.structures:
        for hemisphere in (LEFT, RIGHT, BOTH):
            mask = structure_mask(known, ONTOLOGY, [structure.id]) & np.isin(
                SIDE, [hemisphere, 3 * (hemisphere == BOTH)]
            )
            if hemisphere == BOTH:
                mask = structure_mask(known, ONTOLOGY, [structure.id])
            inside = mask & covered
            if not inside.any():
                assert (structure.id, hemisphere) not in found
                continue
            row = found[structure.id, hemisphere]
            assert row.sum_pixels == pytest.approx(sums.sum_pixels[inside].sum())
            assert row.expression_energy == pytest.approx(
                sums.sum_expressing_pixel_intensity[inside].sum() / sums.sum_pixels[inside].sum()
            )
            energy = sums.energy[inside]
            assert row.voxel_energy_mean == pytest.approx(energy.mean())
            if energy.mean() > 0:
                assert row.voxel_energy_cv == pytest.approx(energy.std() / energy.mean(), abs=1e-6)
            assert row.coverage == pytest.approx(inside.sum() / mask.sum())
            assert row.expression_energy == pytest.approx(row.expression_density * row.expression_intensity)


@given(st.integers(0, 10_000))
def test_root_is_the_sum_over_all_labels(seed: int) -> None:
    labels, covered, sums = _case(seed)
    rows = unionize(7, sums, covered, LabelIndex.of(labels, ONTOLOGY), SIDE)
    root = next(r for r in rows if r.structure_id == 997 and r.hemisphere_id == BOTH)
    inside = covered & (labels > 0)
    for name, array in sums.arrays().items():
        assert getattr(root, name) == pytest.approx(array[inside].sum())


def test_no_data_counts_in_no_denominator() -> None:
    labels = np.full(SHAPE, 2, np.uint32)
    covered = np.zeros(SHAPE, bool)
    covered[0, 0, 0] = True
    sums = ExpressionSums(*(np.where(covered, v, 0.0) for v in (100.0, 10.0, 1500.0, 6000.0)))
    rows = unionize(7, sums, covered, LabelIndex.of(labels, ONTOLOGY), SIDE)
    assert {r.hemisphere_id for r in rows} == {LEFT, BOTH}
    row = next(r for r in rows if r.structure_id == 2 and r.hemisphere_id == LEFT)
    assert (row.expression_density, row.expression_intensity, row.expression_energy) == (0.1, 150.0, 15.0)
    assert row.voxel_energy_mean == 15.0
    assert row.coverage == pytest.approx(1 / 60)


def test_unequal_grids_are_refused() -> None:
    labels, covered, sums = _case(0)
    with pytest.raises(DataError, match="120 voxels"):
        unionize(7, sums, covered, LabelIndex.of(labels[:2], ONTOLOGY), SIDE)


def test_a_hemisphere_that_is_neither_is_refused() -> None:
    labels, covered, sums = _case(0)
    index = LabelIndex.of(labels, ONTOLOGY)
    for side in (np.array([1, 1, 1, 2, 2, 3], np.uint8), SIDE[:5]):
        with pytest.raises(DataError, match="expected hemisphere 1 or 2"):
            unionize(7, sums, covered, index, side)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.permutations([0, 1, 2]), st.permutations([1, 1, 2, 2, 1, 2]))
def test_the_order_in_memory_changes_nothing(seed: int, axes: list[int], side: list[int]) -> None:
    labels, covered, sums = _case(seed)
    sides = np.array(side, np.uint8)
    shuffled = (
        labels.transpose(axes).copy().transpose(np.argsort(axes))
    )  # P, I, R as ever, laid out otherwise
    plain, other = (
        unionize_columns(7, sums, covered, LabelIndex.of(grid, ONTOLOGY), sides)
        for grid in (labels, shuffled)
    )
    for name, column in plain.items():
        assert other[name] == pytest.approx(column, rel=1e-12, nan_ok=True)


def test_thousands_of_labels() -> None:
    ids = np.arange(1, 5001, dtype=np.uint32) * 99_991  # more than the table of labels begins with
    nodes = [Structure(7, "root", "root", None, 0, "FFFFFF")]
    nodes += [Structure(int(i), f"s{i}", "", 7, at + 1, "FFFFFF") for at, i in enumerate(ids)]
    labels = np.repeat(ids, 4).reshape(100, 50, 4)
    index = LabelIndex.of(labels, Ontology(tuple(nodes)))
    assert np.array_equal(index.label_ids, ids)  # and no 0, since nothing lies outside
    ones = np.ones(labels.shape)
    rows = unionize(
        1, ExpressionSums(ones, ones, ones, ones), ones > 0, index, np.array([1, 1, 2, 2], np.uint8)
    )
    assert len(rows) == 3 * 5001
    assert {row.sum_pixels for row in rows if row.structure_id != 7} == {2.0, 4.0}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_many_energy_grids_are_each_as_one(seed: int) -> None:
    labels, covered, sums = _case(seed)
    index = LabelIndex.of(labels, ONTOLOGY)
    grids = np.where(covered, sums.energy * np.arange(1, 4)[:, None, None, None], np.nan).astype(np.float32)
    table = unionize_energy(grids, index, SIDE)
    for at, grid in enumerate(grids):
        there = ~np.isnan(grid)
        ones = np.where(there, 1.0, 0.0)
        energy = np.where(there, grid, 0).astype(np.float64)
        found = {
            (r.structure_id, r.hemisphere_id): r
            for r in unionize(7, ExpressionSums(ones, ones, energy, ones), there, index, SIDE)
        }
        for place, structure in enumerate(table.structure_ids.tolist()):
            for hemisphere in (LEFT, RIGHT, BOTH):
                row = found.get((structure, hemisphere))
                here = (at, place, hemisphere - 1)
                assert table.count[here] == (row.sum_pixels if row else 0)
                if row:
                    assert table.mean[here] == pytest.approx(row.voxel_energy_mean, rel=1e-9)
                    assert table.cv[here] == pytest.approx(
                        row.voxel_energy_cv, rel=1e-6, abs=1e-6, nan_ok=True
                    )
                    assert table.coverage[here[0], here[1], here[2]] == pytest.approx(row.coverage)


@pytest.mark.parametrize("threads", [2, 7])
def test_threads_change_no_number(threads: int) -> None:
    labels, _, _ = _case(3)
    rng = np.random.default_rng(3)
    grids = rng.random((5, *SHAPE)).astype(np.float32)
    grids[rng.random(grids.shape) < 0.3] = np.nan
    index = LabelIndex.of(labels, ONTOLOGY)
    one, many = (unionize_energy(grids, index, SIDE, n) for n in (1, threads))
    assert np.array_equal(one.lanes, many.lanes)
    assert len(unionize_energy(grids[:0], index, SIDE, threads).count) == 0


def test_prox1_whole_brain_against_the_published_row(ish_data: Path) -> None:
    """Mean and cv of voxel energy over the served labels, against Allen's published figures."""
    energy = _raw(ish_data / "ish" / "prox1_69289763" / "energy.raw", "<f4")
    labels = _raw(ish_data / "reference" / "gridAnnotation.raw", "<u4").astype(np.uint32)
    ontology = Ontology((Structure(997, "root", "root", None, 0, "FFFFFF"),))
    covered = energy >= 0
    ones = np.where(covered, 1.0, 0.0)
    sums = ExpressionSums(ones, ones, np.where(covered, energy, 0.0).astype(np.float64), ones)
    row = unionize(1, sums, covered, LabelIndex.of(labels, ontology), np.ones(58, np.uint8))[0]
    with (ish_data / "unionize" / "prox1_69289763_structure_unionize_6rows.csv").open() as file:
        published = next(csv.DictReader(file))
    assert row.voxel_energy_mean == pytest.approx(float(published["voxel_energy_mean"]), rel=0.03)
    assert row.voxel_energy_cv == pytest.approx(float(published["voxel_energy_cv"]), rel=0.05)


def _raw(path: Path, dtype: str) -> np.ndarray:  # type: ignore[type-arg]
    return np.fromfile(path, dtype).reshape(58, 41, 67).T
