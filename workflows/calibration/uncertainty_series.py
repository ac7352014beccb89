"""Rendered series with known values of every structure, for the calibration of intervals.

A family says how its series are cut, deformed and stained, and in which pixels they are drawn. A gene is an
Allen grid of another experiment, or drawn: structures and layers with energies of their own, and a smooth
pattern of +-40 % inside them. Seeds up to `LAST_FITTED` are for fitting, later ones are held out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.benchmark_alignment import CHANGES
from calibration.genes import gene_by_structure, varied_inside
from pipeline.core.model import MIDLINE_UM, Float32
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.manifests.allen_xml import read_data_set_xml
from pipeline.formats.volumes.metaimage import read_grid
from pipeline.phantom import (
    GridExpression,
    RenderOptions,
    Scene,
    StructureExpression,
    build_scene,
    geometry_from,
)

NRP1, PROX1, PDYN = "nrp1_74272479", "prox1_69289763", "pdyn_71717084"
IN_PARTS = "in parts"  # a gene by structure, three parts of each express less, as much and more
LAST_FITTED = 20  # seeds above are held out
DRAWN_UM = 50.0  # spacing of a drawn gene's grid
INSIDE, INSIDE_UM = 0.4, 700.0  # bound and scale of the pattern inside structures
MEDIAN_ENERGY, FAMILY_SPREAD, OWN_SPREAD = 1.5, 0.5, 0.8  # grey levels; of the logarithm
STRONG_SHARE, STRONG, OFF_SHARE, OFF = 0.12, 5.0, 0.2, 0.05  # of the structures, and by how much


@dataclass(frozen=True)
class Family:
    """Series of one kind.

    Attributes
    ----------
    data_set : str
        Folder of the experiment whose cut is taken.
    gene : str
        "drawn", `IN_PARTS`, or the folder of the experiment whose energy grid is expressed.
    pixel_um : float, um
        Size of a pixel.
    options : dict of str to float
        Options of the renderer.
    every : int
        Keeps each n-th section.
    changes : tuple of str
        Changes of the cut, names of `benchmark_alignment.CHANGES`.
    settings : tuple of str
        Settings of the run, `dotted.key=value`.
    """

    data_set: str
    gene: str
    pixel_um: float
    options: dict[str, float] = field(default_factory=dict)
    every: int = 1
    changes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


POSE = {"extra_rotation_deg": 4.0, "extra_shift_um": 150.0, "stain_gain": 0.3}
WARPED = {**POSE, "warp_um": 50.0, "texture": 0.15, "expression_gain": 0.12}
SHAPED = {**POSE, "warp_um": 60.0, "shape_um": 110.0, "texture": 0.2, "expression_gain": 0.12, "missing": 0.1,
          "losses": 0.3}  # fmt: skip
TORN = {**POSE, "warp_um": 50.0, "texture": 0.2, "expression_gain": 0.15, "missing": 0.15, "losses": 0.8,
        "tears": 0.5, "bubbles": 1.0, "folds": 0.3}  # fmt: skip
LIT = {**POSE, "warp_um": 70.0, "texture": 0.2, "expression_gain": 0.1, "uneven_light": 0.06, "gamma": 1.1,
       "dust": 3.0, "losses": 0.3}  # fmt: skip
WANDERING = {**WARPED, "expression_wander": 0.2}
VOLUME = ("alignment.configuration.deformable=volume",)
FAMILIES = {
    "coronal": Family(NRP1, "drawn", 8.0, WARPED),
    "coronal-served": Family(NRP1, PDYN, 8.0, WARPED),
    "sagittal": Family(PROX1, "drawn", 5.0, WARPED),
    "sagittal-coarse": Family(PROX1, "drawn", 10.0, TORN),
    "sagittal-served": Family(PROX1, NRP1, 6.0, TORN),
    "shape": Family(PDYN, "drawn", 8.0, SHAPED, 3),
    "shape-volume": Family(PDYN, "drawn", 8.0, SHAPED, 3, settings=VOLUME),
    "torn": Family(NRP1, "drawn", 6.0, TORN, 2, ("tilted",)),
    "light": Family(PROX1, "drawn", 8.0, LIT, 1, ("tilted",)),
    "fine": Family(PROX1, "drawn", 2.5, WARPED, 2),
    "scan": Family(PROX1, "drawn", 1.0, WARPED, 2),
    "wandering": Family(NRP1, "drawn", 10.0, WANDERING, 2),
}


def series_scene(family: Family, seed: int, reference: ReferenceSpace, data: Path) -> Scene:
    """Return a series of a family, ready to draw.

    Parameters
    ----------
    family : Family
        Its kind.
    seed : int
        Seed of everything that is drawn.
    reference : ReferenceSpace
        The brain that is cut.
    data : Path
        Folder with the experiments.

    Returns
    -------
    Scene
        The series.
    """
    source = read_data_set_xml(data / "ish" / family.data_set / "data_set.xml")
    if source.alignment is None:
        raise SystemExit(f"{family.data_set}: expected a data set with its alignment")
    images = source.data_set.section_images[:: family.every]
    geometry = geometry_from(
        replace(source.data_set, section_images=images, id=seed * 1000), source.alignment, family.pixel_um
    )
    for change in family.changes:
        geometry = CHANGES[change](geometry, seed)
    options = RenderOptions(seed=seed, **family.options)  # type: ignore[arg-type]
    if family.gene == IN_PARTS:
        return varied_inside(
            build_scene(reference, geometry, gene_by_structure(reference.ontology, seed), options)
        )
    if family.gene != "drawn":
        served = GridExpression(read_grid(data / "ish" / family.gene / "energy.mhd"))
        return build_scene(reference, geometry, served, options)
    scene = build_scene(reference, geometry, StructureExpression({}), options)
    drawn = drawn_gene(scene, seed)
    return replace(scene, volume=scene.volume._replace(grid=drawn, grid_um=DRAWN_UM))


def drawn_gene(scene: Scene, seed: int) -> Float32:
    """Draw a gene: an energy for every structure, and a smooth pattern inside them.

    Parameters
    ----------
    scene : Scene
        The series, for the labels of its brain.
    seed : int
        Seed of the draws.

    Returns
    -------
    (P, I, R) float32
        Energy of tissue every 50 um, grey levels; -1 outside the brain.
    """
    rng = np.random.default_rng([seed, 101])
    energies = _energies(scene.reference.ontology, scene.ids, rng)
    step = round(DRAWN_UM / scene.volume.spacing_um)
    near = scene.volume.labels[::step, ::step, ::step]
    values = ndimage.zoom(_pattern(rng, near.shape), 4, order=1)[tuple(slice(n) for n in near.shape)]
    middle = round(MIDLINE_UM / DRAWN_UM)  # both halves of a brain express alike
    values = values[:, :, middle - np.abs(np.arange(near.shape[2]) - middle)]
    inside = 1 + INSIDE * np.clip(values / (2 * values.std()), -1, 1)
    return np.where(energies[near] >= 0, energies[near] * inside, -1).astype(np.float32)


def _pattern(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return a smooth random pattern on every fourth voxel of a drawn grid, and beyond its ends."""
    knots = rng.standard_normal([int(n * DRAWN_UM / INSIDE_UM) + 5 for n in shape])
    step = 4 * DRAWN_UM / INSIDE_UM
    places = np.meshgrid(*(np.arange(n // 4 + 2) * step + 1 for n in shape), indexing="ij")
    return np.asarray(ndimage.map_coordinates(knots, places, order=3, prefilter=False, mode="nearest"))


def _energies(ontology: Ontology, ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the energy by compact label; -1 for glass and ventricles, which hold no cells."""
    draws: dict[str, float] = {}

    def draw(key: str, scale: float) -> float:
        if key not in draws:
            draws[key] = rng.standard_normal()
        return draws[key] * scale

    values = np.zeros(len(ids))
    for k, i in enumerate(ids.tolist()):
        path = ontology.path(i) if i in ontology.by_id else ()
        if i == 0 or 73 in path:
            values[k] = -1.0
            continue
        own = str(i)
        if 315 in path:  # a layer looks alike across areas of the isocortex
            own = "layer " + ontology.by_id[i].name.rsplit("ayer", 1)[-1].strip()
        ln = sum(draw(str(a), FAMILY_SPREAD) for a in path[2:-1]) + draw(own, OWN_SPREAD)
        luck = draws.setdefault("luck " + own, float(rng.random()))
        kind = STRONG if luck < STRONG_SHARE else OFF if luck > 1 - OFF_SHARE else 1.0
        fibre = 0.15 if 1009 in path else 1.0
        values[k] = min(MEDIAN_ENERGY * np.exp(ln) * kind * fibre, 150.0)
    return values
