"""The phantom's hippocampus: a curved body whose cross-section holds CA1, CA3 and the dentate gyrus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.model import Bool, Float32
from pipeline.phantom.parts import structure_id
from pipeline.phantom.shapes import Box, Slab

AXIS = np.array(  # vertices (P, I, U) of the curved axis of the body, um
    [
        (6550, 1950, 450),
        (7050, 1900, 1400),
        (7500, 2150, 2400),
        (8050, 2900, 3200),
        (8450, 3900, 3500),
        (8450, 4900, 3350),
        (8100, 5600, 2950),
    ],
    np.float32,
)
OUTWARD_FROM = np.array((8000, 4100, 1000), np.float32)  # (P, I, U), um: "outward" points away from here
SIZE = np.array((0.72, 0.95, 1.0, 1.0, 1.0, 0.95, 0.75), np.float32)  # scale of the section at each vertex
HALF_THICK_UM, HALF_WIDE_UM = 640.0, 950.0  # semi-axes of the body, outward and to the rear
PADDING_UM = 1000.0  # around the vertices; larger than either semi-axis


@dataclass(frozen=True, eq=False)
class CrossSection:
    """Positions in the hippocampus's own frame, um at unit size.

    Attributes
    ----------
    outward : (p, i, u) float32, um
        Offset from the axis towards the cortex.
    rear : (p, i, u) float32, um
        Offset in the section, away from the fimbria.
    beyond : (p, i, u) float32, um
        Remaining offset along the axis; about 0 beside it, positive past its ends.
    """

    outward: Float32
    rear: Float32
    beyond: Float32

    def ellipse(self, outward: float, rear: float, thick: float, wide: float) -> Float32:
        """Return the radius relative to an ellipse in the section (1 on its rim).

        Parameters
        ----------
        outward : float, um
            Centre, towards the cortex.
        rear : float, um
            Centre, away from the fimbria.
        thick : float, um
            Semi-axis outward.
        wide : float, um
            Semi-axis to the rear.

        Returns
        -------
        (p, i, u) float32
            Relative radius; past the ends of the axis it grows as in an ellipsoid.
        """
        square = ((self.outward - outward) / thick) ** 2 + ((self.rear - rear) / wide) ** 2
        return np.asarray(np.sqrt(square + (self.beyond / thick) ** 2), np.float32)


def paint_hippocampus(slab: Slab) -> None:
    """Paint alveus, CA1, CA3, subiculum and the three layers of the dentate gyrus.

    Parameters
    ----------
    slab : Slab
        Coronal planes whose labels are painted in place.
    """
    box = slab.box(AXIS.min(axis=0) - PADDING_UM, AXIS.max(axis=0) + PADDING_UM)
    if box is None:
        return
    place = _cross_section(slab, box)
    body = place.ellipse(0, 0, HALF_THICK_UM, HALF_WIDE_UM)
    inside = body < 1
    slab.paint(structure_id("alv"), inside & (place.outward > 0), box)
    slab.paint(structure_id("CA1"), inside & ((body < 0.9) | (place.outward <= 0)), box)
    slab.paint(structure_id("SUB"), inside & (body < 0.93) & (place.rear > 620), box)
    slab.paint(structure_id("CA3"), inside & (body < 0.93) & (place.rear < -330), box)
    for acronym, mask in _dentate(place):
        slab.paint(structure_id(acronym), inside & mask, box)


def _dentate(place: CrossSection) -> list[tuple[str, Bool]]:
    """Return the parts of the dentate gyrus and the CA3 between its blades, (acronym, mask).

    The granule layer is a sheet about 90 um thick, open to the front.
    """
    rim = place.ellipse(-215, 110, 390, 620)
    sheet = place.ellipse(-215, 90, 235, 440)
    hilus = place.ellipse(-215, 70, 150, 330)
    tongue = (np.abs(place.outward + 215) < 110) & (place.rear < -120)
    return [
        ("DG-mo", (rim < 1) & (place.rear > -420)),
        ("DG-sg", (sheet < 1) & (place.rear > -300)),
        ("DG-po", (hilus < 1) & (place.rear > -300)),
        ("CA3", tongue & (rim < 1)),
    ]


def _cross_section(slab: Slab, box: Box) -> CrossSection:
    """Return the coordinates of every voxel in the frame of the nearest segment of the axis."""
    grid = slab.grid(box)
    shape = np.broadcast_shapes(*(g.shape for g in grid))
    best = np.full(shape, np.inf, np.float32)
    out = [np.zeros(shape, np.float32) for _ in range(3)]
    for k in range(len(AXIS) - 1):
        square, parts = _segment_frame(grid, k)
        nearer = square < best
        best[nearer] = square[nearer]
        for kept, new in zip(out, parts, strict=True):
            kept[nearer] = new[nearer]
    return CrossSection(*out)


def _segment_frame(grid: tuple[Float32, ...], k: int) -> tuple[Float32, list[Float32]]:
    """Return the squared distance to segment `k`, um2, and the coordinates in its frame, um at unit size."""
    a, b = AXIS[k], AXIS[k + 1]
    offset = [g - c for g, c in zip(grid, a, strict=True)]
    along = b - a
    t = _dot(offset, along) / (along @ along)
    inner = np.clip(t, 0, 1)
    offset = [o - inner * d for o, d in zip(offset, along, strict=True)]
    outward, rear = _normals()
    size = SIZE[k] + inner * (SIZE[k + 1] - SIZE[k])
    n = [outward[k, d] + inner * (outward[k + 1, d] - outward[k, d]) for d in range(3)]
    r = [rear[k, d] + inner * (rear[k + 1, d] - rear[k, d]) for d in range(3)]
    square = offset[0] ** 2 + offset[1] ** 2 + offset[2] ** 2
    x = sum(o * d for o, d in zip(offset, n, strict=True))
    y = sum(o * d for o, d in zip(offset, r, strict=True))
    beyond = np.sqrt(np.maximum(square - x * x - y * y, 0))
    return square, [np.asarray(v / size, np.float32) for v in (x, y, beyond)]


def _dot(offset: list[Float32], along: Float32) -> Float32:
    return np.asarray(sum(o * d for o, d in zip(offset, along, strict=True)), np.float32)


def _normals() -> tuple[Float32, Float32]:
    """Return unit vectors outward and to the rear at each vertex of the axis, (n, 3) each."""
    tangent = np.gradient(AXIS, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    outward = AXIS - OUTWARD_FROM
    # Gram-Schmidt: the part along the tangent is removed.
    outward -= (outward * tangent).sum(axis=1, keepdims=True) * tangent
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    rear = np.cross(tangent, outward)
    return outward, rear * np.sign(rear[:1, :1])
