"""Planes between the plates of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pipeline.atlas_building.plates.label_blend import labels_between
from pipeline.atlas_building.plates.label_distances import NearLabels, near_labels
from pipeline.atlas_building.plates.label_flow import label_flow, structure_codes
from pipeline.atlas_building.plates.plate_volume import Indices
from pipeline.atlas_building.plates.raster_phase import sampling_offset
from pipeline.core.model import Float32
from pipeline.system.threads import each

THREADS = 2
LEAST_SIDE = 2  # pixels of a plate along each axis that have a next one


class LabelStack:
    """Plates on one raster, and the planes between them.

    Parameters
    ----------
    labels : (K, H, W) uint16
        Indices of structures, 0 outside; at least 2 plates.
    lineages : sequence of sequence of int
        Of every index its structure's ancestors, the root first, and itself.
    """

    def __init__(self, labels: Indices, lineages: Sequence[Sequence[int]]) -> None:
        self._shape = labels.shape[1:]
        pad = [(0, max(0, LEAST_SIDE - n)) for n in self._shape]
        self._labels = [np.pad(plate, pad).astype(np.int32) for plate in labels]
        self._offset = sampling_offset(self._labels)
        self._codes = structure_codes(lineages)
        self._flows = each(self._flow, range(len(labels) - 1), THREADS)
        self._near = lru_cache(maxsize=6)(self._near_labels)

    def between(self, k: int, shares: Sequence[float]) -> Indices:
        """Return planes between two neighbouring plates.

        Parameters
        ----------
        k : int
            The first of the two plates.
        shares : sequence of float
            Places on the way from it to the next, between 0 and 1.

        Returns
        -------
        (len(shares), H, W) uint16
            Indices of structures.
        """
        last = len(self._flows) - 1
        plates = [self._near(min(max(n, 0), last + 1)) for n in (k - 1, k, k + 1, k + 2)]
        flows = [self._flows[min(max(n, 0), last)].astype(np.float32) for n in (k - 1, k, k + 1)]
        planes = each(lambda t: labels_between(plates, flows, t, self._offset), shares, THREADS)
        rows, columns = self._shape
        return np.stack(planes)[:, :rows, :columns].astype(np.uint16)

    def _flow(self, k: int) -> Float32:
        """Return the flow between two plates, in half the memory."""
        return np.asarray(label_flow(self._labels[k], self._labels[k + 1], self._codes).astype(np.float16))

    def _near_labels(self, k: int) -> NearLabels:
        return near_labels(self._labels[k])
