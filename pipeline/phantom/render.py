"""Draw the sections of an ISH series, each with its truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import ConfigError
from pipeline.core.model import (
    Alignment2d,
    Bool,
    ExpressionSums,
    Float32,
    Float64,
    SectionAlignment,
    SectionImage,
    SeriesAlignment,
    UInt8,
    UInt32,
    frozen,
)
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry import affine
from pipeline.phantom import artifacts, cells, kernels, stain
from pipeline.phantom.expression import Expression, GridExpression, StructureExpression, tissue_share
from pipeline.phantom.fields import SmoothField, random_field
from pipeline.phantom.geometry import SeriesGeometry
from pipeline.phantom.mapping import PixelMap, lattice_px
from pipeline.phantom.options import RenderOptions

FAINT_PER_MM2 = (500.0, 2200.0)  # range of the density of faint cells, drawn for each structure
# One random stream per purpose, so that no option changes the draws of another.
STAIN, SHAPE, MISSING, POSE, WARP, GAIN, TEXTURE, GONE, CELLS, FAINT, SOIL, LIGHT, NOISE = range(13)
FOLDS, BANDS, SECTION_GAIN, WANDER = 13, 14, 15, 16


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that a series is drawn from; `build_scene` makes it.

    Attributes
    ----------
    reference : ReferenceSpace
        The brain that is cut.
    geometry : SeriesGeometry
        Manifest and known alignment.
    options : RenderOptions
        Options of the renderer.
    ids : (n,) uint32
        Structure id by compact label, 0 first.
    volume : Volume
        Compact labels, stain and energy.
    faint : (n,) float32, 1/mm2
        Density of faint cells by compact label.
    calibrations : mapping of float to Calibration
        Relation of discs to expression by resolution, um.
    shape : SmoothField or None
        Displacement of the individual brain against the reference.
    missing : frozenset of int
        Section numbers without an image.
    """

    reference: ReferenceSpace
    geometry: SeriesGeometry
    options: RenderOptions
    ids: UInt32
    volume: kernels.Volume
    faint: Float32
    calibrations: dict[float, cells.Calibration]
    shape: SmoothField | None
    missing: frozenset[int]

    @property
    def images(self) -> tuple[SectionImage, ...]:
        """The sections of the manifest, those without an image included."""
        return self.geometry.data_set.section_images

    def rng(self, *purpose: int) -> np.random.Generator:
        """Return the random stream of a purpose.

        Parameters
        ----------
        *purpose : int
            One of the streams above, then the section number where it has one per section.

        Returns
        -------
        Generator
            A fresh generator; the same purpose always gives the same draws.
        """
        return np.random.default_rng([self.options.seed, *purpose])


@dataclass(frozen=True, eq=False)
class SectionTruth:
    """The truth of a rendered section.

    Sums are in drawn pixels and show the tissue before folds, light, noise, bubbles and dust. Pixels of lost
    tissue count as pixels of their structure that do not express.

    Attributes
    ----------
    pixel_map : PixelMap
        True position of every pixel in the reference.
    expressing : (h, w) bool
        Pixels that expressing cells cover at least by half.
    tissue : (h, w) bool
        Inside the brain, ventricles included, and not lost.
    artifacts : (h, w) uint8
        0 clean, 1 lost or torn (also where this uncovers no tissue), 2 bubble, 3 dust, 4 fold.
    structures : ExpressionSums of (2, n)
        Sums by hemisphere (left, right) and compact label (`Scene.ids`).
    voxels : ExpressionSums of (67, 41, 58)
        Sums by the nearest 200 um voxel.
    """

    pixel_map: PixelMap
    expressing: Bool
    tissue: Bool
    artifacts: UInt8
    structures: ExpressionSums
    voxels: ExpressionSums


@dataclass(frozen=True, eq=False)
class RenderedSection:
    """A picture, (h, w, 3) uint8, and its truth."""

    section_number: int
    pixels: UInt8
    truth: SectionTruth


