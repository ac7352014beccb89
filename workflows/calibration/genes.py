"""Drawn genes that `ish phantom` does not have: what makes a rendered series as hard as a real one.

- `gene_by_structure`: an energy for every structure, from factors along its path; a share is silent.
- `varied_inside`: every structure in three parts by a smooth field, which express less, as before, and more.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from pipeline.core.ontology import Ontology
from pipeline.phantom import Scene, StructureExpression

GENE, INSIDE = 50, 51  # random streams; the renderer has those below 45
SILENT = 0.25  # share of structures that express next to nothing
SPREAD, OWN = 0.35, 0.6  # of the logarithm of a factor: of each ancestor, and of the structure itself
MEDIAN_ENERGY = 6.0  # grey levels
FIELD_UM = 900.0  # scale of the field inside structures


def gene_by_structure(ontology: Ontology, seed: int) -> StructureExpression:
    """Draw a gene: relatives are alike, neighbours differ, as served energies do."""
    rng = np.random.default_rng([seed, GENE])
    factor = {s.id: rng.normal() for s in ontology.structures}
    quiet = {s.id: rng.random() < SILENT for s in ontology.structures}
    energy = {}
    for s in ontology.structures:
        path = ontology.path(s.id)
        if "fiber tracts" in ontology.by_id[path[min(1, len(path) - 1)]].name:
            continue
        log = SPREAD * sum(factor[a] for a in path[-4:-1]) + OWN * factor[s.id]
        energy[str(s.id)] = float(
            MEDIAN_ENERGY * np.exp(np.clip(log, -3, 2.5)) * (0.05 if quiet[s.id] else 1)
        )
    return StructureExpression(energy)


def varied_inside(scene: Scene, share: float = 0.4) -> Scene:
    """Split every structure into three parts with energies of 1 - share, 1 and 1 + share."""
    rng = np.random.default_rng([scene.options.seed, INSIDE])
    volume, um = scene.volume, 200.0
    coarse = [int(n * volume.spacing_um // um) + 2 for n in volume.labels.shape]
    noise = ndimage.gaussian_filter(rng.standard_normal(coarse), FIELD_UM / um / 2.355)
    low, high = np.quantile(noise, [1 / 3, 2 / 3])
    at = [np.minimum((np.arange(n) * volume.spacing_um / um).round().astype(int), c - 1)
          for n, c in zip(volume.labels.shape, coarse, strict=True)]  # fmt: skip
    part = (noise > low).astype(np.uint16) + (noise > high)
    labels = np.empty_like(volume.labels)
    for p in range(len(labels)):
        labels[p] = volume.labels[p] * np.uint16(3) + part[at[0][p]][np.ix_(at[1], at[2])]
    labels[volume.labels == 0] = 0
    factors = np.tile([1 - share, 1.0, 1 + share], scene.ids.size)
    tables = {name: getattr(volume, name).repeat(3) for name in ("darkness", "energy", "solid")}
    tables["energy"] = (tables["energy"] * factors).astype(np.float32)
    return replace(
        scene,
        ids=scene.ids.repeat(3),
        faint=scene.faint.repeat(3),
        volume=volume._replace(labels=labels, **tables),
    )
