"""The phantom's midbrain, pons, medulla and folded cerebellum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.model import Float32
from pipeline.phantom.parts import (
    CEREBELLAR_CORE,
    MEDULLA,
    MIDBRAIN,
    PONS,
    paint_parts,
    structure_id,
    structure_ids,
)
from pipeline.phantom.shapes import Box, Ellipsoid, Loft, Slab

# Rows of a Loft: P, centre I, centre U, then the reach up, down, lateral and medial, um.
TECTUM = Loft(
    (
        (7650, 3800, 0, 300, 400, 500, 500),
        (7800, 3800, 0, 1050, 1600, 1500, 1500),
        (8200, 3900, 0, 1950, 2350, 2050, 2050),
        (8700, 3900, 0, 2600, 2500, 2250, 2250),
        (9200, 3900, 0, 2950, 2000, 2330, 2330),
        (9700, 3700, 0, 2800, 1700, 2200, 2200),
        (10200, 3300, 0, 2200, 1500, 1900, 1900),
        (10600, 3000, 0, 1350, 1200, 1300, 1300),
        (10800, 2900, 0, 200, 300, 300, 300),
    ),
    exponent=2.0,
)
BRAINSTEM = Loft(
    (
        (8880, 6700, 0, 200, 200, 300, 300),
        (9050, 6500, 0, 800, 750, 1200, 1200),
        (9500, 6000, 0, 1300, 1150, 1900, 1900),
        (10200, 5700, 0, 1500, 1500, 2350, 2350),
        (10800, 5700, 0, 1500, 1600, 2550, 2550),
        (11400, 5900, 0, 1400, 1500, 2450, 2450),
        (12000, 6050, 0, 1400, 1400, 2200, 2200),
        (12600, 6100, 0, 1400, 1380, 2080, 2080),
        (13150, 6150, 0, 1350, 1300, 1950, 1950),
    ),
    exponent=2.3,
)
COLLICULAR_LAYERS = (  # of the superior colliculus, with their greatest depth, um
    ("SCzo", 90),
    ("SCsg", 300),
    ("SCop", 420),
    ("SCig", 720),
    ("SCiw", 1050),
    ("SCdg", 1300),
)
CEREBELLUM = Ellipsoid((11620, 2820, 0), (1610, 2140, 3950))
PARAFLOCCULUS = Ellipsoid((11100, 4950, 3600), (800, 1050, 720))
ROOT = (11150.0, 3650.0)  # (P, I), um: the point about which the lobules fan out
# Lobules with the angle about the root at which each ends, degrees from posterior towards superior.
VERMIS = (("NOD", -8), ("UVU", 30), ("PYR", 56), ("FOTU", 76), ("DEC", 106), ("CUL4, 5", 152), ("CENT3", 400))
HEMISPHERE = (("COPY", 8), ("PRM", 42), ("ANcr2", 72), ("ANcr1", 112), ("SIM", 400))
SHALLOW_DEG = (12.0, 43.0, 91.0, 128.0, 172.0)  # angles of the fissures within lobules
# Depths at which the molecular and the granular layer end; half width of an open fissure.
MOLECULAR_UM, GRANULAR_UM, FISSURE_UM = 150.0, 310.0, 22.0
VERMIS_HALF_WIDTH_UM = 950.0


def paint_hindbrain(slab: Slab) -> None:
    """Paint brainstem, cerebellum and, over both, the midbrain.

    Parameters
    ----------
    slab : Slab
        Coronal planes whose labels are painted in place.
    """
    _paint_brainstem(slab)
    _paint_cerebellum(slab)
    _paint_paraflocculus(slab)
    paint_parts(slab, CEREBELLAR_CORE)
    _paint_midbrain(slab)


def _paint_midbrain(slab: Slab) -> None:
    """Paint the tectum, the layers of the superior colliculus and the nuclei of the midbrain."""
    box = TECTUM.box(slab)
    if box is None:
        return
    depth, angle = TECTUM.depth(slab, box)
    slab.paint(structure_id("MB"), depth > 0, box)
    p = slab.p[box[0], None, None]
    superior = (depth > 0) & (angle < 58) & (p < 9750)
    edges = [limit for _, limit in COLLICULAR_LAYERS]
    layer = np.digitize(depth, edges)
    superior &= layer < len(edges)
    ids = np.asarray(structure_ids(name for name, _ in COLLICULAR_LAYERS), np.uint32)
    slab.labels[box][superior] = ids[layer[superior]]
    paint_parts(slab, MIDBRAIN)


def _paint_brainstem(slab: Slab) -> None:
    """Paint pons and medulla, divided by an oblique plane, then their nuclei and tracts."""
    box = BRAINSTEM.box(slab)
    if box is None:
        return
    depth, _ = BRAINSTEM.depth(slab, box)
    p, i, _ = slab.grid(box)
    rear = p + 0.2 * (i - 5700) > 10750
    slab.paint(structure_id("P"), (depth > 0) & ~rear, box)
    slab.paint(structure_id("MY"), (depth > 0) & rear, box)
    paint_parts(slab, PONS)
    paint_parts(slab, MEDULLA)


def _paint_cerebellum(slab: Slab) -> None:
    """Paint lobules as a fan about the root; fissures divide them, layers follow fissures and surface."""
    box = CEREBELLUM.box(slab)
    if box is None:
        return
    outer = CEREBELLUM.depth(slab, box)
    p, i, u = slab.grid(box)
    reach = np.hypot(p - ROOT[0], i - ROOT[1])
    angle = (
        np.degrees(np.arctan2(ROOT[1] - i, p - ROOT[0]))
        + 7 * np.sin(u / 620)  # fissures undulate from medial to lateral and from root to surface
        - u / 400
        + 9 * np.sin(reach / 420)
    )
    angle = np.where(angle < -100, angle + 360, angle).astype(np.float32)  # no jump inside the fan
    lateral = u > VERMIS_HALF_WIDTH_UM
    for lobules, where in ((VERMIS, ~lateral), (HEMISPHERE, lateral)):
        deep = [limit for _, limit in lobules[:-1]]
        gap = np.minimum(_fissures(angle, reach, deep, 620), _fissures(angle, reach, SHALLOW_DEG, 1150))
        # Near the surface a fissure is an open cleft; deeper, the two banks touch.
        depth = np.minimum(outer, gap - FISSURE_UM * (outer < 200))
        _paint_folia(slab, box, (lobules, angle, depth), (outer > 0) & (depth > 0) & where)


def _fissures(angle: Float32, reach: Float32, at_deg: Sequence[float], start: float) -> Float32:
    """Return the distance from the nearest of some fissures that begin `start` um from the root, um."""
    nearest = np.full(np.broadcast_shapes(angle.shape, reach.shape), np.inf, np.float32)
    for degrees in at_deg:
        turn = np.radians(angle - np.float32(degrees))
        along, across = reach * np.cos(turn), reach * np.sin(turn)
        np.minimum(nearest, np.hypot(np.maximum(start - along, 0), across), out=nearest)
    return nearest


def _paint_folia(
    slab: Slab, box: Box, fan: tuple[tuple[tuple[str, int], ...], Float32, Float32], where: Float32
) -> None:
    """Paint molecular layer, granular layer and white matter of the lobules by depth."""
    lobules, angle, depth = fan
    lobule = np.digitize(angle, [limit for _, limit in lobules[:-1]])
    lobule = np.broadcast_to(lobule, depth.shape)
    molecular = np.asarray(structure_ids(f"{name}mo" for name, _ in lobules), np.uint32)
    granular = np.asarray(structure_ids(f"{name}gr" for name, _ in lobules), np.uint32)
    labels = np.where(depth < MOLECULAR_UM, molecular[lobule], granular[lobule])
    labels = np.where(depth < GRANULAR_UM, labels, np.uint32(structure_id("arb")))
    slab.labels[box][where] = labels[where]


def _paint_paraflocculus(slab: Slab) -> None:
    """Paint the paraflocculus with its layers."""
    box = PARAFLOCCULUS.box(slab)
    if box is None:
        return
    depth = PARAFLOCCULUS.depth(slab, box)
    for acronym, limit in (("PFLmo", 0), ("PFLgr", 190), ("arb", 400)):
        slab.paint(structure_id(acronym), depth > limit, box)
