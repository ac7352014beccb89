"""Small asymmetric brains of many structures, bent by known displacements, for carry and average."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from pipeline.atlas_building.displacement import Displacement
from pipeline.formats.volumes.nrrd_writer import write_nrrd

UM = 100.0
SHAPE = (44, 36, 40)
STRUCTURES = 24
GRAPH = {
    "msg": [
        {
            "id": 997,
            "acronym": "root",
            "name": "root",
            "color_hex_triplet": "FFFFFF",
            "children": [
                {"id": k, "acronym": f"s{k}", "name": f"structure {k}", "color_hex_triplet": f"{k:02d}8844"}
                for k in range(1, STRUCTURES + 1)
            ],
        }
    ]
}


def places() -> np.ndarray:
    return np.stack(np.meshgrid(*(np.arange(n) * UM for n in SHAPE), indexing="ij"), axis=-1)


def waves(seed: int, length_um: float, sigma_um: float = 900.0) -> Displacement:
    """Return a smooth random displacement of this median length."""
    draw = np.random.default_rng(seed)
    parts = [
        ndimage.gaussian_filter(draw.normal(size=SHAPE), sigma_um / UM, mode="reflect") for _ in range(3)
    ]
    vectors = np.stack(parts, axis=-1)
    return Displacement(
        (vectors * length_um / np.median(np.linalg.norm(vectors, axis=-1))).astype(np.float32), UM
    )


def labels_at(points_um: np.ndarray) -> np.ndarray:
    """Return the structures at places: cells around fixed seeds, in an ellipsoid that has no symmetry."""
    own = (points_um - np.array([2150.0, 1750.0, 1950.0])) / np.array([1700.0, 1350.0, 1500.0])
    radius = (
        np.sqrt((own**2).sum(axis=-1)) + 0.15 * own[..., 0] * own[..., 2] + 0.1 * own[..., 1] * own[..., 0]
    )
    seeds = np.random.default_rng(8).uniform(-0.9, 0.9, (STRUCTURES, 3))
    nearest = cKDTree(seeds).query(own.reshape(-1, 3))[1].reshape(radius.shape) + 1
    return np.where(radius < 1, nearest, 0).astype(np.uint32)


def greys(seed: int) -> np.ndarray:
    """Return a grey for each structure, 0 outside."""
    return np.append(0.0, np.random.default_rng(seed).uniform(60, 220, STRUCTURES))


def bent(
    field: Displacement | None, grey_of: np.ndarray, texture: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return grey values and labels of the brain that a displacement takes into the brain as it is."""
    at = places()
    if field is not None:
        at = field.apply(at.reshape(-1, 3)).reshape(at.shape)
    labels = labels_at(at)
    wavy = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=SHAPE), 2.0)
    grey = grey_of[labels] * (1 + texture * wavy / wavy.std())
    return ndimage.gaussian_filter(grey, 0.6).astype(np.float32), labels


def write_annotated(folder: Path, grey: np.ndarray, labels: np.ndarray) -> Path:
    """Write a reference folder."""
    folder.mkdir(parents=True)
    write_nrrd(folder / "average_template_100.nrrd", grey, UM)
    write_nrrd(folder / "annotation_100.nrrd", labels, UM)
    (folder / "structure_graph_1.json").write_text(json.dumps(GRAPH))
    return folder


def apart(found: Displacement, true: Displacement, labels: np.ndarray) -> np.ndarray:
    """Return how far two displacements are apart in tissue, um."""
    points = np.argwhere(labels > 0) * UM
    return np.linalg.norm(found.apply(points) - true.apply(points), axis=1)
