"""Hold the default detector against rendered sections of real geometry, on new seeds every time.

    python benchmark_detection.py --data $ISH_DATA [--genes prox1] [--seeds 3] [--first-seed N]

Of every gene and seed a few sections are rendered and seen again under other light, stain and pixel size. A
line a case, worst first:
dice, recall, precision     of expressing pixels, artifacts left out
r, ratio                    of energy in 200 um cells, smoothed by 2 cells as a grid is, against the true mask
moved, moved90              change of density per 1 mm area against the plain section: median, 90th percentile
filled                      share of the inside of solid bands that is marked
marked                      share of what must not be marked (bubbles, tears, dust, folds), or nan

Of pixels of 4 and 8 um, made of those of 2, many are covered by exactly half: their Dice ends near 0.9.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage

from pipeline.core.blocks import block_mean
from pipeline.core.errors import DataError
from pipeline.core.intensity import darkness
from pipeline.core.model import Bool, Float64, UInt8
from pipeline.core.reference_space import ReferenceSpace
from pipeline.detection import (
    Detector,
    make_detector,
    measure_section,
    pool_contexts,
    statistics_step,
)
from pipeline.formats.manifests.series import read_series
from pipeline.formats.volumes.metaimage import read_grid
from pipeline.formats.volumes.reference_folder import read_reference
from pipeline.phantom import GridExpression, RenderOptions, Scene, build_scene, geometry_from, render_section

GENES = {"prox1": "prox1_69289763", "nrp1": "nrp1_74272479", "pdyn": "pdyn_71717084"}
UM = 4.0
CELL_UM, AREA_UM = 200.0, 1000.0
SMOOTH_CELLS = 2.0
SOLID_UM = 80.0
FEWEST = 0.002  # density of an area whose change is asked for
SECTIONS_FROM, SECTIONS_TO = 0.15, 0.85  # of a series: the first and last are slivers
GLASS_LUMA = 240.0
RENDERED: dict[str, dict[str, float]] = {
    "texture": {"texture": 0.25},
    "dirt": {"bubbles": 3.0, "tears": 2.0, "dust": 30.0},
    "folds": {"folds": 3.0},
    "bands": {"bands": 2.0},
}


def _field(shape: tuple[int, ...]) -> Float64:
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return np.asarray(1.0 + 0.08 * (0.7 * x - 0.3 * y * y))[..., None]


SEEN: dict[str, Callable[[Float64], Float64]] = {
    "light 0.7": lambda p: p * 0.7,
    "light 0.85": lambda p: p * 0.85,
    "gamma 0.8": lambda p: 255 * (p / 255) ** 0.8,
    "gamma 1.25": lambda p: 255 * (p / 255) ** 1.25,
    "stain 0.7": lambda p: GLASS_LUMA * (p / GLASS_LUMA) ** 0.7,
    "stain 1.4": lambda p: GLASS_LUMA * (p / GLASS_LUMA) ** 1.4,
    "gradient": lambda p: p * 0.92 * _field(p.shape),
}


@dataclass(frozen=True, eq=False)
class Section:
    """A picture (h, w, 3) uint8, which of its pixels express, and which may not be marked."""

    pixels: UInt8
    expressing: Bool
    artifact: Bool
    um: float


@dataclass(frozen=True)
class Case:
    """The figures of one case; what does not apply is nan."""

    gene: str
    seed: int
    name: str
    figures: dict[str, float]


@cache
def _reference(data: Path) -> ReferenceSpace:
    return read_reference(data / "reference", template=False)


def scene(data: Path, gene: str, um: float, options: RenderOptions) -> Scene:
    """Return the real reference through a data set's real geometry, with its served energy."""
    source = read_series(data / "ish" / GENES[gene])
    if source.alignment is None:
        raise DataError(f"{data / 'ish' / GENES[gene]}: expected a data set with an alignment, got none")
    expression = GridExpression(read_grid(data / "ish" / GENES[gene] / "energy.mhd"))
    geometry = geometry_from(source.data_set, source.alignment, um)
    return build_scene(_reference(data), geometry, expression, options)


