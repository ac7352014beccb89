"""Align a real Nissl brain, affine and deformable, and hold it against elastix on the same volume.

    python compare_registrations.py DATA/nissl_ptm902 --reference DATA/reference --step 10

The granule layer of the dentate gyrus (632) is a thin band of packed cells, far darker in Nissl than the
layers on its two sides (10703, 10704). The better an alignment, the darker is what it says is that layer
against what it says are its neighbours. `held out` never saw the layer: it is painted over in the annotation
and cut out of the sections with its surroundings. elastix (`itk-elastix`, where installed) registers the
reference's template to the volume that the affine alignment reconstructs: affine, then B-splines, with mutual
information, from the affine alignment as its start.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from pipeline.core.model import Float32, Float64, SeriesAlignment, Status
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.manifests.series import read_series
from pipeline.formats.volumes.reference_folder import read_reference
from pipeline.geometry import affine
from pipeline.geometry.sync import geometry_of, image_to_reference
from pipeline.inputs.pixels import load_pixels, probe_any
from pipeline.registration import (
    AlignmentOptions,
    SectionThumbnail,
    SpecimenVolume,
    align_series,
    reconstruct,
)
from pipeline.sections.thumbnail_tissue import tissue_image

try:
    import itk
except ImportError:  # optional: the line of elastix is skipped and says why
    itk = None

LAYER, SIDES = 632, (10703, 10704)
ELASTIX_GRID_UM = 1000.0
HELD_OUT_UM = 150.0


@dataclass(frozen=True, eq=False)
class Brain:
    """A series, its thumbnails, and the reference."""

    thumbnails: list[SectionThumbnail]
    thickness_um: float
    options: AlignmentOptions
    reference: ReferenceSpace


def main() -> int:
    """Print one line a registration."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("series", type=Path)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--step", type=int, default=10, help="take every n-th section")
    parser.add_argument("--no-hints", action="store_true", help="find order and turn from the images")
    parser.add_argument("--resolution-um", type=float, default=25.0, help="of the annotation")
    chosen = parser.parse_args()
    brain = _read(chosen)
    print(f"{'registration':28}{'layer/sides':>12}{'median':>8}{'Dice':>7}{'seconds':>9}", flush=True)
    straight = _ours(brain, "affine", "none")
    specimen = reconstruct(brain.thumbnails, straight)
    for deformable in ("in_plane", "volume"):
        _ours(brain, f"deformable {deformable}", deformable)
    blind = _without_layer(brain, straight)
    _ours(brain, "affine, layer held out", "none", blind)
    _ours(brain, "in_plane, layer held out", "in_plane", blind)
    _ours(brain, "volume, layer held out", "volume", blind)
    _elastix(brain, straight, specimen)
    return 0


def _read(chosen: argparse.Namespace) -> Brain:
    data_set = read_series(chosen.series, probe_any).data_set
    images = [i for i in data_set.section_images if i.path is not None and not i.failed][:: chosen.step]
    thumbnails = [
        SectionThumbnail(
            i.section_number, data_set.z_um(i.section_number), load_pixels(i), i.resolution_um, np.eye(2, 3)
        )
        for i in images
    ]
    hints = (
        {} if chosen.no_hints else {"section_order": data_set.section_order, "image_up": data_set.image_up}
    )
    options = AlignmentOptions(data_set.plane_of_section, data_set.hemisphere, **hints)  # type: ignore[arg-type]
    reference = read_reference(chosen.reference, chosen.resolution_um)
    return Brain(thumbnails, data_set.section_thickness_um, options, reference)


def _ours(brain: Brain, name: str, deformable: str, seen: Brain | None = None) -> SeriesAlignment:
    """Align what is `seen` of a brain and score it on the whole of it."""
    seen = seen or brain
    started = time.perf_counter()
    options = replace(brain.options, deformable=deformable)  # type: ignore[arg-type]
    alignment = align_series(seen.thumbnails, seen.reference, options)
    seconds = time.perf_counter() - started
    _score(brain, alignment, name, seconds, _places(brain, alignment))
    return alignment


def _places(brain: Brain, alignment: SeriesAlignment) -> Callable[[SectionThumbnail], Float64]:
    geometry = geometry_of(0, brain.thickness_um, alignment)

    def places(thumbnail: SectionThumbnail) -> Float64:
        h, w = thumbnail.pixels.shape[:2]
        x, y = np.meshgrid(np.arange(w), np.arange(h))
        return image_to_reference(geometry, thumbnail.section_number, np.stack([x, y], -1).reshape(-1, 2))

    return places


def _without_layer(brain: Brain, alignment: SeriesAlignment) -> Brain:
    """Return the brain without the layer: painted over in the annotation, cut out of the sections.

    What is cut out is where the affine alignment puts the layer, and HELD_OUT_UM around it.
    """
    reference, places = brain.reference, _places(brain, alignment)
    painted = np.where(reference.annotation == LAYER, SIDES[0], reference.annotation).astype(np.uint32)
    thumbnails = []
    for thumbnail in brain.thumbnails:
        shape = thumbnail.pixels.shape[:2]
        layer = (_labels(reference, places(thumbnail)) == LAYER).reshape(shape)
        away = ndimage.distance_transform_edt(~layer) if layer.any() else np.full(shape, np.inf)
        thumbnails.append(replace(thumbnail, valid=away * thumbnail.pixel_um > HELD_OUT_UM))
    return replace(brain, thumbnails=thumbnails, reference=replace(reference, annotation=painted))


