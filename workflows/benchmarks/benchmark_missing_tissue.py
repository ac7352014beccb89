"""Draw missing tissue into rendered and real sections, and measure how much of it is found.

    python benchmark_missing_tissue.py --data $ISH_DATA --series coronal sagittal --seeds 1 2 3
    python benchmark_missing_tissue.py --data $ISH_DATA --series coronal --given --each --seeds 1 2 3

Rendered series are aligned from nothing, damaged and whole, or with `--given` placed by their true alignment.
Every third section is damaged, the kinds in turn; `--each` draws one kind into a series. `section 70` is one
real section alone, along its served alignment; `nissl` is every 20th section of a real brain.

found        share of the drawn missing tissue that was found
taken        share of the whole tissue that was taken for missing, in damaged and in whole sections
worst        the largest such share of a section
structures   those of at least `LEAST_VOXELS` voxels that express, how many of them are off by more than
             `OFF` from the whole series, and how many of these have the coverage of the whole series
"""

from __future__ import annotations

import argparse
import csv
import os
import pickle
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import imagecodecs
import numpy as np
from scipy import ndimage

from bench.damage import debris, hole, torn
from benchmark_alignment import HARD, NRP1, POSE, PROX1, Family, _scene
from benchmark_pieces import read_data
from pipeline.core import intensity
from pipeline.core.blocks import block_mean
from pipeline.core.intensity import darkness
from pipeline.core.model import (
    BOTH,
    Alignment3d,
    Bool,
    SeriesAlignment,
    Status,
    UInt8,
)
from pipeline.core.reference_space import ReferenceSpace, hemispheres
from pipeline.formats.volumes.reference_folder import read_reference
from pipeline.phantom import build_scene, render_section, true_alignment
from pipeline.phantom.expression import StructureExpression
from pipeline.phantom.stain import VENTRICLES
from pipeline.quantification import gridding as grids
from pipeline.quantification.cells import (
    SectionCells,
    accumulate,
    cell_width_px,
    fine_pitch_px,
    share_in_cells,
    without,
)
from pipeline.quantification.unionize import LabelIndex, unionize_columns
from pipeline.registration import (
    AlignmentOptions,
    MissingTissue,
    PlacedThumbnail,
    SectionThumbnail,
    align_series,
    find_missing,
)
from pipeline.sections.thumbnail_tissue import tissue_image

STEP = 2  # drawn pixels per pixel of a thumbnail, along each axis
OUTLINE_UM = 50.0  # of the annotation that sections are held against, as in a run
KINDS = ("0.5 mm", "1 mm", "2 mm", "3 mm", "quadrant", "half", "corner")
HOLES = {"0.5 mm": 4, "1 mm": 2, "2 mm": 1, "3 mm": 1}  # holes of a section
EVERY = 3  # each n-th section is damaged
EDGE_UM = 15.0  # sigma of the edge of what is missing
GLASS_NOISE = 1.5  # grey levels
WHOLE_SHARE = 0.4  # of the median density: real tissue is denser
LEAST_VOXELS, LEAST_ENERGY, OFF = 30, 0.5, 0.05
TEXTURE = {**POSE, "texture": 0.25}
SERIES = {
    "coronal": Family(NRP1, TEXTURE, 2),
    "coronal warped": Family(NRP1, {**TEXTURE, "warp_um": 80.0, "shape_um": 120.0}, 2),
    "sagittal": Family(PROX1, {**HARD, "texture": 0.25}),
}
REAL = ("section 70", "nissl")
NISSL_UM, NISSL_EVERY, NISSL_THICKNESS_UM = 58.88, 20, 20.0


@dataclass(frozen=True, eq=False)
class Section:
    """A section as drawn.

    Parameters
    ----------
    pixels : picture, (H, W, 3) uint8
    expressing : which pixels express, (H, W) bool
    whole : where there is tissue, no ventricle, px of the thumbnail
    gone : where tissue was taken away, px of the thumbnail, and of what kind
    """

    number: int
    z_um: float
    um: float
    factor: int
    step: int
    pixels: UInt8
    expressing: Bool
    whole: Bool
    gone: Bool
    kind: str = "none"

    @property
    def thumbnail(self) -> SectionThumbnail:
        """The section reduced."""
        f, shift = self.step * self.factor, (self.step - 1) / 2 * self.factor
        place = np.array([[f, 0.0, shift], [0.0, f, shift]])
        pixels = block_mean(self.pixels, self.step)
        return SectionThumbnail(self.number, self.z_um, pixels, self.um / self.factor, place)


Placed = tuple[list[PlacedThumbnail], Alignment3d]


