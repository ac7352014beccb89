"""Small brains for the tests of references: symmetric blobs of known place, with labels and an ontology."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import ndimage

from pipeline.core.model import Structure
from pipeline.core.ontology import Ontology
from pipeline.formats.volumes.nrrd_writer import write_nrrd

UM = 200.0
SHAPE = (44, 36, 41)  # odd along R: voxel 20 lies on the midline
MIDDLE_UM = 20 * UM
GRAPH = {
    "msg": [
        {
            "id": 997,
            "acronym": "root",
            "name": "root",
            "color_hex_triplet": "FFFFFF",
            "children": [
                {"id": 8, "acronym": "out", "name": "outer", "color_hex_triplet": "FF8800", "children": []},
                {"id": 312782546, "acronym": "in", "name": "inner", "color_hex_triplet": "0088FF"},
            ],
        }
    ]
}
ONTOLOGY = Ontology(
    (
        Structure(997, "root", "root", None, 0, "FFFFFF"),
        Structure(8, "out", "outer", 997, 1, "FF8800"),
        Structure(312782546, "in", "inner", 997, 2, "0088FF"),
    )
)


def places() -> np.ndarray:
    return np.stack(np.meshgrid(*(np.arange(n) * UM for n in SHAPE), indexing="ij"), axis=-1)


def brain(at: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return grey values and labels of the symmetric brain at places (P, I, R, 3), um; default its own."""
    draw = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)
    texture = ndimage.gaussian_filter(draw, 1.6)
    texture = texture + texture[:, :, ::-1]
    own = (places() - np.array([4300.0, 3500.0, MIDDLE_UM])) / np.array([3300.0, 2500.0, 2900.0])
    radius = np.sqrt((own**2).sum(axis=-1)) + 0.1 * own[..., 0] * own[..., 1]
    labels = np.where(radius < 0.55, 312782546, np.where(radius < 1.0, 8, 0)).astype(np.uint32)
    grey = (radius < 1.0) * (100.0 + 40.0 * (radius < 0.55) + 60.0 * texture / texture.std())
    grey = ndimage.gaussian_filter(grey.astype(np.float32), 0.7)
    if at is None:
        return grey, labels
    where = np.moveaxis(at / UM, -1, 0)
    near = [np.clip(np.rint(x).astype(int), 0, n - 1) for x, n in zip(where, SHAPE, strict=True)]
    return ndimage.map_coordinates(grey, where, np.float32, 1), labels[tuple(near)]


def write_reference(folder: Path, grey: np.ndarray, labels: np.ndarray) -> Path:
    """Write a reference folder without a reference.json."""
    folder.mkdir(parents=True)
    write_nrrd(folder / "average_template_200.nrrd", grey.astype(np.float32), UM)
    write_nrrd(folder / "annotation_200.nrrd", labels, UM)
    (folder / "structure_graph_1.json").write_text(json.dumps(GRAPH))
    return folder
