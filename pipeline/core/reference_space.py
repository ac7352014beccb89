"""The annotated reference space: template, labels and ontology on one box, axes (P, I, R)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.model import (
    LEFT,
    MIDLINE_UM,
    PLANE_SPACES,
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
    """Return the note on the labels in which structures were looked up.

    Parameters
    ----------
    form : str
        "derived" or "served", see `LABELS`; other values are unknown.

    Returns
    -------
    tuple of str
        One note, or none for an unknown form.
    """
    return (LABELS_USED[form],) if form in LABELS_USED else ()


@dataclass(frozen=True, eq=False)
class ReferenceSpace:
    """A reference brain.

    Attributes
    ----------
    id : int
        Allen's reference space id.
    name, citation : str
        Name of the release and how to cite it.
    annotation : (P, I, R) uint32
        Structure ids, 0 outside; voxel i lies at i x `annotation_um`.
    annotation_um : float, um
        Voxel size of the annotation.
    ontology : Ontology
        The structures that the ids name.
    template : (P, I, R) float32 or None
        Grey image of the same box, at `template_um`.
    template_um : float, um
        Voxel size of the template; 0 where there is none.
    grid_annotation : (67, 41, 58) uint32 or None
        Labels of the 200 um grid as served; None to derive them.
    stated_midline_um : float, um, or None
        R of the midline where the reference states it.
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
    stated_midline_um: float | None = None

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
    def midline_um(self) -> float:
        """R at which the hemispheres part, um: as stated, else Allen's 5700."""
        return MIDLINE_UM if self.stated_midline_um is None else self.stated_midline_um

    @property
    def middle_um(self) -> float:
        """R about which the halves mirror each other, um: the stated midline, else the middle of the box."""
        return self.extent_um[2] / 2 if self.stated_midline_um is None else self.stated_midline_um

    @property
    def grid(self) -> Grid:
        """The 200 um grid of this box: (67, 41, 58) for the mouse."""
        p, i, r = (int(extent // 200.0) + 1 for extent in self.extent_um)
        return Grid(shape=(p, i, r), spacing_um=200.0)

    def labels_at(self, grid: Grid) -> UInt32:
        """Sample the annotation at every voxel of a grid.

        Parameters
        ----------
        grid : Grid
            Positions in the reference space.

        Returns
        -------
        uint32 of the grid's shape
            Id of the nearest annotation voxel, 0 outside the annotation.
        """
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
        """Return the labels of the 200 um grid.

        Parameters
        ----------
        served : bool
            Take Allen's gridAnnotation instead of deriving the labels from the annotation.

        Returns
        -------
        (67, 41, 58) uint32 for the mouse
            Structure ids, 0 outside.

        Raises
        ------
        DataError
            Where served labels are requested of a reference that has none.
        """
        if not served:
            return self.labels_at(self.grid)
        if self.grid_annotation is None:
            raise DataError(
                f"reference {self.name}: has no gridAnnotation; leave unionize.grid_annotation: derived, or"
                " get it with `ish reference fetch grid_annotation`"
            )
        return self.grid_annotation

    def mask(self, structures: Iterable[str | int]) -> Bool:
        """Return the voxels of structures, descendants included.

        Parameters
        ----------
        structures : iterable of str or int
            Acronyms or ids.

        Returns
        -------
        (P, I, R) bool
            On the voxels of the annotation.
        """
        return structure_mask(self.annotation, self.ontology, structures)


def structure_mask(labels: UInt32, ontology: Ontology, structures: Iterable[str | int]) -> Bool:
    """Return where labels belong to structures or their descendants.

    Parameters
    ----------
    labels : uint32 of any shape
        Structure ids.
    ontology : Ontology
        The hierarchy of these ids.
    structures : iterable of str or int
        Acronyms or ids.

    Returns
    -------
    bool of the same shape
        True inside any of the structures.
    """
    wanted: set[int] = set()
    for name in structures:
        wanted |= ontology.descendants(ontology.find(name).id)
    present, inverse = np.unique(labels, return_inverse=True)
    return np.asarray(np.isin(present, list(wanted))[inverse].reshape(labels.shape))


def hemispheres(grid: Grid, midline_um: float = MIDLINE_UM) -> UInt8:
    """Return the hemisphere id of every voxel along R.

    Parameters
    ----------
    grid : Grid
        Positions in the reference space.
    midline_um : float, um
        R of the midline, as `ReferenceSpace.midline_um` states it.

    Returns
    -------
    (n_R,) uint8
        1 left of the midline (R < `midline_um`), else 2.
    """
    r = grid.origin_um[2] + grid.spacing_um * np.arange(grid.shape[2])
    return np.where(r < midline_um, LEFT, RIGHT).astype(np.uint8)


def reference_space_id(plane_of_section: str) -> int:
    """Return Allen's reference space of a plane of section.

    Parameters
    ----------
    plane_of_section : str
        "coronal" or "sagittal".

    Returns
    -------
    int
        9 coronal, 10 sagittal.

    Raises
    ------
    KeyError
        Where the plane is another.
    """
    return PLANE_SPACES[plane_of_section]
