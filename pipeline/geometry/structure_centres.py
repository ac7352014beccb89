"""Centres of all structures of a hierarchy in two passes over the annotation."""

from __future__ import annotations

import numpy as np

from pipeline.core.kernels import kernel
from pipeline.core.model import Float64, Int64, UInt32
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace


def structure_centres(reference: ReferenceSpace, hemisphere: str = "left") -> dict[int, Float64]:
    """Return a point inside each structure: its voxel nearest to the centroid in one hemisphere.

    Parameters
    ----------
    reference : ReferenceSpace
        Annotation and ontology.
    hemisphere : {"left", "right"}
        Side of the midline.

    Returns
    -------
    dict of int to (3,) float64, um
        (P, I, R) by structure id, as `sync.structure_centre` returns it for one structure; a structure
        without a voxel on that side has none.
    """
    r_um = np.arange(reference.annotation.shape[2]) * reference.annotation_um
    inside = r_um < reference.midline_um if hemisphere == "left" else r_um >= reference.midline_um
    first, last = int(inside.argmax()), len(inside) - int(inside[::-1].argmax())
    half = reference.annotation[:, :, first:last]
    ids, starts, ancestors = _hierarchy(reference.ontology)
    sums = _sums(half, ids, starts, ancestors)
    filled = sums[:, 3] > 0
    nearest = _nearest(half, ids, starts, ancestors, sums)
    points = (nearest + np.array([0, 0, first])) * reference.annotation_um
    return {int(one): points[at] for at, one in enumerate(ids) if filled[at]}


def _hierarchy(ontology: Ontology) -> tuple[UInt32, Int64, Int64]:
    """Return all ids, ascending, and the places of each one's ancestors, itself included."""
    ids = np.array(sorted(ontology.by_id), dtype=np.uint32)
    paths = [np.searchsorted(ids, np.array(ontology.path(int(one)), dtype=np.uint32)) for one in ids]
    starts = np.concatenate([[0], np.cumsum([len(path) for path in paths])]).astype(np.int64)
    return ids, starts, np.concatenate(paths).astype(np.int64)


@kernel
def _sums(labels, ids, starts, ancestors):  # type: ignore[no-untyped-def]
    """Return sums of p, i and r, and the count, of each structure's voxels, (n, 4)."""
    own = np.zeros((ids.size, 4), np.int64)
    known, at = np.uint32(0), -1
    for p in range(labels.shape[0]):
        for i in range(labels.shape[1]):
            for r in range(labels.shape[2]):
                label = labels[p, i, r]
                if label == 0:
                    continue
                if label != known:  # labels come in runs
                    known, at = label, np.searchsorted(ids, label)
                if at < ids.size and ids[at] == label:
                    own[at, 0] += p
                    own[at, 1] += i
                    own[at, 2] += r
                    own[at, 3] += 1
    total = np.zeros((ids.size, 4), np.int64)
    for at in range(ids.size):
        for k in range(starts[at], starts[at + 1]):
            total[ancestors[k]] += own[at]
    return total


@kernel
def _nearest(labels, ids, starts, ancestors, sums):  # type: ignore[no-untyped-def]
    """Return the voxel v of each structure nearest to its centroid S / n; of equal ones the first.

    n |v|^2 - 2 v . S orders the voxels as their distances do, and is a whole number: no rounding decides.
    """
    found = np.zeros((ids.size, 3), np.int64)
    least = np.full(ids.size, np.iinfo(np.int64).max)
    known, at = np.uint32(0), -1
    for p in range(labels.shape[0]):
        for i in range(labels.shape[1]):
            for r in range(labels.shape[2]):
                label = labels[p, i, r]
                if label == 0:
                    continue
                if label != known:
                    known, at = label, np.searchsorted(ids, label)
                if at >= ids.size or ids[at] != label:
                    continue
                for k in range(starts[at], starts[at + 1]):
                    one = ancestors[k]
                    along = p * sums[one, 0] + i * sums[one, 1] + r * sums[one, 2]
                    apart = sums[one, 3] * (p * p + i * i + r * r) - 2 * along
                    if apart < least[one]:
                        least[one] = apart
                        found[one, 0], found[one, 1], found[one, 2] = p, i, r
    return found
