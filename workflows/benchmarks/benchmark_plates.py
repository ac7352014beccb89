"""Interpolate plates cut from an annotation, and hold the planes between them against it.

    python benchmark_plates.py --reference $ISH_DATA/reference --every 4 6 8
    python benchmark_plates.py --reference $ISH_DATA/reference --plane sagittal --every 6 --offset 3
    python benchmark_plates.py --reference $ISH_DATA/reference --plane oblique --every 6

The plates are written as label images and read by `interpolate` as a user's are. Dice is that of every
structure over all planes between the first and the last plate that are not plates; a structure that no plate
shows counts with 0. Oblique plates are coronal ones turned by 15 degrees about R and then about I; there the
voxels between the outermost plates count that lie further than half a voxel from each plate.

kept         structures of the plates that the volume has
seconds      of the whole function, on the threads that it takes
peak         memory of the process, in GB
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tifffile

from pipeline.atlas_building import interpolate
from pipeline.atlas_building.plates.plate_table import PLANES
from pipeline.core.model import Bool, Float64, UInt32
from pipeline.formats.volumes.nrrd import read_nrrd
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.inputs.references import read_reference

TURN_DEG = 15.0  # of the oblique plates, about R and about I


def main() -> None:
    """Print a line for each distance of plates."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--resolution-um", type=float, default=None)
    parser.add_argument("--plane", choices=[*PLANES, "oblique"], default="coronal")
    parser.add_argument("--every", type=int, nargs="+", default=[4, 6, 8], help="planes from plate to plate")
    parser.add_argument("--offset", type=int, default=0, help="first plane that may be a plate")
    options = parser.parse_args()
    space = read_reference(options.reference, options.resolution_um, template=False)
    truth, um = space.annotation, space.annotation_um
    for every in options.every:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            planes, heights = [], []
            if options.plane == "oblique":
                heights = write_oblique(folder, truth, um, every)
            else:
                planes = write_plates(folder, truth, um, options.plane, options.offset, every)
            write_nrrd(folder / "like.nrrd", np.zeros(truth.shape, np.uint8), um)
            start = time.monotonic()
            graph = options.reference / "structure_graph_1.json"
            interpolate(folder, folder / "out", ontology=graph, like=folder / "like.nrrd")
            seconds = time.monotonic() - start
            found = read_nrrd(folder / "out" / f"annotation_{um:g}.nrrd")[0]
            kept = kept_share(folder, found)
        if options.plane == "oblique":
            scored = dice_between_oblique(truth, found, heights)
        else:
            turned = (np.moveaxis(volume, PLANES[options.plane][0], 0) for volume in (truth, found))
            scored = dice_between(*turned, planes)
        median, low = np.percentile(scored, [50, 10])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{options.plane} every {every} from {options.offset}: {len(planes) or len(heights)} plates,"
            f" {len(scored)} structures, Dice {median:.4f} / {low:.4f} (median / 10th percentile),"
            f" kept {kept:.2%}, {seconds:.0f} s, peak {peak:.2f} GB",
            flush=True,
        )


def write_plates(folder: Path, volume: UInt32, um: float, plane: str, offset: int, every: int) -> list[int]:
    """Write planes of a volume as plates; return those that show a structure."""
    normal = PLANES[plane][0]
    rows, written = ["file,position_um,plane,resolution_um"], []
    for at in range(offset, volume.shape[normal], every):
        labels = np.take(volume, at, normal)
        labels = np.ascontiguousarray(labels.T if plane == "sagittal" else labels)
        if labels.any():
            tifffile.imwrite(folder / f"{at:04d}.tif", labels, compression="zlib")
            rows.append(f"{at:04d}.tif,{at * um:g},{plane},{um:g}")
            written.append(at)
    (folder / "plates.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return written


def dice_between(truth: UInt32, found: UInt32, planes: list[int]) -> Float64:
    """Return Dice of every structure between plates."""
    between: Bool = np.zeros(len(truth), bool)
    between[planes[0] : planes[-1]] = True
    between[planes] = False
    wholes = np.ones(truth.shape[1:], bool)
    return _dice(truth, found, (wholes if one else ~wholes for one in between))


def write_oblique(folder: Path, volume: UInt32, um: float, every: int) -> list[float]:
    """Write oblique planes of a volume as plates; return the height along their normal of each, in voxels."""
    size = np.array(volume.shape)
    normal, down, right = oblique_axes()
    reach = float(np.linalg.norm(size) / 2)
    half = np.ceil(np.array([size[1], size[2]]) / 2 + 0.15 * size[0]).astype(int)
    steps = np.mgrid[-half[0] : half[0] + 1, -half[1] : half[1] + 1]
    rows, heights = ["file," + ",".join(f"{v}_{a}" for v in "oxy" for a in "pir")], []
    for height in np.arange(-reach, reach, every):
        origin = (size - 1) / 2 + height * normal
        places = origin + steps[0][..., None] * down + steps[1][..., None] * right
        index = np.rint(places).astype(int)
        inside = ((index >= 0) & (index < size)).all(axis=-1)
        labels = np.zeros(inside.shape, np.uint32)
        labels[inside] = volume[tuple(index[inside].T)]
        if labels.any():
            name = f"{len(heights):04d}.tif"
            tifffile.imwrite(folder / name, labels, compression="zlib")
            numbers = [*(um * (origin - half[0] * down - half[1] * right)), *(um * right), *(um * down)]
            rows.append(name + "," + ",".join(f"{n:.9g}" for n in numbers))
            heights.append(float(height))
    (folder / "plates.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return heights


def oblique_axes() -> Float64:
    """Return the normal, the way down and the way right of the oblique plates, as (P, I, R)."""
    c, s = np.cos(np.radians(TURN_DEG)), np.sin(np.radians(TURN_DEG))
    about_r = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    about_i = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    return np.asarray((about_i @ about_r).T)


def dice_between_oblique(truth: UInt32, found: UInt32, heights: list[float]) -> Float64:
    """Return what `dice_between` does, for oblique plates."""
    normal = oblique_axes()[0]
    middle = (np.array(truth.shape) - 1) / 2
    i, r = np.mgrid[: truth.shape[1], : truth.shape[2]]
    at = np.array(heights)

    def between(p: int) -> Bool:
        up = (p - middle[0]) * normal[0] + (i - middle[1]) * normal[1] + (r - middle[2]) * normal[2]
        apart = np.abs(up - at[np.searchsorted((at[1:] + at[:-1]) / 2, up)])
        return np.asarray((up > at[0]) & (up < at[-1]) & (apart > 0.5))

    return _dice(truth, found, map(between, range(len(truth))))


def _dice(truth: UInt32, found: UInt32, masks: Iterable[Bool]) -> Float64:
    ids = np.unique(truth)
    sums = np.zeros((3, len(ids)), np.int64)
    for one, other, mask in zip(truth, found, masks, strict=True):
        a, b = (np.searchsorted(ids, plane[mask]) for plane in (one, other))
        for row, values in enumerate((a, b, a[a == b])):
            sums[row] += np.bincount(values, minlength=len(ids))
    there = (ids > 0) & (sums[0] > 0)
    return np.asarray(2 * sums[2, there] / (sums[0, there] + sums[1, there]))


def kept_share(folder: Path, found: UInt32) -> float:
    """Return the share of the structures of the plates that a volume has."""
    shown = set[int]().union(*(np.unique(tifffile.imread(path)).tolist() for path in folder.glob("*.tif")))
    return float(np.isin(sorted(shown - {0}), np.unique(found)).mean())


if __name__ == "__main__":
    main()
