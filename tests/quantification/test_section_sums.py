"""Section energy against points summed one by one, its identities, and what sections do not show."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantification.test_unionize import ONTOLOGY

from pipeline.core.errors import DataError
from pipeline.core.model import (
    MIDLINE_UM,
    Alignment2d,
    Alignment3d,
    Deformation,
    ExpressionSums,
    SectionAlignment,
)
from pipeline.core.reference_space import ReferenceSpace
from pipeline.quantification import label_volume
from pipeline.quantification.cells import SectionCells
from pipeline.quantification.label_volume import LabelVolume
from pipeline.quantification.section_sums import (
    LEAST_SURE,
    POINTS,
    SECTION_COLUMNS,
    PlacedCells,
    corners_um,
    section_columns,
    slabs_um,
    structure_sums,
    sum_by_label,
)

UM, SHAPE = 950.0, (6, 5, 12)  # R from 0 to 10450 um: voxels 0-5 lie left of the midline, 6 lies on it
SPACING_UM, CELL_UM = 1000.0, 600.0
TURN = Alignment3d(9, np.array([[0.0, 0, 1, 200], [0.1, 1, 0, 0], [1, 0, 0, 300]]))  # x -> R, y -> I, z -> P
ROWS = tuple(np.array(list(product([s.id for s in ONTOLOGY.structures], (1, 2, 3)))).T)


def brain(rng: np.random.Generator) -> ReferenceSpace:
    labels = rng.choice(np.array([0, 1, 2, 3, 4, 555], np.uint32), SHAPE)  # 1 is a parent, 555 unknown
    return ReferenceSpace(9, "blocks", labels, UM, ONTOLOGY)


def section(rng: np.random.Generator, number: int, z_um: float, factor: int = 1) -> PlacedCells:
    """Cells of 600 um in a frame that is turned and deformed a little."""
    shape = (8, 18)
    pixels = rng.integers(0, 40, shape) * (rng.random(shape) < 0.8)
    expressing = np.floor(pixels * rng.random(shape))
    sums = ExpressionSums(pixels, expressing, expressing * 140.0, pixels * 60.0)
    cells = SectionCells(sums, 6, factor, 100.0 / factor, (0, 0, 108, 48))
    scale = 100.0 / factor * rng.uniform(0.9, 1.1)
    matrix = np.array([[scale, 0.05 * scale, 50.0], [-0.05 * scale, scale, 20.0]])
    field = Deformation(rng.normal(0, 80, (3, 5, 8)).astype(np.float32), 18.0 * factor)
    alignment = SectionAlignment(
        Alignment2d(number, matrix), measures={"estimated_error_um": 300.0}, deformation=field
    )
    return PlacedCells(cells, z_um, alignment)


def series(rng: np.random.Generator, sections: int = 3) -> list[PlacedCells]:
    return [section(rng, n, SPACING_UM * (1 + n + (n >= 2)), 1 + n % 2) for n in range(sections)]


def columns(placed: list[PlacedCells], volume: LabelVolume) -> dict[str, np.ndarray]:
    return section_columns(sum_by_label(placed, TURN, volume, SPACING_UM), volume, *ROWS)


def at(found: dict[str, np.ndarray], name: str, structure: int, hemisphere: int) -> float:
    return float(found[name][(ROWS[0] == structure) & (ROWS[1] == hemisphere)][0])


def label(reference: ReferenceSpace, place: np.ndarray) -> int:
    index = tuple(np.rint(place / UM).astype(int))
    inside = all(0 <= i < n for i, n in zip(index, SHAPE, strict=True))
    return int(reference.annotation[index]) if inside else 0


def oracle(placed: list[PlacedCells], reference: ReferenceSpace) -> tuple[dict, dict, dict]:
    """Sum point by point: the four sums, found-in weights and volumes by (label, side)."""
    sums: dict = {}
    inside: dict = {}
    volume: dict = {}
    slabs = slabs_um([p.z_um for p in placed], SPACING_UM)
    for one, slab in zip(placed, slabs, strict=True):
        corners = corners_um(one, TURN)
        um3 = slab * one.pixel_um2 * abs(np.linalg.det(TURN.volume_to_reference[:, :3])) / POINTS**2
        arrays = np.stack(list(one.cells.sums.arrays().values()))
        for j, i, a, b in product(*map(range, (*arrays.shape[1:], POINTS, POINTS))):
            fy, fx = (a + 0.5) / POINTS, (b + 0.5) / POINTS
            place = (1 - fy) * ((1 - fx) * corners[j, i] + fx * corners[j, i + 1])
            place = place + fy * ((1 - fx) * corners[j + 1, i] + fx * corners[j + 1, i + 1])
            own = label(reference, place)
            if own == 0:
                continue
            error = 300.0 / np.sqrt(3)
            near = [label(reference, place + error * np.array(s)) for s in product((-1, 1), repeat=3)]
            weight = ((near.count(own) + LEAST_SURE) / 8) ** 2
            key = own, int(place[2] >= MIDLINE_UM)
            sums[key] = sums.get(key, 0) + um3 * weight * arrays[:, j, i]
            volume[key] = volume.get(key, 0) + um3 * arrays[0, j, i]
            for other in near:
                inside[key, other] = inside.get((key, other), 0) + um3 * weight * arrays[0, j, i] / 8
    return sums, inside, volume


@pytest.mark.parametrize("seed", range(3))
def test_equals_points_summed_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, placed = brain(rng), series(rng)
    volume = LabelVolume.of(reference)
    found = sum_by_label(placed, TURN, volume, SPACING_UM)
    sums, inside, seen = oracle(placed, reference)
    ids = volume.index.label_ids.tolist()
    for row, side in product(range(len(ids)), range(2)):
        key = ids[row], side
        np.testing.assert_allclose(found.sums[row, side], sums.get(key, np.zeros(4)), rtol=1e-9)
        np.testing.assert_allclose(found.volume_um3[row, side], seen.get(key, 0.0), rtol=1e-9)
        for column, other in enumerate(ids):
            if other:
                expected = inside.get((key, other), 0.0)
                np.testing.assert_allclose(found.found_in[row, side, column], expected, rtol=1e-9)
    assert set(sums) == {(ids[r], s) for r, s in np.argwhere(found.hits.any(axis=-1)).tolist()}


def test_volumes_of_labels_are_counts_of_voxels() -> None:
    reference = brain(np.random.default_rng(5))
    volume = LabelVolume.of(reference)
    for row, id_ in enumerate(volume.index.label_ids.tolist()):
        if id_:
            sides = reference.annotation[:, :, :6] == id_, reference.annotation[:, :, 6:] == id_
            assert volume.volumes_um3[row].tolist() == [side.sum() * UM**3 for side in sides]
    back = np.concatenate([[0], volume.index.label_ids])[volume.numbers]
    np.testing.assert_array_equal(back, reference.annotation)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_even_expression_is_found_exactly_everywhere(seed: int) -> None:
    rng = np.random.default_rng(seed)
    volume = LabelVolume.of(brain(rng))
    placed = []
    for one in series(rng):
        pixels = np.asarray(one.cells.sums.sum_pixels, float)
        even = ExpressionSums(pixels, 0.25 * pixels, 0.25 * 120 * pixels, 70 * pixels)
        placed.append(replace(one, cells=replace(one.cells, sums=even)))
    found = columns(placed, volume)
    hit = found["n_sections"] > 0
    for name, value in (("section_density", 0.25), ("section_intensity", 120.0), ("section_energy", 30.0)):
        np.testing.assert_allclose(found[name][hit], value, rtol=1e-9)
        assert np.isnan(found[name][~hit]).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_labels_add_up_to_the_root(seed: int) -> None:
    rng = np.random.default_rng(seed)
    volume, placed = LabelVolume.of(brain(rng)), series(rng)
    found = sum_by_label(placed, TURN, volume, SPACING_UM)
    by_label, found_in = structure_sums(found, volume)
    total = by_label.sum(axis=(0, 1))
    table = section_columns(found, volume, *ROWS)
    assert at(table, "section_energy", 997, 3) == pytest.approx(total[2] / total[0])
    assert at(table, "section_density", 997, 3) == pytest.approx(total[1] / total[0])
    assert at(table, "own_share", 997, 3) == pytest.approx(found_in.sum() / total[0])
    energy = table["section_density"] * table["section_intensity"]
    np.testing.assert_allclose(energy, table["section_energy"], rtol=1e-9)
    assert ((table["own_share"] >= 0) & (table["own_share"] <= 1 + 1e-9) | (table["n_sections"] == 0)).all()


def test_an_ancestor_is_the_mean_of_what_is_in_it_by_volume() -> None:
    rng = np.random.default_rng(4)
    volume, placed = LabelVolume.of(brain(rng)), series(rng, 5)
    found = sum_by_label(placed, TURN, volume, SPACING_UM)
    ids = volume.index.label_ids.tolist()
    rows = [ids.index(n) for n in (1, 2, 3)]
    energies = found.sums[rows][..., 2] / found.sums[rows][..., 0]
    seen = found.volume_um3[rows]
    weights = np.clip(volume.volumes_um3[rows], seen / 2, seen * 2)
    table = section_columns(found, volume, *ROWS)
    assert at(table, "section_energy", 1, 3) == pytest.approx(np.average(energies, weights=weights))


def test_mirrored_brains_and_sections_swap_their_sides() -> None:
    """R is mirrored about the midline, 5700 um, which is voxel 6 of 950 um: voxel k becomes 12 - k."""
    rng = np.random.default_rng(11)
    reference, placed = brain(rng), series(rng)
    labels = reference.annotation.copy()
    labels[:, :, [0, 6]] = 0  # voxel 12 does not exist; voxel 6 lies on both sides
    reference = replace(reference, annotation=labels)
    turned = labels.copy()
    turned[:, :, 1:] = labels[:, :, :0:-1]
    flip = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 2 * MIDLINE_UM]])
    matrix = flip[:, :3] @ TURN.volume_to_reference
    matrix[:, 3] += flip[:, 3]
    as_is, mirrored = LabelVolume.of(reference), LabelVolume.of(replace(reference, annotation=turned))
    one = columns(placed, as_is)
    other = section_columns(
        sum_by_label(placed, Alignment3d(9, matrix), mirrored, SPACING_UM), mirrored, *ROWS
    )
    swap = {1: 2, 2: 1, 3: 3}
    for (structure, side), name in product(zip(*ROWS, strict=True), SECTION_COLUMNS):
        expected = at(one, name, structure, side)
        assert at(other, name, structure, swap[int(side)]) == pytest.approx(expected, nan_ok=True)


def test_columns_do_not_depend_on_the_pixel_size_of_a_series() -> None:
    rng = np.random.default_rng(2)
    volume, placed = LabelVolume.of(brain(rng)), series(rng)
    finer = []
    for one in placed:
        cells = one.cells
        sums = cells.sums.map(lambda array: np.asarray(array) * 9.0)
        finer_cells = replace(cells, sums=sums, pitch_px=18, resolution_um=cells.resolution_um / 3)
        matrix = one.alignment.alignment2d.section_to_volume.copy()
        shift = one.cells.factor * (0.5 - 0.5 / 3)  # pixel centres lie at integers: the frame begins at -0.5
        matrix[:, 2] -= matrix[:, :2] @ [shift, shift]
        matrix[:, :2] /= 3
        field = one.alignment.deformation
        assert field is not None
        origin = 3 * shift
        moved = Deformation(field.displacement_um, field.spacing_px * 3, (origin, origin))
        alignment = replace(one.alignment, alignment2d=Alignment2d(1, matrix), deformation=moved)
        finer.append(PlacedCells(finer_cells, one.z_um, alignment))
    coarse_table, fine_table = columns(placed, volume), columns(finer, volume)
    for name in SECTION_COLUMNS:
        np.testing.assert_allclose(fine_table[name], coarse_table[name], rtol=1e-6, err_msg=name)


def test_a_section_stands_for_the_slab_up_to_half_way_to_its_neighbours() -> None:
    assert slabs_um([0.0, 200.0, 400.0, 1400.0], 200.0).tolist() == [200.0, 200.0, 300.0, 300.0]
    assert slabs_um([100.0], 200.0).tolist() == [200.0]
    assert slabs_um([0.0, 50.0, 100.0], 200.0).tolist() == [125.0, 50.0, 125.0]


def test_the_order_of_sections_does_not_matter() -> None:
    rng = np.random.default_rng(8)
    volume, placed = LabelVolume.of(brain(rng)), series(rng, 4)
    one, other = columns(placed, volume), columns(placed[::-1], volume)
    for name in SECTION_COLUMNS:
        np.testing.assert_allclose(other[name], one[name], rtol=1e-12)


def test_sections_beside_the_brain_hit_nothing() -> None:
    rng = np.random.default_rng(1)
    volume = LabelVolume.of(brain(rng))
    found = columns([section(rng, 0, 90_000.0)], volume)
    assert not found["n_sections"].any()
    for name in ("section_density", "section_intensity", "section_energy", "own_share"):
        assert np.isnan(found[name]).all()


def test_a_smaller_estimated_error_leaves_a_larger_own_share() -> None:
    rng = np.random.default_rng(6)
    volume, placed = LabelVolume.of(brain(rng)), series(rng)
    sure = [replace(p, alignment=replace(p.alignment, measures={"estimated_error_um": 1.0})) for p in placed]
    shares = [columns(each, volume)["own_share"] for each in (sure, placed)]
    hit = np.isfinite(shares[0])
    assert (shares[0][hit] > 0.95).all()
    assert np.mean(shares[1][hit]) < np.mean(shares[0][hit]) - 0.1


def test_more_labels_than_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_volume, "MOST_LABELS", 3)
    with pytest.raises(DataError, match="expected 3 labels at most, got 6"):
        LabelVolume.of(brain(np.random.default_rng(0)))