def rendered(scene: Scene, chosen: list[int]) -> list[Section]:
    """Render some sections of a scene."""
    found = []
    for index in chosen:
        drawn = render_section(scene, index)
        um = scene.geometry.resolution_um(scene.images[index])
        found.append(Section(drawn.pixels, drawn.truth.expressing, drawn.truth.artifacts > 0, um))
    return found


def detected(detector: Detector, sections: list[Section]) -> list[Bool]:
    """Return the mask of every section, statistics pooled over them as over a series."""
    contexts = []
    for section in sections:
        step = statistics_step(section.um)
        reduced = block_mean(section.pixels, step)
        contexts.append(measure_section(reduced, np.ones(reduced.shape[:2], np.bool_), section.um * step))
    return [
        detector(section.pixels, replace(context, resolution_um=section.um))
        for section, context in zip(sections, pool_contexts(contexts), strict=True)
    ]


def cells(values: Float64, side_um: float, um: float) -> Float64:
    """Return the means of whole square cells of an image (h, w)."""
    side = round(side_um / um)
    rows, columns = (n // side for n in values.shape)
    whole = values[: rows * side, : columns * side].astype(np.float64)
    return np.asarray(whole.reshape(rows, side, columns, side).mean(axis=(1, 3)))


def agreement(sections: list[Section], masks: list[Bool]) -> dict[str, float]:
    """Return how masks agree with the truth, pixel by pixel and as energy of cells; artifacts left out."""
    counts = np.zeros(5, np.int64)
    ours, theirs = [], []
    for section, mask in zip(sections, masks, strict=True):
        clean = ~section.artifact
        found, true = mask & clean, section.expressing & clean
        counts += (found & true).sum(), found.sum(), true.sum(), (mask & ~clean).sum(), (~clean).sum()
        dark = darkness(section.pixels)
        for part, into in ((found, ours), (true, theirs)):
            energy = cells(dark * part, CELL_UM, section.um)
            into.append(ndimage.gaussian_filter(energy, SMOOTH_CELLS).ravel())
    both, found_all, true_all, marked, foreign = (int(n) for n in counts)
    a, b = np.concatenate(ours), np.concatenate(theirs)
    return {
        "dice": 2 * both / max(found_all + true_all, 1),
        "recall": both / max(true_all, 1),
        "precision": both / max(found_all, 1),
        "r": float(np.corrcoef(a, b)[0, 1]),
        "ratio": float(a.sum() / b.sum()),
        "marked": marked / foreign if foreign else np.nan,
    }


def filled(sections: list[Section], masks: list[Bool]) -> dict[str, float]:
    """Return the share of what expresses solidly, wider than `SOLID_UM`, that is marked."""
    marked = solid = 0
    for section, mask in zip(sections, masks, strict=True):
        side = round(SOLID_UM / section.um)
        wide = cv2.morphologyEx(section.expressing.astype(np.uint8), cv2.MORPH_OPEN, np.ones((side, side)))
        inside = (wide > 0) & ~section.artifact
        marked, solid = marked + int((mask & inside).sum()), solid + int(inside.sum())
    return {"filled": marked / solid if solid else np.nan}


def moved(sections: list[Section], before: list[Bool], after: list[Bool]) -> dict[str, float]:
    """Return by how much the density of areas changes, of those that express."""
    changes = []
    for section, one, other in zip(sections, before, after, strict=True):
        a, b = (cells(mask, AREA_UM, section.um) for mask in (one, other))
        changes.append(np.abs(b / np.where(a > FEWEST, a, np.nan) - 1).ravel())
    change = np.concatenate(changes)
    return {"moved": float(np.nanmedian(change)), "moved90": float(np.nanpercentile(change, 90))}


def cases(data: Path, gene: str, seed: int, count: int, detector: Detector) -> Iterator[Case]:
    """Yield every case of a gene and seed."""

    def drawn(um: float, options: dict[str, float]) -> list[Section]:
        made = scene(data, gene, um, RenderOptions(seed=seed, **options))  # type: ignore[arg-type]
        return rendered(made, chosen_sections(made, seed, count))

    plain = drawn(UM, {})
    first = detected(detector, plain)
    yield Case(gene, seed, "plain", agreement(plain, first))
    for name, change in SEEN.items():
        seen = [replace(s, pixels=_uint8(change(s.pixels.astype(np.float64)))) for s in plain]
        masks = detected(detector, seen)
        yield Case(gene, seed, name, {**agreement(seen, masks), **moved(seen, first, masks)})
    for name, options in RENDERED.items():
        sections = drawn(UM, options)
        masks = detected(detector, sections)
        yield Case(gene, seed, name, {**agreement(sections, masks), **filled(sections, masks)})
    yield from _resolutions(gene, seed, drawn(UM / 2, {})[:1], detector)


def _resolutions(gene: str, seed: int, fine: list[Section], detector: Detector) -> Iterator[Case]:
    """Yield the same section at 2, 4 and 8 um; truth is what is half covered by expressing pixels."""
    before = detected(detector, fine)
    yield Case(gene, seed, f"{fine[0].um:.0f} um", agreement(fine, before))
    for step in (2, 4):
        coarse = [_reduced(section, step) for section in fine]
        masks = detected(detector, coarse)
        same = [block_mean(mask.astype(np.uint8) * np.uint8(255), step) / 255.0 for mask in before]
        yield Case(gene, seed, f"{coarse[0].um:.0f} um of 2", {
            **agreement(coarse, masks), **moved(coarse, same, masks)})  # type: ignore[arg-type]  # fmt: skip


def _reduced(section: Section, step: int) -> Section:
    """Return a section seen by larger pixels; of those that express by half, every other one counts."""
    pixels = block_mean(section.pixels, step)
    y, x = np.indices(pixels.shape[:2])
    least = 127 + (x + y) % 2
    expressing, artifact = (
        block_mean(mask.astype(np.uint8) * np.uint8(255), step) > least
        for mask in (section.expressing, section.artifact)
    )
    return Section(pixels, expressing, artifact, section.um * step)


def _uint8(values: Float64) -> UInt8:
    return np.floor(values.clip(0, 255) + 0.5).astype(np.uint8)


def chosen_sections(scene: Scene, seed: int, count: int) -> list[int]:
    """Return `count` sections spread over the middle of a series, others for every seed."""
    low, high = (share * len(scene.images) for share in (SECTIONS_FROM, SECTIONS_TO))
    offset = np.random.default_rng(seed).random()
    return [int(low + (high - low) * (k + offset) / count) for k in range(count)]


def show(found: list[Case]) -> None:
    """Print a line a case, the worst first, then the worst and the median of every column."""
    names = ("dice", "recall", "precision", "r", "ratio", "moved", "moved90", "filled", "marked")
    print(f"{'gene':7}{'seed':>8} {'case':12}" + "".join(f"{name:>10}" for name in names))
    for case in sorted(found, key=lambda c: c.figures["dice"]):
        values = (case.figures.get(name, np.nan) for name in names)
        print(f"{case.gene:7}{case.seed:8d} {case.name:12}" + "".join(f"{v:10.3f}" for v in values))
    table = np.array([[case.figures.get(name, np.nan) for name in names] for case in found])
    for label, percent in (("5 %", 5), ("median", 50), ("95 %", 95)):
        print(f"{label:28}" + "".join(f"{v:10.3f}" for v in np.nanpercentile(table, percent, axis=0)))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("ISH_DATA"), help="default: $ISH_DATA")
    parser.add_argument("--genes", nargs="+", default=list(GENES), choices=list(GENES))
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--first-seed", type=int, default=None, help="default: by the clock")
    parser.add_argument("--sections", type=int, default=2, help="of every series")
    parser.add_argument("--detector", default="adaptive")
    given = parser.parse_args()
    if given.data is None:
        print("no data: give --data DIR or set ISH_DATA", file=sys.stderr)
        return 2
    first = int(time.time()) % 1_000_000 if given.first_seed is None else given.first_seed
    detector = make_detector(given.detector, {})
    show([
        case
        for gene in given.genes
        for seed in range(first, first + given.seeds)
        for case in cases(given.data, gene, seed, given.sections, detector)
    ])  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
