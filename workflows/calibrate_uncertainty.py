"""Calibrate the intervals of structures' values on rendered series, and judge them on held-out ones.

    python calibrate_uncertainty.py render FOLDER   series, runs and truth; hours, what is there is kept
    python calibrate_uncertainty.py fit FOLDER      coefficients from the series for fitting, into the package
                                                    (--new: only of terms that have none there yet)
    python calibrate_uncertainty.py judge FOLDER    the held-out series against the package's coefficients
    python calibrate_uncertainty.py sides FOLDER    left and right of served grids against stated errors

The real reference and cuts of real experiments are read from --data, by default $ISH_DATA.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np

from calibration.uncertainty_fit import Verdict, fit, judge
from calibration.uncertainty_rendering import MANIFEST, TABLE, make
from calibration.uncertainty_rows import collect
from calibration.uncertainty_samples import LEVEL_NAMES, SIZE_NAMES, Sample, sample
from calibration.uncertainty_score import sharpen
from calibration.uncertainty_series import NRP1, PDYN
from calibration.uncertainty_sides import compare, served, stated
from pipeline.inputs.references import RunReference
from pipeline.quantification.uncertainty.coefficients import (
    COEFFICIENTS,
    read_coefficients,
    write_coefficients,
)
from pipeline.quantification.uncertainty.columns import LEAST_PAIRS
from pipeline.quantification.uncertainty.intervals import Coefficients
from pipeline.quantification.uncertainty.series_terms import MEASURES
from pipeline.store.run import RunFolder

HERE = Path(__file__).resolve().parent
ROWS = "rows.npz"
SIDED = "expression_energy"  # what served grids hold
GOALS = {"cover": (0.85, 0.95), "size": 0.80, "level": 0.78, "series": 0.78, "score": 0.80}
# Series that are rendered, "family:seed"; seeds above 20 are held out.
FITTED = {
    "sagittal": (1, 10), "coronal": (2,), "shape": (3,), "sagittal-served": (4,), "torn": (5,),
    "sagittal-coarse": (6, 11), "coronal-served": (7,), "shape-volume": (8,), "fine": (9,), "scan": (12,),
}  # fmt: skip
HELD_OUT = {
    "shape": (21,), "sagittal": (22,), "coronal": (23,), "torn": (24,), "sagittal-coarse": (25, 28),
    "light": (26, 30), "sagittal-served": (27,), "shape-volume": (28,), "coronal-served": (29,),
    "fine": (31,), "wandering": (32,), "scan": (33,),
}  # fmt: skip
SERIES = [
    f"{family}:{seed}" for part in (FITTED, HELD_OUT) for family, seeds in part.items() for seed in seeds
]


def main() -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("render", "fit", "judge", "sides"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=os.environ.get("ISH_DATA"), help="default: $ISH_DATA")
    parser.add_argument("--series", nargs="+", default=SERIES, metavar="FAMILY:SEED", help="to render")
    parser.add_argument("--fresh", action="store_true", help="compute the rows of all runs anew")
    parser.add_argument("--new", action="store_true", help="fit only terms that the package has not yet")
    chosen = parser.parse_args()
    if chosen.data is None:
        print("no data: give --data DIR or set ISH_DATA", file=sys.stderr)
        return 2
    if chosen.what == "render":
        for word in chosen.series:
            family, _, seed = word.partition(":")
            make(chosen.folder, family, int(seed), chosen.data)
        return 0
    listed = json.loads((chosen.folder / MANIFEST).read_text(encoding="utf-8"))
    if chosen.what == "sides":
        _sides(chosen.folder, sorted(listed), chosen.data)
        return 0
    held_out = chosen.what == "judge"
    names = sorted(n for n, one in listed.items() if one["held_out"] == held_out)
    found = {name: _rows(chosen.folder / name, chosen.data, fresh=chosen.fresh) for name in names}
    if held_out:
        fitted = {n: _rows(chosen.folder / n, chosen.data, fresh=False) for n in listed if n not in names}
        return _judge(found, fitted)
    (_extend if chosen.new else _fit)(found, {n: listed[n]["truth"] for n in names})
    return 0


def _rows(folder: Path, data: Path, *, fresh: bool) -> dict[str, np.ndarray]:
    """Return the rows of a series, computed once."""
    path = folder / ROWS
    if fresh or not path.exists():
        run = RunFolder(next((folder / "runs").glob(f"*/{TABLE}")).parent)
        arrays = collect(run, data / "reference", folder / "truth.npz")
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
        print(f"{folder.name}: {len(arrays['voxels'])} rows", flush=True)
    with np.load(path) as known:
        return dict(known)


def _sides(folder: Path, names: list[str], data: Path) -> None:
    """Print left and right of series that have both, and of the served grids of coronal experiments."""
    reference = RunReference(data / "reference")
    grids = {gene: served(data / "ish" / gene, reference) for gene in (PDYN, NRP1)}
    for name in names:
        arrays = _rows(folder / name, data, fresh=False)
        both, error, size = stated(sample(name, arrays, SIDED), read_coefficients().measures[SIDED])
        if len(both.half) < LEAST_PAIRS:
            continue
        for other, sides in {name: both, **grids}.items():
            compare(f"{other}, stated for {name}", sides, both, error, size)


def _samples(
    found: dict[str, dict[str, np.ndarray]], measure: str, range_um: tuple[float, float] = (0.0, np.inf)
) -> list[Sample]:
    return [sample(name, arrays, measure, range_um) for name, arrays in found.items()]


def _fit(found: dict[str, dict[str, np.ndarray]], truths: dict[str, str]) -> None:
    """Fit every measure, and write the coefficients into the package."""
    choices = {measure: fit(_samples(found, measure)) for measure in MEASURES}
    for measure, choice in choices.items():
        left = ", ".join(f"{kind} {score:.3f}" for kind, score in choice.left_out.items())
        print(f"{measure}: score of left-out series: {left}")
    known = {measure: choice.known for measure, choice in choices.items()}
    pixels = [float(arrays["pixel_um"]) for arrays in found.values()]
    errors = [float(np.median(arrays["error_um"])) for arrays in found.values()]
    spacings = [float(arrays["spacing_um"]) for arrays in found.values()]
    ranges = {"pixel_um": pixels, "error_um": errors, "spacing_um": spacings}
    provenance = {"series": truths, "made_by": _made_by(), "rows": _rows_of(found)}
    write_coefficients(known, {k: (min(v), max(v)) for k, v in ranges.items()}, provenance)
    _print_fit(known, found)


def _extend(found: dict[str, dict[str, np.ndarray]], truths: dict[str, str]) -> None:
    """Fit the terms that have no coefficient in the package yet; all others, and the range, stay."""
    before = read_coefficients()
    known = {}
    for measure, one in before.measures.items():
        new = {name for name, value in one.spreads.items() if value == 0}
        known[measure] = sharpen(_samples(found, measure), one, new)
    added = {"series": truths, "made_by": _made_by(), "rows": _rows_of(found)}
    write_coefficients(known, before.ranges, {**before.provenance, "terms_added": added})
    _print_fit(known, found)


def _made_by() -> str:
    """Return the digest of the sources that a fit depends on."""
    sources = sorted(p for p in (HERE / "calibration").glob("uncertainty_*.py"))
    return hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()[:16]


def _rows_of(found: dict[str, dict[str, np.ndarray]]) -> int:
    return sum(len(arrays["voxels"]) for arrays in found.values())


def _print_fit(known: dict[str, Coefficients], found: dict[str, dict[str, np.ndarray]]) -> None:
    for measure, one in known.items():
        print(f"{measure}: scores {one.low:.2f} {one.high:.2f}")
        print("  spreads " + ", ".join(f"{k} {v:.3f}" for k, v in one.spreads.items()))
        print("  centres " + ", ".join(f"{k} {v:+.3f}" for k, v in one.centres.items()))
        _print("fitted", judge(_samples(found, measure), one, _samples(found, measure)))
    print(f"wrote {COEFFICIENTS}")


def _judge(found: dict[str, dict[str, np.ndarray]], fitted: dict[str, dict[str, np.ndarray]]) -> int:
    """Print how intervals do on the held-out series; 1 where a goal is missed."""
    calibration = read_coefficients()
    missed = []
    for measure in MEASURES:
        range_um = calibration.ranges["pixel_um"]
        verdict = judge(
            _samples(found, measure, range_um), calibration.measures[measure], _samples(fitted, measure)
        )
        _print(measure, verdict)
        missed += [f"{measure}: {m}" for m in _missed(verdict)]
    families = {name.rsplit("-", 1)[0] for name in found}
    pixels = {float(arrays["pixel_um"]) for arrays in found.values()}
    print(f"{len(found)} held-out series of {len(families)} families, pixels of {sorted(pixels)} um")
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


def _missed(verdict: Verdict) -> list[str]:
    """Return the goals that a measure misses."""
    low, high = GOALS["cover"]  # type: ignore[misc]
    found = [] if low <= verdict.cover <= high else [f"covers {verdict.cover:.1%}"]
    for kind, shares in (("size", verdict.sizes), ("level", verdict.levels), ("series", verdict.series)):
        found += [f"{kind} {name} covers {v:.1%}" for name, v in shares.items() if v < GOALS[kind]]  # type: ignore[operator]
    if verdict.score > GOALS["score"] * verdict.constant:  # type: ignore[operator]
        found.append(f"score {verdict.score / verdict.constant:.2f} of a constant")
    return found


def _print(name: str, verdict: Verdict) -> None:
    print(f"{name}: covers {verdict.cover:.1%}; score {verdict.score:.3f}, of a constant a class"
          f" {verdict.constant:.3f} (ratio {verdict.score / verdict.constant:.2f}), of one told the answers"
          f" {verdict.told:.3f} (ratio {verdict.score / verdict.told:.2f})")  # fmt: skip
    print("  by size:   " + ", ".join(f"{n} {verdict.sizes[n]:.0%}" for n in SIZE_NAMES))
    print("  by level:  " + ", ".join(f"{n} {verdict.levels[n]:.0%}" for n in LEVEL_NAMES))
    print("  by series: " + ", ".join(f"{n} {v:.0%}" for n, v in verdict.series.items()))


if __name__ == "__main__":
    sys.exit(main())
