"""Finished runs in other programs' forms, opened by those programs' own readers."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import SimpleITK
import zarr
from conftest import ID, Ish, vouch
from ome_zarr_models.v05 import Image
from ome_zarr_models.v05.image_label import ImageLabel
from ome_zarr_models.v05.labels import Labels

from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.exports.forms import FORMATS, export, find_runs
from pipeline.exports.structure_table import annotated, join_tables
from pipeline.formats.alignments.alignment_json import read_alignment
from pipeline.formats.tables.tables import read_table, write_table
from pipeline.formats.volumes.metaimage import read_grid
from pipeline.geometry import affine
from pipeline.quantification.section_sums import SECTION_COLUMNS
from pipeline.store.run import RunFolder, write_json
from pipeline.store.tasks import Receipt

OTHER = 900004


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    """A folder of two runs: the finished one, and the same under another id and gene."""
    folder = tmp_path / "runs"
    for number in (int(ID), OTHER):
        shutil.copytree(finished, folder / str(number))
    _renumber(folder / str(OTHER))
    return folder


def _renumber(run: Path) -> None:
    described = json.loads((run / "section_data_set.json").read_text())
    write_json(run / "section_data_set.json", described | {"id": OTHER, "gene": "Gad1"})
    table = pandas.read_parquet(run / "structure_unionize.parquet")
    table["section_data_set_id"] = OTHER
    table["expression_energy"] *= 2
    table.to_parquet(run / "structure_unionize.parquet", index=False)
    vouch(run)


def test_tables_open_in_pandas_with_names_and_plain_types(runs: Path, tmp_path: Path) -> None:
    paths = export(runs, "csv", tmp_path / "out").files
    options = {"keep_default_na": False, "na_values": [""], "float_precision": "round_trip"}
    table, same = pandas.read_csv(paths[0], **options), pandas.read_parquet(paths[1])
    assert list(table.columns) == list(same.columns)
    assert list(table.columns[:6]) == [
        "section_data_set_id", "gene", "structure_id", "structure_acronym", "structure_name", "hemisphere_id",
    ]  # fmt: skip
    assert {str(t) for t in same.dtypes} == {"int64", "object", "float64"}
    assert set(table["section_data_set_id"]) == {int(ID), OTHER}
    thalamus = table[(table.structure_acronym == "TH") & (table.hemisphere_id == 1)]
    assert list(thalamus.structure_name) == ["Thalamus"] * 2
    assert list(thalamus.gene) == ["Phantom", "Gad1"]
    for name in table.columns:
        np.testing.assert_array_equal(table[name].to_numpy(), same[name].to_numpy())
    text = paths[0].read_bytes()
    assert not text.startswith(b"\xef\xbb\xbf")
    text.decode("utf-8")
    assert b"\r" not in text


def test_the_table_of_a_run_itself_opens_everywhere(finished: Path) -> None:
    table = pandas.read_csv(finished / "structure_unionize.csv", float_precision="round_trip")
    same = pandas.read_parquet(finished / "structure_unionize.parquet")
    pandas.testing.assert_frame_equal(table, same)
    assert "index" not in "".join(table.columns).lower()
    with (finished / "structure_unionize.csv").open(newline="") as file:
        assert {len(row) for row in csv.reader(file)} == {len(table.columns)}


def test_runs_of_earlier_versions_stand_beside_others_without_section_columns(
    runs: Path, tmp_path: Path
) -> None:
    older = runs / ID / "structure_unionize.parquet"
    columns = read_table(older)
    write_table({n: v for n, v in columns.items() if n not in SECTION_COLUMNS}, tmp_path / "o.csv", older)
    vouch(older.parent)
    joined = join_tables([RunFolder(runs / ID), RunFolder(runs / str(OTHER))])[0]
    older_rows = len(columns["structure_id"])
    for name in SECTION_COLUMNS:
        assert set(joined.columns[name][:older_rows]) == {None}
        assert len(joined.columns[name]) == len(joined.columns["structure_id"])
        assert any(value is not None for value in joined.columns[name][older_rows:])
    layer = annotated(joined).layers["section_energy"]
    assert np.isnan(layer[0]).all()
    assert np.isfinite(layer[1]).any()
    alone = annotated(join_tables([RunFolder(runs / ID)])[0])
    assert "section_energy" not in alone.layers


def test_anndata_is_experiments_by_structures(runs: Path, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    (path,) = export(runs, "anndata", tmp_path).files
    data = anndata.read_h5ad(path)
    rows = pandas.read_parquet(runs / ID / "structure_unionize.parquet")
    assert list(data.obs_names) == [ID, str(OTHER)]
    assert list(data.obs["gene"]) == ["Phantom", "Gad1"]
    assert list(data.obs["sections_used"]) == [6, 6]
    assert data.n_vars == rows.structure_id.nunique()
    assert (data.var.loc["TH", "name"], data.var.loc["TH", "structure_id"]) == ("Thalamus", 549)
    assert data.var.loc["TH", "color"].startswith("#")
    assert data.var_names[0] == "root"
    columns = {"energy": "expression_energy", "density": "expression_density",
               "intensity": "expression_intensity", "coverage": "coverage",
               **{name: name for name in SECTION_COLUMNS}}  # fmt: skip
    for side, hemisphere in (("", 3), ("_left", 1), ("_right", 2)):
        here = rows[rows.hemisphere_id == hemisphere].set_index("structure_id")
        for layer, column in columns.items():
            expected = here[column].reindex(data.var["structure_id"]).to_numpy()
            expected = np.nan_to_num(expected) if layer in ("coverage", "n_sections") else expected
            np.testing.assert_array_equal(data[ID].layers[layer + side][0], expected)
    np.testing.assert_array_equal(data.X, data.layers["energy"])
    np.testing.assert_allclose(data.X[1], 2 * data.X[0])


def test_anndata_that_is_not_installed_is_one_line(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "anndata", None)
    with pytest.raises(ConfigError, match=r"pip install 'ish-pipeline\[anndata\]'"):
        export(runs, "anndata", tmp_path)


def test_transforms_are_what_itk_applies(finished: Path, tmp_path: Path) -> None:
    files = {path.stem: path for path in export(finished, "tfm", tmp_path).files}
    alignment = read_alignment(finished / "alignment.json")
    rng = np.random.default_rng(4)
    points = rng.uniform(0, 9000, (20, 3))
    space = alignment.alignment3d
    for name, matrix in (
        ("volume_to_reference", space.volume_to_reference),
        ("reference_to_volume", space.reference_to_volume),
    ):
        transform = SimpleITK.ReadTransform(str(files[name]))
        found = [transform.TransformPoint(p) for p in points.tolist()]
        np.testing.assert_allclose(found, affine.apply(matrix, points), rtol=0, atol=1e-9)
    for section in alignment.sections:
        placed = section.alignment2d
        for name, matrix in (
            (f"section_{placed.section_number:04d}_to_volume", placed.section_to_volume),
            (f"volume_to_section_{placed.section_number:04d}", placed.volume_to_section),
        ):
            transform = SimpleITK.ReadTransform(str(files[name]))
            found = [transform.TransformPoint(p) for p in points[:, :2].tolist()]
            np.testing.assert_allclose(found, affine.apply(matrix, points[:, :2]), rtol=0, atol=1e-9)
    assert len(files) == 2 + 2 * len(alignment.sections)
    assert "LPS mm" in files["volume_to_reference"].read_text()


def test_masks_open_as_image_and_labels_with_physical_units(finished: Path) -> None:
    path = sorted((finished / "expression.zarr").glob("[0-9]*"))[2]
    group = zarr.open_group(path, mode="r")
    image, label = Image.from_zarr(group), ImageLabel.from_zarr(group["labels/expressing"])
    assert Labels.from_zarr(group["labels"]).attributes.ome.labels == ["expressing"]
    for multiscale in (image.ome_attributes.multiscales[0], label.attributes.ome.multiscales[0]):
        assert [(a.name, a.type, a.unit) for a in multiscale.axes] == [
            ("y", "space", "micrometer"), ("x", "space", "micrometer"),
        ]  # fmt: skip
        assert multiscale.datasets[0].coordinateTransformations[0].scale == [16.0, 16.0]
    for level in (key for key in group.array_keys()):
        np.testing.assert_array_equal(group[f"labels/expressing/{level}"][...], group[level][...] > 0)
    assert group["labels/expressing/0"].dtype.kind == "u"


def test_data_set_xml_says_which_masks_it_drops(runs: Path) -> None:
    path = runs / ID / "section_data_set.json"
    described = json.loads(path.read_text())
    described["section_images"][1]["dark_polygons_px"] = [[[0, 0], [9, 0], [9, 9]]]
    write_json(path, described)
    vouch(runs / ID)
    (printed,) = export(runs, "data-set-xml").left_out
    assert f"{ID}: data_set.xml has no place" in printed
    assert str(described["section_images"][1]["section_number"]) in printed


def test_metaimage_and_data_set_xml_of_one_and_of_many(runs: Path, tmp_path: Path) -> None:
    one = export(runs / ID, "metaimage", tmp_path / "one").files
    assert {path.parent for path in one} == {tmp_path / "one"}
    assert len(one) == 7
    many = export(runs, "metaimage", tmp_path / "many").files
    assert {path.parent.name for path in many} == {ID, str(OTHER)}
    np.testing.assert_array_equal(
        read_grid(tmp_path / "one" / "energy.mhd"), read_grid(tmp_path / "many" / ID / "energy.mhd")
    )
    assert [p.name for p in export(runs, "data-set-xml").files] == ["data_set.xml"] * 2


@pytest.mark.parametrize("form", FORMATS)
def test_runs_without_results_are_left_out_and_noted(form: str, runs: Path, tmp_path: Path) -> None:
    for name in ("alignment.json", "grid.zarr"):
        path = runs / str(OTHER) / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    RunFolder(runs / str(OTHER)).write_receipt(Receipt("unionize", "left out", "", "there is no grid"))
    exported = export(runs, form, tmp_path / "out")
    assert exported.files
    assert [line.partition(":")[0] for line in exported.left_out] == [f"{OTHER} is left out"]
    with pytest.raises(MissingResultError):
        export(runs / str(OTHER), form, tmp_path / "alone")


def test_structures_without_a_name_are_refused(runs: Path, tmp_path: Path) -> None:
    graph = {"msg": [{"id": 997, "acronym": "root", "name": "root", "children": []}]}
    (tmp_path / "structure_graph_1.json").write_text(json.dumps(graph))
    with pytest.raises(DataError, match="is not in the ontology at hand; give --reference"):
        export(runs, "csv", reference=tmp_path)
    with pytest.raises(DataError, match="its structures have no names"):
        export(runs, "csv", reference=tmp_path / "gone")


@pytest.mark.parametrize("form", ["csv", "anndata"])
def test_structures_of_an_unknown_reference_get_no_names_of_the_phantom(
    form: str, runs: Path, tmp_path: Path
) -> None:
    path = runs / str(OTHER) / "provenance.json"
    document = json.loads(path.read_text())
    write_json(path, {key: value for key, value in document.items() if key != "reference_directory"})
    vouch(runs / str(OTHER))
    with pytest.raises(DataError) as damaged:
        export(runs, form, tmp_path / "out")
    assert str(damaged.value) == (
        f"{path}: expected reference_directory, got none; give --reference, or run again"
    )
    path.unlink()
    with pytest.raises(MissingResultError) as lost:
        export(runs, form, tmp_path / "out")
    assert str(lost.value) == (
        f"{path}: expected the file in which a run names its reference, got none; give --reference"
    )
    assert not list((tmp_path / "out").glob("*.*"))


def test_runs_of_different_references_are_not_mixed(runs: Path, tmp_path: Path) -> None:
    from_phantom = export(runs, "csv").files[0]
    names = pandas.read_csv(from_phantom, keep_default_na=False)
    children = [
        {"id": int(i), "acronym": f"x{i}", "name": "another"} for i in set(names.structure_id) - {997}
    ]
    graph = {"msg": [{"id": 997, "acronym": "root", "name": "root", "children": children}]}
    (tmp_path / "structure_graph_1.json").write_text(json.dumps(graph))
    document: dict[str, Any] = json.loads((runs / str(OTHER) / "provenance.json").read_text())
    write_json(runs / str(OTHER) / "provenance.json", document | {"reference_directory": str(tmp_path)})
    vouch(runs / str(OTHER))
    with pytest.raises(DataError, match="in another run: export runs of one reference together"):
        export(runs, "csv")


def test_what_is_no_run_and_no_form(runs: Path, tmp_path: Path, ish: Ish) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected a run folder"):
        find_runs(tmp_path / "empty")
    with pytest.raises(
        ConfigError,
        match="expected one of metaimage, data-set-xml, tfm, quicknii, ro-crate, csv, wide-csv",
    ):
        export(runs, "xlsx")
    assert ish("export", runs, "--format", "csv") == 0
    assert (runs / "export" / "structure_unionize.csv").exists()
