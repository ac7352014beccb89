"""Fit the error that a section's measures let expect, and show how honest it is on seeds held out.

    python workflows/calibration/error_model.py --data $ISH_DATA --seeds 1 2 3 4 --held-out 5 6

Every series of the chosen families is aligned twice: as rendered, and damaged: some sections exchange their
numbers, some lose up to half of their picture. Prints the coefficients for
`pipeline/registration/quality/error_model.py`, then, for the held-out seeds, what became of the
sections under the coefficients in use.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.core.errors import AlignmentError
from pipeline.geometry.sync import pixel_to_reference
from pipeline.registration import DEFORMABLE, AlignmentOptions, SectionThumbnail, align_series
from pipeline.registration.quality.error_model import TERMS, status_of, terms

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from benchmark_alignment import FAMILIES, Drawn, _scene, draw

OUTLINE_TERMS = ("constant", "boundary", "lost overlap", "stray")  # what an outline alone tells
RIDGE = 3.0
LEAST_UM, RIGHT_UM, WRONG_UM, FARTHEST_UM = 20.0, 150.0, 300.0, 3000.0


@dataclass(frozen=True)
class Row:
    """One section: its measures, its verdict, and how far it is off, in um."""

    measures: dict[str, float]
    status: str
    error_um: float


def damaged(drawn: Drawn, seed: int) -> Drawn:
    """Exchange the numbers of some sections and take up to half of some pictures away."""
    rng = np.random.default_rng([seed, 5])
    whole = sorted(drawn.thumbnails, key=lambda t: t.section_number)
    count = len(whole)
    order = list(range(count))
    for _ in range(max(1, count // 16)):
        i = int(rng.integers(1, count - 1))
        j = int(np.clip(i + rng.choice([-1, 1]) * rng.integers(2, max(3, count // 3)), 0, count - 1))
        order[i], order[j] = order[j], order[i]
    torn = set(rng.choice(count, max(1, count // 20), replace=False).tolist())
    sections, truth = [], {}
    for k, slot in enumerate(whole):
        shown = whole[order[k]]
        truth[slot.section_number] = drawn.truth[shown.section_number]
        if k in torn:
            shown = _torn(shown, float(rng.uniform(0.35, 0.6)))
        sections.append(replace(shown, section_number=slot.section_number, z_um=slot.z_um))
    return replace(drawn, thumbnails=sections, truth=truth)


def _torn(thumbnail: SectionThumbnail, share: float) -> SectionThumbnail:
    pixels = thumbnail.pixels.copy()
    glass = np.median(pixels[:3].reshape(-1, 3), axis=0).astype(np.uint8)
    pixels[:, : round(share * pixels.shape[1])] = glass
    return replace(thumbnail, pixels=pixels)


def rows_of(drawn: Drawn, reference: object, deformable: str) -> list[Row]:
    """Align a series; return its sections that hold tissue."""
    data_set = drawn.scene.geometry.data_set
    options = AlignmentOptions(
        plane_of_section=data_set.plane_of_section, hemisphere=data_set.hemisphere, deformable=deformable
    )
    try:
        found = align_series(drawn.thumbnails, reference, options)  # type: ignore[arg-type]
    except AlignmentError as error:
        print(f"refused: {error}", flush=True)
        return []
    rows = []
    for number, (points, places) in drawn.truth.items():
        section = found.of(number)
        if section is None or "dice" not in section.measures or len(points) < 4:
            continue
        z = data_set.z_um(number)
        reached = pixel_to_reference(points, section, found.alignment3d, z)
        away = float(np.median(np.linalg.norm(reached - places, axis=1)))
        rows.append(Row(section.measures, str(section.status), away))
    return rows


def fitted(rows: Sequence[Row], admitted: Sequence[str] = TERMS) -> list[float]:
    """Return coefficients of the logarithm of the error, none of them negative but the constant."""
    matrix = np.array([terms(row.measures) for row in rows])
    target = np.log(np.clip([row.error_um for row in rows], LEAST_UM, FARTHEST_UM))
    free = np.array([term in admitted for term in TERMS])
    weights = np.zeros(matrix.shape[1])
    while True:  # a measure that would speak against itself is left out
        part = matrix[:, free]
        penalty = RIDGE * np.diag((np.arange(matrix.shape[1]) > 0)[free].astype(float))
        weights[:] = 0.0
        weights[free] = np.linalg.solve(part.T @ part + penalty, part.T @ target)
        worst = 1 + int(np.argmin(weights[1:]))
        if weights[worst] >= 0.0:
            return [round(float(w), 3) for w in weights]
        free[worst] = False


def report(name: str, rows: Sequence[Row]) -> None:
    """Print how the verdicts and the estimated errors of some sections do."""
    if not rows:
        return
    error = np.array([row.error_um for row in rows])
    guess = np.array([row.measures["estimated_error_um"] for row in rows])
    status = np.array([row.status for row in rows])
    passed, right = status == "pass", error <= RIGHT_UM
    wrong = int((passed & (error > WRONG_UM)).sum())
    kept = 100.0 * float((passed & right).sum()) / max(int(right.sum()), 1)
    linear = np.corrcoef(np.clip(error, 0, FARTHEST_UM), np.clip(guess, 0, FARTHEST_UM))[0, 1]
    logs = np.corrcoef(np.log(np.clip(error, 3, FARTHEST_UM)), np.log(guess))[0, 1]
    counts = "/".join(str(int((status == s).sum())) for s in ("pass", "check", "fail"))
    print(
        f"{name:22}{len(rows):6} sections  pass/check/fail {counts:>12}  wrong among pass {wrong:3}"
        f"  right ones passed {kept:5.1f} %  r {linear:.2f}  r of log {logs:.2f}",
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("ISH_DATA"), help="default: $ISH_DATA")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3, 4], help="to fit on")
    parser.add_argument("--held-out", nargs="*", type=int, default=[5, 6], help="to judge on")
    parser.add_argument("--deformable", default="none", choices=DEFORMABLE)
    parser.add_argument("--save", type=Path, help="append what was measured to this file")
    parser.add_argument(
        "--measured", nargs="*", type=Path, default=[], help="such files, instead of aligning"
    )
    return parser


def measured_rows(chosen: argparse.Namespace) -> Iterator[tuple[str, int, list[Row]]]:
    """Yield family, seed and sections of every series, aligned now or read from earlier calls."""
    for path in chosen.measured:
        for text in path.read_text().splitlines():
            name, seed, rows = json.loads(text)
            yield name, seed, [Row(**row) for row in rows]
    if chosen.measured:
        return
    for name in chosen.families:
        for seed in (*chosen.seeds, *chosen.held_out):
            reference, scene = _scene(FAMILIES[name], seed, chosen.data)
            drawn = draw(scene)
            for shown in (drawn, damaged(drawn, seed)):
                rows = rows_of(shown, reference, chosen.deformable)
                if chosen.save:
                    with chosen.save.open("a") as file:
                        print(json.dumps([name, seed, [asdict(row) for row in rows]]), file=file)
                yield name, seed, rows


def main() -> int:
    """Align, fit, and print."""
    chosen = _parser().parse_args()
    if chosen.data is None:
        print("no data: give --data DIR or set ISH_DATA", file=sys.stderr)
        return 2
    learnt: list[Row] = []
    judged: dict[str, list[Row]] = {}
    for name, seed, rows in measured_rows(chosen):
        if seed in chosen.held_out:
            judged.setdefault(name, []).extend(rows)
        elif seed in chosen.seeds:
            learnt += rows
    if learnt:
        stained = [row for row in learnt if "stain_residual" in row.measures]
        weights = fitted(stained), fitted(learnt, OUTLINE_TERMS)
        print("STAINED =", tuple(weights[0]))
        print("OUTLINE =", tuple(weights[1]))
        report("fitted on", learnt)
    for name, rows in judged.items():
        report(name, rows)
    report("held out, all", [row for rows in judged.values() for row in rows])
    if learnt:
        refitted = {name: [anew(row, *weights) for row in rows] for name, rows in judged.items()}
        for name, rows in refitted.items():
            report(f"{name}, refitted", rows)
        report("all, refitted", [row for rows in refitted.values() for row in rows])
    return 0


def anew(row: Row, stained: Sequence[float], outline: Sequence[float]) -> Row:
    """Judge a section by other coefficients, as `pipeline.registration.quality.error_model` would."""
    weights = stained if "stain_residual" in row.measures else outline
    guess = float(np.clip(np.exp(terms(row.measures) @ np.array(weights)), 1.0, FARTHEST_UM))
    measures = row.measures | {"estimated_error_um": guess}
    return replace(row, measures=measures, status=str(status_of(measures, AlignmentOptions().minimum_dice)))


if __name__ == "__main__":
    sys.exit(main())
