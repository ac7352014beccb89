"""The index from Python: answers against voxel by voxel, growth, snapshots, bad input, the real brain."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_cases import Case, experiments, mean, pearson, space

from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.core.reference_space import LABELS_USED, structure_mask
from pipeline.formats.volumes.reference_folder import read_reference
from pipeline.search.index import VOXEL_SETS, open_index
from pipeline.search.indexing import build_index, index_folders
from pipeline.search.on_disk.experiments import Experiment
from pipeline.store.run import RunFolder
from pipeline.store.tasks import Receipt

SETS = list(VOXEL_SETS)


def built(folder: Path, case: Case) -> Path:
    report = build_index(folder / "index", case.pairs, case.space)
    assert not report.errors
    return folder / "index"


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), count=st.integers(1, 12))
def test_searches_equal_voxel_by_voxel(seed: int, count: int, tmp_path: Path) -> None:
    case = experiments(seed, count)
    shutil.rmtree(tmp_path / "index", ignore_errors=True)
    index = open_index(built(tmp_path, case))
    for voxels in SETS:
        if not case.chosen(voxels):
            with pytest.raises(MissingResultError, match="no coronal experiment"):
                index.voxel_mask(voxels)
            continue
        assert np.array_equal(index.voxel_mask(voxels), case.member(voxels))
        _check_differential(case, index, voxels)
        for domain in ((), ("L1", "TH")):
            _check_correlation(case, index, voxels, domain)


def _check_differential(case: Case, index, voxels: str) -> None:  # type: ignore[no-untyped-def]
    inside = [case.mask(names) & case.member(voxels) for names in (["CTX", "L1"], ["TH", "fiber"])]
    if not inside[0].any() or not inside[1].any():
        with pytest.raises(DataError, match="none of its"):
            index.differential(["CTX", "L1"], ["TH", "fiber"], voxels=voxels)
        return
    found = index.differential(["CTX", "L1"], ["TH", "fiber"], voxels=voxels).rows()
    expected = {}
    for i in case.chosen(voxels):
        (a, n), (b, m) = (mean(case.grids[i], mask) for mask in inside)
        if n and m:
            expected[100 + i] = (a / b if b else np.inf, a, b, n, m)
    assert {row["section_data_set_id"] for row in found} == expected.keys()
    for row in found:
        fold, a, b, n, m = expected[row["section_data_set_id"]]
        assert row["fold_change"] == pytest.approx(fold, rel=1e-6)
        assert row["target_mean"] == pytest.approx(a, rel=1e-6)
        assert row["contrast_mean"] == pytest.approx(b, rel=1e-6)
        assert (row["target_voxels"], row["contrast_voxels"], row["contrast_zero"]) == (n, m, b == 0)
    keys = [(np.isinf(r["fold_change"]), -r["fold_change"]) for r in found]
    assert keys == sorted(keys)


def _check_correlation(case: Case, index, voxels: str, domain: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    member = case.member(voxels) & case.mask(domain) if domain else case.member(voxels)
    seed = case.grids[0]
    values = seed[member & ~np.isnan(seed)]
    if values.size < 2 or values.min() == values.max():
        with pytest.raises(DataError):
            index.correlation(seed, domain=domain, voxels=voxels)
        return
    expected = {100 + i: pearson(seed[member], case.grids[i][member]) for i in case.chosen(voxels)}
    defined = {number: (r, n) for number, (r, n) in expected.items() if not np.isnan(r)}
    found = index.correlation(seed, domain=domain, voxels=voxels, top=None).rows()
    best = index.correlation(seed, domain=domain, voxels=voxels, top=3).rows()
    assert {row["section_data_set_id"] for row in found} == defined.keys()
    assert [row["section_data_set_id"] for row in best] == [row["section_data_set_id"] for row in found[:3]]
    if voxels == "grid" and not domain:
        return  # grids that came from memory: outside the brain only codes are left, see below
    for row in found:
        r, n = defined[row["section_data_set_id"]]
        assert (row["r"], row["voxels"]) == (pytest.approx(r, abs=2e-6), n)


def test_the_whole_grid_takes_full_values_from_the_runs_own_grids(tmp_path: Path) -> None:
    case = experiments(4, 9)
    index = open_index(built(tmp_path, case))
    rough = index.correlation(case.grids[0], voxels="grid", top=None)
    assert "9 of 9 candidates" in rough.notes[0]
    grids = served(tmp_path / "grids", case)
    assert index_folders([grids], tmp_path / "index").replaced == 9
    exact = open_index(tmp_path / "index").correlation(100, voxels="grid", top=None)
    assert exact.notes == ()
    bound = float(rough.notes[0].split()[-1])
    drawn = {row["section_data_set_id"]: row["r"] for row in rough.rows()}
    for row in exact.rows():
        expected, shared = pearson(case.grids[0], case.grids[row["section_data_set_id"] - 100])
        assert (row["r"], row["voxels"]) == (pytest.approx(expected, abs=1e-6), shared)
        assert abs(drawn[row["section_data_set_id"]] - expected) <= bound


def test_a_grid_that_changed_since_is_not_taken(tmp_path: Path) -> None:
    case = experiments(4, 4)
    grids = served(tmp_path / "grids", case)
    index_folders([grids], tmp_path / "index", labels(case, tmp_path))
    _write(grids / "102", case.grids[2] * 2)
    shutil.rmtree(grids / "103")
    found = open_index(tmp_path / "index").correlation(100, voxels="grid")
    assert "2 of 4 candidates: their own grids are not available" in found.notes[0]


def test_growth_and_replacement_are_those_of_a_fresh_index(tmp_path: Path) -> None:
    case, later = experiments(7, 8), experiments(8, 8, brain=experiments(7, 0).space)
    path = built(tmp_path, Case(case.space, case.experiments[:5], case.grids[:5]))
    assert build_index(path, case.pairs[3:]).added == 3
    grids = [*case.grids[:2], later.grids[2], *case.grids[3:7], later.grids[7]]
    report = build_index(path, list(zip(case.experiments, grids, strict=True)))
    assert (report.added, report.replaced, report.unchanged) == (0, 2, 6)
    grown = open_index(path)
    fresh = open_index(built(tmp_path / "fresh", Case(case.space, case.experiments, grids)))
    assert len(grown) == len(fresh) == 8
    for voxels in SETS:
        assert np.array_equal(grown.voxel_mask(voxels), fresh.voxel_mask(voxels))
        arguments = (["CTX"], ["TH"])
        assert (
            grown.differential(*arguments, voxels=voxels).rows()
            == fresh.differential(*arguments, voxels=voxels).rows()
        )
        found = [index.correlation(100, voxels=voxels).rows() for index in (grown, fresh)]
        assert found[0] == found[1]


def test_a_reader_keeps_the_index_that_it_opened(tmp_path: Path) -> None:
    case = experiments(9, 6)
    path = built(tmp_path, Case(case.space, case.experiments[:3], case.grids[:3]))
    reader = open_index(path)
    before = reader.correlation(100).rows()
    changed = [(e, g * 3 + 1) for e, g in case.pairs]
    for _ in range(7):  # replaced often enough for rows to be moved together
        build_index(path, changed)
        build_index(path, case.pairs)
    assert reader.correlation(100).rows() == before
    assert reader.differential(["CTX"], ["TH"]).rows()[0]["section_data_set_id"] < 103
    assert len(open_index(path)) == 6
    assert len(list(path.glob("rows-*"))) == 1


def test_a_change_of_plane_alone_is_a_replacement(tmp_path: Path) -> None:
    case = experiments(1, 3)
    path = built(tmp_path, case)
    renamed = replace(case.experiments[0], plane_of_section="coronal", gene="New")
    build_index(path, [(renamed, case.grids[0])])
    assert open_index(path).experiments["gene"].tolist().count("New") == 1


def test_bad_experiments_are_left_out_one_line_each(tmp_path: Path) -> None:
    case = experiments(2, 3)
    path = built(tmp_path, case)
    infinite = case.grids[0].copy()
    infinite[0, 0, 0] = np.inf
    report = build_index(
        path,
        [
            (Experiment(7), infinite),
            (Experiment(8), case.grids[0][:3]),
            (Experiment(9), case.grids[1]),
            (Experiment(9), case.grids[2]),
        ],
    )
    assert report.added == 1
    assert len(report.errors) == 3
    assert all("\n" not in line for line in report.errors)
    assert "experiment 8: expected a grid of (6, 5, 58) voxels, got (3, 5, 58)" in report.errors[1]
    assert "already taken" in report.errors[2]
    assert len(open_index(path)) == 4


def test_a_contrast_counts_the_target_that_it_contains(tmp_path: Path) -> None:
    case = experiments(2, 5)
    index = open_index(built(tmp_path, case))
    for target, contrast in (("L1", "CTX"), ("CTX", "L1"), ("TH", "TH")):
        found = index.differential([target], [contrast], voxels="grid").rows()
        assert found
        for row in found:
            grid = case.grids[row["section_data_set_id"] - 100]
            (a, n), (b, m) = (mean(grid, case.mask([name])) for name in (target, contrast))
            assert row["fold_change"] == pytest.approx(a / b, rel=1e-6)
            assert (row["target_voxels"], row["contrast_voxels"]) == (n, m)


def test_an_index_remembers_its_labels(tmp_path: Path) -> None:
    case = experiments(2, 3)
    served = replace(case.space, grid_annotation=case.space.grid_labels())
    for name, space_, flag in (("derived", case.space, False), ("served", served, True)):
        build_index(tmp_path / name, case.pairs, space_, served_labels=flag)
        index = open_index(tmp_path / name)
        assert index.differential("CTX", "TH").notes == (LABELS_USED[name],)
        assert LABELS_USED[name] in index.correlation(100, domain="CTX").notes
        assert index.correlation(100).notes == ()  # no structure was looked up


def test_published_voxel_counts_are_those_of_the_served_labels(ish_data: Path) -> None:
    """A published search: 320 voxels of the subiculum, left from R = 2,000 um on."""
    space_ = read_reference(ish_data / "reference", 100.0)
    left = slice(10, 29)
    counts = [
        int(structure_mask(space_.grid_labels(served=served), space_.ontology, ["SUB"])[:, :, left].sum())
        for served in (True, False)
    ]
    assert counts == [320, 140]


def test_bad_questions_say_what_is_expected(tmp_path: Path) -> None:
    index = open_index(built(tmp_path, experiments(2, 5)))
    with pytest.raises(DataError, match=r"structure 'CTXX'.*nearest: CTX"):
        index.differential(["CTXX"], ["TH"])
    with pytest.raises(DataError, match="domain void: none of its 0 voxels"):
        index.correlation(100, domain=["void"])
    with pytest.raises(DataError, match="seed 99: not among the 5 experiments"):
        index.correlation(99)
    with pytest.raises(DataError, match=r"seed nowhere\.mhd.*no such file"):
        index.correlation("nowhere.mhd")
    with pytest.raises(DataError, match="expected a grid of"):
        index.correlation(np.ones((2, 2, 2), np.float32))
    with pytest.raises(ConfigError, match="expected one of all, coronal, grid"):
        index.correlation(100, voxels="sagittal")
    with pytest.raises(ConfigError, match="at least 1"):
        index.correlation(100, top=0)
    with pytest.raises(ConfigError, match="target threshold"):
        index.differential(["CTX"], ["TH"], target_threshold="9,1")
    with pytest.raises(ConfigError, match="target: expected at least one structure"):
        index.differential([], ["TH"])


def test_one_structure_needs_no_list(tmp_path: Path) -> None:
    index = open_index(built(tmp_path, experiments(2, 5)))
    assert index.differential("CTX", 4).rows() == index.differential(["CTX"], ["TH"]).rows()
    assert index.correlation(101, domain="CTX").rows() == index.correlation("101", domain=[1]).rows()
    assert index.differential("L1, 3", "TH").rows() == index.differential([2, "L2"], ["TH"]).rows()
    with pytest.raises(DataError, match="structure 'L9'"):
        index.differential("L1,L9", "TH")


def test_runs_of_another_brain_are_left_out(tmp_path: Path) -> None:
    case = experiments(2, 3)
    here, there = (folder.mkdir() or folder for folder in (tmp_path / "here", tmp_path / "there"))
    own, other = labels(case, here), labels(experiments(3, 0), there)
    runs = [tmp_path / "runs" / str(number) for number in (100, 101, 102)]
    for run, grid, reference in zip(runs, case.grids, (own, other, tmp_path / "gone"), strict=True):
        finished_run(run, int(run.name), grid, reference)
    report = index_folders([tmp_path / "runs"], tmp_path / "index")
    assert report.added == 2  # what can no longer be told passes
    assert f"101: its reference, {other}, has other labels than the index" in report.errors[0]
    assert index_folders([tmp_path / "runs"], tmp_path / "index", own).added == 1  # told that both are one
    (runs[0] / "receipts" / "grid.json").unlink()
    with pytest.raises(DataError, match="its grid is not there yet"):
        open_index(tmp_path / "index").correlation(runs[0])
    assert open_index(tmp_path / "index").correlation(runs[1]).rows()[0]["section_data_set_id"] == 101


def finished_run(folder: Path, number: int, grid: np.ndarray, reference: Path) -> None:  # type: ignore[type-arg]
    _write(folder / "grid", grid)
    described = {"id": number, "gene": "Abc", "plane_of_section": "coronal"}
    (folder / "section_data_set.json").write_text(json.dumps(described))
    (folder / "provenance.json").write_text(json.dumps({"reference_directory": str(reference)}))
    RunFolder(folder).write_receipt(Receipt("grid", "done", "d"))


def test_an_empty_index_opens_and_says_so(tmp_path: Path) -> None:
    build_index(tmp_path / "index", [], space())
    index = open_index(tmp_path / "index")
    assert len(index) == 0
    with pytest.raises(MissingResultError, match="holds no experiment yet"):
        index.differential(["CTX"], ["TH"])


def test_other_labels_are_refused(tmp_path: Path) -> None:
    path = built(tmp_path, experiments(2, 2))
    with pytest.raises(DataError, match="other labels"):
        build_index(path, [], space(99))


def labels(case: Case, folder: Path) -> Path:
    """Write the reference of a case as a folder."""
    import SimpleITK

    where = folder / "reference"
    where.mkdir(exist_ok=True)
    image = SimpleITK.GetImageFromArray(case.space.annotation.transpose(2, 1, 0))
    image.SetSpacing((200.0, 200.0, 200.0))
    SimpleITK.WriteImage(image, str(where / "annotation_200.nrrd"))
    nodes = {
        s.id: {"id": s.id, "acronym": s.acronym, "name": s.name, "graph_order": s.graph_order, "children": []}
        for s in case.space.ontology.structures
    }
    for s in case.space.ontology.structures:
        if s.parent_id is not None:
            nodes[s.parent_id]["children"].append(nodes[s.id])  # type: ignore[union-attr]
    (where / "structure_graph_1.json").write_text(json.dumps({"msg": [nodes[997]]}))
    return where


def _write(folder: Path, grid: np.ndarray) -> None:  # type: ignore[type-arg]
    from pipeline.formats.volumes.metaimage import write_grid

    folder.mkdir(parents=True, exist_ok=True)
    write_grid(folder / "energy.mhd", grid, 200.0)


def served(folder: Path, case: Case) -> Path:
    for experiment, grid in case.pairs:
        _write(folder / f"{experiment.section_data_set_id}", grid)
    rows = [f"{e.section_data_set_id},{e.gene},{e.plane_of_section}" for e in case.experiments]
    (folder / "experiments.csv").write_text("\n".join(["section_data_set_id,gene,plane_of_section", *rows]))
    return folder


def test_the_real_brain(ish_data: Path, tmp_path: Path) -> None:
    report = index_folders([ish_data / "ish"], tmp_path / "index", ish_data / "reference")
    assert (report.added, report.errors) == (3, [])
    index = open_index(tmp_path / "index")
    first = index.differential(["DG"], ["Isocortex"]).rows()[0]
    assert first["section_data_set_id"] == 69289763  # Prox1: the dentate gyrus
    assert first["fold_change"] > 10
    for number in (69289763, 71717084, 74272479):
        for voxels in SETS:
            if voxels == "coronal" and number == 69289763:
                continue
            best = index.correlation(number, voxels=voxels)
            assert best.notes == ()
            assert best.rows()[0]["section_data_set_id"] == number
            assert best.rows()[0]["r"] == pytest.approx(1.0, abs=1e-9)
