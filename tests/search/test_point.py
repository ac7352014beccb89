"""Search at a point against profiles taken voxel by voxel: the map, its bound, the domains, the ranking."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from search.test_index import built
from search.test_sums import laid_out
from search_cases import Case, experiments, mean, pearson

from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.core.model import Bool, Float64
from pipeline.search.index import SearchIndex, open_index
from pipeline.search.kernels.point import Profile, Scan, correlate, correlate_fully, profiles, tiles
from pipeline.search.point import PointResult, parse_point


def coronal(seed: int, count: int, *, missing: bool = True, spread: float = 0.0) -> Case:
    """Return coronal experiments that share a pattern, so that some voxels are alike; loud and faint ones."""
    case = experiments(seed, count, missing=False)
    rng = np.random.default_rng([seed, 1])
    kinds = rng.integers(0, 4, case.labels.shape)
    for number, grid in enumerate(case.grids):
        grid *= np.exp(rng.normal(0, 2, 4))[kinds].astype(np.float32)
        grid[rng.random(grid.shape) < 0.1] = 0
        grid *= np.float32(10 ** (spread * (number % 5 - 2)))
        if missing and number % 3:
            grid[:, :, rng.random(grid.shape[2]) < 0.06] = np.nan
            grid[rng.random(grid.shape) < 0.02] = np.nan
    planes = [replace(e, plane_of_section="coronal") for e in case.experiments]
    return Case(case.space, planes, case.grids)


def oracle(case: Case, at: tuple[int, ...]) -> Float64:
    """Return r between a voxel and every voxel of the coronal set, one by one."""
    grids = np.stack([case.grids[i] for i in case.chosen("coronal")])
    r = np.full(case.labels.shape, np.nan)
    for voxel in zip(*np.nonzero(case.member("coronal")), strict=True):
        r[voxel] = pearson(grids[:, *at], grids[:, *voxel])[0]
    return r


def indexed(found: PointResult) -> tuple[int, ...]:
    return tuple(round(um / 200) for um in found.seed_um)


def some_voxel(case: Case, seed: int) -> tuple[int, ...]:
    """Return a voxel of the set where at least three experiments have data and differ."""
    grids = np.stack([case.grids[i] for i in case.chosen("coronal")])
    varied = (np.isfinite(grids).sum(axis=0) >= 3) & (np.nanmax(grids, axis=0) > np.nanmin(grids, axis=0))
    places = np.argwhere(case.member("coronal") & varied)
    return tuple(places[np.random.default_rng(seed).integers(len(places))].tolist())


def um(voxel: Sequence[int]) -> list[float]:
    return [200.0 * i for i in voxel]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), count=st.integers(4, 14), missing=st.booleans(), connected=st.booleans())
def test_map_domains_and_ranking_equal_voxel_by_voxel(
    seed: int, count: int, missing: bool, connected: bool, tmp_path: Path
) -> None:
    case = coronal(seed, count, missing=missing)
    shutil.rmtree(tmp_path / "index", ignore_errors=True)
    index = open_index(built(tmp_path, case))
    at = some_voxel(case, seed)
    found = index.at_point(
        um(at), wider=0.6, local=0.8, connected=connected, target_threshold=None, contrast_threshold=None
    )
    expected = oracle(case, at)
    assert indexed(found) == at
    assert np.array_equal(np.isnan(found.map), np.isnan(expected))
    assert np.nanmax(np.abs(found.map - expected)) <= found.within + 1e-6
    assert found.map[at] == 1.0
    wider, local = (_domain(expected, least, at, connected) for least in (0.6, 0.8))
    assert (found.wider_voxels, found.local_voxels) == (wider.sum(), local.sum())
    _check_table(case, found, wider, local)


def _domain(r: Float64, least: float, at: tuple[int, ...], connected: bool) -> Bool:
    inside = np.nan_to_num(r, nan=-2.0) >= least - 1e-9
    if connected:
        parts = ndimage.label(inside, np.ones((3, 3, 3)))[0]
        inside = parts == parts[at]
    return inside


def _check_table(case: Case, found: PointResult, wider: Bool, local: Bool) -> None:
    expected = {}
    for i in case.chosen("coronal"):
        (a, n), (b, m) = mean(case.grids[i], local), mean(case.grids[i], wider)
        if n and m:
            expected[100 + i] = (a / b if b else np.inf, a, b, n, m)
    rows = found.rows()
    assert {row["section_data_set_id"] for row in rows} == expected.keys()
    for row in rows:
        fold, a, b, n, m = expected[row["section_data_set_id"]]
        assert row["fold_change"] == pytest.approx(fold, rel=1e-6)
        assert (row["target_mean"], row["contrast_mean"]) == pytest.approx((a, b), rel=1e-6)
        assert (row["target_voxels"], row["contrast_voxels"]) == (n, m)
    keys = [(np.isinf(row["fold_change"]), -row["fold_change"]) for row in rows]
    assert keys == sorted(keys)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(3, 40), st.booleans(), st.sampled_from([0.0, 1.0, 4.0]))
def test_the_bound_holds_and_full_values_are_exact(
    seed: int, count: int, missing: bool, spread: float
) -> None:
    case = coronal(seed, count, missing=missing, spread=spread)  # up to 16 orders between experiments
    order, blocks, scales = laid_out(case, 7)
    slots = np.arange(count)
    energies = profiles(blocks, slots, scales.exponent, np.arange(len(order.brain)))
    flat = np.stack([grid.reshape(-1)[order.brain] for grid in case.grids], axis=1)
    assert np.array_equal(np.isnan(energies), np.isnan(flat))
    assert np.allclose(energies, flat, rtol=2.0**-23, atol=0, equal_nan=True)
    at = int(np.argmax((~np.isnan(flat)).sum(axis=1) + (np.nanmax(flat, axis=1) > np.nanmin(flat, axis=1))))
    profile = Profile.of(slots, scales.exponent, energies[at])
    complete = ~np.isnan(flat).any(axis=0)[~np.isnan(energies[at])]
    scan = Scan.of(blocks, profile, complete)
    parts = [correlate(scan, tile) for tile in tiles(order.padded, 2)]
    r, bound = (np.concatenate([getattr(p, n) for p in parts]) for n in ("r", "bound"))
    full = correlate_fully(blocks, profile, np.arange(len(order.brain)))
    for voxel in range(len(order.brain)):
        expected, shared = pearson(flat[at], flat[voxel])
        assert full[voxel] == pytest.approx(expected, abs=1e-6, nan_ok=True)
        assert np.isnan(r[voxel]) == (shared < 2)
        if not np.isnan(expected):
            assert abs(r[voxel] - expected) <= bound[voxel]


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = coronal(5, 21)
    order, blocks, scales = laid_out(case, 8)
    energies = profiles(blocks, np.arange(21), scales.exponent, np.array([10]))[0]
    profile = Profile.of(np.arange(21), scales.exponent, energies)
    scan = Scan.of(blocks, profile, np.zeros(len(profile.slots), bool))
    found = []
    for width, cores in ((64, 1), (192, 3), (16384, 1)):
        monkeypatch.setattr("pipeline.search.kernels.point.TILE", width)
        cut = tiles(order.padded, cores)
        assert np.array_equal(
            np.concatenate([np.arange(order.padded)[t] for t in cut]), np.arange(order.padded)
        )
        found.append(np.concatenate([correlate(scan, tile).r for tile in cut]))
    assert np.array_equal(found[0], found[1], equal_nan=True)
    assert np.array_equal(found[0], found[2], equal_nan=True)


def test_two_voxels_agree_on_each_other(tmp_path: Path) -> None:
    case = coronal(3, 9)
    index = open_index(built(tmp_path, case))
    a, b = some_voxel(case, 1), some_voxel(case, 2)
    there, back = (index.at_point(um(v), wider=-0.5, local=0.5, target_threshold=None) for v in (a, b))
    assert there.map[b] == pytest.approx(back.map[a], abs=there.within + back.within)


def test_a_constant_profile_has_no_r_and_a_copy_has_one(tmp_path: Path) -> None:
    case = coronal(4, 8, missing=False)
    places = np.argwhere(case.labels > 0)
    at, copy, flat = (tuple(place) for place in places[:3].tolist())
    for grid in case.grids:
        grid[copy], grid[flat] = grid[at], 2.5
    found = open_index(built(tmp_path, case)).at_point(um(at))
    assert (found.map[at], found.map[copy]) == (1.0, 1.0)
    assert np.isnan(found.map[flat])


def test_ties_go_to_the_larger_target_then_to_the_smaller_id(tmp_path: Path) -> None:
    case = coronal(6, 6, missing=False)
    case.grids[4][:] = case.grids[1]
    case.grids[2][:] = case.grids[1] * 2
    index = open_index(built(tmp_path, case))
    found = index.at_point(um(some_voxel(case, 0)), target_threshold=None, contrast_threshold=None)
    ids = [i for i in found.columns["section_data_set_id"] if i in (101, 102, 104)]
    assert ids == [102, 101, 104]


def test_thresholds_and_top_are_those_of_differential(tmp_path: Path) -> None:
    case = coronal(8, 12)
    index = open_index(built(tmp_path, case))
    at = um(some_voxel(case, 8))
    everything = index.at_point(at, target_threshold=None, contrast_threshold=None).rows()
    best = index.at_point(at, target_threshold=None, contrast_threshold=None, top=3).rows()
    assert best == everything[:3]
    kept = index.at_point(at, target_threshold="1,5", contrast_threshold="0,4").rows()
    assert kept == [r for r in everything if 1 <= r["target_mean"] <= 5 and r["contrast_mean"] <= 4]
    assert index.at_point(at).rows() == [
        r for r in everything if 1 <= r["target_mean"] <= 50 and r["contrast_mean"] <= 50
    ]


def test_a_point_between_voxels_takes_the_nearest_with_data(tmp_path: Path) -> None:
    case = coronal(2, 5, missing=False)
    for grid in case.grids:
        grid[:, :, 10:13] = np.nan
    index = open_index(built(tmp_path, case))
    place = next(tuple(v) for v in np.argwhere(case.member("coronal")).tolist() if v[2] == 13)
    p, i, r = um(place)
    assert indexed(index.at_point([p, i, r - 90])) == place
    beside = index.at_point([p, i, r - 110])  # nearer to a voxel without data, 110 um from one with
    assert indexed(beside)[2] == 13
    with pytest.raises(DataError, match=r"too few coronal experiments .* the nearest voxel"):
        index.at_point([p, i, r - 300])


def test_what_cannot_be_asked_is_one_line(tmp_path: Path) -> None:
    case = coronal(2, 5, missing=False)
    index = open_index(built(tmp_path, case))
    at = um(some_voxel(case, 0))
    for point in ([-1.0, 0, 0], [0, 0, 1e9], [float("nan"), 0, 0], [1.0, 2.0]):
        with pytest.raises(ConfigError, match="expected P,I,R in um within 0 to 1000"):
            index.at_point(point)
    for wider, local in ((0.9, 0.8), (-1.0, 0.5), (0.5, 1.0), (float("nan"), 0.5), (0.5, float("nan"))):
        with pytest.raises(ConfigError, match="expected -1 < wider <= local < 1"):
            index.at_point(at, wider=wider, local=local)
    with pytest.raises(ConfigError, match="target threshold 'x'"):
        index.at_point(at, target_threshold="x")
    with pytest.raises(ConfigError, match="top 0"):
        index.at_point(at, top=0)


def test_too_few_experiments_are_refused(tmp_path: Path) -> None:
    case = coronal(2, 2, missing=False)
    at = um(np.argwhere(case.labels > 0)[0].tolist())
    with pytest.raises(DataError, match="at least 3 coronal experiments with data at the seed, got 2"):
        open_index(built(tmp_path, case)).at_point(at)
    flat = coronal(2, 4, missing=False)
    for grid in flat.grids:
        grid[:] = 1.5
    with pytest.raises(DataError, match=r"differ at the seed, got 1.5 in all 4"):
        open_index(built(tmp_path / "flat", flat)).at_point(at)
    sagittal = Case(
        case.space, [replace(e, plane_of_section="sagittal") for e in case.experiments], case.grids
    )
    with pytest.raises(MissingResultError, match="no coronal experiment"):
        open_index(built(tmp_path / "sagittal", sagittal)).at_point(at)


def test_sagittal_experiments_take_no_part(tmp_path: Path) -> None:
    case = coronal(9, 10)
    mixed = [replace(e, plane_of_section="sagittal") if i % 2 else e for i, e in enumerate(case.experiments)]
    mixed_case = Case(case.space, mixed, case.grids)
    alone = Case(case.space, mixed[::2], case.grids[::2])
    at = um(some_voxel(mixed_case, 1))
    a, b = (
        open_index(built(tmp_path / name, one)).at_point(at, target_threshold=None)
        for name, one in (("mixed", mixed_case), ("alone", alone))
    )
    assert np.allclose(a.map, b.map, atol=a.within, equal_nan=True)
    assert a.rows() == b.rows()


def test_structures_count_their_voxels_in_the_set(tmp_path: Path) -> None:
    case = experiments(1, 9)
    index = open_index(built(tmp_path, case))
    for voxels in ("all", "grid"):
        _check_structures(case, index, voxels)
    with pytest.raises(ConfigError, match="expected one of all, coronal, grid"):
        index.structures("some")


def _check_structures(case: Case, index: SearchIndex, voxels: str) -> None:
    rows = index.structures(voxels).rows()
    for row in rows:
        assert row["voxels"] == (case.mask([row["acronym"]]) & case.member(voxels)).sum() > 0
    assert rows[0]["acronym"] == "root"
    missing = {s.acronym for s in index.ontology.structures} - {row["acronym"] for row in rows}
    assert all(not (case.mask([name]) & case.member(voxels)).any() for name in missing)
    assert "void" in missing  # has no voxel at all


def test_points_are_three_numbers() -> None:
    assert parse_point("1, 2.5,3e2", "--at") == (1, 2.5, 300)
    for text in ("1,2", "1,2,3,4", "a,b,c", "1,2,inf", "1,2,nan", ""):
        with pytest.raises(ConfigError, match=r"--at .*expected P,I,R"):
            parse_point(text, "--at")
