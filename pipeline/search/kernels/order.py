"""Storage order of voxels in an index: hemisphere by hemisphere, along the structure tree.

In each hemisphere, a structure with all its descendants is one contiguous slice. Voxels without a label are
stored apart. Both parts are padded to whole blocks, so that kernels need no code for a remainder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.model import LEFT, Bool, Float32, Int64, UInt8, UInt32
from pipeline.core.ontology import Ontology

BLOCK = 64  # voxels; a multiple of every vector width, and the unit that a scan reads or skips


@dataclass(frozen=True, eq=False)
class VoxelOrder:
    """Storage position of every voxel of a labelled grid.

    Attributes
    ----------
    shape : (P, I, R)
        Shape of the grid, voxels.
    brain : (brain,) int64
        Positions of the labelled voxels in the C-ordered grid, in storage order.
    outside : (outside,) int64
        Positions of the other voxels, in C order.
    structure_ids : (structures,) int64
        Structures with a voxel and their ancestors, along the tree, the root first.
    bounds : (2, structures + 1) int64
        Where the own voxels of each structure begin; row 0 left, row 1 right hemisphere.
    ends : (structures,) int64
        Position one past a structure's last descendant in `structure_ids`.
    parents : (structures,) int64
        Position of the parent in `structure_ids`; -1 for the root.
    """

    shape: tuple[int, ...]
    brain: Int64
    outside: Int64
    structure_ids: Int64
    bounds: Int64
    ends: Int64
    parents: Int64

    @classmethod
    def of(cls, labels: UInt32, ontology: Ontology, hemisphere: UInt8) -> VoxelOrder:
        """Order the voxels of a label grid.

        Parameters
        ----------
        labels : (P, I, R) uint32
            Structure ids, 0 outside the brain; an id that the ontology lacks counts as its root.
        ontology : Ontology
            The structure tree.
        hemisphere : (R,) uint8
            Hemisphere along R: 1 left, 2 right.

        Returns
        -------
        VoxelOrder
            The storage order.

        Raises
        ------
        DataError
            Where no voxel has a label.
        """
        present, inverse = np.unique(labels, return_inverse=True)
        tree = _tree(ontology, present)
        rank = {structure: i for i, structure in enumerate(tree)}
        # Place of each label in the tree; the root, at 0, takes labels that the ontology lacks.
        own = np.array([-1 if label == 0 else rank.get(label, 0) for label in present.tolist()], np.int64)
        position = own[inverse.reshape(-1)]
        side = np.broadcast_to(hemisphere, labels.shape).reshape(-1).astype(np.int64)
        # Left hemisphere first, then right, each along the tree; -1 = outside the brain.
        key = np.where(position < 0, -1, (side - LEFT) * len(tree) + position)
        if key.max() < 0:
            raise DataError("labels: expected voxels of structures, got none but 0")
        order = np.argsort(key, kind="stable")
        brain, outside = order[key[order] >= 0], order[key[order] < 0]
        begins = np.searchsorted(key[brain], np.arange(2 * len(tree) + 1))
        bounds = np.stack([begins[: len(tree) + 1], begins[len(tree) :]])
        parents = [rank.get(ontology.by_id[s].parent_id or -1, -1) for s in tree]
        ends = _ends(parents)
        return cls(labels.shape, brain, outside, np.array(tree, np.int64), bounds, ends, np.array(parents))

    @property
    def padded(self) -> int:
        """Length of a row of brain voxels, in whole blocks."""
        return _whole_blocks(len(self.brain))

    @property
    def padded_outside(self) -> int:
        """Length of a row of voxels outside the brain, in whole blocks, at least one."""
        return _whole_blocks(max(1, len(self.outside)))

    def split(self, grid: Float32) -> tuple[Float32, Float32]:
        """Split a grid into its brain voxels and the others.

        Parameters
        ----------
        grid : (P, I, R) float32
            A grid of this shape.

        Returns
        -------
        brain : (padded,) float32
            Brain voxels in storage order, padded with NaN.
        outside : (padded outside,) float32
            The other voxels in C order, padded with NaN.
        """
        flat = grid.reshape(-1)
        brain = np.full(self.padded, np.nan, np.float32)
        outside = np.full(self.padded_outside, np.nan, np.float32)
        brain[: len(self.brain)] = flat[self.brain]
        outside[: len(self.outside)] = flat[self.outside]
        return brain, outside

    def positions(self, structure_ids: Iterable[int]) -> Int64:
        """Return the positions of structures in `structure_ids`.

        Parameters
        ----------
        structure_ids : iterable of int
            Ids of structures.

        Returns
        -------
        (m,) int64
            Their positions; a structure without a voxel is left out.
        """
        return np.array([self._place[s] for s in structure_ids if s in self._place], np.int64)

    @cached_property
    def _place(self) -> dict[int, int]:
        return {int(s): i for i, s in enumerate(self.structure_ids)}

    def slices(self, positions: Int64) -> list[tuple[int, int]]:
        """Return the slices of storage order that structures fill.

        Parameters
        ----------
        positions : (m,) int64
            Positions of structures in `structure_ids`.

        Returns
        -------
        list of (int, int)
            Start and stop, one pair for each structure and hemisphere with a voxel; descendants included.
        """
        pairs = [(b[p], b[self.ends[p]]) for b in self.bounds for p in positions]
        return [(int(start), int(stop)) for start, stop in pairs if stop > start]

    def mask(self, positions: Int64) -> Bool:
        """Return which stored voxels belong to structures or their descendants.

        Parameters
        ----------
        positions : (m,) int64
            Positions of structures in `structure_ids`.

        Returns
        -------
        (padded,) bool
            True for their voxels.
        """
        mask = np.zeros(self.padded, np.bool_)
        for start, stop in self.slices(positions):
            mask[start:stop] = True
        return mask

    def whole(self) -> Bool:
        """Return which places of a row hold a brain voxel rather than padding, (padded,) bool."""
        return np.arange(self.padded) < len(self.brain)


def block_runs(member: Bool) -> Int64:
    """Return the runs of adjacent blocks that hold a member.

    Parameters
    ----------
    member : (padded,) bool
        Voxels in storage order.

    Returns
    -------
    (runs, 2) int64
        Start and stop of each run, voxels; multiples of `BLOCK`.

    Examples
    --------
    >>> block_runs(np.arange(256) == 70)
    array([[ 64, 128]])
    """
    active = np.concatenate([[False], member.reshape(-1, BLOCK).any(axis=1), [False]])
    edges = np.flatnonzero(active[1:] != active[:-1])
    return np.asarray(edges.reshape(-1, 2) * BLOCK, np.int64)


def topmost(ontology: Ontology, names: Sequence[str | int]) -> tuple[int, ...]:
    """Return the ids of structures, without those that lie inside another of them.

    Parameters
    ----------
    ontology : Ontology
        The structure tree.
    names : sequence of str or int
        Acronyms or ids.

    Returns
    -------
    tuple of int
        Ids of disjoint structures, each once, in the order given.
    """
    ids = dict.fromkeys(ontology.find(name).id for name in names)
    return tuple(s for s in ids if not any(a in ids for a in ontology.path(s)[:-1]))


def _whole_blocks(length: int) -> int:
    return -(-length // BLOCK) * BLOCK


def _tree(ontology: Ontology, labels: npt.NDArray[np.uint32]) -> list[int]:
    """Return the structures with a voxel and their ancestors, parents before children."""
    root = ontology.roots[0].id
    known = [int(label) for label in labels if int(label) in ontology.by_id]
    wanted = {root} | {ancestor for label in known for ancestor in ontology.path(label)}
    found, stack = [], [root]
    while stack:
        current = stack.pop()
        found.append(current)
        stack.extend(child for child in reversed(ontology.children[current]) if child in wanted)
    return found


def _ends(parents: Sequence[int]) -> Int64:
    """Return the position one past the last descendant of each structure, from those of the parents."""
    # Parents come before children, so that one backward pass carries every end up to the root.
    ends = np.arange(1, len(parents) + 1)
    for child in range(len(parents) - 1, 0, -1):
        ends[parents[child]] = max(ends[parents[child]], ends[child])
    return ends
