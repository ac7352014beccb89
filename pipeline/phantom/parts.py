"""Tables of simple parts: which shape carries which structure, in the order of painting.

Positions are (P, I, U) um, where U is the distance from the midline. Sizes are rounded to tens of um.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.phantom.shapes import Ellipsoid, Shape, Slab, Tube
from pipeline.phantom.structures import phantom_ontology


@dataclass(frozen=True)
class Part:
    """One structure in one shape.

    Attributes
    ----------
    acronym : str
        The structure.
    shape : Ellipsoid or Tube
        Where it is painted.
    within : tuple of str
        Acronyms of the only structures that it may cover; everything where empty.
    """

    acronym: str
    shape: Shape
    within: tuple[str, ...] = ()


def structure_id(acronym: str) -> int:
    """Return the id of one of the phantom's structures.

    Parameters
    ----------
    acronym : str
        Acronym in the phantom's ontology.

    Returns
    -------
    int
        Structure id.
    """
    return phantom_ontology().find(acronym).id


def structure_ids(acronyms: Iterable[str]) -> list[int]:
    """Return the ids of several of the phantom's structures.

    Parameters
    ----------
    acronyms : iterable of str
        Acronyms in the phantom's ontology.

    Returns
    -------
    list of int
        Structure ids, in the same order.
    """
    return [structure_id(acronym) for acronym in acronyms]


def paint_parts(slab: Slab, parts: Iterable[Part]) -> None:
    """Paint parts in their order, later ones over earlier ones.

    Parameters
    ----------
    slab : Slab
        Coronal planes whose labels are painted in place.
    parts : iterable of Part
        What to paint.
    """
    for part in parts:
        box = part.shape.box(slab)
        if box is None:
            continue
        mask = part.shape.depth(slab, box) > 0
        if part.within:
            mask &= np.isin(slab.labels[box], structure_ids(part.within))
        slab.paint(structure_id(part.acronym), mask, box)


def _ellipsoid(*numbers: float) -> Ellipsoid:
    """Return an ellipsoid: centre (P, I, U), semi-axes, then pitch and yaw in degrees where given."""
    p, i, u, a, b, c, *turn = numbers
    return Ellipsoid((p, i, u), (a, b, c), *turn)


def _tube(radius: float, *vertices: tuple[float, float, float]) -> Tube:
    """Return a tube of constant radius, um, through vertices (P, I, U)."""
    return Tube(vertices, (radius,) * len(vertices))


OLFACTORY = (
    Part("AON", _ellipsoid(2950, 4850, 1050, 1150, 1300, 1000, 20)),
    Part("AOBgr", _ellipsoid(2350, 3150, 800, 420, 300, 350)),
)

CORE = (
    Part("TTd", _ellipsoid(3350, 5050, 250, 700, 1000, 320), ("AON", "fa", "STR")),
    Part("CP", Ellipsoid((5300, 3850, 2350), (2250, 1750, 1150), 12, 17)),
    Part("ACB", _ellipsoid(4250, 5500, 1150, 900, 950, 850)),
    Part("LSr", _ellipsoid(4950, 3450, 350, 1000, 1250, 480)),
    Part("MS", _ellipsoid(4900, 4700, 0, 500, 1050, 230)),
    Part("BST", _ellipsoid(5450, 4600, 800, 450, 750, 380)),
    Part("SI", _ellipsoid(5450, 6150, 1650, 900, 480, 1000)),
    Part("PAL", _ellipsoid(6100, 5000, 1900, 650, 550, 600)),
    Part("GPe", Ellipsoid((6150, 4350, 2250), (800, 850, 430), 0, 30)),
    Part("GPi", Ellipsoid((6550, 4850, 1950), (420, 480, 300), 0, 30)),
    Part("CEA", _ellipsoid(6600, 5450, 2800, 700, 620, 420)),
    Part("MEA", _ellipsoid(6700, 6500, 2100, 850, 600, 420)),
    Part("LA", _ellipsoid(7100, 5050, 3400, 650, 480, 280)),
    Part("BLAa", _ellipsoid(7050, 5850, 3250, 850, 600, 380)),
    Part("BMAa", _ellipsoid(6950, 6500, 2750, 800, 330, 420)),
    Part("COAa", _ellipsoid(6900, 7080, 2550, 1000, 320, 600)),
    Part("EPd", Ellipsoid((5200, 5650, 2950), (1500, 700, 170), 10, 22)),
    Part("CLA", Ellipsoid((4500, 4750, 2900), (1100, 330, 120), 10, 22)),
)

DIENCEPHALON = (
    Part("RT", _ellipsoid(6550, 3950, 0, 1150, 1220, 2500)),
    Part("TH", _ellipsoid(7050, 3800, 0, 1450, 1330, 2250)),
    Part("TH", _ellipsoid(7700, 3250, 1700, 700, 850, 900)),
    Part("HY", _ellipsoid(6850, 6200, 0, 2000, 1280, 1450, 4)),
    Part("HY", _ellipsoid(8000, 6350, 0, 850, 850, 800)),
    Part("ZI", _ellipsoid(7150, 4900, 1400, 850, 230, 800, 10)),
    Part("AV", _ellipsoid(6100, 3100, 900, 340, 400, 330), ("TH",)),
    Part("AD", _ellipsoid(6150, 2700, 700, 250, 200, 250), ("TH",)),
    Part("VAL", _ellipsoid(6500, 3800, 1150, 500, 450, 430), ("TH",)),
    Part("VM", _ellipsoid(6800, 4550, 850, 650, 250, 450), ("TH",)),
    Part("VPL", Ellipsoid((7000, 3850, 1850), (650, 600, 260), 0, 15), ("TH",)),
    Part("VPM", _ellipsoid(7150, 4050, 1300, 600, 480, 420), ("TH",)),
    Part("PO", _ellipsoid(7400, 3450, 1000, 550, 380, 420), ("TH",)),
    Part("LP", _ellipsoid(7550, 2850, 1350, 620, 430, 520), ("TH",)),
    Part("LGd", Ellipsoid((7650, 3000, 2200), (520, 560, 300), 0, 20), ("TH",)),
    Part("MGv", _ellipsoid(8150, 3650, 2100, 350, 380, 380), ("TH",)),
    Part("MD", _ellipsoid(6850, 3250, 420, 650, 450, 330), ("TH",)),
    Part("CM", _ellipsoid(6700, 3950, 0, 500, 180, 420), ("TH",)),
    Part("RE", _ellipsoid(6450, 4650, 0, 600, 250, 220), ("TH",)),
    Part("PF", _ellipsoid(7700, 3700, 550, 400, 480, 350), ("TH",)),
    Part("PVT", _ellipsoid(6650, 2750, 0, 950, 220, 200), ("TH",)),
    Part("LH", _ellipsoid(7000, 2620, 420, 480, 240, 210)),
    Part("MH", _ellipsoid(6950, 2520, 190, 480, 220, 130)),
    Part("LPO", _ellipsoid(5300, 6000, 900, 550, 480, 420), ("HY",)),
    Part("MPO", _ellipsoid(5450, 6000, 350, 500, 500, 330), ("HY",)),
    Part("SCH", _ellipsoid(5800, 7150, 170, 250, 200, 150), ("HY",)),
    Part("LHA", _ellipsoid(6900, 6100, 1000, 1250, 650, 380), ("HY",)),
    Part("STN", _ellipsoid(7250, 5350, 1300, 380, 160, 330), ("HY", "LHA")),
    Part("AHN", _ellipsoid(6150, 6250, 470, 480, 480, 330), ("HY",)),
    Part("VMH", _ellipsoid(6850, 6750, 470, 480, 380, 290), ("HY",)),
    Part("DMH", _ellipsoid(7150, 6150, 380, 430, 360, 300), ("HY",)),
    Part("ARH", _ellipsoid(7050, 7250, 150, 700, 200, 190), ("HY",)),
    Part("PH", _ellipsoid(7800, 5600, 350, 550, 420, 350), ("HY",)),
    Part("MM", _ellipsoid(8350, 6750, 280, 380, 380, 330), ("HY",)),
)

TRACTS = (
    Part("aco", _tube(190, (2300, 4700, 950), (3600, 5000, 1150), (4800, 4950, 850), (5250, 4950, 0))),
    Part("act", _tube(120, (5250, 4950, 0), (5400, 5050, 1300), (5800, 5400, 2400))),
    Part("lotg", _tube(170, (2300, 5350, 1700), (3300, 6000, 1900), (4600, 6650, 2450))),
    Part("int", Tube(((5400, 3900, 1500), (6200, 4000, 1850), (7000, 4750, 1950)), (180, 280, 320))),
    Part("cpd", Tube(((7000, 4750, 1950), (7700, 5300, 1850), (8500, 6050, 1450)), (320, 300, 250))),
    Part("fx", _tube(110, (5600, 3300, 250), (5500, 4600, 300), (6600, 5900, 450), (8200, 6500, 350))),
    Part("fr", _tube(90, (7100, 2900, 380), (7700, 4000, 450), (8200, 5400, 350))),
    Part("opt", _tube(150, (6000, 7200, 700), (6600, 6500, 1700), (7200, 5100, 2450), (7600, 3600, 2550))),
    Part("och", _ellipsoid(5650, 7300, 0, 380, 170, 900)),
    Part("fi", Tube(((6000, 2500, 700), (6500, 2700, 2000), (7100, 3700, 2750)), (230, 260, 180))),
    Part("V3", _ellipsoid(6900, 6400, 0, 1250, 650, 60)),
    Part("V3", _ellipsoid(6700, 2480, 0, 1100, 160, 90)),
    Part("VL", Tube(((3900, 3600, 500), (5000, 2750, 900), (5800, 2350, 1350)), (90, 190, 200))),
    Part("VL", Tube(((5800, 2350, 1350), (6600, 2700, 2700), (7600, 3900, 3050)), (200, 150, 110))),
)

MIDBRAIN = (
    Part("ICe", Ellipsoid((10000, 2050, 1150), (720, 1100, 1000), -15)),
    Part("ICc", Ellipsoid((9950, 2150, 1050), (480, 750, 620), -15)),
    Part("MRN", _ellipsoid(8850, 4200, 1150, 1000, 1000, 750), ("MB",)),
    Part("APN", _ellipsoid(7900, 3100, 1150, 480, 550, 480)),
    Part("PAG", Tube(((7900, 3150, 0), (8800, 3000, 0), (9900, 3700, 0)), (450, 750, 700))),
    Part("RN", _ellipsoid(8550, 4750, 620, 420, 380, 330), ("MB", "MRN")),
    Part("SNr", _ellipsoid(8300, 5550, 1450, 620, 260, 620), ("MB", "MRN", "TH", "HY")),
    Part("SNc", _ellipsoid(8300, 5250, 1350, 480, 120, 500), ("MB", "MRN", "TH", "HY")),
    Part("VTA", _ellipsoid(8500, 5750, 380, 420, 380, 380), ("MB", "MRN")),
    Part("PPN", _ellipsoid(9500, 4500, 1300, 480, 420, 330), ("MB", "MRN")),
    Part("DR", _ellipsoid(9500, 4000, 0, 480, 300, 180)),
    Part("AQ", _tube(130, (7900, 3000, 0), (8800, 3000, 0), (9800, 3500, 0), (10500, 4100, 0))),
)

PONS = (
    Part("PG", _ellipsoid(9350, 6850, 450, 600, 330, 700), ("P",)),
    Part("TRN", _ellipsoid(9750, 6350, 450, 450, 350, 430), ("P",)),
    Part("PRNr", _ellipsoid(9700, 5600, 650, 550, 600, 480), ("P",)),
    Part("PRNc", _ellipsoid(10350, 5500, 600, 500, 700, 500), ("P",)),
    Part("CS", _ellipsoid(9800, 5600, 0, 550, 700, 180), ("P", "PRNr")),
    Part("PB", _ellipsoid(10250, 4650, 1350, 480, 380, 420), ("P",)),
    Part("PSV", _ellipsoid(10250, 5550, 1850, 550, 600, 320), ("P",)),
    Part("V", _ellipsoid(10300, 5300, 1350, 330, 380, 250), ("P",)),
    Part("PCG", _ellipsoid(10350, 4550, 300, 480, 300, 420), ("P",)),
    Part("SOC", _ellipsoid(10250, 6800, 900, 450, 230, 430), ("P",)),
)

MEDULLA = (
    Part("SPVI", _ellipsoid(11600, 5700, 1600, 900, 650, 400), ("MY",)),
    Part("SPVC", _ellipsoid(12700, 5700, 1300, 750, 650, 480), ("MY",)),
    Part("VCO", _ellipsoid(10700, 5400, 2250, 520, 620, 300), ("MY", "P")),
    Part("DCO", _ellipsoid(11100, 4700, 2150, 450, 380, 380), ("MY", "P")),
    Part("LAV", _ellipsoid(11250, 4750, 1150, 500, 380, 500), ("MY",)),
    Part("VII", _ellipsoid(10950, 6850, 1250, 450, 400, 430), ("MY", "P")),
    Part("GRN", _ellipsoid(11500, 6000, 500, 850, 550, 450), ("MY",)),
    Part("IRN", _ellipsoid(11800, 5650, 1000, 1100, 650, 260), ("MY",)),
    Part("MDRNd", _ellipsoid(12850, 6250, 800, 500, 650, 420), ("MY",)),
    Part("NTS", _ellipsoid(12050, 5100, 600, 750, 280, 300), ("MY", "IRN")),
    Part("XII", _ellipsoid(12150, 5450, 220, 650, 230, 190), ("MY",)),
    Part("CU", _ellipsoid(12750, 5020, 750, 500, 230, 420), ("MY",)),
    Part("IO", _ellipsoid(11900, 7150, 350, 650, 200, 350), ("MY",)),
    Part("mcp", Tube(((11000, 4200, 2350), (10500, 5300, 2300), (9700, 6700, 1700)), (380, 330, 260))),
    Part("scp", _tube(170, (11000, 4200, 900), (10200, 4700, 950), (9300, 5200, 500))),
    Part("ml", _tube(160, (8600, 5500, 900), (9600, 6500, 550), (11000, 7000, 250), (12300, 6700, 150))),
    Part("py", _tube(190, (9300, 6600, 550), (10300, 7050, 380), (11500, 7250, 300), (12800, 7250, 200))),
    Part("V4", _ellipsoid(11350, 4400, 0, 1000, 270, 800)),
    Part("V4", _tube(140, (10500, 4100, 0), (11350, 4350, 0))),
    Part("c", _tube(60, (12200, 4900, 0), (13200, 5500, 0))),
)

CEREBELLAR_CORE = (
    Part("TTd", _ellipsoid(3350, 5050, 250, 700, 1000, 320), ("AON", "fa", "STR")),
    Part("arb", _ellipsoid(11250, 3600, 1100, 650, 520, 1800)),
    Part("DN", _ellipsoid(11300, 3750, 2100, 350, 330, 420)),
    Part("IP", _ellipsoid(11350, 3650, 1350, 380, 330, 420)),
    Part("FN", _ellipsoid(11450, 3600, 550, 380, 260, 330)),
)