def build_scene(
    reference: ReferenceSpace,
    geometry: SeriesGeometry,
    expression: Expression | None = None,
    options: RenderOptions | None = None,
) -> Scene:
    """Prepare a series for drawing: labels, stain, expression and the shape of the individual brain.

    Parameters
    ----------
    reference : ReferenceSpace
        The brain that is cut.
    geometry : SeriesGeometry
        Manifest and known alignment.
    expression : StructureExpression or GridExpression or None
        What the gene expresses; None takes the phantom's gene.
    options : RenderOptions or None
        Options of the renderer; None takes the defaults.

    Returns
    -------
    Scene
        The series, ready for `render_section`.
    """
    wanted = expression or StructureExpression()
    chosen = options or RenderOptions()
    ids = kernels.distinct(reference.annotation)
    labels, voxels = kernels.compact(reference.annotation, ids)
    rng = np.random.default_rng([chosen.seed, STAIN])
    darkness = stain.draw_stain(reference.ontology, ids, voxels, rng)
    solid = np.array([_is_solid(reference, int(i)) for i in ids])
    faint = chosen.faint_cells * rng.uniform(*FAINT_PER_MM2, ids.size) * solid
    um = float(reference.annotation_um)
    grid = np.zeros((0, 0, 0), np.float32)
    if isinstance(wanted, GridExpression):
        grid = wanted.of_tissue(tissue_share(labels, solid, um, wanted.grid, _cut_axis(geometry)))
    volume = kernels.Volume(
        labels,
        um,
        darkness,
        _energy(reference, ids, wanted) * solid,
        solid & (not chosen.sense),
        grid,
        wanted.grid.spacing_um if isinstance(wanted, GridExpression) else 0.0,
    )
    resolutions = {geometry.resolution_um(image) for image in geometry.data_set.section_images}
    return Scene(
        reference,
        geometry,
        chosen,
        ids,
        volume,
        faint.astype(np.float32),
        {r: cells.calibrate(r) for r in resolutions},
        _shape(reference, chosen),
        _missing(geometry, chosen),
    )


def _is_solid(reference: ReferenceSpace, structure_id: int) -> bool:
    """Return whether a structure can hold cells: neither glass nor ventricle."""
    ontology = reference.ontology
    fluid = structure_id in ontology.by_id and stain.VENTRICLES in ontology.path(structure_id)
    return structure_id != 0 and not fluid


def _energy(reference: ReferenceSpace, ids: UInt32, wanted: Expression) -> Float32:
    """Return the energy by structure, (n,) float32; all 0 where a grid decides."""
    if isinstance(wanted, StructureExpression):
        return wanted.table(reference.ontology, ids)
    return np.zeros(ids.size, np.float32)


def _cut_axis(geometry: SeriesGeometry) -> int:
    """Return the axis of the reference (P, I, R) that is closest to the normal of the sections."""
    normal = geometry.alignment.alignment3d.reference_to_volume[2, :3]
    return int(np.abs(normal).argmax())


def _shape(reference: ReferenceSpace, options: RenderOptions) -> SmoothField | None:
    """Return the displacement of the individual brain, measured on tissue voxels about 400 um apart."""
    if options.shape_um == 0:
        return None
    every = max(round(400.0 / reference.annotation_um), 1)
    places = np.argwhere(reference.annotation[::every, ::every, ::every]) * every * reference.annotation_um
    rng = np.random.default_rng([options.shape_seed, SHAPE])
    return random_field(rng, places.astype(np.float64), options.shape_um, options.shape_scale_um)


def _missing(geometry: SeriesGeometry, options: RenderOptions) -> frozenset[int]:
    """Return the section numbers without an image, a random subset."""
    numbers = [image.section_number for image in geometry.data_set.section_images]
    rng = np.random.default_rng([options.seed, MISSING])
    lost = rng.permutation(numbers)[: round(options.missing * len(numbers))]
    return frozenset(int(n) for n in lost)


def pose(scene: Scene, image: SectionImage) -> Float64:
    """Return the unknown extra pose of a section.

    Parameters
    ----------
    scene : Scene
        The series.
    image : SectionImage
        The section in the manifest.

    Returns
    -------
    (2, 3) float64
        Rigid matrix, um to um in the plane of the section: the position that the given Alignment2d states, to
        the true one.
    """
    options, rng = scene.options, scene.rng(POSE, image.section_number)
    angle, shift_x, shift_y = (float(v) for v in rng.uniform(-1, 1, 3))
    width, height = scene.geometry.size_px(image)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    x, y = affine.apply(scene.geometry.drawn_to_volume(image), middle)
    shift = (shift_x * options.extra_shift_um, shift_y * options.extra_shift_um)
    return affine.rigid2d(angle * options.extra_rotation_deg, shift, (float(x), float(y)))


