"""Midline of rendered brains of known shape: plane, surface and correlation with the own mirror image.

python workflows/benchmarks/benchmark_symmetry.py REFERENCE rigid:5 bent:1 asymmetric:7

Each brain is the template of REFERENCE at 100 um, turned up to 6 degrees, shifted, bent and made asymmetric
by smooth random displacements, shaded and with noise; the number is its seed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from pipeline.atlas_building.straightening import find_midline
from pipeline.atlas_building.symmetry import _surface_r
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.volume_files import Volume
from pipeline.inputs.references import read_reference

UM = 100.0
SHAPE, CORNER_UM = (140, 88, 122), np.array([400.0, 400.0, 400.0])
CENTRE_UM = np.array([6600.0, 4000.0, 5700.0])
BENT, ASYMMETRIC = (
    (2500.0, 130.0),
    (1200.0, 70.0),
)  # standard deviation of the smoothing, and of the result, um


def wavy(draw: np.random.Generator, sigma_um: float, amplitude: float, parts: int) -> np.ndarray:
    fields = []
    for _ in range(parts):
        field = ndimage.gaussian_filter(
            draw.normal(size=SHAPE).astype(np.float32), sigma_um / UM, mode="reflect"
        )
        fields.append(field / field.std() * amplitude)
    return np.stack(fields, axis=-1)


def render(space: ReferenceSpace, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return grey values, R of the true midline over (P, I), and where that midline lies in tissue."""
    draw = np.random.default_rng(seed)
    turn = Rotation.from_euler("xyz", np.deg2rad(draw.uniform(-6, 6, 3))).as_matrix()
    shift = draw.uniform(-350, 350, 3)
    places = np.stack(np.meshgrid(*(np.arange(n) * UM for n in SHAPE), indexing="ij"), axis=-1)
    own = (places - CORNER_UM - CENTRE_UM) @ turn.T + CENTRE_UM + shift
    if kind != "rigid":
        own = own + wavy(draw, *BENT, 3)
    if kind == "asymmetric":
        own = own + wavy(draw, *ASYMMETRIC, 3)
    assert space.template is not None
    grey = ndimage.map_coordinates(space.template, np.moveaxis(own / UM, -1, 0), np.float32, 1)
    labels = space.annotation
    at = np.clip(np.rint(own / UM).astype(int), 0, np.array(labels.shape) - 1)
    tissue = labels[tuple(np.moveaxis(at, -1, 0))] > 0
    grey = grey * np.exp(wavy(draw, 2000.0, 0.03, 1)[..., 0])
    noise = 0.03 * np.percentile(space.template, 99) * draw.normal(size=SHAPE)
    grey = (grey + noise * (grey > 0)).astype(np.float32)
    across = own[..., 2] - CENTRE_UM[2]
    k = np.clip(np.argmax(across >= 0, axis=2), 1, SHAPE[2] - 1)[..., None]
    below, above = (np.take_along_axis(across, at_, 2)[..., 0] for at_ in (k - 1, k))
    midline = (k[..., 0] - 1 - below / (above - below)) * UM
    inside = np.take_along_axis(tissue, np.rint(midline / UM).astype(int)[..., None], 2)[..., 0]
    return grey, midline, inside


def main() -> None:
    space = read_reference(Path(sys.argv[1]), UM)
    for name in sys.argv[2:]:
        kind, seed = name.split(":")
        grey, true_r, inside = render(space, kind, int(seed))
        start = time.process_time()
        found = find_midline(Volume(grey, (UM,) * 3, Path(name)), UM)
        spent = time.process_time() - start
        p, i = np.meshgrid(*(np.arange(n) * UM for n in SHAPE[:2]), indexing="ij")
        surface = _surface_r(found, np.column_stack([p.ravel(), i.ravel()])).reshape(p.shape)
        point, normal = found.frame.plane.point_um, found.frame.plane.normal
        plane = point[2] - ((p - point[0]) * normal[0] + (i - point[1]) * normal[1]) / normal[2]
        shown = [
            " / ".join(f"{e:.1f}" for e in np.percentile(np.abs(r - true_r)[inside], [50, 95]))
            for r in (plane, surface)
        ]
        alike = ", ".join(f"{value:.3f} {what}" for what, value in found.alike.items())
        print(f"{name}: plane {shown[0]} um, surface {shown[1]} um; correlation {alike}; {spent:.0f} s")


if __name__ == "__main__":
    main()
