"""Carry and average on rendered brains of known shape.

python workflows/benchmarks/benchmark_carry.py REFERENCE nissl:21 layers:24 same:25 average:31,32,33,34,35

Each brain is drawn from REFERENCE (template at 100 um, annotation at 25 um) by a smooth random displacement
of 213 um in the median. `same` has the template's contrast, `nissl` one random grey a structure and 20 %
texture, `layers` further 35 % by depth within each structure. All are shaded by 8 % and have 3 % noise. The
number is the seed. `average` takes brains of the template's contrast.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from pipeline.atlas_building.averaging import averaged_reference
from pipeline.atlas_building.carrying import find_displacement
from pipeline.atlas_building.displacement import Displacement, determinants, invert, warp
from pipeline.atlas_building.sources import Annotation, open_annotation
from pipeline.formats.volumes.volume_files import Volume
from rendered_brains import UM, KnownBrain, Renderer, best_affine


def percentiles(values: np.ndarray) -> str:
    return " / ".join(f"{e:.1f}" for e in np.percentile(values, [50, 95]))


def structure_dice(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the Dice of every structure that the truth has."""
    ids, index = np.unique(np.stack([found, true]), return_inverse=True)
    a, b = index.reshape(2, -1)
    counts = [np.bincount(x, minlength=len(ids)) for x in (a[a == b], a, b)]
    present = (counts[2] > 0) & (ids > 0)
    return (2 * counts[0] / np.maximum(counts[1] + counts[2], 1))[present]


def carry_one(renderer: Renderer, labels: Annotation, stain: str, seed: int) -> str:
    brain = renderer.brain(seed, stain)
    tissue = brain.labels > 0
    target = Volume(brain.grey, (UM,) * 3, Path(f"{stain}:{seed}"))
    source = Volume(renderer.template, (UM,) * 3, Path("reference"))
    start = time.process_time()
    found = find_displacement(target, source, labels)
    spent = time.process_time() - start
    points = np.argwhere(tissue) * UM
    true = brain.to_reference.apply(points)
    errors = np.linalg.norm(found.to_source.apply(points) - true, axis=1)
    affine = np.linalg.norm(found.affine.apply(points) - true, axis=1)
    carried = warp(labels.labels, labels.spacing_um, found.to_source, (brain.grey.shape, [UM] * 3), 0)
    dice = structure_dice(carried, brain.labels)
    folds = sum(int((determinants(f) <= 0).sum()) for f in (found.to_source, found.to_target))
    quality = found.quality
    return (
        f"{percentiles(errors)} um (as it lies {percentiles(np.linalg.norm(true - points, axis=1))},"
        f" best affine map {percentiles(np.linalg.norm(best_affine(brain.to_reference, tissue), axis=1))},"
        f" affine part {percentiles(affine)}); Dice {np.median(dice):.3f} / {np.percentile(dice, 10):.3f};"
        f" folds {folds}, least determinant {quality['least_determinant']:.2f}, there and back"
        f" {quality['there_and_back_um_median']:.1f} um; by {quality['matched_by']}; {spent:.0f} s"
    )


def average_some(renderer: Renderer, seeds: list[int]) -> str:
    brains: list[KnownBrain] = [renderer.brain(seed, "same") for seed in seeds]
    volumes = [Volume(b.grey, (UM,) * 3, Path(f"{s}")) for s, b in zip(seeds, brains, strict=True)]
    start = time.process_time()
    result = averaged_reference([str(s) for s in seeds], volumes, [None] * len(seeds), UM)
    spent = time.process_time() - start
    points = np.argwhere(renderer.index[::2, ::2, ::2] > 0)[::31] * UM
    own = [invert(b.to_reference, renderer.shape, UM).apply(points) for b in brains]
    mean = np.mean(own, axis=0)
    fields: list[Displacement] = [result.displacements[f"brains/{s}/source_to_target"] for s in seeds]
    found = [field.apply(place) for field, place in zip(fields, own, strict=True)]
    errors = np.concatenate([np.linalg.norm(place - mean, axis=1) for place in found])
    before = np.concatenate([np.linalg.norm(place - mean, axis=1) for place in own])
    of_mean = np.linalg.norm(np.mean(found, axis=0) - mean, axis=1)
    zero = result.quality["mean_displacement_um_largest"]
    least = min(one["least_determinant"] for one in result.quality["by_brain"].values())
    return (
        f"{percentiles(errors)} um from the true mean shape by brain (as they lie {percentiles(before)}),"
        f" {percentiles(of_mean)} um in the mean of the brains; mean displacement at most {zero:.1g} um;"
        f" least determinant {least:.2f}; {spent:.0f} s"
    )


def main() -> None:
    renderer, labels = Renderer(Path(sys.argv[1])), open_annotation(Path(sys.argv[1]))
    for word in sys.argv[2:]:
        stain, _, seeds = word.partition(":")
        if stain == "average":
            print(word, average_some(renderer, [int(s) for s in seeds.split(",")]), flush=True)
        else:
            print(word, carry_one(renderer, labels, stain, int(seeds)), flush=True)


if __name__ == "__main__":
    main()
