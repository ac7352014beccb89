"""The annotated reference space: template, labels and ontology on one box, axes (P, I, R)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.model import (
    CORONAL_SPACE,
    LEFT,
    MIDLINE_UM,
    RIGHT,
    Bool,
    Float32,
    Grid,
    UInt8,
    UInt32,
    frozen,
)
from pipeline.core.ontology import Ontology

LABELS = (
    "derived: from the annotation; served: Allen's own gridAnnotation, older labels, as its published numbers"
    " have it (of the 843 structures in it, 217 have no voxel derived from CCFv3 and the others have other"
    " borders: take served to compare with Allen's numbers or rankings)"
)

LABELS_USED = {
    "derived": "structures are those of the annotation; Allen's own numbers rest on its gridAnnotation, which"
    " an index made with --served-labels has",
    "served": "structures are those of the served gridAnnotation, as in Allen's own numbers",
}


def labels_note(form: str) -> tuple[str, ...]:
    """Return what to note of the labels that structures were looked up in; nothing where it is not known."""
    return (LABELS_USED[form],) if form in LABELS_USED else ()


@dataclass(frozen=True, eq=False)
class ReferenceSpace:
    """A reference brain.

    Parameters
    ----------
    annotation : (P, I, R) uint32       structure ids, 0 outside; voxel i lies at i x annotation_um
    template : (P, I, R) float32        grey image of the same box, or None; at `template_um`
    grid_annotation : (67, 41, 58) uint32   labels of the 200 um grid as served, or None to derive them
    """

    id: int
    name: str
    annotation: UInt32
    annotation_um: float
    ontology: Ontology
    template: Float32 | None = None
    template_um: float = 0.0
    grid_annotation: UInt32 | None = None
    citation: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotation", frozen(self.annotation, np.uint32))
        if self.template is not None:
            object.__setattr__(self, "template", frozen(self.template, np.float32))
            self._check_template(self.template.shape)
        if self.grid_annotation is not None and self.grid_annotation.shape != self.grid.shape:
            raise DataError(
                f"reference {self.name}: expected a grid annotation of shape {self.grid.shape}, got"
                f" {self.grid_annotation.shape}; the box of the annotation decides"
            )

    def _check_template(self, shape: tuple[int, ...]) -> None:
        box = tuple(n * self.template_um for n in shape)
        if any(
            abs(a - b) > max(self.template_um, self.annotation_um)
            for a, b in zip(box, self.extent_um, strict=True)
        ):
            raise DataError(
                f"reference {self.name}: annotation spans {self.extent_um} um, template {box} um;"
                " both must show one box: take files of one release"
            )

    @property
    def extent_um(self) -> tuple[float, float, float]:
        """Size of the box along P, I, R, in um."""
        p, i, r = (float(n * self.annotation_um) for n in self.annotation.shape)
        return p, i, r

    @property
    def grid(self) -> Grid:
        """The 200 um grid of this box: (67, 41, 58) for the mouse."""
        p, i, r = (int(extent // 200.0) + 1 for extent in self.extent_um)
        return Grid(shape=(p, i, r), spacing_um=200.0)

    def labels_at(self, grid: Grid) -> UInt32:
        """Return the annotation at every voxel of `grid` (nearest voxel, 0 outside), uint32."""
        index = [
            np.rint((o + grid.spacing_um * np.arange(n)) / self.annotation_um).astype(np.int64)
            for o, n in zip(grid.origin_um, grid.shape, strict=True)
        ]
        inside = [(i >= 0) & (i < n) for i, n in zip(index, self.annotation.shape, strict=True)]
        labels = np.zeros(grid.shape, np.uint32)
        picked = self.annotation[np.ix_(*(i[m] for i, m in zip(index, inside, strict=True)))]
        labels[np.ix_(*inside)] = picked
        return labels

    def grid_labels(self, *, served: bool = False) -> UInt32:
        """Return the labels of the 200 um grid: derived from the annotation, or as served."""
        if not served:
            return self.labels_at(self.grid)
        if self.grid_annotation is None:
            raise DataError(
                f"reference {self.name}: has no gridAnnotation; leave unionize.grid_annotation: derived, or"
                " get it with `ish reference fetch grid_annotation`"
            )
        return self.grid_annotation

    def mask(self, structures: Iterable[str | int]) -> Bool:
        """Return where any of these structures is, their descendants included; (P, I, R) bool."""
        return structure_mask(self.annotation, self.ontology, structures)


def structure_mask(labels: UInt32, ontology: Ontology, structures: Iterable[str | int]) -> Bool:
    """Return where `labels` belong to any of `structures` or to what is inside them."""
    wanted: set[int] = set()
    for name in structures:
        wanted |= ontology.descendants(ontology.find(name).id)
    present, inverse = np.unique(labels, return_inverse=True)
    return np.asarray(np.isin(present, list(wanted))[inverse].reshape(labels.shape))


def hemispheres(grid: Grid) -> UInt8:
    """Return hemisphere ids along R: 1 left of the midline (R < 5700 um), else 2; (n_R,) uint8."""
    r = grid.origin_um[2] + grid.spacing_um * np.arange(grid.shape[2])
    return np.where(r < MIDLINE_UM, LEFT, RIGHT).astype(np.uint8)


def reference_space_id(plane_of_section: str) -> int:
    """Return Allen's reference space of a plane: 9 coronal, 10 sagittal."""
    return CORONAL_SPACE if plane_of_section == "coronal" else CORONAL_SPACE + 1
