"""A deformable run: its outputs, who reads them, and what a change of the option redoes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from conftest import CONFIG, ID, Ish

from pipeline.formats.alignments.alignment_json import read_alignment
from pipeline.formats.tables.tables import read_points_csv, write_points_csv
from pipeline.geometry import affine
from pipeline.store.run import RunFolder

COARSE = (
    "--set", "reference.resolution_um=100", "--set", "alignment.name=joint",
    "--set", "alignment.configuration.stain_sigma_um=[150.0]",
)  # fmt: skip
DEFORMABLE = (*COARSE, "--set", "alignment.configuration.deformable=volume")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deformable")


@pytest.fixture
def deformed(ish: Ish, rendered: Path, output: Path) -> Path:
    """Run the phantom series with a deformable alignment; a second call finds everything done."""
    assert ish("run", CONFIG, "--input", rendered / "series", "--output", output, *DEFORMABLE) == 0
    return output / ID


def test_deformations_are_written_as_the_contract_says(deformed: Path) -> None:
    group = zarr.open_group(deformed / "deformation.zarr", mode="r")
    alignment = read_alignment(deformed / "alignment.json")
    assert alignment.deformable == "volume"
    assert sorted(map(int, group.keys())) == [s.alignment2d.section_number for s in alignment.sections]
    for section in alignment.sections:
        field = group[str(section.alignment2d.section_number)]
        assert field.dtype == np.float32
        assert field.shape[0] == 3
        assert field.ndim == 3
        assert np.abs(field[...]).max() > 0.0
        assert len(field.attrs["spacing_px"]) == len(field.attrs["origin_px"]) == 2
        assert section.measures["least_jacobian"] > 0.0
    assert RunFolder(deformed).read_receipt("align").digest == group.attrs["ish_pipeline"]["digest"]  # type: ignore[union-attr]


def test_sync_finds_them_by_itself(deformed: Path, ish: Ish, tmp_path: Path) -> None:
    alignment = read_alignment(deformed / "alignment.json")
    placed = alignment.sections[2].alignment2d
    group = zarr.open_group(deformed / "deformation.zarr", mode="r")
    field = group[str(placed.section_number)]
    spacing = field.attrs["spacing_px"][0]
    node = (7, 5)
    at = spacing * np.array([[node[1], node[0]]])
    given, found, back = (tmp_path / f"{n}.csv" for n in ("given", "found", "back"))
    columns = {"section_number": np.array([placed.section_number]), "x": at[:, 0], "y": at[:, 1]}
    write_points_csv(given, columns)
    assert ish("sync", "image-to-reference", deformed, "--points", given, "--out", found) == 0
    answer = read_points_csv(found, ("x_um", "y_um", "z_um"))
    volume = np.append(affine.apply(placed.section_to_volume, at)[0], placed.section_number * 25.0)
    expected = affine.apply(alignment.alignment3d.volume_to_reference, volume + field[:, *node])
    np.testing.assert_allclose([answer[n][0] for n in ("x_um", "y_um", "z_um")], expected, atol=0.01)
    assert ish("sync", "reference-to-image", deformed, "--points", found, "--out", back) == 0
    again = read_points_csv(back, ("section_number", "x", "y"))
    np.testing.assert_allclose([again["x"][0], again["y"][0]], at[0], atol=0.1)


def test_another_option_redoes_the_alignment_and_what_follows(
    deformed: Path, ish: Ish, rendered: Path, output: Path
) -> None:
    before = {name: r.digest for name, r in RunFolder(deformed).receipts().items()}
    grid = RunFolder(deformed).read_grid()["energy"]
    assert ish("run", CONFIG, "--input", rendered / "series", "--output", output, *COARSE) == 0
    after = {name: r.digest for name, r in RunFolder(deformed).receipts().items()}
    redone = {name for name in after if after[name] != before[name]}
    assert redone == {"align", "grid", "unionize", "summarise", "report"}
    assert not (deformed / "deformation.zarr").exists()
    assert read_alignment(deformed / "alignment.json").deformable == "none"
    straight = RunFolder(deformed).read_grid()["energy"]
    assert np.abs(straight - grid).max() > 0.0
