"""Fit the error that a section's measures let expect, and show how honest it is on seeds held out.

    python workflows/benchmarks/benchmark_verdicts.py --families shape sagittal-texture coronal-texture \
        "coronal any turn" "coronal half" "sagittal upside" --seeds 11 12 --kinds whole --sizes 10 \
        --places 2 --save measured.jsonl
    python workflows/calibration/error_model.py measured.jsonl --held-out 12

Prints the coefficients for `pipeline/registration/quality/error_model.py` and the factor of the common place
along the normal, then, for the held-out seeds, what the sections would be judged by them and by those in use.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from pipeline.core.model import Float64
from pipeline.registration.quality.error_model import PASS_UM, STAINED, UNDECIDED, terms

FITTED = 6  # terms that are fitted; the last two of `TERMS` helped nowhere
RIDGE = 0.1  # standard deviations of coefficients are 1 / RIDGE
FACTOR_SPREAD = 0.3  # of the logarithm of the factor
LEAST_UM, RIGHT_UM, WRONG_UM, FARTHEST_UM = 5.0, 150.0, 300.0, 3000.0

Row = Mapping[str, object]
Arrays = tuple[Float64, Float64, Float64, Float64]  # terms, common and other doubts (um), true errors (um)


def measured(paths: Sequence[Path]) -> dict[tuple[str, str, int], Arrays]:
    """Return what `benchmark_verdicts.py --save` wrote, by family, kind and seed, without hints."""
    rows: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for path in paths:
        for text in path.read_text(encoding="utf-8").splitlines():
            family, seed, kind, found = json.loads(text)
            if found and "hints" not in kind:
                rows[family, kind, seed] += [row for row in found if "stain_residual" in row["measures"]]
    return {key: _arrays([row["measures"] for row in some], some) for key, some in rows.items() if some}  # type: ignore[misc]


def _arrays(measures: Sequence[Mapping[str, float]], rows: Sequence[Row]) -> Arrays:
    common = np.array([m.get("normal_common_um", 0.0) for m in measures])
    others = {name: factor for name, factor in UNDECIDED.items() if name != "normal_common_um"}
    other = np.array([np.linalg.norm([f * m.get(n, 0.0) for n, f in others.items()]) for m in measures])
    error = np.array([row["error_um"] for row in rows], np.float64)
    return np.array([terms(m)[:FITTED] for m in measures]), common, other, error


def estimates(weights: Float64, factor: float, arrays: Arrays) -> Float64:
    """Return the estimated errors of sections under some coefficients, (n,) um."""
    regressors, common, other, _ = arrays
    return np.sqrt(np.exp(2 * regressors @ weights) + (factor * common) ** 2 + other**2)


def fitted(series: Sequence[Arrays]) -> tuple[Float64, float]:
    """Return coefficients and factor by robust least squares of logarithms; all series weigh the same."""

    def residuals(values: Float64) -> Float64:
        weights, factor = values[:-1], float(values[-1])
        parts = [RIDGE * weights[1:], np.array([FACTOR_SPREAD * np.log(max(factor, 1e-3))])]
        for arrays in series:
            truth = np.clip(arrays[-1], LEAST_UM, FARTHEST_UM)
            parts.append(np.log(estimates(weights, factor, arrays) / truth) / len(truth) ** 0.5)
        return np.concatenate(parts)

    least = np.array([-np.inf, *np.zeros(FITTED)])  # no measure speaks against itself
    start = np.array([*STAINED[:FITTED], UNDECIDED["normal_common_um"]])
    found = least_squares(residuals, start, bounds=(least, np.inf), loss="soft_l1").x
    return found[:-1], float(found[-1])


def report(name: str, weights: Float64, factor: float, series: Mapping[tuple[str, str, int], Arrays]) -> None:
    """Print how the estimates of some series do."""
    print(f"{name}\n{'family, kind, seed':40}{'n':>5}{'ratio':>8}{'below 2x':>10}{'right':>8}{'wrong':>7}")
    for key, arrays in series.items():
        guess, error = estimates(weights, factor, arrays), arrays[-1]
        passed, right = guess <= PASS_UM, error <= RIGHT_UM
        wrong = int((passed & (error > WRONG_UM)).sum())
        kept = 100 * float((passed & right).sum()) / max(int(right.sum()), 1)
        print(
            f"{', '.join(map(str, key)):40}{len(error):5}{float(np.median(guess / error)):8.2f}"
            f"{100 * float((error < 2 * guess).mean()):10.0f}{kept:8.0f}{wrong:7}"
        )


def main() -> int:
    """Read, fit, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measured", nargs="+", type=Path, help="files of `benchmark_verdicts.py --save`")
    parser.add_argument("--held-out", nargs="*", type=int, default=[], help="seeds to judge on")
    parser.add_argument("--kinds", nargs="*", help="kinds to fit on; default: all")
    chosen = parser.parse_args()
    series = measured(chosen.measured)
    learnt = [
        arrays
        for (_, kind, seed), arrays in series.items()
        if seed not in chosen.held_out and (not chosen.kinds or kind in chosen.kinds)
    ]
    judged = {
        key: arrays for key, arrays in series.items() if key[2] in chosen.held_out or not chosen.held_out
    }
    report("in use", np.array(STAINED[:FITTED]), UNDECIDED["normal_common_um"], judged)
    if learnt:
        weights, factor = fitted(learnt)
        print(
            "STAINED =",
            tuple(round(float(w), 3) for w in weights),
            "factor of normal_common_um:",
            round(factor, 2),
        )
        report("refitted", weights, factor, judged)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
