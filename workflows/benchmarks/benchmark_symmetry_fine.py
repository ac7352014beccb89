"""`ish reference symmetrise` on a brain of known bend at a fine voxel size: time, memory and the midline.

python workflows/benchmarks/benchmark_symmetry_fine.py REFERENCE FOLDER [--um 25] [--seed 1]

The brain is the template of REFERENCE at 100 um, resampled, and its annotation of that voxel size, turned up
to 6 degrees, shifted and bent by smooth random displacements as in benchmark_symmetry.py, with 3 % noise.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmark_memory import ISH, measured
from pipeline.atlas_building.displacement import Displacement, grid_points, node_shape, sampled, slabs
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.inputs.references import read_reference

NODE_UM = 100.0
CENTRE_UM, MIDLINE_UM = np.array([6600.0, 4000.0, 5700.0]), 5700.0
BEND_SIGMA_UM, BEND_UM = 2500.0, 130.0
NOISE = 0.03  # of the 99th percentile of the template


def own_places(box_um: tuple[float, ...], seed: int) -> Displacement:
    """Return from the rendered brain to the reference: turned, shifted and bent."""
    draw = np.random.default_rng(seed)
    turn = Rotation.from_euler("xyz", np.deg2rad(draw.uniform(-6, 6, 3))).as_matrix()
    shift = draw.uniform(-350, 350, 3)
    nodes = node_shape(box_um, NODE_UM)
    points = grid_points(nodes, [NODE_UM] * 3, slice(0, nodes[0]))
    own = (points - CENTRE_UM) @ turn.T + CENTRE_UM + shift
    for axis in range(3):
        part = ndimage.gaussian_filter(draw.normal(size=nodes), BEND_SIGMA_UM / NODE_UM, mode="reflect")
        own[:, axis] += (part * BEND_UM / part.std()).ravel()
    return Displacement((own - points).astype(np.float32).reshape(*nodes, 3), NODE_UM)


def render(reference: Path, folder: Path, um: float, field: Displacement) -> None:
    """Write a reference folder with the brain."""
    whole, fine = read_reference(reference, 100.0), read_reference(reference, um, template=False)
    assert whole.template is not None
    shape, draw = fine.annotation.shape, np.random.default_rng(0)
    grey, labels = np.empty(shape, np.float32), np.empty(shape, np.uint32)
    noise = NOISE * float(np.percentile(whole.template, 99))
    for planes in slabs(shape):
        own = field.apply(grid_points(shape, [um] * 3, planes))
        part = sampled(whole.template.astype(np.float32), own / whole.template_um)
        part = part + noise * draw.standard_normal(part.shape, np.float32) * (part > 0)
        grey[planes] = part.reshape(-1, *shape[1:])
        labels[planes] = sampled(fine.annotation, own / um, 0).reshape(-1, *shape[1:])
    folder.mkdir(parents=True, exist_ok=True)
    write_nrrd(folder / f"average_template_{um:g}.nrrd", grey, um)
    write_nrrd(folder / f"annotation_{um:g}.nrrd", labels, um)
    shutil.copy(reference / "structure_graph_1.json", folder)


def main() -> None:
    """Render, run and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--um", type=float, default=25.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    labels = read_reference(given.reference, given.um, template=False).annotation
    field = own_places(tuple(n * given.um for n in labels.shape), given.seed)
    brain, out = given.folder / "brain", given.folder / "out"
    render(given.reference, brain, given.um, field)
    print(f"rendered in {time.process_time():.0f} s of processor time", flush=True)
    began = time.perf_counter()
    words = [*ISH, "symmetrise", str(brain), "--output", str(out), "--force"]
    peak, spent, status = measured(words, given.folder / "symmetrise.log")
    print(
        f"exit status {status}; {labels.size / 1e6:.1f} M voxels, peak {peak / 1e9:.2f} GB,"
        f" {spent:.0f} s of processor time, {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    surface = json.loads((out / "midline.json").read_text())["surface"]
    p, i = np.meshgrid(surface["p_um"], surface["i_um"], indexing="ij")
    places = np.stack([p, i, np.array(surface["r_um"])], axis=-1).reshape(-1, 3)
    own = field.apply(places)
    coarse = read_reference(given.reference, 100.0, template=False)
    tissue = sampled(coarse.annotation, own / coarse.annotation_um, 0) > 0
    off = np.abs(own[tissue, 2] - MIDLINE_UM)
    alike = json.loads((out / "reference.json").read_text())["quality"][
        "correlation with the own mirror image"
    ]
    print(f"midline: {np.median(off):.1f} / {np.percentile(off, 95):.1f} um; {alike}")


if __name__ == "__main__":
    main()
