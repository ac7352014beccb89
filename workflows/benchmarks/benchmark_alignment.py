"""Align rendered series from nothing and measure how far every tissue pixel lands from its true place.

    python benchmark_alignment.py --data $ISH_DATA --families coronal sagittal --seeds 1 2 3 4 5

Real annotation, real geometry (section numbers, frames, Alignment3d as served), an unknown pose of every
section, a stain that has nothing to do with the template. The floor is what the best affine map of every
single section onto its own truth leaves over.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.core.blocks import block_mean
from pipeline.core.errors import AlignmentError
from pipeline.core.model import MIDLINE_UM, SeriesAlignment, Status
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.manifests.allen_xml import read_data_set_xml
from pipeline.formats.volumes.reference_folder import read_reference
from pipeline.geometry import affine
from pipeline.geometry.sync import pixel_to_reference
from pipeline.phantom import (
    RenderOptions,
    Scene,
    SeriesGeometry,
    StructureExpression,
    build_scene,
    geometry_from,
    phantom_reference,
    render_section,
    reversed_numbers,
    sagittal_geometry,
    turned,
    with_margin,
)
from pipeline.registration import DEFORMABLE, AlignmentOptions, SectionThumbnail, align_series

DRAWN_UM = 17.0
THUMBNAIL_UM = 34.0
WRONG_UM = 300.0
NRP1, PROX1, PDYN = "nrp1_74272479", "prox1_69289763", "pdyn_71717084"
POSE = {"extra_rotation_deg": 4.0, "extra_shift_um": 150.0, "stain_gain": 0.4}
HARD = {"warp_um": 60.0, "bubbles": 1.0, **POSE}
SHAPE = {**POSE, "texture": 0.25, "losses": 0.5, "warp_um": 80.0, "shape_um": 120.0, "missing": 0.125}


@dataclass(frozen=True)
class Family:
    """Rendered series of one kind.

    Parameters
    ----------
    every : keeps each n-th section of the geometry
    changes : changes of the geometry as Allen has it, names in `CHANGES`, in this order
    """

    data_set: str | None
    options: dict[str, float]
    every: int = 1
    changes: tuple[str, ...] = ()


def _tilted(geometry: SeriesGeometry, seed: int) -> SeriesGeometry:
    """Cut another brain: tilted by up to 5 degrees, 8 % larger or smaller along each axis."""
    rng = np.random.default_rng([seed, 77])
    turn = Rotation.from_euler("xyz", rng.uniform(-5.0, 5.0, 3), degrees=True).as_matrix()
    linear = turn @ np.diag(1.0 + rng.uniform(-0.08, 0.08, 3))
    centre = np.array([6600.0, 4000.0, 5700.0 if geometry.data_set.plane_of_section == "coronal" else 3800.0])
    tilt = np.column_stack([linear, centre - linear @ centre])
    space = geometry.alignment.alignment3d
    moved = replace(space, volume_to_reference=affine.compose(tilt, space.volume_to_reference))
    return replace(geometry, alignment=replace(geometry.alignment, alignment3d=moved))


def _part(geometry: SeriesGeometry, first: float, last: float) -> SeriesGeometry:
    images = geometry.data_set.section_images
    kept = images[round(first * len(images)) : round(last * len(images))]
    return replace(geometry, data_set=replace(geometry.data_set, section_images=kept))


CHANGES: dict[str, Callable[[SeriesGeometry, int], SeriesGeometry]] = {
    "margin": lambda g, seed: with_margin(g, 2500.0),
    "upside-down": lambda g, seed: turned(g, 2),
    "quarter": lambda g, seed: turned(g, 1 + 2 * (seed % 2)),
    "mirrored": lambda g, seed: turned(g, 0, mirrored=True),
    "reversed": lambda g, seed: reversed_numbers(g),
    "tilted": _tilted,
    "caudal third": lambda g, seed: _part(g, 0.0, 0.36),
    "rostral third": lambda g, seed: _part(g, 0.62, 1.0),
    "left half": lambda g, seed: replace(g, data_set=replace(g.data_set, hemisphere="left")),
}
ANY = {**POSE, "extra_rotation_deg": 180.0, "texture": 0.25}
TORN = {**POSE, "texture": 0.25, "missing": 0.2, "losses": 1.0, "tears": 0.5}
FAMILIES = {
    "coronal": Family(NRP1, POSE),
    "coronal-texture": Family(NRP1, {**POSE, "texture": 0.25}),
    "sagittal": Family(PROX1, HARD),
    "sagittal-texture": Family(PROX1, {**HARD, "texture": 0.25, "losses": 0.5}),
    "shape": Family(PDYN, SHAPE, 3),
    "phantom": Family(None, {**POSE, "texture": 0.25}),
    "coronal any turn": Family(NRP1, ANY, changes=("margin", "tilted")),
    "coronal quarter": Family(NRP1, TORN, changes=("quarter", "reversed", "tilted")),
    "coronal upside": Family(NRP1, TORN, changes=("upside-down", "tilted")),
    "coronal caudal": Family(NRP1, TORN, changes=("caudal third", "reversed", "tilted")),
    "coronal rostral": Family(NRP1, TORN, changes=("rostral third", "upside-down", "tilted")),
    "coronal half": Family(NRP1, TORN, changes=("left half", "tilted")),
    "sagittal any turn": Family(PROX1, {**HARD, **ANY, "losses": 0.5}, changes=("margin",)),
    "sagittal upside": Family(
        PROX1, {**HARD, "texture": 0.25}, changes=("upside-down", "reversed", "tilted")
    ),
    "sagittal mirrored": Family(PROX1, {**HARD, "texture": 0.25}, changes=("mirrored", "tilted")),
    "shape any turn": Family(PDYN, {**SHAPE, "extra_rotation_deg": 180.0}, 3, ("margin", "reversed")),
}


@dataclass(frozen=True, eq=False)
class Drawn:
    """A rendered series: thumbnails, and per section pixels (n, 2) with their true places (n, 3) um."""

    scene: Scene
    thumbnails: list[SectionThumbnail]
    truth: dict[int, tuple[np.ndarray, np.ndarray]]


def main() -> int:
    """Print one line a series and the medians of each family."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("ISH_DATA"), help="default: $ISH_DATA")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--aligner", default="joint")
    parser.add_argument("--hints", action="store_true", help="give section_order and image_up")
    parser.add_argument("--deformable", default="none", choices=DEFORMABLE)
    parser.add_argument("--options", nargs="*", default=[], type=_option, metavar="KEY=NUMBER")
    chosen = parser.parse_args()
    if chosen.data is None and set(chosen.families) != {"phantom"}:
        print("no data: give --data DIR or set ISH_DATA", file=sys.stderr)
        return 2
    print(f"{'family':19}{'seed':>6}{'median':>8}{'p95':>7}{'floor':>12}{'ratio':>11}{'pass/check/fail':>17}"
          f"{'wrong pass':>12}{'seconds':>9}")  # fmt: skip
    for name in chosen.families:
        rows = [line(name, seed, chosen) for seed in chosen.seeds]
        found = np.array([row for row in rows if row is not None])
        if len(found):
            print(f"{name:19}{'mean':>6}" + _figures(found.mean(axis=0)), flush=True)
    return 0


