"""Sections of a bent brain of known shape, whose texture runs on from section to section.

The renderer of `ish phantom` draws the texture of every section anew. Real tissue has one in three
dimensions, which neighbours share: this one does. A brain is the annotation of a reference, bent by a smooth
random displacement, painted with a grey for every structure and a texture of +-20 % inside. Its sections
are turned, shifted, warped in their planes, stained unevenly, and partly lost or torn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from pipeline.core.model import Bool, Float32, Float64, Plane, SectionDataSet, SectionImage, UInt8, UInt32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.images.files import write_image
from pipeline.formats.manifests.sections_csv import write_manifest

FIELD_UM = 200.0  # grid of displacements
GLASS, MARGIN_UM = 235.0, 700.0
TEXTURE, TEXTURE_UM = 0.2, 250.0
NOISE = 4.0  # grey levels
NORMAL = {"coronal": 0, "sagittal": 2}  # index into (P, I, R)


@dataclass(frozen=True)
class Drawing:
    """What is drawn.

    Attributes
    ----------
    seed : int
        Of everything.
    plane : {"coronal", "sagittal"}
        Plane of section; sagittal ones show the left half, from lateral to medial.
    sections : int
        Number of sections from end to end.
    pixel_um, thickness_um : float, um
        Pixel size, and distance of consecutive section numbers.
    bend_um : float, um
        Standard deviation of each component of the brain's displacement.
    is_symmetric : bool
        Whether it mirrors itself.
    turn_deg, shift_um, warp_um : float
        Bounds of turn and shift, and standard deviation of the warp, of each section.
    gain : float
        Standard deviation of the logarithm of a section's stain.
    lost, torn : float
        Shares of the sections.
    is_cropped : bool
        Whether each slide has a frame of its own around its tissue.
    """

    seed: int = 1
    plane: Plane = "coronal"
    sections: int = 240
    pixel_um: float = 50.0
    thickness_um: float = 50.0
    bend_um: float = 130.0
    is_symmetric: bool = False
    turn_deg: float = 8.0
    shift_um: float = 300.0
    warp_um: float = 20.0
    gain: float = 0.15
    lost: float = 0.0
    torn: float = 0.0
    is_cropped: bool = False


@dataclass(frozen=True, eq=False)
class BentBrain:
    """A brain before it is cut: at (P, I, R) of its own box lies this place of the reference.

    Attributes
    ----------
    values : (P, I, R) float32
        Darkness, 0-255, at the spacing of the reference.
    um : float, um
        That spacing.
    bend : (P, I, R, 3) float32, um
        Added to a place of the brain to get that of the reference, every `FIELD_UM`.
    labels : (P, I, R) uint32
        Structures of the brain.
    unbent : (P, I, R) float32
        The reference in the same greys, without texture: another brain of the same stain.
    """

    values: Float32
    um: float
    bend: Float32
    labels: UInt32
    unbent: Float32

    def to_reference(self, places_um: Float64) -> Float64:
        """Return the places of the reference, (n, 3) um."""
        at = np.moveaxis(places_um / FIELD_UM, -1, 0)
        parts = [ndimage.map_coordinates(self.bend[..., k], at, order=1, mode="nearest") for k in range(3)]
        return np.asarray(places_um + np.stack(parts, axis=-1))


def bent_brain(space: ReferenceSpace, drawing: Drawing) -> BentBrain:
    """Return the brain of a drawing."""
    draw = np.random.default_rng([drawing.seed, 1])
    shape, um = space.annotation.shape, space.annotation_um
    coarse = tuple(int(n * um / FIELD_UM) + 2 for n in shape)
    bend = np.stack([_smooth(draw, coarse, 2500.0 / FIELD_UM) for _ in range(3)], axis=-1)
    if drawing.is_symmetric:
        middle = round(space.middle_um / FIELD_UM)
        reach = min(middle, coarse[2] - 1 - middle)
        right, left = (
            slice(middle, middle + reach + 1),
            slice(middle, middle - reach - 1 if middle > reach else None, -1),
        )
        sign = np.array([1.0, 1.0, -1.0])
        even = 0.5 * (bend[:, :, right] + sign * bend[:, :, left])
        bend[:, :, right], bend[:, :, left] = even, sign * even
    bend *= drawing.bend_um / bend.std(axis=(0, 1, 2)).mean()
    ids, index = np.unique(space.annotation, return_inverse=True)
    greys = draw.uniform(40.0, 170.0, ids.size).astype(np.float32)
    greys[ids == 0] = 0.0
    painted = greys[index.reshape(shape)]
    brain = BentBrain(np.zeros(0, np.float32), um, bend.astype(np.float32), space.annotation, painted)
    texture = 1.0 + TEXTURE * _smooth(draw, shape, TEXTURE_UM / um)
    if drawing.is_symmetric:
        texture = 0.5 * (texture + texture[:, :, ::-1])
    values, labels = np.empty(shape, np.float32), np.empty(shape, np.uint32)
    rows = np.stack(np.meshgrid(*(np.arange(n) * um for n in shape[1:]), indexing="ij"), axis=-1)
    for p in range(shape[0]):
        places = np.concatenate([np.full((*rows.shape[:2], 1), p * um), rows], axis=-1)
        at = np.moveaxis(brain.to_reference(places.reshape(-1, 3)).reshape(places.shape) / um, -1, 0)
        values[p] = ndimage.map_coordinates(painted, at, order=1)
        labels[p] = ndimage.map_coordinates(space.annotation, at, order=0)
    return replace(brain, values=(values * texture).astype(np.float32), labels=labels)


def _smooth(draw: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Float32:
    found = ndimage.gaussian_filter(draw.normal(size=shape).astype(np.float32), sigma, mode="reflect")
    return np.asarray(found / found.std(), np.float32)


@dataclass(frozen=True, eq=False)
class DrawnSection:
    """A section, and where its pixels come from.

    Attributes
    ----------
    number : int
        Section number.
    pixels : (h, w) uint8
        The image.
    brain_um : (h, w, 3) float64, um
        Place of every pixel in the brain.
    tissue : (h, w) bool
        Where there is tissue.
    is_lost : bool
        Whether it has no image.
    """

    number: int
    pixels: UInt8
    brain_um: Float64
    tissue: Bool
    is_lost: bool = False


def sections_of(brain: BentBrain, drawing: Drawing) -> Iterator[DrawnSection]:
    """Yield the sections: coronal ones from rostral, sagittal ones of the left half from lateral."""
    normal = NORMAL[drawing.plane]
    others = tuple(k for k in range(3) if k != normal)
    tissue = np.flatnonzero((brain.labels > 0).any(axis=others)) * brain.um
    first, last = tissue[0] + 300.0, tissue[-1]
    if drawing.plane == "sagittal":
        last = brain.values.shape[2] * brain.um / 2
    every = max(1, round((last - 300.0 - first) / drawing.sections / drawing.thickness_um))
    draw = np.random.default_rng([drawing.seed, 2])
    for k in range(drawing.sections):
        number = round(first / drawing.thickness_um) + every * k
        if number * drawing.thickness_um > last - 200.0:
            return
        yield _section(brain, drawing, number, draw)


def _section(brain: BentBrain, drawing: Drawing, number: int, draw: np.random.Generator) -> DrawnSection:
    um, columns_axis = drawing.pixel_um, {"coronal": 2, "sagittal": 0}[drawing.plane]
    box = np.array(brain.values.shape)[[1, columns_axis]] * brain.um
    height, width = (int((side + 2 * MARGIN_UM) / um) for side in box)
    angle = np.deg2rad(draw.uniform(-1, 1) * drawing.turn_deg)
    shift = draw.uniform(-1, 1, 2) * drawing.shift_um
    rows, columns = np.meshgrid(np.arange(height) * um, np.arange(width) * um, indexing="ij")
    i, r = rows - height * um / 2, columns - width * um / 2
    warp = [
        drawing.warp_um * _smooth(draw, (height // 4 + 1, width // 4 + 1), 1000.0 / (4 * um)) for _ in "ir"
    ]
    wide = [ndimage.zoom(w, 4, order=1)[:height, :width] for w in warp]
    places = np.empty((height, width, 3))
    places[..., NORMAL[drawing.plane]] = number * drawing.thickness_um
    places[..., 1] = np.cos(angle) * i - np.sin(angle) * r + box[0] / 2 + shift[0] + wide[0]
    places[..., columns_axis] = np.sin(angle) * i + np.cos(angle) * r + box[1] / 2 + shift[1] + wide[1]
    at = np.moveaxis(places / brain.um, -1, 0)
    dark = ndimage.map_coordinates(brain.values, at, order=1)
    tissue = ndimage.map_coordinates(brain.labels, at, order=0) > 0
    gain = np.exp(drawing.gain * draw.normal())  # of optical density: thickness and stain
    fate = draw.uniform()
    is_torn = drawing.lost <= fate < drawing.lost + drawing.torn
    if is_torn:
        _tear(places[..., [1, columns_axis]], dark, tissue, draw)
    light = np.clip(1.0 - dark / 255.0, 0.05, 1.0) ** gain
    grey = GLASS * light + NOISE * draw.normal(size=dark.shape)
    if drawing.is_cropped and tissue.any():
        window = _window(tissue, draw)
        grey, places, tissue = grey[window], places[window], tissue[window]
    return DrawnSection(
        number, np.clip(np.rint(grey), 0, 255).astype(np.uint8), places, tissue, bool(fate < drawing.lost)
    )


def _window(tissue: Bool, draw: np.random.Generator) -> tuple[slice, slice]:
    """Return a window around the tissue, with a margin of its own on every side."""
    found = []
    for axis in (0, 1):
        there = np.flatnonzero(tissue.any(axis=1 - axis))
        before, after = draw.integers(4, 14, 2)
        found.append(slice(max(0, int(there[0] - before)), int(there[-1] + after)))
    return found[0], found[1]


def _tear(places: Float64, dark: Float32, tissue: Bool, draw: np.random.Generator) -> None:
    """Remove a third of a section, or a strip across it; changed in place."""
    inside = places[tissue]
    if not len(inside):
        return
    centre = inside[draw.integers(len(inside))]
    normal = draw.normal(size=2)
    along = (places - centre) @ (normal / np.linalg.norm(normal))
    gone = (
        np.abs(along) < 300.0
        if draw.uniform() < 0.5
        else along > np.percentile((inside - centre) @ (normal / np.linalg.norm(normal)), 67)
    )
    dark[gone] = 0.0
    tissue &= ~gone


def write_series(folder: Path, brain: BentBrain, drawing: Drawing) -> dict[int, DrawnSection]:
    """Write a series and return its sections by number, lost ones included."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {one.number: one for one in sections_of(brain, drawing)}
    images, files = [], {}
    for number, one in drawn.items():
        height, width = one.pixels.shape
        images.append(SectionImage(number, number, None, width, height, drawing.pixel_um))
        name = f"section_s{number:04d}.png"
        files[number] = name
        if not one.is_lost:
            write_image(folder / name, one.pixels, quality=95, resolution_um=drawing.pixel_um)
    is_sagittal = drawing.plane == "sagittal"
    data_set = SectionDataSet(
        700000 + drawing.seed,
        drawing.plane,
        drawing.thickness_um,
        tuple(images),
        hemisphere="left" if is_sagittal else "both",
        section_order="lateral_to_medial" if is_sagittal else "rostral_to_caudal",
        image_up="superior",
    )
    write_manifest(folder, data_set, files=files)
    return drawn
