"""Interpolate plates cut from an annotation, and hold the planes between them against it.

    python benchmark_plates.py --reference $ISH_DATA/reference --every 4 6 8
    python benchmark_plates.py --reference $ISH_DATA/reference --plane sagittal --every 6 --offset 3

The plates are written as label images and read by `interpolate` as a user's are. Dice is that of every
structure over all planes between the first and the last plate that are not plates; a structure that no plate
shows counts with 0.

kept         structures of the plates that the volume has
seconds      of the whole function, on the threads that it takes
peak         memory of the process, in GB
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from pipeline.atlas_building import interpolate
from pipeline.atlas_building.plates.plate_table import PLANES
from pipeline.core.model import Bool, Float64, UInt32
from pipeline.formats.volumes.nrrd import read_nrrd
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.inputs.references import read_reference


def main() -> None:
    """Print a line for each distance of plates."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--resolution-um", type=float, default=None)
    parser.add_argument("--plane", choices=list(PLANES), default="coronal")
    parser.add_argument("--every", type=int, nargs="+", default=[4, 6, 8], help="planes from plate to plate")
    parser.add_argument("--offset", type=int, default=0, help="first plane that may be a plate")
    options = parser.parse_args()
    space = read_reference(options.reference, options.resolution_um, template=False)
    truth, um = space.annotation, space.annotation_um
    for every in options.every:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            planes = write_plates(folder, truth, um, options.plane, options.offset, every)
            write_nrrd(folder / "like.nrrd", np.zeros(truth.shape, np.uint8), um)
            start = time.monotonic()
            graph = options.reference / "structure_graph_1.json"
            interpolate(folder, folder / "out", ontology=graph, like=folder / "like.nrrd")
            seconds = time.monotonic() - start
            found = read_nrrd(folder / "out" / f"annotation_{um:g}.nrrd")[0]
        normal = PLANES[options.plane][0]
        scored, kept = dice_between(np.moveaxis(truth, normal, 0), np.moveaxis(found, normal, 0), planes)
        median, low = np.percentile(scored, [50, 10])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{options.plane} every {every} from {options.offset}: {len(planes)} plates,"
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


def dice_between(truth: UInt32, found: UInt32, planes: list[int]) -> tuple[Float64, float]:
    """Return Dice of every structure between plates, and the share of those of the plates that is there."""
    ids = np.unique(truth)
    between: Bool = np.zeros(len(truth), bool)
    between[planes[0] : planes[-1]] = True
    between[planes] = False
    sums = np.zeros((3, len(ids)), np.int64)
    for at in np.flatnonzero(between):
        a, b = (np.searchsorted(ids, volume[at].ravel()) for volume in (truth, found))
        for row, values in enumerate((a, b, a[a == b])):
            sums[row] += np.bincount(values, minlength=len(ids))
    there = (ids > 0) & (sums[0] > 0)
    on_plates = np.setdiff1d(np.unique(truth[planes]), [0])
    kept = np.isin(on_plates, np.unique(found)).mean()
    return 2 * sums[2, there] / (sums[0, there] + sums[1, there]), float(kept)


if __name__ == "__main__":
    main()