def _option(text: str) -> tuple[str, float]:
    key, _, value = text.partition("=")
    return key, float(value)


def line(name: str, seed: int, chosen: argparse.Namespace) -> list[float] | None:
    """Render, align and measure one series; print and return its figures."""
    family = FAMILIES[name]
    reference, scene = _scene(family, seed, chosen.data)
    drawn = draw(scene)
    data_set = scene.geometry.data_set
    options = AlignmentOptions(
        plane_of_section=data_set.plane_of_section,
        hemisphere=data_set.hemisphere,
        section_order=data_set.section_order if chosen.hints else None,  # type: ignore[arg-type]
        image_up="superior" if chosen.hints else None,
        aligner=chosen.aligner,
        deformable=chosen.deformable,
        **dict(chosen.options),
    )
    started = time.perf_counter()
    try:
        alignment = align_series(drawn.thumbnails, reference, options)
    except AlignmentError as error:
        print(f"{name:19}{seed:6}  refused: {error}", flush=True)
        return None
    seconds = time.perf_counter() - started
    figures = [*measure(drawn, alignment), seconds]
    print(f"{name:19}{seed:6}" + _figures(figures), flush=True)
    return figures


def _figures(row: Iterable[float]) -> str:
    median, p95, floor, floor95, passed, checked, failed, wrong, seconds = row
    ratio = f"{median / floor:.2f}/{p95 / floor95:.2f}" if floor > 1 else "-"
    counts = f"{passed:.0f}/{checked:.0f}/{failed:.0f}"
    least = f"{floor:.1f}/{floor95:.1f}"
    return f"{median:8.1f}{p95:7.1f}{least:>12}{ratio:>11}{counts:>17}{wrong:12.1f}{seconds:9.1f}"


