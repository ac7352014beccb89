"""`ish unionize`: the table of a run from its grids, served grids against published figures, and faults."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ID, Ish, digests, vouch
from search.test_index import labels
from search_cases import experiments

from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import SUM_FIELDS, ExpressionSums
from pipeline.core.reference_space import hemispheres, structure_mask
from pipeline.formats.tables.tables import read_table
from pipeline.formats.volumes.metaimage import read_grid, write_grid
from pipeline.formats.volumes.reference_folder import read_reference
from pipeline.inputs.references import open_reference
from pipeline.quantification.section_sums import SECTION_COLUMNS
from pipeline.quantification.uncertainty.columns import INTERVAL_COLUMNS
from pipeline.quantification.unionize import LabelIndex, unionize_columns
from pipeline.runs.grid_tables import unionize_grid, write_grid_table
from pipeline.search.kernels.order import VoxelOrder
from pipeline.store.run import RunFolder

PROX1 = "ish/prox1_69289763"
CELL = 191**2  # pixels of a voxel at 1.049 um


def table_of(folder: Path) -> dict[str, np.ndarray]:
    texts = {"uncertainty_note"}
    return {n: np.array(c, None if n in texts else float) for n, c in read_table(folder).items()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small brain of (6, 5, 58) voxels."""
    return labels(experiments(4, 1), tmp_path_factory.mktemp("brain"))


@pytest.fixture
def grids(tmp_path: Path) -> Path:
    """Energy, density and intensity of one experiment in that brain."""
    folder = tmp_path / "71717084"
    folder.mkdir()
    rng = np.random.default_rng(3)
    density = rng.uniform(0.01, 0.3, (6, 5, 58)).astype(np.float32)
    density[:, :, 40:] = np.nan
    intensity = rng.uniform(110, 180, density.shape).astype(np.float32)
    for name, grid in (("energy", density * intensity), ("density", density), ("intensity", intensity)):
        write_grid(folder / f"{name}.mhd", np.where(np.isnan(density), np.nan, grid), 200.0)
    return folder


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path


@pytest.mark.parametrize("place", ["", "grid", "grid/energy.mhd"])
def test_a_run_gives_its_own_table(finished: Path, place: str, ish: Ish, tmp_path: Path) -> None:
    before = digests(finished)
    assert ish("unionize", finished / place, "--output", tmp_path / "table") == 0
    expected = table_of(finished / "structure_unionize.parquet")
    found = table_of(tmp_path / "table/structure_unionize.parquet")
    assert list(found) == list(expected)
    for name, column in expected.items():
        # a spread far below the mean, and the end of an interval near 0, are differences of rounded numbers
        least = 1e-7 if name == "voxel_energy_cv" or name.endswith(("_lower", "_upper")) else 0.0
        if name == "uncertainty_note":
            assert found[name].tolist() == column.tolist()
            continue
        np.testing.assert_allclose(found[name], column, rtol=1e-6, atol=least, err_msg=name)
    assert digests(finished) == before


def test_a_run_of_an_earlier_version_gives_its_table_without_section_columns(
    finished: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / finished.name))
    shutil.rmtree(run / "missing_tissue.zarr")
    vouch(run)
    notes: list[str] = []
    found = unionize_grid(run, note=notes.append).columns
    assert [note for note in notes if "section energy is left out" in note]
    names = list(table_of(run / "structure_unionize.parquet"))
    assert list(found) == names[: names.index(SECTION_COLUMNS[0])]


def test_a_series_of_one_half_says_that_its_sides_tell_nothing(finished: Path) -> None:
    notes = json.loads((finished / "section_data_set.json").read_text())["uncertainty_notes"]
    assert [note for note in notes if note.startswith("one hemisphere, or few structures")]
    assert not [note for note in notes if "left and right differ" in note]


