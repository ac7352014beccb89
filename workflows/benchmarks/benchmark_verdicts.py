"""How honest verdicts are: rendered series and a real brain, whole, cut to a few sections, and with mistakes.

    python benchmark_verdicts.py --data $ISH_DATA --seeds 101 102 --save verdicts.jsonl
    python benchmark_verdicts.py --data $ISH_DATA --families nissl --sizes 2 3 6 10 15 --places 10

Every series is aligned whole, with each mistake of `bench.series_damage`, and as windows of neighbouring
sections at places spread over the brain, without hints and with right ones. For a real brain the truth is
the alignment of all of its sections. A line a family and kind:

n              sections
pass, wrong    those that pass, and those of them that are more than 300 um off
right          share of those within 150 um that pass, %
ratio          estimated over true error, median
below 2x       share of true errors below twice the estimate, %
refused        series that were refused
named          share of the wrong sections that fail with a reason, and of the right ones, %
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench.series_damage import KINDS, Damaged, window
from benchmark_alignment import FAMILIES, Drawn, _scene, draw
from pipeline.core.errors import AlignmentError
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.images.files import read_image
from pipeline.formats.volumes.reference_folder import read_reference
from pipeline.geometry.sync import pixel_to_reference
from pipeline.registration import DEFORMABLE, AlignmentOptions, SectionThumbnail, align_series
from pipeline.sections.thumbnail_tissue import tissue_image

RIGHT_UM, WRONG_UM = 150.0, 300.0
NISSL_UM, NISSL_EVERY, NISSL_THICKNESS_UM = 58.88, 10, 20.0
NISSL_LATTICE = 4  # every so many pixels the place is held against the truth


@dataclass(frozen=True)
class Row:
    """One section: its measures, verdict and reason, how far it is off, um, and whether it is a mistake."""

    measures: dict[str, float]
    status: str
    reason: str
    error_um: float
    culprit: bool


@dataclass
class Tally:
    """Sections of one family and kind, and the series that were refused."""

    rows: list[Row] = field(default_factory=list)
    refused: int = 0


@dataclass(frozen=True, eq=False)
class Brain:
    """A series with known places, its reference, and what is declared of it; `hints` are right ones."""

    drawn: Drawn
    reference: ReferenceSpace
    options: AlignmentOptions
    hints: dict[str, str]


def rendered(name: str, seed: int, data: Path) -> Brain:
    """Render a series of a family; its hints are those of its manifest."""
    reference, scene = _scene(FAMILIES[name], seed, data)
    declared = scene.geometry.data_set
    options = AlignmentOptions(plane_of_section=declared.plane_of_section, hemisphere=declared.hemisphere)
    hints = {"section_order": str(declared.section_order), "image_up": str(declared.image_up)}
    return Brain(draw(scene), reference, options, {k: v for k, v in hints.items() if v != "None"})


def nissl(data: Path, every: int = NISSL_EVERY) -> Brain:
    """Read every tenth section of the real Nissl brain, and align all of them for the truth."""
    folder = data / "nissl_ptm902"
    with (folder / "sections.csv").open() as file:
        rows = list(csv.DictReader(file))
    thumbnails = [
        SectionThumbnail(
            section_number=int(row["section_number"]),
            z_um=int(row["section_number"]) * NISSL_THICKNESS_UM,
            pixels=read_image(folder / row["file"]),
            resolution_um=NISSL_UM,
            thumbnail_to_section=np.eye(2, 3),
        )
        for row in rows
        if int(row["section_number"]) % every == 0
    ]
    reference = read_reference(data / "reference")
    options = AlignmentOptions(plane_of_section="coronal")
    hints = {"section_order": "rostral_to_caudal", "image_up": "inferior"}
    found = align_series(thumbnails, reference, replace(options, **hints))  # type: ignore[arg-type]
    truth, kept = {}, []
    for one in thumbnails:
        section = found.of(one.section_number)
        if section is None or str(section.status) == "fail" or "dice" not in section.measures:
            continue
        y, x = (
            NISSL_LATTICE * n for n in np.nonzero(tissue_image(one).mask[::NISSL_LATTICE, ::NISSL_LATTICE])
        )
        points = np.stack([x, y], axis=1).astype(np.float64)
        truth[one.section_number] = (
            points,
            pixel_to_reference(points, section, found.alignment3d, one.z_um),
        )
        kept.append(one)
    return Brain(Drawn(None, kept, truth), reference, options, hints)  # type: ignore[arg-type]


def variants(
    brain: Brain, seed: int, chosen: argparse.Namespace
) -> Iterator[tuple[str, Damaged, dict[str, str]]]:
    """Yield name, series and hints of all that is tried on a brain."""
    for at, (kind, damage) in enumerate(KINDS.items()):
        if kind in chosen.kinds:
            yield kind, damage(brain.drawn, np.random.default_rng([seed, at])), {}
    count = len(brain.drawn.thumbnails)
    for size in chosen.sizes:
        if size > count:
            continue
        for first in np.unique(np.linspace(0, count - size, chosen.places).round().astype(int)):
            yield f"window {size}", window(brain.drawn, int(first), size), {}
            yield f"window {size}, hints", window(brain.drawn, int(first), size), brain.hints


def judged(brain: Brain, damaged: Damaged, hints: dict[str, str], deformable: str) -> list[Row] | None:
    """Align a series and hold it against the truth; None where it is refused."""
    drawn = damaged.drawn
    options = replace(brain.options, deformable=deformable, minimum_sections=2, **hints)  # type: ignore[arg-type]
    try:
        found = align_series(drawn.thumbnails, brain.reference, options)
    except AlignmentError:
        return None
    rows = []
    for one in drawn.thumbnails:
        section, (points, places) = found.of(one.section_number), drawn.truth[one.section_number]
        if section is None or len(points) < 4:
            continue
        reached = pixel_to_reference(points, section, found.alignment3d, one.z_um)
        away = float(np.median(np.linalg.norm(reached - places, axis=1)))
        culprit = one.section_number in damaged.culprits
        rows.append(Row(dict(section.measures), str(section.status), section.reason, away, culprit))
    return rows


def line(name: str, tally: Tally) -> str:
    """Return one line of the table."""
    rows = tally.rows
    named = "-"
    if any(row.culprit for row in rows):
        shares = [
            100
            * float(np.mean([r.status == "fail" and bool(r.reason) for r in rows if r.culprit == c] or [0]))
            for c in (True, False)
        ]
        named = f"{shares[0]:.0f}/{shares[1]:.1f}"
    fitted = [row for row in rows if "estimated_error_um" in row.measures and not row.culprit]
    if not fitted:
        return f"{name:34}{len(rows):6}{'':40}{tally.refused:9}{named:>10}"
    error = np.array([row.error_um for row in fitted])
    guess = np.array([row.measures["estimated_error_um"] for row in fitted])
    passed = [row for row in rows if row.status == "pass"]
    wrong = sum(row.error_um > WRONG_UM for row in passed)
    right = [row for row in rows if row.error_um <= RIGHT_UM]
    kept = 100 * sum(row.status == "pass" for row in right) / max(len(right), 1)
    below = 100 * float((error < 2 * guess).mean())
    return (
        f"{name:34}{len(rows):6}{len(passed):6}{wrong:6}{kept:8.0f}{float(np.median(guess / error)):8.2f}"
        f"{below:9.0f}{tally.refused:9}{named:>10}"
    )


def main() -> int:
    """Align, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("ISH_DATA"), help="default: $ISH_DATA")
    parser.add_argument(
        "--families", nargs="+", default=["coronal-texture", "sagittal-texture", "shape", "nissl"]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[101])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--sizes", nargs="*", type=int, default=[2, 3, 6, 10, 15])
    parser.add_argument("--places", type=int, default=3, help="windows of each size, spread over the brain")
    parser.add_argument("--deformable", default="none", choices=DEFORMABLE)
    parser.add_argument("--save", type=Path, help="append every section to this file")
    chosen = parser.parse_args()
    if chosen.data is None:
        print("no data: give --data DIR or set ISH_DATA", file=sys.stderr)
        return 2
    tallies: dict[str, Tally] = defaultdict(Tally)
    print(f"{'family, kind':34}{'n':>6}{'pass':>6}{'wrong':>6}{'right':>8}{'ratio':>8}{'below 2x':>9}"
          f"{'refused':>9}{'named':>10}")  # fmt: skip
    for name in chosen.families:
        for seed in chosen.seeds[: 1 if name == "nissl" else None]:
            brain = nissl(chosen.data) if name == "nissl" else rendered(name, seed, chosen.data)
            for kind, damaged, hints in variants(brain, seed, chosen):
                rows = judged(brain, damaged, hints, chosen.deformable)
                tally = tallies[f"{name}, {kind}"]
                tally.refused += rows is None
                tally.rows += rows or []
                if chosen.save:
                    with chosen.save.open("a") as file:
                        seen = None if rows is None else [vars(row) for row in rows]
                        print(json.dumps([name, seed, kind, seen]), file=file)
        for kind, tally in tallies.items():
            if kind.startswith(f"{name}, "):
                print(line(kind, tally), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