def _scene(family: Family, seed: int, data: Path) -> tuple[ReferenceSpace, Scene]:
    options = RenderOptions(seed=seed, **family.options)  # type: ignore[arg-type]
    if family.data_set is None:
        reference = phantom_reference()
        geometry = sagittal_geometry(reference, resolution_um=DRAWN_UM)
    else:
        reference = read_reference(Path(data) / "reference")
        geometry = _geometry(Path(data) / "ish" / family.data_set / "data_set.xml", family.every)
    for change in family.changes:
        geometry = CHANGES[change](geometry, seed)
    if geometry.data_set.plane_of_section == "coronal" and geometry.data_set.hemisphere == "left":
        annotation = reference.annotation.copy()
        annotation[:, :, round(MIDLINE_UM / reference.annotation_um) :] = 0
        half = replace(reference, annotation=annotation)
        return reference, build_scene(half, geometry, StructureExpression({}), options)
    return reference, build_scene(reference, geometry, StructureExpression({}), options)


def _geometry(path: Path, every: int) -> SeriesGeometry:
    source = read_data_set_xml(path)
    if source.alignment is None:
        raise SystemExit(f"{path}: expected a data set with its alignment")
    images = source.data_set.section_images[::every]
    return geometry_from(replace(source.data_set, section_images=images), source.alignment, DRAWN_UM)


def draw(scene: Scene) -> Drawn:
    """Render every section and reduce it; keep the true places of a lattice of its tissue pixels."""
    thumbnails, truth = [], {}
    for index, image in enumerate(scene.images):
        if image.section_number in scene.missing:
            continue
        section = render_section(scene, index)
        drawn_um = scene.geometry.resolution_um(image)
        step = max(1, round(THUMBNAIL_UM / drawn_um))
        f = step * scene.geometry.factor
        shift = 0.5 * (step - 1) * scene.geometry.factor
        thumbnails.append(
            SectionThumbnail(
                section_number=image.section_number,
                z_um=scene.geometry.data_set.z_um(image.section_number),
                pixels=block_mean(section.pixels, step),
                resolution_um=image.resolution_um,
                thumbnail_to_section=np.array([[f, 0.0, shift], [0.0, f, shift]]),
            )
        )
        rows, columns = (5 * n for n in np.nonzero(section.truth.tissue[::5, ::5]))
        points = np.stack([columns, rows], axis=1).astype(np.float64)
        truth[image.section_number] = (
            points * scene.geometry.factor,
            section.truth.pixel_map.to_reference(points),
        )
    return Drawn(scene, thumbnails, truth)


def measure(drawn: Drawn, alignment: SeriesAlignment) -> list[float]:
    """Return median, p95, floor median, floor p95, counts of pass, check, fail, and passes that are wrong."""
    away, floor, wrong = [], [], 0
    counts = dict.fromkeys((Status.PASS, Status.CHECK, Status.FAIL), 0)
    for number, (points, places) in drawn.truth.items():
        section = alignment.of(number)
        if section is None:
            raise SystemExit(f"section {number} was given but not returned")
        counts[section.status] += 1
        if len(points) < 4:
            continue
        z_um = drawn.scene.geometry.data_set.z_um(number)
        found = pixel_to_reference(points, section, alignment.alignment3d, z_um)
        away.append(np.linalg.norm(found - places, axis=1))
        wrong += section.status is Status.PASS and float(np.median(away[-1])) > WRONG_UM
        terms = np.column_stack([points, np.ones(len(points))])
        best = terms @ np.linalg.lstsq(terms, places, rcond=None)[0]
        floor.append(np.linalg.norm(best - places, axis=1))
    errors, least = np.concatenate(away), np.concatenate(floor)
    spread = [float(np.percentile(v, q)) for v in (errors, least) for q in (50, 95)]
    return [*spread, *(float(n) for n in counts.values()), float(wrong)]


if __name__ == "__main__":
    sys.exit(main())