def test_the_table_of_a_run_holds_its_grid_as_before(finished: Path) -> None:
    """The columns of the grid are those of `unionize` alone, to the last bit."""
    run = RunFolder(finished)
    arrays = run.read_grid()
    covered = arrays["sum_pixels"] >= 0
    sums = ExpressionSums(*(np.where(covered, arrays[n], 0).astype(np.float64) for n in SUM_FIELDS))
    space = open_reference(None, 100.0)
    index = LabelIndex.of(space.grid_labels(), space.ontology)
    expected = unionize_columns(int(ID), sums, covered, index, hemispheres(space.grid))
    table = table_of(finished / "structure_unionize.parquet")
    beside = (*SECTION_COLUMNS, *INTERVAL_COLUMNS, "uncertainty_note")
    assert [name for name in table if "_share_" not in name] == [*expected, *beside]
    for name, column in expected.items():
        np.testing.assert_array_equal(table[name], column, err_msg=name)


def test_section_energies_tell_structures_apart_that_the_grid_mixes(finished: Path, rendered: Path) -> None:
    """At 16 um the detector misses most of the expression; what is left of the errors is each structure's."""
    truth = (rendered / "truth" / "structure_energy.csv").read_text(encoding="utf-8").splitlines()
    rows = [[float(r[n]) for n in ("structure_id", "hemisphere_id", "expression_energy")]
            for r in csv.DictReader(truth)]  # fmt: skip
    true = {(structure, side): energy for structure, side, energy in rows}
    table = table_of(finished / "structure_unionize.parquet")
    keys = list(zip(table["structure_id"], table["hemisphere_id"], strict=True))
    spread = {}
    for column in ("expression_energy", "section_energy"):
        pairs = np.array([(v, true[k]) for k, v in zip(keys, table[column], strict=True) if true[k] > 1])
        logs = np.log((pairs[:, 0] + 0.1) / (pairs[:, 1] + 0.1))
        spread[column] = np.nanmedian(np.abs(logs - np.nanmedian(logs)))
    assert spread["section_energy"] < 0.85 * spread["expression_energy"]


def test_exported_grids_give_the_table_of_their_run(
    finished: Path, ish: Ish, tmp_path: Path, ish_data: Path
) -> None:
    assert ish("export", finished, "--format", "metaimage", "--output", tmp_path / ID) == 0
    given = ("--reference", ish_data / "reference")  # the phantom is no folder
    assert ish("unionize", tmp_path / ID, *given, "--output", tmp_path / "a") == 0
    assert ish("unionize", finished, *given, "--output", tmp_path / "b") == 0
    one, two = (table_of(tmp_path / name / "structure_unionize.parquet") for name in "ab")
    for name, column in one.items():
        np.testing.assert_allclose(column, two[name], rtol=2e-6, err_msg=name)


@pytest.mark.parametrize("name", ["grid/energy.raw", "grid/density.mhd", "grid.zarr/energy/c/0/0/0"])
def test_a_torn_run_is_never_a_number(finished: Path, name: str, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / ID))
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: len(content) // 2])
    for place in (run, run / "grid"):
        with pytest.raises(DataError, match=f"{name}: is not as the run wrote it"):
            unionize_grid(place)


@pytest.mark.parametrize("form", ["folder", "zip", "file"])
def test_every_form_of_a_served_grid(grids: Path, reference: Path, form: str, tmp_path: Path) -> None:
    path = {"folder": grids, "zip": zipped(grids, tmp_path / "71717084.zip"), "file": grids / "energy.mhd"}[
        form
    ]
    notes: list[str] = []
    found = unionize_grid(path, reference, note=notes.append)
    assert set(found.columns["section_data_set_id"]) == {71717084}
    assert any("sums need a single image resolution" in note for note in notes)
    brain = experiments(4, 1).labels
    (at,) = np.flatnonzero((found.columns["structure_id"] == 4) & (found.columns["hemisphere_id"] == 3))
    mask = structure_mask(brain, found.ontology, [4])
    energy = read_grid(grids / "energy.mhd")[mask].astype(float)
    assert found.columns["expression_energy"][at] == pytest.approx(np.nanmean(energy))
    assert found.columns["expression_density"][at] == pytest.approx(
        np.nanmean(read_grid(grids / "density.mhd")[mask].astype(float))
    )
    assert found.columns["coverage"][at] == np.isfinite(energy).mean()