def true_alignment(scene: Scene) -> SeriesAlignment:
    """Return the given alignment with the extra poses; warp and shape are not affine and not included.

    Parameters
    ----------
    scene : Scene
        The series.

    Returns
    -------
    SeriesAlignment
        True Alignment2d of every aligned section, with the given Alignment3d.
    """
    sections = []
    for image in scene.images:
        section = scene.geometry.alignment.of(image.section_number)
        if section is None:
            continue
        matrix = affine.compose(pose(scene, image), section.alignment2d.section_to_volume)
        sections.append(SectionAlignment(Alignment2d(image.section_number, matrix)))
    return SeriesAlignment(scene.geometry.alignment.alignment3d, tuple(sections))


def pixel_map(scene: Scene, image: SectionImage) -> PixelMap:
    """Return the true positions of the drawn pixels of a section.

    Applied in this order: the given Alignment2d, extra pose, warp, the given Alignment3d, shape of the brain.

    Parameters
    ----------
    scene : Scene
        The series.
    image : SectionImage
        The section in the manifest.

    Returns
    -------
    PixelMap
        Positions in the reference space.
    """
    width, height = scene.geometry.size_px(image)
    step, points = lattice_px(width, height, scene.geometry.resolution_um(image))
    to_volume = affine.compose(pose(scene, image), scene.geometry.drawn_to_volume(image))
    flat = affine.apply(to_volume, points)
    options = scene.options
    if options.warp_um > 0:
        rng = scene.rng(WARP, image.section_number)
        places = flat.reshape(-1, 2)
        flat = flat + random_field(rng, places, options.warp_um, options.warp_scale_um)(flat)
    z = np.full((*flat.shape[:-1], 1), scene.geometry.data_set.z_um(image.section_number))
    volume = np.concatenate([flat, z], axis=-1)
    nodes = affine.apply(scene.geometry.alignment.alignment3d.volume_to_reference, volume)
    if scene.shape is not None:
        nodes = nodes + scene.shape(nodes)
    return PixelMap(step, np.ascontiguousarray(nodes))


def render_section(scene: Scene, index: int) -> RenderedSection:
    """Draw one section with its truth.

    Parameters
    ----------
    scene : Scene
        The series.
    index : int
        Index into `Scene.images`; sections of `Scene.missing` are drawn too, and are for the caller to skip.

    Returns
    -------
    RenderedSection
        Picture and truth.

    Raises
    ------
    ConfigError
        Where there is no such section.
    """
    if not 0 <= index < len(scene.images):
        raise ConfigError(f"phantom: expected a section from 0 to {len(scene.images) - 1}, got {index}")
    image = scene.images[index]
    number, options = image.section_number, scene.options
    place = pixel_map(scene, image)
    slide = _slide(scene, image, place)
    lattice = _lattice(scene, image, place, slide)
    lost = artifacts.gone(slide, options, scene.rng(GONE, number))
    gain = 1 + options.stain_gain * scene.rng(GAIN, number).uniform(-1, 1)
    labels, tissue, energy = kernels.look_up(scene.volume, lattice, lost, gain)
    energy *= np.float32(_expression_gain(scene, number))
    if options.expression_wander > 0:
        rng = scene.rng(WANDER, number)
        energy *= stain.wander(rng, energy.shape, slide.resolution_um, options.expression_wander)
    banded = artifacts.bands(slide, options, scene.rng(BANDS, number))
    darkness, expressing = _cells(scene, image, labels * (lost == 0), (tissue, energy), banded)
    truth = _tally(scene, lattice, labels, darkness, expressing)
    added, kinds = artifacts.soil(slide, options, scene.rng(SOIL, number))
    kinds[(lost > 0) & (kinds == artifacts.CLEAN)] = artifacts.GONE
    seen = darkness if added is None else np.clip(darkness + added, 0, 255)
    pixels = kernels.develop(
        seen, lattice, stain.colour_table(), _noise(scene, number), (options.light_gain, options.gamma)
    )
    there = (labels > 0) & (lost == 0)
    folded = artifacts.fold(pixels, there, slide, options, scene.rng(FOLDS, number))
    kinds[folded & (kinds == artifacts.CLEAN)] = artifacts.FOLD
    known = SectionTruth(place, frozen(expressing), frozen(there), frozen(kinds), *truth)
    return RenderedSection(number, pixels, known)