def _score(
    brain: Brain,
    alignment: SeriesAlignment,
    name: str,
    seconds: float,
    places: Callable[[SectionThumbnail], Float64],
) -> None:
    """Compare darkness under the layer and its sides, and tissue with annotation, where sections count."""
    layer, sides, ratios, dice = [], [], [], []
    for thumbnail in brain.thumbnails:
        section = alignment.of(thumbnail.section_number)
        if section is None or section.status is Status.FAIL:
            continue
        labels = _labels(brain.reference, places(thumbnail))
        dark, tissue = _darkness(thumbnail)
        inside, beside = dark[labels == LAYER], dark[np.isin(labels, SIDES)]
        dice.append(2.0 * float((tissue & (labels > 0)).sum()) / float(tissue.sum() + (labels > 0).sum()))
        if inside.size >= 20 and beside.size >= 20:
            layer.append(inside)
            sides.append(beside)
            ratios.append(inside.mean() / beside.mean())
    pooled = np.concatenate(layer).mean() / np.concatenate(sides).mean()
    print(f"{name:28}{pooled:12.3f}{np.median(ratios):8.3f}{np.median(dice):7.3f}{seconds:9.1f}", flush=True)


def _darkness(thumbnail: SectionThumbnail) -> tuple[Float32, np.ndarray]:
    """Return optical density and tissue of every pixel, flat."""
    tissue = tissue_image(thumbnail)
    return tissue.stain.ravel(), tissue.mask.ravel()


def _labels(reference: ReferenceSpace, points_um: Float64) -> np.ndarray:
    """Return the structure id at reference points (n, 3) um, 0 outside."""
    index = np.rint(points_um / reference.annotation_um).astype(np.int64)
    inside = ((index >= 0) & (index < reference.annotation.shape)).all(axis=1)
    found = np.zeros(len(index), np.uint32)
    found[inside] = reference.annotation[tuple(index[inside].T)]
    return found


def _elastix(brain: Brain, alignment: SeriesAlignment, specimen: SpecimenVolume) -> None:
    """Register the template to the reconstructed volume and score where that puts the sections."""
    if itk is None:
        print("elastix skipped: itk-elastix is not installed (pip install itk-elastix)")
        return
    if brain.reference.template is None:
        print("elastix skipped: the reference has no template")
        return
    started = time.perf_counter()
    fixed = itk.image_from_array(np.nan_to_num(specimen.stain))
    fixed.SetSpacing(specimen.spacing_um)
    fixed.SetOrigin(specimen.origin_um)
    moving = _template_in_volume(brain.reference, alignment, specimen)
    parameters = itk.ParameterObject.New()
    parameters.AddParameterMap(parameters.GetDefaultParameterMap("affine", 3))
    bspline = parameters.GetDefaultParameterMap("bspline", 3, ELASTIX_GRID_UM)
    bspline["FinalGridSpacingInPhysicalUnits"] = [str(ELASTIX_GRID_UM)]
    parameters.AddParameterMap(bspline)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # elastix leaves files behind
        _, found = itk.elastix_registration_method(fixed, moving, parameter_object=parameters)
        field = itk.array_from_image(itk.transformix_deformation_field(fixed, found))
    seconds = time.perf_counter() - started
    origin, spacing = (np.array(v) for v in (specimen.origin_um, specimen.spacing_um))

    def places(thumbnail: SectionThumbnail) -> Float64:
        section = alignment.of(thumbnail.section_number)
        assert section is not None
        h, w = thumbnail.pixels.shape[:2]
        x, y = np.meshgrid(np.arange(w), np.arange(h))
        plane = affine.apply(section.alignment2d.section_to_volume, np.stack([x, y], -1).reshape(-1, 2))
        volume = np.column_stack([plane, np.full(len(plane), thumbnail.z_um)])
        at = ((volume - origin) / spacing)[:, ::-1].T
        shift = [ndimage.map_coordinates(field[..., c], at, order=1, mode="nearest") for c in range(3)]
        return affine.apply(alignment.alignment3d.volume_to_reference, volume + np.transpose(shift))

    _score(brain, alignment, "elastix affine + B-spline", seconds, places)


def _template_in_volume(
    reference: ReferenceSpace, alignment: SeriesAlignment, specimen: SpecimenVolume
) -> object:
    """Return the template seen through the affine alignment, on a lattice of 50 um over the specimen."""
    step = np.array([50.0, 50.0, 50.0])
    size = np.ceil(np.array(specimen.stain.shape[::-1]) * specimen.spacing_um / step).astype(int)
    axes = [o + s * np.arange(n) for o, s, n in zip(specimen.origin_um, step, size, strict=True)]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    at = affine.apply(alignment.alignment3d.volume_to_reference, points) / reference.template_um
    template = np.asarray(reference.template, dtype=np.float32)
    values = ndimage.map_coordinates(template, at.T, order=1, mode="constant").reshape(z.shape)
    moving = itk.image_from_array(np.ascontiguousarray(values, dtype=np.float32))
    moving.SetSpacing(step.tolist())
    moving.SetOrigin(specimen.origin_um)
    return moving


if __name__ == "__main__":
    sys.exit(main())
