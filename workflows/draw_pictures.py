"""Draw the pictures of the README and the documentation from a run of the demo.

    ish demo demo-output && python workflows/draw_pictures.py demo-output docs/images

The viewer is photographed with Chromium, where it is installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from PIL import Image

import pipeline

STEP = 4  # px between the pixels whose label is looked up
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=20000",
)  # fmt: skip


def labels_under(run: Path, number: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the structure under every STEP-th pixel of a section, along its own alignment."""
    reference = pipeline.phantom_reference(50.0)
    geometry = pipeline.open_alignment(run)
    y, x = np.mgrid[: shape[0] : STEP, : shape[1] : STEP]
    points = np.column_stack([x.ravel(), y.ravel()])
    places = pipeline.image_to_reference(geometry, number, points)
    voxel = np.rint(places / reference.annotation_um)
    voxel = voxel.astype(int)
    size = np.array(reference.annotation.shape)
    inside = ((voxel >= 0) & (voxel < size)).all(axis=1)
    found = np.zeros(len(points), np.uint32)
    found[inside] = reference.annotation[tuple(voxel[inside].T)]
    return found.reshape(x.shape)


def saved(figure: plt.Figure, out: Path) -> None:
    """Save a figure with a palette, which halves its size."""
    figure.savefig(out, dpi=80)
    Image.open(out).convert("RGB").quantize(160).save(out, optimize=True)


def draw_section(demo: Path, run: Path, number: int, out: Path) -> None:
    """Draw a section: as it is, and with outlines and mask."""
    (picture,) = (demo / "series").glob(f"*s{number:04d}.*")
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    mask = pipeline.open_run(run).expression(number).compute().to_numpy()
    labels = labels_under(run, number, pixels.shape[:2])
    edges = np.zeros(labels.shape, bool)
    edges[1:] |= labels[1:] != labels[:-1]
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.7), layout="constrained")
    extent = (0, pixels.shape[1], pixels.shape[0], 0)
    for axis in axes:
        axis.imshow(pixels, extent=extent)
        axis.axis("off")
    axes[1].imshow(np.where(mask > 0, 1.0, np.nan), extent=extent, cmap="autumn", vmin=0, vmax=2)
    axes[1].imshow(np.where(edges, 1.0, np.nan), extent=extent, cmap="winter", vmin=0, vmax=1.6, alpha=0.8)
    axes[0].set_title(f"section {number}")
    axes[1].set_title("outlines of the reference, expressing pixels")
    saved(figure, out)


def draw_grid(run: Path, out: Path) -> None:
    """Draw three planes of the energy grid."""
    energy = pipeline.open_run(run).grid().energy.compute()
    reference = pipeline.phantom_reference(100.0)
    brain = reference.grid_labels() > 0
    # The sagittal plane in the middle of the series, and the others through the most expression in it.
    middle = energy.r[energy.notnull().any(("p", "i"))].median()
    at = energy.sel(r=middle, method="nearest").fillna(0).argmax(("p", "i"))
    at = {"p": float(energy.p[at["p"]]), "i": float(energy.i[at["i"]]), "r": float(middle)}
    colours = mpl.colormaps["magma"].with_extremes(bad="0.85")
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    for axis, name in zip(axes, "pir", strict=True):
        plane = energy.sel({name: at[name]}, method="nearest")
        inside = np.take(brain, round(at[name] / 200), axis="pir".index(name))
        turned = name == "r"
        axis.imshow(plane.T if turned else plane, cmap=colours, vmin=0, vmax=float(energy.quantile(0.997)))
        axis.contour(inside.T if turned else inside, [0.5], colors="0.5", linewidths=0.8)
        axis.set(title=f"{name.upper()} = {float(plane[name]):.0f} um", xticks=[], yticks=[])
    saved(figure, out)


def photograph_viewer(runs: Path, number: str, out: Path) -> None:
    """Photograph the page of an experiment in the viewer."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no chromium: the viewer is not photographed")
        return
    command = [sys.executable, "-m", "pipeline", "serve", str(runs), "--port", "8765"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = "http://127.0.0.1:8765/"
        for _ in range(120):
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        page = f"{address}experiment/{number}"
        options = [*QUIET, "--window-size=1280,800", f"--screenshot={out.resolve()}"]
        subprocess.run([chromium, *options, page], check=True, capture_output=True, timeout=300)
    finally:
        server.terminate()
        server.wait()
    Image.open(out).convert("RGB").quantize(128).save(out, optimize=True)


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("demo", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    (run,) = (path for path in (given.demo / "runs").iterdir() if path.name.isdecimal())
    numbers = pipeline.open_alignment(run).numbers
    draw_section(given.demo, run, int(numbers[len(numbers) // 2]), given.out / "section.png")
    draw_grid(run, given.out / "grid.png")
    photograph_viewer(run.parent, run.name, given.out / "viewer.png")


if __name__ == "__main__":
    main()
