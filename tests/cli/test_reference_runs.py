"""`ish run --reference` on what each verb of `ish reference` makes: structure table and page."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import CONFIG, ID, Ish

from pipeline.atlas_building import Publication, average, build, carry, interpolate, symmetrise
from pipeline.atlas_building.displacement import Displacement, warp
from pipeline.atlas_building.result import GivenOntology
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.inputs.references import open_reference, read_reference
from pipeline.phantom.scenes import phantom_scene, render_options
from pipeline.phantom.write_series import SeriesForm, write_phantom_series

UM = 200.0
GRAPH = "structure_graph_1.json"
SETTINGS = ("--set", "alignment.name=given", "--set", "reference.resolution_um=200")
ATLAS_TOO = Publication(formats=("brainglobe",))


def write_phantom(folder: Path, bend_um: float = 0.0) -> Path:
    """Write the phantom, bent along P where asked, as a reference folder."""
    space = open_reference(None, UM)
    vectors = np.zeros((8, 5, 7, 3), np.float32)
    vectors[..., 0] = bend_um * np.sin(np.arange(7) / 2.0)
    field, grid = Displacement(vectors, 2000.0), (space.annotation.shape, [UM] * 3)
    folder.mkdir()
    labels = warp(space.annotation, [UM] * 3, field, grid, order=0)
    grey = warp(space.template, [UM] * 3, field, grid)
    write_nrrd(folder / "annotation_200.nrrd", labels, UM)
    write_nrrd(folder / "average_template_200.nrrd", grey, UM)
    (folder / GRAPH).write_bytes(GivenOntology.of(space.ontology).document)
    return folder


def interpolated(folder: Path) -> Path:
    labels = read_reference(write_phantom(folder / "ref")).annotation
    (folder / "plates").mkdir()
    rows = ["file,position_um"]
    for at in range(0, len(labels), 3):
        if labels[at].any():
            tifffile.imwrite(folder / "plates" / f"{at}.tif", labels[at])
            rows.append(f"{at}.tif,{at * UM}")
    (folder / "plates" / "plates.csv").write_text("\n".join(rows) + "\n")
    return interpolate(
        folder / "plates",
        folder / "out",
        ontology=folder / "ref" / GRAPH,
        like=folder / "ref",
        template=folder / "ref",
        publication=ATLAS_TOO,
    )


def symmetric(folder: Path) -> Path:
    return symmetrise(write_phantom(folder / "ref"), folder / "out")


def averaged(folder: Path) -> Path:
    return average([write_phantom(folder / "a"), write_phantom(folder / "b", 150.0)], folder / "out")


def carried(folder: Path) -> Path:
    return carry(write_phantom(folder / "a"), folder / "out", to=write_phantom(folder / "b", 150.0))


def built(folder: Path) -> Path:
    scene = phantom_scene("coronal", 12, 50.0, render_options({"seed": 4}))
    write_phantom_series(folder, scene, SeriesForm(give_alignment=False, truth_masks=False))
    return build([folder / "series"], folder / "out", anchor=write_phantom(folder / "ref"), spacing_um=UM)


def table(run: Path) -> list[dict[str, str]]:
    with (run / "structure_unionize.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def check_run(ish: Ish, rendered: Path, reference: Path, output: Path) -> list[dict[str, str]]:
    """Run a small series on a reference; check and return its structure table."""
    words = ("run", CONFIG, "--input", rendered / "series", "--output", output, "--reference", reference)
    assert ish(*words, *SETTINGS) == 0
    rows = table(output / ID)
    names = {row["structure_id"] for row in rows}
    labels = read_reference(reference, template=False).annotation
    assert len(names) > 0.5 * len(np.unique(labels))
    whole = [row for row in rows if row["structure_id"] == "997" and row["hemisphere_id"] == "3"]
    assert float(whole[0]["sum_pixels"]) > 0
    assert float(whole[0]["sum_expressing_pixels"]) > 0
    page = (output / ID / "report.html").read_text()
    assert len(re.findall("data:image/", page)) >= 6  # one a section at least
    return rows


def test_a_run_on_interpolated_plates(ish: Ish, rendered: Path, tmp_path: Path) -> None:
    check_run(ish, rendered, interpolated(tmp_path), tmp_path / "runs")


@pytest.mark.slow
def test_a_brainglobe_atlas_of_a_result_gives_the_same_table(
    ish: Ish, rendered: Path, tmp_path: Path
) -> None:
    out = interpolated(tmp_path)
    (home,) = (out / "brainglobe").glob("*/atlases/*/*/")
    tables = [
        check_run(ish, rendered, reference, tmp_path / name)
        for reference, name in ((out, "folder"), (home, "atlas"))
    ]
    one, other = (sorted(tuple(row.values()) for row in rows) for rows in tables)
    assert one == other  # in another order: BrainGlobe's structures have none


@pytest.mark.slow
@pytest.mark.parametrize("make", [symmetric, averaged, carried, built])
def test_a_run_on_what_every_other_verb_makes(
    ish: Ish, rendered: Path, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    check_run(ish, rendered, make(tmp_path), tmp_path / "runs")
