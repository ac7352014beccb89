"""The reference for registration: labels renumbered without gaps, which can be rendered on any plane.

To "paint" the atlas is to replace every label by its value in a table, such as its stain, and to sample the
result on a plane (nearest neighbour).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, Float64, Int64, Plane, UInt32
from pipeline.core.reference_space import ReferenceSpace

UInt16 = npt.NDArray[np.uint16]
NORMAL_AXIS = {"coronal": 0, "sagittal": 2}  # index into (P, I, R)
IN_PLANE_AXES = {"coronal": (2, 1), "sagittal": (0, 1)}  # what image x and y run along
_FINEST_UM = 25.0  # finer annotations are subsampled to the largest whole multiple up to this
_CUT_SHARE = 0.02  # of the largest plane: more on the last plane means that the brain goes on
_MOUSE_UM3 = 5.0e11  # um3; volume of the annotated brain of the mouse
_MOUSE_SIZES = (
    0.7,
    1.7,
)  # between them a brain (half of one, a rat's) is fitted with the lengths of a mouse's
_THIN = 4  # every so many voxels along each axis are enough for a volume
_LEAST_SIGMA_PX = 0.34  # px; a narrower Gaussian keeps 95 % or more of its weight on the central pixel
# One sample a pixel is enough below this pixel size, in voxels, or above this blur, in pixels.
_FINE_PIXEL_VOXELS, _WIDE_BLUR_PX = 1.6, 1.8


@dataclass(frozen=True, eq=False)
class Atlas:
    """Labels of a reference, renumbered without gaps.

    Attributes
    ----------
    index : (P, I, R) uint16
        Position of a voxel's structure id in `ids`; 0 outside.
    voxel_um : float, um
        Edge of a voxel.
    ids : (n,) int64
        Structure ids, ascending; ids[0] = 0.
    parent : (n + m,) int64
        Node above each label in the ontology, -1 above the root; the m nodes after the labels are ancestors
        without voxels.
    plane : {'coronal', 'sagittal'}
        Plane of section.
    limits_um : (float, float), um
        Where along the cutting axis a cut-off brain ends, beyond which nothing is known; infinite where the
        brain tapers to nothing inside the box.
    stated_midline_um : float, um, or None
        R of the midline where the reference states it.
    """

    index: UInt16
    voxel_um: float
    ids: Int64
    parent: Int64
    plane: Plane
    limits_um: tuple[float, float]
    stated_midline_um: float | None = None

    @property
    def middle_um(self) -> float:
        """R about which the halves mirror each other, um."""
        return float(self.extent_um[2]) / 2 if self.stated_midline_um is None else self.stated_midline_um

    @property
    def extent_um(self) -> Float64:
        """Size of the box, (3,) um."""
        return np.array(self.index.shape, dtype=np.float64) * self.voxel_um

    @cached_property
    def size(self) -> float:
        """Length of the brain over a mouse's, by which lengths in um are scaled; 1 where it is similar."""
        voxels = float((self.index[::_THIN, ::_THIN, ::_THIN] > 0).sum()) * _THIN**3
        size = float(np.cbrt(voxels * self.voxel_um**3 / _MOUSE_UM3))
        return size if 0.0 < size < _MOUSE_SIZES[0] or size > _MOUSE_SIZES[1] else 1.0

    def outline_table(self) -> Float32:
        """Return the table that paints tissue 1 and outside 0."""
        table = np.ones(self.ids.size, np.float32)
        table[0] = 0.0
        return table


