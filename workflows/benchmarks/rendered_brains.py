"""Brains of known shape, rendered from a reference: smooth random bends, and stains of several kinds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from pipeline.atlas_building.displacement import Displacement
from pipeline.core.reference_space import ReferenceSpace
from pipeline.inputs.references import read_reference

UM, FINE_UM = 100.0, 50.0
# Standard deviations of the smoothing of the random displacement, um, and their shares.
WAVES = ((1800.0, 0.85), (800.0, 0.35))
MEDIAN_UM = 213.0  # of the displacement in tissue
NOISE, SHADE = 0.03, 0.08
STAINS = ("same", "nissl", "layers")


@dataclass(frozen=True, eq=False)
class KnownBrain:
    """A brain whose every point is known in the reference.

    Attributes
    ----------
    grey : (P, I, R) float32
        At 100 um.
    labels : (P, I, R) uint32
        True structure ids at 100 um.
    to_reference : Displacement
        True displacement into the reference.
    """

    grey: np.ndarray
    labels: np.ndarray
    to_reference: Displacement


class Renderer:
    """Draws brains from the template at 100 um and the annotation at 25 um of a reference."""

    def __init__(self, folder: Path) -> None:
        space: ReferenceSpace = read_reference(folder, 25.0)
        assert space.template is not None
        assert space.template_um == UM
        self.template = np.asarray(space.template, np.float32)
        self.labels, self.labels_um = space.annotation, space.annotation_um
        self.shape = self.template.shape
        self.ids, index = np.unique(self.labels[::2, ::2, ::2], return_inverse=True)
        self.index = index.reshape(self.labels[::2, ::2, ::2].shape).astype(np.int32)
        self._depth: np.ndarray | None = None

    def wavy(self, draw: np.random.Generator, sigma_um: float) -> np.ndarray:
        """Return a smooth random volume at 100 um, of deviation 1."""
        noise = draw.normal(size=[n + 40 for n in self.shape]).astype(np.float32)
        field = ndimage.gaussian_filter(noise, sigma_um / UM)[20:-20, 20:-20, 20:-20]
        return field / field.std()

    def displacement(self, seed: int) -> Displacement:
        """Return a random displacement, of known median length in tissue, without folds."""
        draw = np.random.default_rng(seed)
        turn = Rotation.from_euler("xyz", np.deg2rad(draw.uniform(-1, 1, 3))).as_matrix()
        linear = turn @ np.diag(1 + draw.uniform(-0.015, 0.015, 3))
        at = np.stack(np.meshgrid(*(np.arange(n) * UM for n in self.shape), indexing="ij"), axis=-1)
        centre = np.array(self.shape) * UM / 2
        vectors = (at - centre) @ (linear - np.eye(3)).T + draw.uniform(-60, 60, 3)
        tissue = self.index[::2, ::2, ::2] > 0
        waves = sum(
            share * np.stack([self.wavy(draw, sigma) for _ in range(3)], axis=-1) for sigma, share in WAVES
        )
        affine = vectors
        low, high = 0.0, 1000.0  # of the waves' length
        for _ in range(40):
            middle = (low + high) / 2
            length = np.median(np.linalg.norm((affine + middle * waves)[tissue], axis=-1))
            low, high = (middle, high) if length < MEDIAN_UM else (low, middle)
        return Displacement((affine + low * waves).astype(np.float32), UM)

    def fine_places(self, field: Displacement, planes: slice) -> np.ndarray:
        """Return where voxels of 50 um lie in the reference, um."""
        shape = [2 * n for n in self.shape]
        axes = [np.arange(planes.start, planes.stop), np.arange(shape[1]), np.arange(shape[2])]
        at = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3) * FINE_UM
        return field.apply(at)

    def depth(self) -> np.ndarray:
        """Return how far voxels of 50 um lie from the border of their structure, um."""
        if self._depth is None:
            border = np.zeros(self.index.shape, bool)
            for axis in range(3):
                differs = np.diff(self.index, axis=axis) != 0
                a = [slice(None)] * 3
                b = [slice(None)] * 3
                a[axis], b[axis] = slice(None, -1), slice(1, None)
                border[tuple(a)] |= differs
                border[tuple(b)] |= differs
            self._depth = (ndimage.distance_transform_edt(~border) * FINE_UM).astype(np.float32)
        return self._depth

    def brain(self, seed: int, stain: str) -> KnownBrain:
        """Return a brain.

        `same` has the template's contrast; `nissl` one random grey a structure, 20 % texture within; `layers`
        further 35 % by depth within each structure. All are shaded by 8 % and have 3 % noise.
        """
        field = self.displacement(seed)
        draw = np.random.default_rng(1000 + seed)
        if stain == "same":
            grey = self._grey(field)
        else:
            grey = self._painted(field, draw, by_depth=stain == "layers")
        tissue = grey > 0.02 * np.percentile(grey, 99)
        grey = grey * np.exp(SHADE * self.wavy(draw, 2000.0))
        grey += NOISE * np.percentile(grey, 99) * draw.normal(size=grey.shape) * tissue
        return KnownBrain(grey.astype(np.float32), self.true_labels(field), field)

    def true_labels(self, field: Displacement) -> np.ndarray:
        at = np.stack(np.meshgrid(*(np.arange(n) * UM for n in self.shape), indexing="ij"), axis=-1)
        return self._nearest(self.labels, field.apply(at.reshape(-1, 3)), self.labels_um).reshape(self.shape)

    def _grey(self, field: Displacement) -> np.ndarray:
        at = np.stack(np.meshgrid(*(np.arange(n) * UM for n in self.shape), indexing="ij"), axis=-1)
        places = field.apply(at.reshape(-1, 3)) / UM
        return ndimage.map_coordinates(self.template, places.T, np.float32, 3).clip(0).reshape(self.shape)

    def _painted(self, field: Displacement, draw: np.random.Generator, by_depth: bool) -> np.ndarray:
        greys = draw.uniform(40, 220, len(self.ids)).astype(np.float32)
        greys[0] = 0
        phase, length = draw.uniform(0, 2 * np.pi, len(self.ids)), draw.uniform(250, 700, len(self.ids))
        fine = np.empty([2 * n for n in self.shape], np.float32)
        for start in range(0, fine.shape[0], 8):
            planes = slice(start, min(start + 8, fine.shape[0]))
            places = self.fine_places(field, planes)
            which = self._nearest(self.index, places, FINE_UM)
            value = greys[which]
            if by_depth:
                depth = self._nearest(self.depth(), places, FINE_UM)
                value = value * (1 + 0.35 * np.sin(2 * np.pi * depth / length[which] + phase[which]))
            fine[planes] = value.reshape(-1, *fine.shape[1:])
        coarse = ndimage.convolve1d(fine, [0.25, 0.5, 0.25], axis=0)
        for axis in (1, 2):
            coarse = ndimage.convolve1d(coarse, [0.25, 0.5, 0.25], axis=axis)
        coarse = coarse[::2, ::2, ::2]
        return coarse * (1 + 0.2 * self.wavy(draw, 250.0)).clip(0.2)

    @staticmethod
    def _nearest(values: np.ndarray, places_um: np.ndarray, um: float) -> np.ndarray:
        at = np.rint(places_um / um).astype(np.intp)
        inside = ((at >= 0) & (at < values.shape)).all(axis=1)
        at = np.clip(at, 0, np.array(values.shape) - 1)
        return np.where(inside, values[tuple(at.T)], 0)


def best_affine(field: Displacement, tissue: np.ndarray) -> np.ndarray:
    """Return the displacement that the best affine map leaves in tissue, (n, 3) um."""
    at = np.argwhere(tissue) * field.spacing_um
    moved = field.vectors[tissue]
    there = np.column_stack([at, np.ones(len(at))])
    return moved - there @ np.linalg.lstsq(there, moved, rcond=None)[0]