def test_density_and_intensity_stand_for_the_energy(grids: Path, reference: Path) -> None:
    whole = unionize_grid(grids, reference)
    for end in ("mhd", "raw"):
        (grids / f"energy.{end}").unlink()
    notes: list[str] = []
    product = unionize_grid(grids, reference, note=notes.append)
    assert "energy is taken as density x intensity" in notes
    for name in ("expression_energy", "expression_intensity", "voxel_energy_cv"):
        np.testing.assert_allclose(product.columns[name], whole.columns[name], rtol=1e-6)


@pytest.mark.parametrize(("served", "voxels", "energy"), [(True, 22687, 1.27244), (False, 22813, 1.27484)])
def test_served_prox1(ish_data: Path, served: bool, voxels: int, energy: float) -> None:
    """Published: energy 1.25604, voxel_energy_mean 1.2479, cv 2.29688, 788,478,000 pixels of the whole brain.

    The last figure is 21,613 whole cells: voxels at the rim of sections have fewer pixels, which a grid does
    not tell, and its whole brain is a node of another ontology.
    """
    with (ish_data / "unionize/prox1_69289763_structure_unionize_6rows.csv").open() as file:
        published = next(row for row in csv.DictReader(file) if row["acronym"] == "mouse")
    notes: list[str] = []
    found = unionize_grid(ish_data / PROX1, ish_data / "reference", served, note=notes.append)
    (at,) = np.flatnonzero((found.columns["structure_id"] == 997) & (found.columns["hemisphere_id"] == 3))
    root = {name: column[at] for name, column in found.columns.items()}
    assert root["section_data_set_id"] == 69289763
    assert root["sum_pixels"] == voxels * CELL
    assert root["expression_energy"] == pytest.approx(energy, abs=5e-6)
    assert root["sum_expressing_pixel_intensity"] == pytest.approx(energy * voxels * CELL, rel=5e-6)
    assert root["expression_energy"] == pytest.approx(float(published["expression_energy"]), rel=0.02)
    assert root["voxel_energy_mean"] == pytest.approx(float(published["voxel_energy_mean"]), rel=0.025)
    assert root["voxel_energy_cv"] == pytest.approx(float(published["voxel_energy_cv"]), rel=0.015)
    assert root["sum_pixels"] == pytest.approx(float(published["sum_pixels"]), rel=0.06)
    assert np.isnan(root["expression_density"])
    assert any(f"sums assume {CELL} pixels" in note for note in notes)
    assert any(
        note.startswith("sum_expressing_pixels, sum_pixel_intensity, expression_density") for note in notes
    )


def test_served_labels_have_structures_that_derived_ones_lack(ish_data: Path) -> None:
    """What the help texts say of published numbers; none of the 843 lacks data in this coronal series."""
    series, brain = ish_data / "ish/pdyn_71717084", ish_data / "reference"
    published = set(unionize_grid(series, brain, True).columns["structure_id"].tolist())
    space = read_reference(brain, 100.0)
    derived = set(
        VoxelOrder.of(space.grid_labels(), space.ontology, hemispheres(space.grid)).structure_ids.tolist()
    )
    assert (len(published), len(published - derived)) == (843, 217)


def test_the_head_is_shown_and_json_is_whole(
    grids: Path, reference: Path, ish: Ish, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digests(grids.parent)
    assert ish("unionize", grids, "--reference", reference) == 0
    head = capsys.readouterr().out.splitlines()
    assert head[0].split() == ["structure", "id", "energy", "density", "intensity", "coverage"]
    assert head[1].split()[:2] == ["root", "997"]
    assert ish("unionize", grids, "--reference", reference, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["sum_pixels"] is None
    assert len(rows) > len(head) - 1
    assert digests(grids.parent) == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("71717084_200um", "an id as its whole name"),
        ("20240501", None),  # a whole name is an id, whatever it may also be
        ("Prox1", "an id as its whole name"),
        ("007", "an id as its whole name"),
        ("9" * 20, "an id as its whole name"),
    ],
)
def test_an_id_is_a_whole_name(grids: Path, reference: Path, name: str, words: str | None) -> None:
    place = grids.rename(grids.parent / name)
    if words is None:
        assert unionize_grid(place, reference).columns["section_data_set_id"][0] == int(name)
        return
    with pytest.raises(ConfigError, match=words):
        unionize_grid(place, reference)
    assert unionize_grid(place, reference, number=7).columns["section_data_set_id"][0] == 7