def atlas_of(reference: ReferenceSpace, plane: Plane, hemisphere: str) -> Atlas:
    """Renumber the annotation of a reference for one plane of section.

    Parameters
    ----------
    reference : ReferenceSpace
        Annotation and ontology.
    plane : {'coronal', 'sagittal'}
        Plane of section.
    hemisphere : {'left', 'right', 'both'}
        A coronal series of one hemisphere gets the labels of that half only.

    Returns
    -------
    Atlas
        The labels; voxels are at most 25 um where those of the reference are finer.
    """
    step = max(1, int(_FINEST_UM // reference.annotation_um))
    annotation = reference.annotation[::step, ::step, ::step]
    voxel_um = reference.annotation_um * step
    ids = np.sort(_distinct(annotation))
    index = _renumber(annotation, ids)
    if plane == "coronal" and hemisphere != "both":
        # The left half has R below the midline, which itself belongs to the right half.
        r_um = np.arange(index.shape[2]) * voxel_um
        outside = r_um >= reference.midline_um if hemisphere == "left" else r_um < reference.midline_um
        index[:, :, outside] = 0
    parents = _parents(reference, ids)
    limits_um, midline_um = _limits(index, plane, voxel_um), reference.stated_midline_um
    return Atlas(index, voxel_um, ids.astype(np.int64), parents, plane, limits_um, midline_um)


def area_profile(atlas: Atlas) -> tuple[Float64, Float64]:
    """Return the tissue area of every plane of the reference.

    Parameters
    ----------
    atlas : Atlas
        Labels of the reference.

    Returns
    -------
    positions : (p,) float64, um
        Positions along the cutting axis.
    areas : (p,) float64, um2
        Annotated area of each plane.
    """
    axis = NORMAL_AXIS[atlas.plane]
    others = tuple(a for a in range(3) if a != axis)
    thin = atlas.index[tuple(slice(None) if a == axis else slice(None, None, 2) for a in range(3))]
    areas = (thin > 0).sum(axis=others) * (2.0 * atlas.voxel_um) ** 2
    return np.arange(areas.size) * atlas.voxel_um, areas.astype(np.float64)


def _limits(index: UInt16, plane: Plane, voxel_um: float) -> tuple[float, float]:
    """Return the ends of a cut-off brain along the cutting axis, infinite where it is complete."""
    axis = NORMAL_AXIS[plane]
    # Every second voxel of a plane is enough to compare areas.
    counts = (np.moveaxis(index, axis, 0)[:, ::2, ::2] > 0).sum(axis=(1, 2))
    occupied = np.flatnonzero(counts)
    if occupied.size == 0:
        return -np.inf, np.inf
    # A last plane of some size means that the brain was cut off there, not that it ends.
    first, last = int(occupied[0]), int(occupied[-1])
    cut = _CUT_SHARE * counts.max()
    # A voxel's centre lies at i x voxel_um, so that the brain ends half a voxel further.
    low = (first - 0.5) * voxel_um if counts[first] > cut else -np.inf
    high = (last + 0.5) * voxel_um if counts[last] > cut else np.inf
    return low, high


def _parents(reference: ReferenceSpace, ids: UInt32) -> Int64:
    """Return the parent of each label, see `Atlas.parent`; ancestors without voxels follow the labels."""
    by_id = reference.ontology.by_id
    nodes = [int(i) for i in ids]
    place = {structure: k for k, structure in enumerate(nodes)}
    parent: list[int] = []
    for node in nodes:  # grows while ancestors are met for the first time
        above = by_id[node].parent_id if node in by_id else None
        # The root, or an id that the ontology does not know.
        if above is None:
            parent.append(-1)
            continue
        if above not in place:
            place[above] = len(nodes)
            nodes.append(above)
        parent.append(place[above])
    return np.array(parent, dtype=np.int64)


@kernel
def _distinct(annotation):  # type: ignore[no-untyped-def]
    """Return the distinct ids of an annotation, 0 among them."""
    found = {np.uint32(0)}
    last = np.uint32(0)
    for p in range(annotation.shape[0]):
        for i in range(annotation.shape[1]):
            for r in range(annotation.shape[2]):
                # Labels come in runs: one look-up a run, not one a voxel.
                if annotation[p, i, r] != last:
                    last = annotation[p, i, r]
                    found.add(last)
    return np.array(list(found))


@kernel
def _renumber(annotation, ids):  # type: ignore[no-untyped-def]
    """Return the position of each voxel's id in the ascending `ids`."""
    out = np.zeros(annotation.shape, np.uint16)
    for p in range(annotation.shape[0]):
        for i in range(annotation.shape[1]):
            last, found = ids[0], 0
            for r in range(annotation.shape[2]):
                # Likewise: the search is done once a run.
                if annotation[p, i, r] != last:
                    last = annotation[p, i, r]
                    found = np.searchsorted(ids, last)
                out[p, i, r] = found
    return out


def samples_a_pixel(pixel_um: float, voxel_um: float, sigma_um: float) -> int:
    """Return how many samples along each axis of a pixel render it without aliasing.

    Parameters
    ----------
    pixel_um : float, um
        Size of a pixel.
    voxel_um : float, um
        Size of a voxel of the atlas.
    sigma_um : float, um
        Blur that follows.

    Returns
    -------
    int
        1 or 2.
    """
    smooth = pixel_um < _FINE_PIXEL_VOXELS * voxel_um or sigma_um > _WIDE_BLUR_PX * pixel_um
    return 1 if smooth else 2


@kernel
def paint(index, scale, table, matrix, shape, samples):  # type: ignore[no-untyped-def]
    """Render a plane of the atlas.

    Parameters
    ----------
    index : (P, I, R) uint16
        Labels, see `Atlas`.
    scale : float, 1/um
        1 / voxel size.
    table : (n,) float32
        Value of each label; table[0] is also the value outside the box.
    matrix : (3, 3) float64
        (x, y, 1) px to (P, I, R) um.
    shape : (int, int)
        Rows and columns of the result.
    samples : int
        A pixel is the mean of samples x samples nearest-neighbour look-ups.

    Returns
    -------
    (h, w) float32
        The rendered plane.
    """
    h, w = shape
    out = np.zeros((h, w), np.float32)
    m = matrix * scale
    n_p, n_i, n_r = index.shape
    # One flat index is cheaper than three; it is valid because `index` is C-contiguous.
    flat = index.reshape(-1)
    for y in range(h):
        for a in range(samples):
            # Samples are centred in equal parts of the pixel, whose centre has whole coordinates.
            ys = y + (a + 0.5) / samples - 0.5
            # Half a voxel is added, so that truncation below rounds to the nearest voxel.
            p0 = m[0, 1] * ys + m[0, 2] + 0.5
            i0 = m[1, 1] * ys + m[1, 2] + 0.5
            r0 = m[2, 1] * ys + m[2, 2] + 0.5
            for b in range(samples):
                for x in range(w):
                    xs = x + (b + 0.5) / samples - 0.5
                    p, i, r = m[0, 0] * xs + p0, m[1, 0] * xs + i0, m[2, 0] * xs + r0
                    if p >= 0.0 and i >= 0.0 and r >= 0.0 and p < n_p and i < n_i and r < n_r:
                        out[y, x] += table[flat[(int(p) * n_i + int(i)) * n_r + int(r)]]
                    else:
                        out[y, x] += table[0]
    return out / np.float32(samples * samples)


@kernel
def label_plane(index, scale, matrix, shape):  # type: ignore[no-untyped-def]
    """Return the label at every pixel of a plane, by nearest neighbour.

    Parameters
    ----------
    index : (P, I, R) uint16
        Labels, see `Atlas`.
    scale : float, 1/um
        1 / voxel size.
    matrix : (3, 3) float64
        (x, y, 1) px to (P, I, R) um.
    shape : (int, int)
        Rows and columns of the result.

    Returns
    -------
    (h, w) uint16
        Labels; 0 outside the box.
    """
    h, w = shape
    out = np.zeros((h, w), np.uint16)
    m = matrix * scale
    for y in range(h):
        for x in range(w):
            p = int(np.floor(m[0, 0] * x + m[0, 1] * y + m[0, 2] + 0.5))
            i = int(np.floor(m[1, 0] * x + m[1, 1] * y + m[1, 2] + 0.5))
            r = int(np.floor(m[2, 0] * x + m[2, 1] * y + m[2, 2] + 0.5))
            if 0 <= p < index.shape[0] and 0 <= i < index.shape[1] and 0 <= r < index.shape[2]:
                out[y, x] = index[p, i, r]
    return out


def blur(image: Float32, sigma_px: float) -> Float32:
    """Blur by a Gaussian; the edge pixels continue beyond the image.

    Parameters
    ----------
    image : (h, w) float32
        The image.
    sigma_px : float, px
        Standard deviation; below 0.34 px the image is returned as it is.

    Returns
    -------
    (h, w) float32
        The blurred image.
    """
    if sigma_px < _LEAST_SIGMA_PX:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE))
