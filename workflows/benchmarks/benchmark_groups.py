"""False discoveries and power of `ish compare-groups` on simulated animals, with Welch's t test beside it.

A tenth of the structures change by ln .5, 15 % of structure-animal pairs are 3-6 times noisier, and stated
errors are right to within a factor of 1.65 (standard deviation of their logarithm: ln 1.65). Families depart
from that one by one. `null` has no change at all: its false discovery rate is the share of studies with any
finding.

    python workflows/benchmarks/benchmark_groups.py --families reference null --animals 4 6 --studies 200
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pipeline.groups.comparison import Series, compare_groups
from pipeline.groups.model import build_model
from pipeline.groups.power import LEVEL

EFFECT = np.log(0.5)


@dataclass(frozen=True)
class Family:
    """How animals are simulated; errors and scatter in log units."""

    structures: int = 300
    error: float = 0.185  # of a number that is not noisier
    spread: float = 0.0  # of the errors between structures, log scale
    biology: float = 0.0  # scatter that no number states
    noisy: float = 0.15  # share of structure-animal pairs that are 3-6 times noisier
    misstated: float = float(np.log(1.65))
    bias: float = 1.0  # stated over true error
    tails: float = 0.0  # degrees of freedom of t-distributed errors; 0: normal
    stated: bool = True
    changed: float = 0.1
    batch: float = 0.0  # size of a batch effect, in a batch that holds most of one group


FAMILIES = {
    "reference": Family(),
    "biology": Family(error=0.15, biology=0.12),
    "spread": Family(error=0.17, spread=0.3),
    "few": Family(structures=30),
    "exact": Family(misstated=0.0),
    "doubtful": Family(misstated=float(np.log(2))),
    "halved": Family(bias=0.5),
    "unstated": Family(stated=False),
    "noisy5": Family(noisy=0.05),
    "noisy30": Family(error=0.15, noisy=0.3),
    "tails": Family(tails=4.0),
    "batch": Family(batch=0.4),
    "null": Family(changed=0.0),
}


def study(family: Family, animals: int, seed: int) -> tuple[float, ...]:
    """Return power and false share, those of Welch, p < .05 of unchanged, coverage, uniformity of p."""
    rng = np.random.default_rng(seed)
    shape = (family.structures, 2 * animals)
    sigma = family.error * np.exp(family.spread * rng.standard_normal((shape[0], 1))) * np.ones(shape)
    sigma = np.where(rng.random(shape) < family.noisy, sigma * rng.uniform(3, 6, shape), sigma)
    noise = rng.standard_normal(shape)
    if family.tails:
        noise = rng.standard_t(family.tails, shape) * np.sqrt((family.tails - 2) / family.tails)
    truth = np.where(rng.random(shape[0]) < family.changed, EFFECT, 0.0)
    values = rng.standard_normal((shape[0], 1)) + sigma * noise + family.biology * rng.standard_normal(shape)
    values += 0.2 * rng.standard_normal(shape[1])
    values[:, animals:] += truth[:, None]
    most = animals - 1  # all but one animal of each group are in one batch
    batches = ["1"] * most + ["2"] + ["2"] * most + ["1"]
    values += family.batch * rng.standard_normal((shape[0], 1)) * np.array([b == "2" for b in batches])
    stated = family.bias * sigma * np.exp(family.misstated * rng.standard_normal(shape))
    every = np.ones(shape[0], np.bool_)
    series = Series(
        values, stated if family.stated else np.full(shape, np.nan), np.arange(shape[1]), every, every
    )
    covariates = {"batch": batches} if family.batch else {}
    model = build_model(["a"] * animals + ["b"] * animals, ("a", "b"), covariates, "group")
    found = compare_groups(series, model)
    p_value, covered = found.tests.p_value, (found.tests.lower <= truth) & (truth <= found.tests.upper)
    return (
        *_score(found.q_value < LEVEL, truth != 0),
        *_score(found.welch_q < LEVEL, truth != 0),
        float(np.mean(p_value[truth == 0] < LEVEL)),
        float(covered.mean()),
        float(stats.kstest(p_value[truth == 0], "uniform").pvalue),
    )


def _score(called: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return power and the share of false ones among what is called."""
    power = float((called & truth).sum() / truth.sum()) if truth.any() else np.nan
    return power, float((called & ~truth).sum() / max(called.sum(), 1))


def main() -> None:
    """Print a line for each family and number of animals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--animals", nargs="+", type=int, default=[4, 6])
    parser.add_argument("--studies", type=int, default=200)
    chosen = parser.parse_args()
    print("family     n  power   FDR  (±)    Welch power, FDR   null p<.05  cover95  KS<.05")
    for name in chosen.families:
        for animals in chosen.animals:
            found = np.array([study(FAMILIES[name], animals, seed) for seed in range(chosen.studies)])
            mean, error = found.mean(axis=0), found[:, 1].std() / np.sqrt(chosen.studies)
            uniform = np.mean(found[:, 6] < LEVEL)
            print(
                f"{name:9s} {animals:2d}  {mean[0]:.3f}  {mean[1]:.4f} ({error:.4f})  {mean[2]:.3f}"
                f"  {mean[3]:.4f}      {mean[4]:.4f}     {mean[5]:.4f}   {uniform:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
