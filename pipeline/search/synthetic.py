"""Energy grids by the thousand that look like those of an atlas, made one at a time and never held together.

Genes mix a few programs of expression over the structure tree, so that some are alike; smooth fields and an
exponential make a grid uneven within a structure and heavy-tailed; weak voxels are silent. Sagittal
experiments (five in six) see part of the left hemisphere, coronal ones both; sections that are missing leave
slabs without data. Outside the brain, energy fades with the distance as smoothing makes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.core.model import LEFT, Bool, Float32, Float64, Int64
from pipeline.core.reference_space import ReferenceSpace, hemispheres
from pipeline.search.on_disk.experiments import Experiment

PROGRAMS, FIELDS = 60, 16
SAGITTAL_SHARE = 0.84
FADE_VOXELS = 1.2


@dataclass(frozen=True, eq=False)
class GridMaker:
    """Makes the grid of any experiment, the same each time, from its number.

    Attributes
    ----------
    levels : (labels, programs) float32
        Logarithm of the energy that each program has under each label.
    fields : (fields, n) float32
        Smooth fields of unit variance over the brain voxels.
    label_of : (n,) int64
        Row of `levels` of each brain voxel.
    brain : (n,) int64
        Flat positions of the brain voxels.
    near : (m,) int64
        Flat positions outside of the brain that smoothing reaches.
    nearest : (m,) int64
        Their nearest brain voxels, as places in `brain`.
    fade : (m,) float32
        Share of the nearest brain voxel's energy that reaches them.
    shape : (int, int, int)
        Of the grid, (P, I, R).
    left : (R,) bool
        Planes of the left hemisphere.
    complete : bool
        Whether no voxel is without data.
    """

    levels: Float32
    fields: Float32
    label_of: Int64
    brain: Int64
    near: Int64
    nearest: Int64
    fade: Float32
    shape: tuple[int, int, int]
    left: Bool
    complete: bool = False

    @classmethod
    def of(cls, space: ReferenceSpace, seed: int = 0, *, complete: bool = False) -> GridMaker:
        """Prepare the programs and fields of a brain.

        Parameters
        ----------
        space : ReferenceSpace
            The brain.
        seed : int
            Another seed makes other experiments.
        complete : bool
            Leave no voxel without data.

        Returns
        -------
        GridMaker
            The maker.
        """
        rng = np.random.default_rng(seed)
        labels = space.grid_labels()
        present, label_of = np.unique(labels[labels > 0], return_inverse=True)
        distance, where = ndimage.distance_transform_edt(labels == 0, return_indices=True)
        near = np.flatnonzero((distance > 0) & (distance < 6 * FADE_VOXELS))
        brain = np.flatnonzero(labels)
        flat = np.ravel_multi_index(tuple(axis.reshape(-1)[near] for axis in where), labels.shape)
        return cls(
            levels=_levels(space, present.tolist(), rng),
            fields=_fields(labels.shape, brain, rng),
            label_of=label_of,
            brain=brain,
            near=near,
            nearest=np.searchsorted(brain, flat),
            fade=np.exp(-0.5 * (distance.reshape(-1)[near] / FADE_VOXELS) ** 2).astype(np.float32),
            shape=labels.shape,
            left=hemispheres(space.grid) == LEFT,
            complete=complete,
        )

    def experiment(self, number: int, source: str = "") -> Experiment:
        """Return what is said of an experiment.

        Parameters
        ----------
        number : int
            Which experiment, from 0 on.
        source : str
            Where its grid lies.

        Returns
        -------
        Experiment
            Two successive ones are of one gene.
        """
        return Experiment(100_000 + number, f"Gene{number // 2}", self._plane(number), source)

    def grid(self, number: int) -> Float32:
        """Return the energy of an experiment.

        Parameters
        ----------
        number : int
            Which experiment, from 0 on.

        Returns
        -------
        (P, I, R) float32
            NaN = no data.
        """
        rng = np.random.default_rng([number, 1])
        program = np.random.default_rng([number // 2, 2])  # two experiments a gene
        weights = program.dirichlet(np.full(PROGRAMS, 0.06)).astype(np.float32)
        texture = program.normal(0, 0.7 / FIELDS**0.5, FIELDS) + rng.normal(0, 0.3 / FIELDS**0.5, FIELDS)
        log = (self.levels @ weights)[self.label_of] + texture.astype(np.float32) @ self.fields
        energy = np.exp(log + np.float32(rng.normal(0, 0.5)))
        energy = np.maximum(energy - np.float32(program.gamma(1.0, 0.3)), 0)
        grid = np.zeros(self.shape, np.float32)
        grid.reshape(-1)[self.brain] = energy
        grid.reshape(-1)[self.near] = energy[self.nearest] * self.fade
        if not self.complete:
            grid[~self._covered(number, rng)] = np.nan
        return grid

    def every(self, count: int) -> Iterator[tuple[Experiment, Float32]]:
        """Make experiments 0 to count - 1, one at a time.

        Parameters
        ----------
        count : int
            How many.

        Yields
        ------
        (Experiment, (P, I, R) float32)
            What is said of an experiment, and its grid.
        """
        for number in range(count):
            yield self.experiment(number), self.grid(number)

    def _plane(self, number: int) -> str:
        return "sagittal" if np.random.default_rng([number, 3]).random() < SAGITTAL_SHARE else "coronal"

    def _covered(self, number: int, rng: np.random.Generator) -> Bool:
        p, i, r = self.shape
        covered = np.zeros(self.shape, np.bool_)
        box = [slice(int(rng.integers(0, n // 12)), n - int(rng.integers(0, n // 12))) for n in (p, i, r)]
        if self._plane(number) == "coronal":
            covered[box[0], box[1], :] = True
            covered[rng.random(p) < 0.03] = False
        else:
            planes = self.left & (np.arange(r) >= r // 6 - rng.integers(0, 3)) & (rng.random(r) > 0.05)
            covered[box[0], box[1]] = planes
        return covered


def _levels(space: ReferenceSpace, labels: list[int], rng: np.random.Generator) -> Float32:
    """Return log energies that wander down the tree: nearby structures are alike."""
    known: dict[int, Float64] = {}
    for structure in sorted(space.ontology.structures, key=lambda s: len(space.ontology.path(s.id))):
        above = known.get(structure.parent_id or -1, np.full(PROGRAMS, -1.0))
        known[structure.id] = above + rng.normal(0, 0.9, PROGRAMS)
    root = known[space.ontology.roots[0].id]
    return np.array([known.get(label, root) for label in labels], np.float32)


def _fields(shape: tuple[int, ...], brain: np.ndarray, rng: np.random.Generator) -> Float32:
    fields = np.empty((FIELDS, len(brain)), np.float32)
    for i, field in enumerate(fields):
        smooth = ndimage.gaussian_filter(rng.standard_normal(shape), 1.2 + 2.5 * i / FIELDS)
        field[:] = smooth.reshape(-1)[brain] / smooth.std()
    return fields
