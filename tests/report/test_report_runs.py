"""A small run folder of known geometry that the tests of the report share, and reading it back."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.core.model import (
    Alignment2d,
    Alignment3d,
    ExpressionSums,
    SectionAlignment,
    SeriesAlignment,
    Status,
    Structure,
    StructureUnionize,
)
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.alignments.alignment_json import write_alignment
from pipeline.formats.images.files import write_image
from pipeline.formats.tables.tables import columns_of, write_table
from pipeline.geometry import affine
from pipeline.quantification.cells import SectionCells, accumulate
from pipeline.report.contents import read_contents, read_grid, read_rows
from pipeline.report.verdict import errors, steps, verdict, warnings
from pipeline.store.run import RunFolder, write_json
from pipeline.store.tasks import Receipt

THICKNESS_UM = 100.0
RESOLUTION_UM, FACTOR, REDUCE = 4.0, 2, 3
STORED_PX = (1200, 900)
NUMBERS = (40, 44, 48, 52, 56, 60)
CENTRE_UM = np.array([5000.0, 4000.0, 5700.0])  # of the brain and of the thalamus inside it
BRAIN_UM, THALAMUS_UM = 3000.0, 1200.0
CELLS_PX = (500, 300)  # where the expression of every section lies, stored px
VOLUME_TO_REFERENCE = np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
MEASURES = {"dice": 0.91, "odd_<b>": 2.0, "lost": np.nan}
HOSTILE = "<script>alert(1)</script>\"'&"


def ball_reference() -> ReferenceSpace:
    """A ball of cortex with a ball of thalamus inside, at 100 um."""
    ontology = Ontology(
        (
            Structure(997, "root", "root", None, 0, "FFFFFF"),
            Structure(315, "Isocortex", "Isocortex", 997, 1, "70FF71"),
            Structure(549, "TH", "Thalamus", 997, 2, "FF7080"),
            Structure(68, "FRP1", HOSTILE, 315, 3, "red;}</style>"),
        )
    )
    axes = [100.0 * np.arange(n) for n in (132, 80, 114)]
    p, i, r = np.meshgrid(*axes, indexing="ij", sparse=True)
    distance = np.sqrt((p - CENTRE_UM[0]) ** 2 + (i - CENTRE_UM[1]) ** 2 + (r - CENTRE_UM[2]) ** 2)
    labels = np.where(distance < BRAIN_UM, 68, 0)
    labels[distance < THALAMUS_UM] = 549
    return ReferenceSpace(9, "balls", labels.astype(np.uint32), 100.0, ontology, citation="Balls et al.")


def section_to_volume(number: int) -> np.ndarray:  # type: ignore[type-arg]
    """A turn of a few degrees about the middle of the brain, different in every section."""
    middle = np.array([4800.0, 3600.0]) / RESOLUTION_UM
    turn = affine.rigid2d(number / 10 - 5, (0.0, 0.0), middle)
    shift = CENTRE_UM[[2, 1]] - RESOLUTION_UM * middle
    return affine.compose(np.column_stack([RESOLUTION_UM * np.eye(2), shift]), turn)


def alignment_of(numbers: tuple[int, ...] = NUMBERS) -> SeriesAlignment:
    status = dict.fromkeys(numbers, Status.PASS) | {NUMBERS[-1]: Status.FAIL}
    return SeriesAlignment(
        Alignment3d(9, VOLUME_TO_REFERENCE),
        tuple(
            SectionAlignment(
                Alignment2d(n, section_to_volume(n)),
                status[n],
                {"dice": 0.91, "odd_<b>": 2.0, "lost": np.nan},
            )
            for n in numbers
        ),
        measures={"mean_dice": 0.91},
        notes=("the order was taken from the images",),
    )


def make_run(path: Path, gene: str = "Gene1", numbers: tuple[int, ...] = NUMBERS) -> RunFolder:
    """A finished run: the last section failed its alignment, one more section has no image."""
    run = RunFolder(path / "17")
    sources = path / "sources"
    for number in numbers:
        _write_section(run, number, sources)
    missing = numbers[-1] + 4
    run.write_receipt(Receipt(f"measure-{missing:05d}", "left out", "", "no image file"))
    run.write_receipt(Receipt(f"detect-{missing:05d}", "left out", "", "no image file"))
    write_alignment(run.file("alignment.json"), alignment_of(numbers))
    _write_grid(run)
    _write_rows(run)
    documents = [_document(n, sources) for n in numbers] + [_missing(missing)]
    write_json(run.file("section_data_set.json"), _data_set(gene, documents))
    write_json(run.file("provenance.json"), _provenance(sources, numbers))
    for stage in ("align", "grid", "unionize", "summarise"):
        facts = {"sections": len(numbers) - 1} if stage == "grid" else {}
        run.write_receipt(Receipt(stage, "done", "d", "", facts, 1.5, 1.0, 300.0))
    return run


def _write_section(run: RunFolder, number: int, sources: Path) -> None:
    width, height = STORED_PX
    rng = np.random.default_rng(number)
    pixels = np.full((height, width, 3), 244, np.uint8)
    cv2.circle(pixels, (width // 2, height // 2), 350, (205, 200, 215), -1)
    expression = np.zeros((height, width), np.uint8)
    for x, y in rng.normal(CELLS_PX, 25, (80, 2)):
        cv2.circle(expression, (int(x), int(y)), 2, int(rng.integers(60, 200)), -1)
    pixels[expression > 0] = (255 - expression[expression > 0])[:, None]
    write_image(sources / f"section_{number}.jpg", pixels)
    small = cv2.resize(pixels, (width // REDUCE, height // REDUCE), interpolation=cv2.INTER_AREA)
    valid = np.ones(small.shape[:2], bool)
    run.write_thumbnail(number, small, valid, {"reduce": REDUCE, "factor": FACTOR})
    run.write_expression(number, expression, RESOLUTION_UM * FACTOR, "d")
    dark = (255 - pixels.mean(axis=-1)).astype(np.uint8)
    sums = accumulate(dark, expression, np.ones(dark.shape, bool), 6)
    cells = SectionCells(sums, 6, FACTOR, RESOLUTION_UM, (0, 0, width, height))
    run.write_cells(number, cells, "d")
    for stage in ("measure", "detect"):
        run.write_receipt(Receipt(f"{stage}-{number:05d}", "done", "d", "", {}, 0.25, 0.2, 200.0 + number))


def _document(number: int, sources: Path) -> dict[str, Any]:
    return {
        "id": number,
        "section_number": number,
        "width_px": STORED_PX[0] * FACTOR,
        "height_px": STORED_PX[1] * FACTOR,
        "resolution_um": RESOLUTION_UM,
        "tissue_box_px": [300, 60, 1800, 1680],
        "dark_polygons_px": [[[360, 720], [480, 720], [480, 840]]],
        "missing_polygons_px": [[[600, 720], [720, 720], [720, 840]]],
        "failed": False,
        "rotate_deg": 0.0,
        "flip": None,
        "file": f"section_{number}.jpg",
        "status": "fail" if number == NUMBERS[-1] else "pass",
        "flags": [],
        "quality": {
            "factor": FACTOR,
            "stored_px": list(STORED_PX),
            "sum_pixels": 1_080_000,
            "sum_expressing_pixels": 1080,
            "sum_expressing_pixel_intensity": 129_600,
            "context": {
                "flags": ["uneven light"] if number == 44 else [],
                "artifacts": [
                    {"kind": "bubble", "area_um2": 1.0, "outline_um": [[0, 0], [240, 0], [240, 240]]}
                ],
            },
        },
    }


def _missing(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "section_number": number,
        "width_px": STORED_PX[0] * FACTOR,
        "height_px": STORED_PX[1] * FACTOR,
        "resolution_um": RESOLUTION_UM,
        "tissue_box_px": None,
        "dark_polygons_px": [],
        "failed": False,
        "rotate_deg": 0.0,
        "flip": None,
        "file": None,
        "status": "missing",
        "flags": ["no image file"],
        "quality": {},
    }


def _data_set(gene: str, documents: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": 17,
        "gene": gene,
        "plane_of_section": "coronal",
        "section_thickness_um": THICKNESS_UM,
        "specimen": None,
        "reference_space_id": 9,
        "hemisphere": "both",
        "treatment": "ISH",
        "probe_orientation": None,
        "age": "P56",
        "section_order": None,
        "image_up": None,
        "stages": {},
        "errors": [],
        "warnings": ["no image for 1 of 7 sections"],
        "section_images": documents,
    }


def _provenance(sources: Path, numbers: tuple[int, ...]) -> dict[str, Any]:
    return {
        "pipeline": "0.1.0",
        "python": "3.11.9",
        "packages": {"numpy": "2.1.0"},
        "digest": "abc",
        "configuration": {
            "detection": {"name": "adaptive", "configuration": {"contrast": 9}},
            "alignment": {"name": "mine", "configuration": {}},
            "gridding": {"smoothing_um": 200.0, "z_smoothing_um": 140.0},
            "unionize": {"grid_annotation": "derived"},
        },
        "reference_directory": None,
        "inputs": {str(sources / f"section_{n}.jpg"): "0" for n in numbers},
        "tasks": {},
    }


def _write_grid(run: RunFolder) -> None:
    shape = (67, 41, 58)
    covered = np.zeros(shape, bool)
    covered[20:31] = True
    pixels = np.where(covered, 100.0, 0.0)
    expressing = np.zeros(shape)
    expressing[25, 20, 28] = 50.0
    run.write_grid(ExpressionSums(pixels, expressing, 120 * expressing, 40 * pixels), covered, "d")


def _write_rows(run: RunFolder) -> None:
    rows = []
    for structure_id, hemisphere_id, energy in (
        (997, 1, 1.0), (997, 2, 2.0), (997, 3, 1.5), (315, 1, 4.0), (315, 3, 4.0), (549, 2, 8.0),
        (549, 3, float("nan")),
    ):  # fmt: skip
        pixels = 1000.0 if structure_id == 997 else 100.0
        coverage = {1: 0.8, 2: 0.4, 3: 0.6}[hemisphere_id]
        rows.append(
            StructureUnionize(
                17, structure_id, hemisphere_id, pixels, 1.0, 1.0, 1.0, 0.1, 100.0, energy, 1.0, 1.0, coverage
            )
        )
    columns = columns_of(rows, StructureUnionize)
    write_table(columns, run.file("structure_unionize.csv"), run.file("structure_unionize.parquet"))


def rewrite(run: RunFolder, name: str, **changes: Any) -> None:
    """Change top-level values of a JSON output."""
    document = json.loads(run.file(name).read_text(encoding="utf-8"))
    write_json(run.file(name), document | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("finished"))


def test_verdict_counts_sections_and_brain(finished: RunFolder) -> None:
    contents = read_contents(finished)
    found = verdict(contents, read_rows(contents).content or ())
    assert found.state == "flagged"
    assert dict(found.counts) == {"pass": 5, "check": 0, "fail": 1, "missing": 1}
    assert (found.left, found.right) == (0.8, 0.4)
    assert found.peak_mb == 300.0
    assert found.wall_s == pytest.approx(6 * 2 * 0.25 + 4 * 1.5)


def test_steps_say_done_skipped_and_failed_with_costs(finished: RunFolder) -> None:
    found = {step.name: step for step in steps(read_contents(finished).receipts)}
    measure = found["measure"]
    assert (measure.state, measure.done, measure.left_out) == ("partly done", 6, 1)
    assert measure.wall_s == pytest.approx(1.5)
    assert measure.longest_s == pytest.approx(0.25)
    assert measure.messages == ("no image file",)
    assert found["grid"].state == "done"
    assert steps({"align": Receipt("align", "failed", "", "boom")})[0].state == "not run"


def test_what_most_sections_say_is_noted_of_the_series(finished: RunFolder) -> None:
    contents = read_contents(finished)
    sections = [dict(d, flags=[*d["flags"], "too coarse"]) for d in contents.data_set["section_images"]]
    coarse = replace(contents, data_set={**contents.data_set, "section_images": sections})
    assert [s.flags for s in coarse.sections] == [s.flags for s in contents.sections]
    assert [s.flagged for s in coarse.sections] == [s.flagged for s in contents.sections]
    assert f"{len(sections)} sections: too coarse" in warnings(coarse)


def test_flags_and_warnings_are_noted_once(finished: RunFolder) -> None:
    contents = read_contents(finished)
    flags = {s.number: s.flags for s in contents.sections}
    assert flags[44] == ("uneven light",)
    assert flags[64] == ("no image file",)
    assert warnings(contents) == ["no image for 1 of 7 sections", "the order was taken from the images"]
    assert errors(contents) == []


def test_outputs_of_an_earlier_run_do_not_count(tmp_path: Path) -> None:
    run = make_run(tmp_path, numbers=(40, 44))
    run.write_receipt(Receipt("grid", "failed", "", "no section is both detected and aligned"))
    run.write_receipt(Receipt("unionize", "left out", "", "there is no grid"))
    run.write_receipt(Receipt("detect-00099", "failed", "", "of a section that is no longer in the manifest"))
    contents = read_contents(run)
    assert run.file("grid.zarr").exists()
    grid, rows = read_grid(contents), read_rows(contents)
    assert grid.content is None
    assert "“grid” failed: no section is both detected" in grid.reason
    assert rows.content is None
    assert "left out: there is no grid" in rows.reason
    assert errors(contents) == ["grid: no section is both detected and aligned"]
    assert verdict(contents, ()).state == "failed"
    assert verdict(contents, ()).left is None
    assert "detect-00099" not in contents.receipts


def test_a_run_that_died_early_is_known_by_its_receipts(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "5")
    run.write_receipt(Receipt("measure-00070", "done", "d", peak_mb=10.0))
    run.write_receipt(Receipt("measure-00078", "failed", "d", "expected an image, got text"))
    contents = read_contents(run)
    assert [s.number for s in contents.sections] == [70, 78]
    assert contents.sections[1].flags == ("expected an image, got text",)
    assert verdict(contents, ()).state == "unfinished"
    assert contents.title == "5"


def test_torn_outputs_are_noted_not_raised(tmp_path: Path) -> None:
    run = make_run(tmp_path, numbers=(40, 44))
    run.file("section_data_set.json").write_text("{")
    run.file("alignment.json").write_text("[]")
    (run.file("grid.zarr") / "zarr.json").write_text("nonsense")
    contents = read_contents(run)
    assert any("expected an object in JSON" in text for text in contents.complaints)
    assert "expected an alignment" in contents.alignment.reason
    assert "expected a zarr document" in read_grid(contents).reason
    assert [s.number for s in contents.sections] == [40, 44, 48]


def test_receipts_carry_what_the_report_reads() -> None:
    needed = {"task", "state", "message", "facts", "wall_s", "cpu_s", "peak_mb"}
    assert needed <= asdict(Receipt("a", "done", "")).keys()
