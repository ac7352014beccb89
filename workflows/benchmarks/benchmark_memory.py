"""Peak memory and time of the five verbs of `ish reference` on one brain at several voxel sizes.

python workflows/benchmarks/benchmark_memory.py REFERENCE FOLDER --um 100 50 [--verbs build symmetrise …]

REFERENCE has annotations at these voxel sizes; its template is resampled to them. FOLDER keeps inputs and
results. Every verb writes all forms. The last lines fit base + bytes a voxel of the result through the two
finest sizes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from pipeline.atlas_building.displacement import Displacement, node_shape, warp
from pipeline.core.model import SectionDataSet, SectionImage
from pipeline.formats.images.files import write_image
from pipeline.formats.manifests.sections_csv import write_manifest
from pipeline.formats.volumes.nrrd import read_nrrd
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.inputs.references import read_reference

ISH = (sys.executable, "-c", "from pipeline.cli import main; main()", "reference")
FORMS = ("--format", "brainglobe", "--format", "nifti", "--force")
NODE_UM, WAVE_UM, BEND_UM = 200.0, 1800.0, 130.0  # of the smooth random displacement of the second brain
SECTIONS_UM, PLATES_UM = 100.0, 200.0  # distance of sections and plates
VERBS = ("build", "symmetrise", "interpolate", "average", "carry")


def bend(box_um: tuple[float, ...], seed: int) -> Displacement:
    """Return a smooth random displacement over a box."""
    draw = np.random.default_rng(seed)
    shape = node_shape(box_um, NODE_UM)
    parts = [ndimage.gaussian_filter(draw.normal(size=shape), WAVE_UM / NODE_UM) for _ in range(3)]
    return Displacement(
        np.stack([one * BEND_UM / one.std() for one in parts], axis=-1).astype(np.float32), NODE_UM
    )


def prepare(reference: Path, folder: Path, um: float) -> dict[str, list[str]]:
    """Write the inputs at a voxel size, and return the words of each verb."""
    space = read_reference(reference, um, template=False)
    grid = (space.annotation.shape, [um] * 3)
    whole = read_reference(reference, 100.0)
    still = Displacement(np.zeros((2, 2, 2, 3), np.float32), 20_000.0)
    box = tuple(n * um for n in space.annotation.shape)
    for name, field in (("plain", still), ("bent", bend(box, 3))):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(reference / "structure_graph_1.json", place)
        grey = warp(whole.template, [whole.template_um] * 3, field, grid)
        write_nrrd(place / f"average_template_{um:g}.nrrd", grey, um)
        labels = warp(space.annotation, [um] * 3, field, grid, order=0)
        write_nrrd(place / f"annotation_{um:g}.nrrd", labels, um)
    _write_series(folder, um)
    _write_plates(folder, um)
    plain, bent = str(folder / "plain"), str(folder / "bent")
    graph = str(folder / "plain" / "structure_graph_1.json")
    return {
        "build": [str(folder / "series"), "--anchor", plain, "--spacing-um", f"{um:g}"],
        "symmetrise": [bent],
        "interpolate": [str(folder / "plates"), "--ontology", graph, "--like", plain, "--template", plain],
        "average": [plain, bent],
        "carry": [plain, "--to", bent],
    }


def _write_series(folder: Path, um: float) -> None:
    grey = read_nrrd(folder / "bent" / f"average_template_{um:g}.nrrd")[0]
    place = folder / "series"
    place.mkdir(exist_ok=True)
    step, images, files = round(SECTIONS_UM / um), [], {}
    top = float(np.percentile(grey, 99.9))
    for k in range(step, len(grey), step):
        if (grey[k] > 0.2 * top).mean() < 0.02:
            continue
        number = k // step
        files[number] = f"section_s{number:04d}.png"
        light = 245 - 200 * np.clip(grey[k] / top, 0, 1)
        write_image(place / files[number], light.astype(np.uint8), quality=95, resolution_um=um)
        images.append(SectionImage(number, number, None, grey.shape[2], grey.shape[1], um))
    data_set = SectionDataSet(7, "coronal", SECTIONS_UM, tuple(images), section_order="rostral_to_caudal")
    write_manifest(place, data_set, files=files)


def _write_plates(folder: Path, um: float) -> None:
    labels = read_nrrd(folder / "plain" / f"annotation_{um:g}.nrrd")[0]
    place = folder / "plates"
    place.mkdir(exist_ok=True)
    rows = ["file,position_um,plane,resolution_um"]
    for k in range(0, len(labels), round(PLATES_UM / um)):
        if labels[k].any():
            tifffile.imwrite(place / f"{k:04d}.tif", labels[k], compression="zlib")
            rows.append(f"{k:04d}.tif,{k * um:g},coronal,{um:g}")
    (place / "plates.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def measured(words: list[str], log: Path) -> tuple[float, float, int]:
    """Run a command, and return its peak memory in bytes, its processor time in s and its exit status."""
    with log.open("w", encoding="utf-8") as errors:
        actions = [(os.POSIX_SPAWN_DUP2, errors.fileno(), 1), (os.POSIX_SPAWN_DUP2, errors.fileno(), 2)]
        child = os.posix_spawn(words[0], words, os.environ, file_actions=actions)
        _, status, usage = os.wait4(child, 0)
    return usage.ru_maxrss * 1024.0, usage.ru_utime + usage.ru_stime, os.waitstatus_to_exitcode(status)


def main() -> None:
    """Measure every verb at every voxel size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--um", type=float, nargs="+", default=[100.0, 50.0])
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=list(VERBS))
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {}
    for um in given.um:
        folder = given.folder / f"{um:g}"
        words = prepare(given.reference, folder, um)
        for verb in given.verbs:
            out = folder / f"out_{verb}"
            log = folder / f"{verb}.log"
            peak, spent, status = measured([*ISH, verb, *words[verb], "--output", str(out), *FORMS], log)
            if status:
                print(f"{verb} {um:g} um: failed: {log.read_text()[-500:]}", flush=True)
                continue
            shape = next(read_nrrd(path)[0].shape for path in sorted(out.glob(f"*_{um:g}.nrrd")))
            voxels = float(np.prod(shape))
            found.setdefault(verb, []).append((voxels, peak))
            print(
                f"{verb} {um:g} um: {voxels / 1e6:.1f} M voxels, peak {peak / 1e9:.2f} GB, {spent:.0f} s of"
                " processor time",
                flush=True,
            )
    for verb, points in found.items():
        if len(points) > 1:
            (n, a), (m, b) = sorted(points)[-2:]
            slope = (b - a) / (m - n)
            print(f"{verb}: {(a - slope * n) / 1e9:.2f} GB and {slope:.1f} bytes a voxel")


if __name__ == "__main__":
    main()
