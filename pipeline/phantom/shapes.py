"""Solid shapes that a brain is modelled from: depth below the surface, positive inside, um.

Coordinates are (P, I, U) with U = |R - midline|, so every shape has its mirror image in the other hemisphere.
A `Slab` is a range of coronal planes; a shape is evaluated only where its bounding box meets the slab.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.model import Bool, Float32, Float64, UInt32
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    from scipy import interpolate
else:
    interpolate = LazyModule("scipy.interpolate")

Box = tuple[slice, slice, slice]
Point = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Slab:
    """Coronal planes to paint on.

    Attributes
    ----------
    p : (p,) float32, um
        Positions of the planes.
    i : (i,) float32, um
        Positions of the rows.
    u : (u,) float32, um
        Distances of the columns from the midline.
    labels : (p, i, u) uint32
        Structure ids, painted in place.
    """

    p: Float32
    i: Float32
    u: Float32
    labels: UInt32

    @cached_property
    def whole(self) -> Box:
        """The box of the whole slab."""
        return slice(0, self.p.size), slice(0, self.i.size), slice(0, self.u.size)

    def grid(self, box: Box) -> tuple[Float32, Float32, Float32]:
        """Return the open coordinate grid of a box.

        Parameters
        ----------
        box : Box
            Slices along P, I, U.

        Returns
        -------
        (p, 1, 1), (1, i, 1) and (1, 1, u) float32, um
            Coordinates that broadcast to the shape of the box.
        """
        return self.p[box[0], None, None], self.i[None, box[1], None], self.u[None, None, box[2]]

    def box(self, low: Sequence[float], high: Sequence[float]) -> Box | None:
        """Return the slices that a bounding box covers.

        Parameters
        ----------
        low : (3,) sequence of float, um
            Lower corner (P, I, U), inclusive.
        high : (3,) sequence of float, um
            Upper corner (P, I, U), exclusive.

        Returns
        -------
        Box or None
            Slices along P, I, U; None where the box misses the slab.
        """
        found = []
        for axis, a, b in zip((self.p, self.i, self.u), low, high, strict=True):
            start, stop = np.searchsorted(axis, [a, b], side="left")
            if start >= stop:
                return None
            found.append(slice(int(start), int(stop)))
        return found[0], found[1], found[2]

    def paint(self, structure_id: int, mask: Bool, box: Box | None = None) -> None:
        """Set the label of the voxels of a mask.

        Parameters
        ----------
        structure_id : int
            The label.
        mask : bool array
            Voxels to paint, in the shape of `box`.
        box : Box or None
            Slices that `mask` covers; None is the whole slab.
        """
        self.labels[self.whole if box is None else box][mask] = structure_id


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with rotated axes.

    Attributes
    ----------
    centre : (float, float, float), um
        Centre (P, I, U).
    radii : (float, float, float), um
        Semi-axes along the rotated P, I, U.
    pitch_deg : float, degrees
        Rotation in the sagittal plane; positive lowers the rear end.
    yaw_deg : float, degrees
        Rotation in the horizontal plane; positive moves the rear end laterally.
    """

    centre: Point
    radii: Point
    pitch_deg: float = 0.0
    yaw_deg: float = 0.0  # in the horizontal plane; positive moves the rear end laterally

    def box(self, slab: Slab) -> Box | None:
        """Return the bounding box of the ellipsoid.

        Parameters
        ----------
        slab : Slab
            Where it is painted.

        Returns
        -------
        Box or None
            Slices of the slab; None where it misses the slab.
        """
        reach = np.sqrt((self._axes**2 * np.square(self.radii)[:, None]).sum(axis=0))
        centre = np.asarray(self.centre)
        return slab.box(centre - reach, centre + reach)

    @property
    def _axes(self) -> Float64:
        """Unit vectors of the semi-axes, one a row, (3, 3)."""
        a, b = np.deg2rad([self.pitch_deg, self.yaw_deg])
        pitch = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])
        yaw = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        return np.asarray(pitch @ yaw)

    def depth(self, slab: Slab, box: Box) -> Float32:
        """Return the depth below the surface, to first order near the surface.

        Parameters
        ----------
        slab : Slab
            Gives the coordinates.
        box : Box
            Part of the slab to evaluate.

        Returns
        -------
        (p, i, u) float32, um
            Depth, positive inside.
        """
        offset = [g - np.float32(c) for g, c in zip(slab.grid(box), self.centre, strict=True)]
        near = far = np.float32(0)
        for axis, radius in zip(self._axes.astype(np.float32), self.radii, strict=True):
            along = offset[0] * axis[0] + offset[1] * axis[1] + offset[2] * axis[2]
            near = near + np.square(along / np.float32(radius))
            far = far + np.square(along / np.float32(radius**2))
        k = np.sqrt(near)  # 1 on the surface; (1 - k) over its gradient is the distance to first order
        return np.asarray(k * (1 - k) / np.sqrt(far + np.float32(1e-12)), np.float32)