def test_an_id_that_contradicts_the_data_set_is_refused(ish_data: Path, finished: Path) -> None:
    with pytest.raises(ConfigError, match=r"--id 7: data_set\.xml of .* says 69289763"):
        unionize_grid(ish_data / PROX1, ish_data / "reference", number=7)
    with pytest.raises(ConfigError, match=f"--id 7: .* is the run of {ID}"):
        unionize_grid(finished, number=7)


def test_a_grid_needs_a_reference(grids: Path) -> None:
    with pytest.raises(ConfigError, match="expected --reference DIR: a grid does not name its reference"):
        unionize_grid(grids)


def _tear(folder: Path) -> None:
    raw = folder / "density.raw"
    raw.write_bytes(raw.read_bytes()[:-5])


def _swap(folder: Path) -> None:
    shutil.copy(folder / "density.raw", folder / "energy.raw")


def _reshape(folder: Path) -> None:
    write_grid(folder / "density.mhd", np.zeros((5, 5, 58), np.float32), 200.0)


def _shrink(folder: Path) -> None:
    for name in ("energy", "density", "intensity"):
        write_grid(folder / f"{name}.mhd", np.ones((5, 5, 58), np.float32) * 0.5, 200.0)


def _blank(folder: Path) -> None:
    for name in ("energy", "density", "intensity"):
        write_grid(folder / f"{name}.mhd", np.full((6, 5, 58), np.nan, np.float32), 200.0)


def _coarsen(folder: Path) -> None:
    write_grid(folder / "energy.mhd", np.ones((6, 5, 58), np.float32), 100.0)


def _shift(folder: Path) -> None:
    header = folder / "energy.mhd"
    header.write_text(header.read_text().replace("Offset = 0 0 0", "Offset = 200 0 0"))


def _drop(folder: Path) -> None:
    for name in ("energy.mhd", "intensity.mhd"):
        (folder / name).unlink()


FAULTS = [
    (_tear, "expected 6960 bytes for 6 x 5 x 58 voxels, got 6955"),
    (_swap, "energy: expected 1 to 255 times the density, got 1 times"),
    (_reshape, r"expected grids of one shape, got \[\(5, 5, 58\), \(6, 5, 58\)\]"),
    (_shrink, r"energy: expected 1 to 255|expected a grid of \(6, 5, 58\) voxels as of the reference"),
    (_blank, "expected data within the brain, got none"),
    (_coarsen, "expected a grid of 200 um"),
    (_shift, "expected a grid that begins at 0 0 0"),
    (_drop, r"expected energy\.mhd, or density\.mhd and intensity\.mhd, got density\.mhd"),
]


@pytest.mark.parametrize(("harm", "words"), FAULTS, ids=[harm.__name__ for harm, _ in FAULTS])
def test_faults_are_named_with_their_place(grids: Path, reference: Path, harm, words: str) -> None:  # type: ignore[no-untyped-def]
    harm(grids)
    with pytest.raises(DataError, match=words) as error:
        unionize_grid(grids, reference)
    assert str(grids) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_grid_of_another_brain_is_refused(ish_data: Path, reference: Path) -> None:
    with pytest.raises(DataError, match=r"expected a grid of \(6, 5, 58\) voxels .* got \(67, 41, 58\)"):
        unionize_grid(ish_data / PROX1, reference)


def test_outputs_replace_nothing_but_our_own(grids: Path, reference: Path, tmp_path: Path) -> None:
    table = unionize_grid(grids, reference)
    for _ in range(2):  # what we wrote gives way
        written = write_grid_table(tmp_path / "out", table, [grids, reference])
    assert [path.name for path in written] == ["structure_unionize.csv", "structure_unionize.parquet"]
    written[0].write_text("mine")
    with pytest.raises(ConfigError, match="is not as this program left it"):
        write_grid_table(tmp_path / "out", table, [grids, reference])
    assert written[0].read_text() == "mine"
    (tmp_path / "link").symlink_to(grids)
    for place in (grids, grids / "tables", grids.parent, tmp_path / "link", reference):
        before = digests(tmp_path)
        with pytest.raises(ConfigError, match="is, contains or lies in"):
            write_grid_table(place, table, [grids, reference])
        assert digests(tmp_path) == before
