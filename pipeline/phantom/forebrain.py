"""The phantom's forebrain: olfactory bulb, cortex, hippocampus, cerebral nuclei, thalamus, hypothalamus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.model import Bool, Float32
from pipeline.phantom.hippocampus import paint_hippocampus
from pipeline.phantom.parts import (
    CORE,
    DIENCEPHALON,
    OLFACTORY,
    TRACTS,
    paint_parts,
    structure_id,
    structure_ids,
)
from pipeline.phantom.shapes import Box, Loft, Slab

# Rows of a Loft: P, centre I, centre U, then the reach up, down, lateral and medial, um.
CEREBRUM = Loft(
    (
        (2050, 3200, 1000, 120, 120, 150, 900),
        (2150, 3200, 1000, 500, 550, 650, 1500),
        (2400, 3200, 1150, 1180, 1350, 1300, 2300),
        (3000, 3300, 1300, 1820, 2700, 1900, 2900),
        (3600, 3500, 1400, 2260, 3350, 2250, 3200),
        (4200, 3700, 1450, 2660, 3600, 2650, 3400),
        (5400, 3900, 1500, 3210, 3520, 3250, 3500),
        (6600, 4000, 1600, 3660, 3450, 3400, 3700),
        (7800, 3950, 1700, 3760, 3250, 3450, 3700),
        (8400, 3850, 1850, 3660, 3100, 3300, 3300),
        (9000, 3700, 2150, 3360, 2800, 2900, 2700),
        (9600, 3400, 2550, 2600, 2400, 2150, 2000),
        (10100, 3200, 2800, 1700, 1600, 1500, 1300),
        (10350, 3150, 2900, 850, 800, 750, 600),
        (10450, 3150, 2900, 150, 150, 150, 120),
    ),
    exponent=2.05,
)
BULB = Loft(
    (
        (60, 4300, 950, 120, 120, 120, 120),
        (180, 4300, 970, 700, 760, 500, 520),
        (600, 4350, 980, 1450, 1650, 930, 930),
        (1200, 4400, 1000, 1850, 1950, 1090, 980),
        (1800, 4450, 1000, 1850, 2030, 1000, 980),
        (2400, 4600, 950, 1500, 1700, 850, 900),
        (2850, 4700, 950, 750, 850, 550, 600),
        (2950, 4700, 950, 150, 150, 150, 150),
    ),
    exponent=2.4,
)
BULB_LAYERS = (("onl", 0.0), ("MOBgl", 130.0), ("MOB", 270.0), ("MOBgr", 540.0))  # with their least depth, um
# Thickness of the cortex, um, at positions along P, um; linear between them.
THICKNESS_P = (2050.0, 3200.0, 4400.0, 6000.0, 7500.0, 10450.0)
THICKNESS_UM = (1100.0, 1450.0, 1300.0, 1150.0, 980.0, 900.0)
LAYERS = ("1", "2/3", "4", "5", "6a", "6b")
LAYER_EDGES = (0.12, 0.36, 0.47, 0.72, 0.95)  # borders of the layers, as fractions of the cortical thickness
ENT_LAYERS = ("ENTl1", "ENTl2", "ENTl3", "ENTl5", "ENTl6a")
ENT_EDGES = (0.2, 0.42, 0.6, 0.82)
WITHOUT_LAYER_4 = ("ACAd", "MOs", "MOp", "RSPd", "AId", "ORBl", "FRP")  # agranular areas
WHITE_UM = 190.0  # thickness of the white matter below the cortex


def paint_forebrain(slab: Slab) -> None:
    """Paint the forebrain; outer shapes come before the nuclei inside them.

    Parameters
    ----------
    slab : Slab
        Coronal planes whose labels are painted in place.
    """
    _paint_bulb(slab)
    paint_parts(slab, OLFACTORY)
    paint_cerebrum(slab)
    paint_hippocampus(slab)
    paint_parts(slab, DIENCEPHALON)
    paint_parts(slab, TRACTS)


def _paint_bulb(slab: Slab) -> None:
    """Paint the olfactory bulb; each deeper layer covers the inside of the one before."""
    box = BULB.box(slab)
    if box is None:
        return
    depth, _ = BULB.depth(slab, box)
    for acronym, limit in BULB_LAYERS:
        slab.paint(structure_id(acronym), depth > limit, box)


@dataclass(frozen=True, eq=False)
class Sheet:
    """The cerebral surface unrolled into depth and angle.

    Attributes
    ----------
    p : (p, 1, 1) float32, um
        Position of the planes.
    depth : (p, i, u) float32, um
        Depth below the surface, positive inside.
    angle : (p, i, u) float32, degrees
        Angle around the centre of the hemisphere: 0 upwards, 90 lateral, 180 downwards, -90 medial.
    relative : (p, i, u) float32
        Depth as a fraction of the cortical thickness.
    thickness : (p, i, u) float32, um
        Thickness of the cortex.
    """

    p: Float32
    depth: Float32
    angle: Float32
    relative: Float32
    thickness: Float32


def paint_cerebrum(slab: Slab) -> None:
    """Paint the cortex, the white matter below it and the cerebral nuclei inside.

    Parameters
    ----------
    slab : Slab
        Coronal planes whose labels are painted in place.
    """
    box = CEREBRUM.box(slab)
    if box is None:
        return
    depth, angle = CEREBRUM.depth(slab, box)
    p = slab.p[box[0], None, None]
    u = slab.u[None, None, box[2]]
    thinner = np.interp(angle, (100, 130), (1, 0.72))  # ventrolateral cortex is thinner
    thickness = (np.interp(p, THICKNESS_P, THICKNESS_UM) * thinner).astype(np.float32)
    # On the medial side layers follow the midline plane; the body's own surface lies beyond it.
    medial = np.where(angle < 0, np.minimum(depth, u + 40), depth)
    relative = (medial / thickness).astype(np.float32)
    sheet = Sheet(p, depth, angle, relative, thickness)
    covered = (angle > _medial_edge(p)) & (angle < _ventral_edge(p))
    cortical = (depth > 0) & (depth < thickness) & covered
    _paint_core(slab, box, sheet, (depth > 0) & ~cortical)
    _paint_cortex(slab, box, sheet, cortical)


def _ventral_edge(p: Float32) -> Float32:
    """Return the angle at which the cortical sheet ends ventrally, degrees."""
    return np.interp(p, (2000, 3500, 4500, 7000, 8500, 10400), (150, 142, 155, 168, 160, 170)).astype(
        np.float32
    )


def _medial_edge(p: Float32) -> Float32:
    """Return the angle at which the cortical sheet ends medially, degrees."""
    return np.interp(p, (3400, 4200, 8000, 8800, 10400), (-150, -110, -110, -70, -95)).astype(np.float32)


def _paint_core(slab: Slab, box: Box, sheet: Sheet, inside: Bool) -> None:
    """Paint what the cortex does not cover: cerebral nuclei in front, hippocampal formation behind."""
    below = sheet.depth - sheet.thickness
    p, i, u = slab.grid(box)
    end = 8000 + 480 * np.exp(-(((i - 6100) / 1100) ** 2))  # rear end of the nuclei along P, um
    forward = inside & (p < end)
    slab.paint(structure_id("fa"), forward & (p < 3700), box)
    slab.paint(structure_id("AON"), forward & (p < 3700) & (i > 4200 + 0.3 * (p - 3000)), box)
    slab.paint(structure_id("STR"), forward & (p >= 3700), box)
    slab.paint(structure_id("CTXsp"), forward & (p > 5900) & (np.abs(sheet.angle) > 115), box)
    behind = inside & (p >= end) & (sheet.angle > -60) & (sheet.angle < 165)
    slab.paint(structure_id("SUB"), behind & (below < 750), box)
    paint_parts(slab, CORE)
    ventral = forward & (sheet.depth < 560) & (np.abs(sheet.angle) > 140)
    slab.paint(structure_id("OT"), ventral & (p > 3650) & (p < 5950), box)
    waist = np.sqrt(np.clip(1 - ((p - 7150) / 1350) ** 2, 0, 1)) * 1750  # half width of the thalamus, um
    slab.paint(structure_id("TH"), forward & (u < waist) & (i > 3500) & (i <= 5050), box)
    narrow = waist * (0.85 - np.square((i - 5050) / 2900))
    slab.paint(structure_id("HY"), forward & (u < narrow) & (i > 5050), box)
    _paint_white(slab, box, sheet, inside & (below > 0) & (below < WHITE_UM))


def _paint_white(slab: Slab, box: Box, sheet: Sheet, white: Bool) -> None:
    """Paint the sheet of white matter below the cortex."""
    white = white & (sheet.angle < 125) & (sheet.angle > -80) & (sheet.p > 3300)
    for acronym, where in (
        ("ec", sheet.angle >= 60),
        ("or", (sheet.angle >= 25) & (sheet.angle < 60) & (sheet.p > 6500)),
        ("ccg", (sheet.angle < 60) & (sheet.p < 4600)),
        ("ccb", (sheet.angle < 60) & (sheet.p >= 4600) & (sheet.p <= 6500)),
        ("ccb", (sheet.angle < 25) & (sheet.p > 6500) & (sheet.p < 7300)),
        ("ccs", (sheet.angle < 25) & (sheet.p >= 7300)),
    ):
        slab.paint(structure_id(acronym), white & where, box)


def _areas(p: Float32, angle: Float32) -> list[tuple[str, Bool]]:
    """Return the cortical areas, (name, mask), that cover the sheet; the first mask at a voxel decides."""
    front = p < 2750
    motor = np.interp(p, (2750, 5000, 7000), (58, 30, -2)).astype(np.float32)  # lateral border, degrees
    middle, rear = ~front & (p < 7300), p >= 7300
    return [
        ("FRP", front & (angle < 110)),
        ("ORBl", (p < 3600) & (angle >= 85)),
        ("ACAd", ~front & (p < 6000) & (angle < -16)),
        ("RSPd", (p >= 6000) & (angle < -14)),
        ("MOs", middle & (angle < motor - 24)),
        ("MOp", middle & (angle >= motor - 24) & (angle < motor)),
        ("SSp", middle & (angle >= motor) & (angle < 82)),
        ("SSs", middle & (angle >= 82) & (angle < 103)),
        ("AId", (p >= 3600) & (p < 6200) & (angle >= 103) & (angle < 118)),
        ("VISp", rear & (angle < 38)),
        ("AUDp", rear & (angle >= 38) & (angle < 82)),
        ("TEa", (rear & (angle >= 82)) | ((p >= 6200) & (angle >= 103)) & (angle < 118)),
    ]


def _paint_cortex(slab: Slab, box: Box, sheet: Sheet, cortical: Bool) -> None:
    """Paint the cortical areas, divided into layers by relative depth."""
    layers = np.digitize(sheet.relative, LAYER_EDGES).astype(np.uint8)
    target = slab.labels[box]
    area_of = np.zeros(cortical.shape, np.uint8)
    names: list[str] = []
    for name, mask in _areas(sheet.p, sheet.angle):
        names.append(name)
        area_of[np.broadcast_to(mask, cortical.shape) & (area_of == 0)] = len(names)
    table = np.zeros((len(names) + 1, len(LAYERS)), np.uint32)
    for k, name in enumerate(names, start=1):
        table[k] = structure_ids(_layer(name, layer) for layer in LAYERS)
    target[cortical] = table[area_of[cortical], layers[cortical]]
    _paint_ventral(slab, box, sheet, cortical)


def _layer(area: str, layer: str) -> str:
    """Return the acronym of a layer; in an area without layer 4, layer 5 takes its place."""
    return area + ("5" if layer == "4" and area in WITHOUT_LAYER_4 else layer)


def _paint_ventral(slab: Slab, box: Box, sheet: Sheet, cortical: Bool) -> None:
    """Paint the piriform cortex (one label, as in the real atlas) and the layered entorhinal cortex."""
    ventral = cortical & (sheet.angle >= 118) & (sheet.p > 3000)
    entorhinal = cortical & (sheet.angle >= np.interp(sheet.p, (7600, 9600), (120, 92)).astype(np.float32))
    slab.paint(structure_id("PIR"), ventral, box)
    rear = entorhinal & (sheet.p > 8000)
    layers = np.digitize(sheet.relative, ENT_EDGES)
    slab.labels[box][rear] = np.asarray(structure_ids(ENT_LAYERS), np.uint32)[layers[rear]]