@dataclass(frozen=True, eq=False)
class Series:
    """Sections, how they are cut, and their true alignment where it is known."""

    sections: list[Section]
    plane: Literal["coronal", "sagittal"]
    spacing_um: float
    truth: SeriesAlignment | None


def rendered(name: str, seed: int, data: Path) -> Series:
    """Render a series of the real reference that expresses as the phantom does."""
    reference, scene = _scene(SERIES[name], seed, data)
    scene = build_scene(reference, scene.geometry, StructureExpression(), scene.options)
    fluid = np.array(sorted(reference.ontology.descendants(VENTRICLES)), np.uint32)
    sections = []
    for index, image in enumerate(scene.images):
        if image.section_number in scene.missing:
            continue
        drawn = render_section(scene, index)
        h, w = (n // STEP for n in drawn.pixels.shape[:2])
        part = slice(h * STEP), slice(w * STEP)
        pixels, expressing = drawn.pixels[part], drawn.truth.expressing[part]
        y, x = np.mgrid[:h, :w] * STEP + (STEP - 1) / 2
        places = drawn.truth.pixel_map.to_reference(np.stack([x.ravel(), y.ravel()], axis=1))
        at = np.rint(places / reference.annotation_um)
        inside = np.asarray(((at >= 0) & (at < reference.annotation.shape)).all(axis=1))
        label = reference.annotation[tuple(np.where(inside[:, None], at, 0).astype(np.intp).T)]
        tissue = inside & (label > 0) & ~np.isin(label, fluid)
        whole = np.asarray(tissue).reshape(h, w)
        lost = drawn.truth.artifacts[STEP // 2 :: STEP, STEP // 2 :: STEP][:h, :w]
        z_um = scene.geometry.data_set.z_um(image.section_number)
        um, factor = scene.geometry.resolution_um(image), scene.geometry.factor
        whole &= lost != 1
        gone = np.zeros_like(whole)
        sections.append(
            Section(
                image.section_number, z_um, um, factor, STEP, pixels, expressing, whole & (lost != 1), gone
            )
        )
    spacing = scene.geometry.data_set.spacing_um
    return Series(sections, scene.geometry.data_set.plane_of_section, spacing, true_alignment(scene))


def real_section(number: int, z_um: float, pixels: UInt8, um: float, factor: int, step: int) -> Section:
    """Return a real section; its tissue is where it is about as dense as most of it."""
    h, w = (n // step * step for n in pixels.shape[:2])
    pixels = np.ascontiguousarray(pixels[:h, :w])
    blank = np.zeros((h // step, w // step), np.bool_)
    section = Section(number, z_um, um, factor, step, pixels, np.zeros((h, w), np.bool_), blank, blank)
    seen = tissue_image(section.thumbnail)
    smooth = cv2.GaussianBlur(seen.stain, (0, 0), 50.0 / seen.pixel_um)
    whole = seen.mask & (smooth > WHOLE_SHARE * np.median(smooth[seen.mask]))
    return replace(section, whole=whole)


def section_70(data: Path) -> Series:
    """Return the real section 70 alone, along its served alignment."""
    read = read_data(data)
    section = real_section(70, 70 * read.thickness_um, read.whole, read.resolution_um * 4, 4, 8)
    truth = SeriesAlignment(read.alignment.alignment3d, (read.placed(70),))
    return Series([section], "sagittal", read.spacing_um, truth)


def nissl(data: Path) -> Series:
    """Return every n-th section of the real Nissl brain."""
    with (data / "nissl_ptm902" / "sections.csv").open(encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])[60:620:NISSL_EVERY]
    sections = []
    for row in rows:
        number = int(row["section_number"])
        pixels = np.asarray(imagecodecs.imread(data / "nissl_ptm902" / row["file"]))
        sections.append(real_section(number, number * NISSL_THICKNESS_UM, pixels, NISSL_UM, 1, 1))
    return Series(sections, "coronal", NISSL_EVERY * NISSL_THICKNESS_UM, None)


def damaged(series: Series, kind: str | None, seed: int) -> Series:
    """Take tissue away from each n-th section, of one kind or of all in turn."""
    changed, turn = [], seed
    middle = len(series.sections) > EVERY
    for index, section in enumerate(series.sections):
        area_mm2 = section.whole.sum() * (section.um * section.step / 1000) ** 2
        if (middle and index % EVERY != seed % EVERY) or area_mm2 < 10.0:
            changed.append(section)
            continue
        rng = np.random.default_rng([seed, section.number, 11])
        changed.append(_damaged(section, kind or KINDS[turn % len(KINDS)], rng))
        turn += 1
    return replace(series, sections=changed)


def _damaged(section: Section, kind: str, rng: np.random.Generator) -> Section:
    """Take tissue away from a section."""
    h, w = section.pixels.shape[:2]
    y, x = np.mgrid[:h, :w] * section.um
    big = np.kron(section.whole, np.ones((section.step, section.step), np.bool_))
    gone = np.zeros((h, w), np.bool_)
    if kind in HOLES:
        for _ in range(HOLES[kind]):
            gone |= hole(x, y, big, 500.0 * float(kind.split()[0]), rng)
    else:
        gone = torn(x, y, big, kind, rng)
    soft = cv2.GaussianBlur(gone.astype(np.float32), (0, 0), EDGE_UM / section.um)
    soft *= 1 - debris(soft, section.um, rng)
    shown = section.thumbnail.pixels
    glass = np.median(shown[_bare(section)], axis=0) + rng.normal(0, GLASS_NOISE, (h, w, 1))
    mixed = section.pixels * (1 - soft[..., None]) + glass * soft[..., None]
    pixels = np.floor(np.clip(mixed, 0, 255) + 0.5).astype(np.uint8)
    small = block_mean(np.where(gone, 255, 0).astype(np.uint8), section.step) > 127
    return replace(section, pixels=pixels, expressing=section.expressing & ~gone, gone=small, kind=kind)


def _bare(section: Section) -> Bool:
    """Return where a section shows glass, px of the thumbnail."""
    seen = tissue_image(section.thumbnail)
    return np.asarray(seen.valid & ~ndimage.binary_dilation(seen.mask, iterations=2))


def placed(series: Series, reference: ReferenceSpace, given: bool) -> Placed:
    """Place the sections of a series: by their true alignment, or aligned from nothing."""
    thumbnails = [section.thumbnail for section in series.sections]
    if given and series.truth is not None:
        alignment = series.truth
    else:
        options = AlignmentOptions(plane_of_section=series.plane)
        alignment = align_series(thumbnails, reference, options)
    found = []
    for thumbnail in thumbnails:
        one = alignment.of(thumbnail.section_number)
        if one is not None and one.status != Status.FAIL:
            found.append(PlacedThumbnail(thumbnail, one))
    return found, alignment.alignment3d


def cells_of(section: Section) -> SectionCells:
    """Sum a section with the truth of what expresses."""
    dark = darkness(section.pixels)
    every = np.ones(dark.shape, np.bool_)
    expression = intensity.expression(dark, section.expressing.copy(), every)
    pitch = fine_pitch_px(section.um)
    sums = accumulate(dark, expression, every, pitch)
    box = (0, 0, dark.shape[1], dark.shape[0])
    return SectionCells(sums, pitch, section.factor, section.um / section.factor, box)


def structures(
    series: Series,
    where: list[PlacedThumbnail],
    space: Alignment3d,
    missing: dict[int, MissingTissue],
    labels: ReferenceSpace,
) -> dict[int, tuple[float, float, float]]:
    """Return energy, coverage and voxels with data of every structure, by id, as a run has them."""
    by_number = {section.number: section for section in series.sections}
    gathered = []
    for one in where:
        section = by_number[one.thumbnail.section_number]
        cells, lacking = cells_of(section), None
        if found := missing.get(section.number):
            lacking = share_in_cells(found.mask, section.step, cells)
            level = float(darkness(one.thumbnail.pixels)[found.mask].mean())
            cells = without(cells, lacking, level)
        smooth = grids.smooth(cells, 200.0)
        gathered.append(grids.PlacedSection(smooth, section.z_um, one.alignment, lacking))
    grid = labels.grid
    sums, covered = grids.assemble(gathered, space, grid, series.spacing_um, 140.0)
    index = LabelIndex.of(labels.grid_labels(), labels.ontology)
    table = unionize_columns(1, sums, covered, index, hemispheres(grid))
    rows = np.flatnonzero(table["hemisphere_id"] == BOTH)
    fields = ("structure_id", "expression_energy", "coverage", "sum_pixels")
    voxel = cell_width_px(gathered[0].cells.resolution_um) ** 2
    return {int(i): (e, c, n / voxel) for i, e, c, n in zip(*(table[f][rows] for f in fields), strict=True)}


class Tally:
    """Areas by kind of damage, and the largest share that was taken from a section."""

    def __init__(self) -> None:
        self.areas: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(4))
        self.worst: dict[str, float] = defaultdict(float)

    def add(self, series: Series, where: list[PlacedThumbnail], missing: dict[int, MissingTissue]) -> None:
        """Add the sections of a series that are placed."""
        used = {one.thumbnail.section_number for one in where}
        for section in series.sections:
            if section.number not in used or not section.whole.any():
                continue
            mask = missing[section.number].mask if section.number in missing else np.zeros_like(section.whole)
            gone, left = section.whole & section.gone, section.whole & ~section.gone
            taken = int((mask & left).sum())
            counts = ((mask & gone).sum(), gone.sum(), taken, section.whole.sum())
            self.areas[section.kind] += np.array(counts, float) * (section.um * section.step / 1000) ** 2
            self.worst[section.kind] = max(self.worst[section.kind], taken / section.whole.sum())

    def show(self, label: str) -> None:
        """Print a line a kind."""
        for kind in (*KINDS, "none"):
            if kind not in self.areas:
                continue
            found, gone, taken, whole = self.areas[kind]
            share = f"{100 * found / gone:7.1f}" if gone else "      -"
            print(f"{label:18}{kind:10}{share} % found {100 * taken / whole:7.2f} % taken"
                  f" {100 * self.worst[kind]:7.2f} % worst of {whole:6.0f} mm2", flush=True)  # fmt: skip


def made(name: str, kind: str | None, seed: int, chosen: argparse.Namespace, series: Series) -> Placed:
    """Place a series, or read from an earlier call where its sections lie.

    With `--given`, a damaged real series lies as the whole one does.
    """
    if chosen.given and series.truth is None and kind != "none":
        where, space = made(name, "none", seed, chosen, series)
        thumbnails = {section.number: section.thumbnail for section in series.sections}
        return [replace(one, thumbnail=thumbnails[one.thumbnail.section_number]) for one in where], space
    path = chosen.keep and chosen.keep / f"{name} {kind} {seed} {chosen.given}.pickle"
    if path and path.is_file():
        return pickle.loads(path.read_bytes())  # type: ignore[no-any-return]
    found = placed(series, read_reference(chosen.data / "reference"), chosen.given)
    if path:
        path.write_bytes(pickle.dumps(found))
    return found


def drawn(name: str, seed: int, chosen: argparse.Namespace) -> Series:
    """Return a whole series, rendered or real, or read from an earlier call."""
    path = chosen.keep and chosen.keep / f"{name} {seed}.pickle"
    if path and path.is_file():
        return pickle.loads(path.read_bytes())  # type: ignore[no-any-return]
    if name in SERIES:
        series = rendered(name, seed, chosen.data)
    else:
        series = section_70(chosen.data) if name == "section 70" else nissl(chosen.data)
    if path:
        path.write_bytes(pickle.dumps(series))
    return series


def measure(name: str, seed: int, chosen: argparse.Namespace, tally: Tally, outlines: ReferenceSpace) -> None:
    """Measure a whole series, and its damaged forms."""
    single, labels = name == "section 70", read_reference(chosen.data / "reference", 100.0, template=False)
    chosen = argparse.Namespace(**{**vars(chosen), "given": chosen.given or single})
    whole, expected = drawn(name, seed, chosen), {}
    for kind in ("none", *(KINDS if chosen.each or single else (None,))):
        series = whole if kind == "none" else damaged(whole, kind, seed)
        where, space = made(name, kind, seed, chosen, series)
        missing = find_missing(where, space, outlines)
        tally.add(series, where, missing)
        if name not in SERIES:
            continue
        table = structures(series, where, space, missing, labels)
        if kind == "none":
            expected = {i: r for i, r in table.items() if r[0] >= LEAST_ENERGY and r[2] >= LEAST_VOXELS}
            continue
        off = [i for i, row in expected.items() if abs(table.get(i, (0, 0, 0))[0] - row[0]) > OFF * row[0]]
        hidden = [i for i in off if i in table and table[i][1] >= expected[i][1]]
        print(f"{name:18}{kind or 'mixed':10} seed {seed}: {len(expected)} structures, {len(off)} off,"
              f" {len(hidden)} of them with full coverage", flush=True)  # fmt: skip


def main(given: Sequence[str] | None = None) -> int:
    """Print the structures of each series, then the areas of each kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("ISH_DATA"), help="default: $ISH_DATA")
    parser.add_argument("--series", nargs="+", default=[*SERIES, *REAL], choices=[*SERIES, *REAL])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument(
        "--given", action="store_true", help="true alignment; of a real series that when whole"
    )
    parser.add_argument("--each", action="store_true", help="one kind of damage a series")
    parser.add_argument("--keep", type=Path, help="folder of placed series: a second call only searches")
    chosen = parser.parse_args(given)
    if chosen.data is None:
        print("no data: give --data DIR or set ISH_DATA", file=sys.stderr)
        return 2
    chosen.data = Path(chosen.data)
    if chosen.keep:
        chosen.keep.mkdir(parents=True, exist_ok=True)
    outlines = read_reference(chosen.data / "reference", OUTLINE_UM, template=False)
    for name in chosen.series:
        tally = Tally()
        for seed in chosen.seeds:
            measure(name, seed, chosen, tally, outlines)
        tally.show(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