def _expression_gain(scene: Scene, number: int) -> float:
    """Return the factor on the expression of a section, log-normal with a mean of 1."""
    spread = scene.options.expression_gain
    return float(np.exp(spread * scene.rng(SECTION_GAIN, number).standard_normal() - spread**2 / 2))


def _slide(scene: Scene, image: SectionImage, place: PixelMap) -> artifacts.Slide:
    """Return the slide of a section, with its tissue at the nodes of the pixel map."""
    width, height = scene.geometry.size_px(image)
    index = np.rint(place.nodes / scene.volume.spacing_um).astype(int)
    inside = ((index >= 0) & (index < scene.volume.labels.shape)).all(axis=-1)
    tissue = np.zeros(inside.shape, bool)
    tissue[inside] = scene.volume.labels[tuple(index[inside].T)] > 0
    return artifacts.Slide(width, height, scene.geometry.resolution_um(image), place.step_px, tissue)


def _lattice(scene: Scene, image: SectionImage, place: PixelMap, slide: artifacts.Slide) -> kernels.Lattice:
    """Return positions, stain texture and light at the nodes of the pixel map."""
    number = image.section_number
    step_um = place.step_px * slide.resolution_um
    grain = stain.texture(scene.rng(TEXTURE, number), slide.tissue.shape, step_um, scene.options.texture)
    light = artifacts.light(slide, scene.options, scene.rng(LIGHT, number))
    return kernels.Lattice(place.step_px, place.nodes, grain, light)


def _noise(scene: Scene, number: int) -> Float32:
    """Return the tile of sensor noise of a section, grey levels."""
    side = kernels.NOISE_SIDE
    tile = scene.rng(NOISE, number).standard_normal((side, side), dtype=np.float32)
    return tile * np.float32(scene.options.noise)


def _cells(
    scene: Scene,
    image: SectionImage,
    labels: npt.NDArray[np.uint16],
    wanted: tuple[Float32, Float32],
    banded: Float32 | None,
) -> tuple[Float32, Bool]:
    """Draw faint cells, then expressing ones over them; return the darkness and the mask of expression.

    `wanted` is the darkness of the tissue and the energy, `banded` the darkness that solid bands add.
    """
    tissue, energy = wanted
    resolution, number = scene.geometry.resolution_um(image), image.section_number
    height, width = labels.shape
    thrown = cells.throw_cells(
        scene.rng(CELLS, number), energy, tissue, scene.calibrations[resolution], resolution
    )
    _, faint = cells.draw_cells(
        cells.throw_faint(scene.rng(FAINT, number), labels, scene.faint, resolution), height, width
    )
    share, added = cells.draw_cells(thrown, height, width)
    if banded is not None:
        solid = (banded > 0) & scene.volume.solid[labels]
        share[solid], added[solid] = 1.0, np.maximum(added, banded)[solid]
    # The darkest pixels keep a luma of 3, so that noise has room above black.
    darkness = np.minimum(tissue + faint * (1 - share) + added, np.float32(252))
    return darkness, share >= 0.5


def _tally(
    scene: Scene,
    lattice: kernels.Lattice,
    labels: npt.NDArray[np.uint16],
    darkness: Float32,
    expressing: Bool,
) -> tuple[ExpressionSums, ExpressionSums]:
    """Return the sums of a section by structure and by voxel."""
    by_label = np.zeros((2, scene.ids.size, 4))
    by_voxel = np.zeros((*scene.reference.grid.shape, 4))
    kernels.tally(lattice, labels, darkness, expressing, (by_label, by_voxel))
    return ExpressionSums(*np.moveaxis(by_label, -1, 0)), ExpressionSums(*np.moveaxis(by_voxel, -1, 0))