@dataclass(frozen=True)
class Tube:
    """A cord along a polyline.

    Attributes
    ----------
    vertices : tuple of (float, float, float), um
        Points of the polyline, (P, I, U).
    radius : tuple of float, um
        Radius at each vertex, linear between them.
    """

    vertices: tuple[Point, ...]
    radius: tuple[float, ...]

    def box(self, slab: Slab) -> Box | None:
        """Return the bounding box of the cord.

        Parameters
        ----------
        slab : Slab
            Where it is painted.

        Returns
        -------
        Box or None
            Slices of the slab; None where it misses the slab.
        """
        points, reach = np.asarray(self.vertices), max(self.radius)
        return slab.box(points.min(axis=0) - reach, points.max(axis=0) + reach)

    def depth(self, slab: Slab, box: Box) -> Float32:
        """Return the depth below the surface of the cord.

        Parameters
        ----------
        slab : Slab
            Gives the coordinates.
        box : Box
            Part of the slab to evaluate.

        Returns
        -------
        (p, i, u) float32, um
            Depth, positive inside.
        """
        grid = slab.grid(box)
        best = np.full(np.broadcast_shapes(*(g.shape for g in grid)), -1e9, np.float32)
        for k in range(len(self.vertices) - 1):
            t, distance = _to_segment(grid, self.vertices[k], self.vertices[k + 1])
            radius = self.radius[k] + t * np.float32(self.radius[k + 1] - self.radius[k])
            np.maximum(best, radius - distance, out=best)
        return best


def _to_segment(grid: tuple[Float32, ...], start: Point, end: Point) -> tuple[Float32, Float32]:
    """Return the position along a segment, 0-1, and the distance from the segment, um."""
    a, along = np.array(start, np.float32), np.subtract(end, start).astype(np.float32)
    offset = [g - c for g, c in zip(grid, a, strict=True)]
    dot = offset[0] * along[0] + offset[1] * along[1] + offset[2] * along[2]
    t = np.clip(dot / np.float32(along @ along), 0, 1)
    square = sum(np.square(o - t * d) for o, d in zip(offset, along, strict=True))
    return np.asarray(t, np.float32), np.asarray(np.sqrt(square), np.float32)


@dataclass(frozen=True)
class Loft:
    """A body interpolated through coronal outlines, each made of four quarters of a superellipse.

    Attributes
    ----------
    stations : tuple of tuple of float, um
        One row per outline: P, centre I, centre U, and the reach up, down, lateral, medial.
    exponent : float
        Exponent of the superellipse; 2 is an ellipse, larger is squarer.
    """

    stations: tuple[tuple[float, ...], ...]
    exponent: float = 2.2

    def box(self, slab: Slab) -> Box | None:
        """Return the bounding box of the body.

        Parameters
        ----------
        slab : Slab
            Where it is painted.

        Returns
        -------
        Box or None
            Slices of the slab; None where it misses the slab.
        """
        rows = np.asarray(self.stations)
        p, i, u, up, down, lateral, medial = rows.T
        return slab.box(
            (p.min(), (i - up).min(), (u - medial).min()), (p.max(), (i + down).max(), (u + lateral).max())
        )

    def outline(self, p: Float32) -> list[Float32]:
        """Return the outline at some planes, interpolated monotonically between stations.

        Parameters
        ----------
        p : (n,) float32, um
            Positions of the planes; those beyond the ends take the outline at the end.

        Returns
        -------
        list of seven (n, 1, 1) float32
            Centre I, centre U, reach up, down, lateral and medial, um, and a factor that turns distances in
            the plane into distances from a surface that slopes along P.

        Notes
        -----
        The interpolation is piecewise cubic without overshoot (PCHIP, Fritsch and Butland 1984).
        """
        rows = np.asarray(self.stations)
        at = np.clip(p, rows[0, 0], rows[-1, 0])
        curves = [interpolate.PchipInterpolator(rows[:, 0], column) for column in rows[:, 1:].T]
        size = interpolate.PchipInterpolator(
            rows[:, 0], np.sqrt((rows[:, 3:5].sum(1)) * (rows[:, 5:7].sum(1))) / 2
        )
        slope = 1 / np.sqrt(1 + size.derivative()(at) ** 2)
        values = [
            np.maximum(curve(at), floor)
            for curve, floor in zip(curves, (-1e9, -1e9, 1, 1, 1, 1), strict=True)
        ]
        return [np.asarray(v, np.float32)[:, None, None] for v in (*values, slope)]

    def depth(self, slab: Slab, box: Box) -> tuple[Float32, Float32]:
        """Return the depth below the surface along the ray from the centre, and the angle around the centre.

        Parameters
        ----------
        slab : Slab
            Gives the coordinates.
        box : Box
            Part of the slab to evaluate.

        Returns
        -------
        depth : (p, i, u) float32, um
            Depth, positive inside.
        angle : (p, i, u) float32, degrees
            0 upwards, 90 lateral, 180 downwards, -90 medial.
        """
        ci, cu, up, down, lateral, medial, slope = self.outline(slab.p[box[0]])
        _, i, u = slab.grid(box)
        y, x = i - ci, u - cu
        ry, rx = np.where(y < 0, up, down), np.where(x > 0, lateral, medial)
        n = np.float32(self.exponent)
        g = (np.abs(x / rx) ** n + np.abs(y / ry) ** n) ** (1 / n) + np.float32(1e-6)
        ray = np.hypot(x, y) * (1 / g - 1) * slope
        return np.asarray(ray, np.float32), np.asarray(np.degrees(np.arctan2(x, -y)), np.float32)


Shape = Ellipsoid | Tube
