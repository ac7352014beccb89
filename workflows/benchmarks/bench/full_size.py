"""Render a sagittal series as large as real ones: JPEG-compressed tiles, 70 MP a section, given alignment.

    python workflows/benchmarks/bench/full_size.py FOLDER --sections 20 --distinct 5 --resolution-um 1.18

Half a minute a section; sections that are there already are kept, so it may be stopped and started again.
The phantom brain is cut at 1.18 um a pixel, with the stain texture, dust and bubbles of real slides. Where
fewer are drawn than there are sections, neighbours share a picture: its numbers then mean nothing in their
place, but it costs what their own would.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import tifffile

from pipeline.core.model import UInt8
from pipeline.formats.alignments.alignment_json import write_alignment
from pipeline.formats.manifests.sections_csv import write_manifest
from pipeline.phantom import RenderOptions, render_section, true_alignment
from pipeline.phantom.scenes import phantom_scene
from pipeline.system.whole_files import replacing

TILE_PX = 512
QUALITY = 90  # 1.1 bits a pixel, as the served images of real sections have
OPTIONS = RenderOptions(seed=71, noise=2.5, texture=0.15, stain_gain=0.15, dust=4.0, bubbles=0.3)


def write_tiles(path: Path, pixels: UInt8, resolution_um: float) -> None:
    """Write (H, W, 3) uint8 as slide scanners do: tiles, each a JPEG with subsampled colour."""
    with replacing(path) as fresh:
        tifffile.imwrite(
            fresh,
            pixels,
            tile=(TILE_PX, TILE_PX),
            photometric="rgb",  # stored as YCbCr, since it is subsampled
            compression="jpeg",
            subsampling=(2, 2),
            compressionargs={"level": QUALITY},
            resolution=(1e4 / resolution_um,) * 2,
            resolutionunit="CENTIMETER",
            metadata=None,
        )


def make_series(folder: Path, sections: int, resolution_um: float, distinct: int | None = None) -> None:
    """Draw what is missing of a series, `distinct` of its sections; the others repeat the nearest of them."""
    scene = phantom_scene("sagittal", sections, resolution_um, OPTIONS)
    names = {image.section_number: f"section_{image.section_number:04d}.tif" for image in scene.images}
    images = scene.geometry.data_set.section_images
    group = -(-sections // (distinct or sections))
    folder.mkdir(parents=True, exist_ok=True)
    placed = []
    for first in range(0, sections, group):
        few = images[first : first + group]
        index = first + len(few) // 2
        drawn = scene.images[index]
        source = folder / names[drawn.section_number]
        if not source.exists():
            write_tiles(source, render_section(scene, index).pixels, resolution_um)
        for image in few:
            if not (folder / names[image.section_number]).exists():
                shutil.copyfile(source, folder / names[image.section_number])
            placed.append(replace(image, width_px=drawn.width_px, height_px=drawn.height_px))
    write_manifest(folder, replace(scene.geometry.data_set, section_images=tuple(placed)), files=names)
    write_alignment(folder / "alignment.json", true_alignment(scene))


def main() -> None:
    """Draw the series of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sections", type=int, default=20)
    parser.add_argument("--resolution-um", type=float, default=1.18)
    parser.add_argument("--distinct", type=int, default=None, help="draw so many; default: every section")
    given = parser.parse_args()
    make_series(given.folder, given.sections, given.resolution_um, given.distinct)
    print(f"{given.folder}: {given.sections} sections")


if __name__ == "__main__":
    main()
