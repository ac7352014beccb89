"""Hold a run's energy against a grid that Allen serves, over the voxels that both have inside the brain.

python workflows/benchmarks/compare_grids.py RUN SERVED.mhd [--reference DIR] [--smooth-voxels 2]

The brain is what the labels of the run hold: its own reference and unionize.grid_annotation. Voxels need no
structure here; to compare structures with Allen's numbers, run with unionize.grid_annotation=served, since by
default 217 of the 843 published structures have no voxel.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage, stats

from pipeline.core.model import Bool, Float64
from pipeline.formats.volumes.metaimage import read_grid
from pipeline.inputs.alignments import run_config, run_reference
from pipeline.search.sources import open_labels
from pipeline.store.run import RunFolder


def figures(ours: Float64, served: Float64) -> dict[str, float]:
    """Return how well two energies agree: correlations, slope of ours on theirs, ratio of the means."""
    return {
        "voxels": float(ours.size),
        "pearson": float(np.corrcoef(ours, served)[0, 1]),
        "spearman": float(stats.spearmanr(ours, served).statistic),
        "pearson_of_log": float(np.corrcoef(np.log(ours + 0.1), np.log(served + 0.1))[0, 1]),
        "slope": float(np.polyfit(served, ours, 1)[0]),
        "mean_ratio": float(ours.mean() / served.mean()),
    }


def smoothed(grid: Float64, valid: Bool, sigma: float) -> Float64:
    """Return a Gaussian average over valid voxels only."""
    if sigma <= 0:
        return grid
    weight = ndimage.gaussian_filter(valid.astype(float), sigma)
    total = ndimage.gaussian_filter(np.where(valid, grid, 0.0), sigma)
    return np.asarray(total / np.maximum(weight, 1e-9))


def compare(run: Path, served_path: Path, reference: Path | None, smooth_voxels: float) -> dict[str, float]:
    """Return the agreement of a run with a served grid."""
    ours = RunFolder(run).read_grid()["energy"].astype(np.float64)
    served = read_grid(served_path).astype(np.float64)
    space = open_labels(reference or run_reference(run))
    labels = space.grid_labels(served=run_config(RunFolder(run)).unionize.grid_annotation == "served")
    both = (ours >= 0) & (served >= 0)
    inside = both & (labels > 0)
    a, b = (smoothed(grid, both, smooth_voxels)[inside] for grid in (ours, served))
    return figures(a, b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("served", type=Path)
    parser.add_argument("--reference", type=Path, help="default: the run's own")
    parser.add_argument("--smooth-voxels", type=float, default=0.0)
    given = parser.parse_args()
    for name, value in compare(given.run, given.served, given.reference, given.smooth_voxels).items():
        print(f"{name:16s}{value:.4g}")


if __name__ == "__main__":
    main()
