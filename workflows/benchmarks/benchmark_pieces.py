"""Hold a detector against the grid that Allen serves: real pieces of nine Prox1 sections, and section 70.

    python benchmark_pieces.py --data $ISH_DATA [--own] [--detector adaptive] [--set contrast=19 …]

Each piece is detected at its own place in its section, summed, and put on the 200 um grid along the served
alignment. Voxels count that lie within half the spacing of its plane and at least `MARGIN_UM` inside it:
what lies beyond a piece is in the served grid, but not in its sums. A piece shows little of its section and
no glass, so it takes the statistics of section 70. With `--own` it is laid into a frame of the size of its
section, on glass like that of section 70, and measured there; statistics are then pooled as over a series.

A line a piece, then all pieces together, then section 70 whole, its voxels those of the brain:
voxels         how many are compared
r, rho         Pearson's and Spearman's correlation of energy
ratio          our sum of energy over Allen's
below 2, 1     the same over the voxels whose served energy is below 2, and below 1
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import imagecodecs
import numpy as np
from scipy import stats

from pipeline.core import intensity
from pipeline.core.errors import DataError
from pipeline.core.intensity import darkness
from pipeline.core.model import Alignment2d, Bool, Float64, SectionAlignment, SeriesAlignment, UInt8
from pipeline.core.reference_space import ReferenceSpace
from pipeline.detection import Detector, SectionContext, make_detector, measure_section, pool_contexts
from pipeline.formats.manifests.series import read_series
from pipeline.formats.volumes.metaimage import read_grid
from pipeline.formats.volumes.reference_folder import read_reference
from pipeline.geometry import affine
from pipeline.geometry.deformation import volume_to_section
from pipeline.quantification.cells import SectionCells, accumulate, fine_pitch_px
from pipeline.quantification.gridding import PlacedSection, assemble, smooth

DATA_SET = "ish/prox1_69289763"
WHOLE = 70  # the section whose image is there whole
STORED = 4  # manifest pixels per pixel of the images
MARGIN_UM = 200.0  # one sigma of the smoothing
SMOOTHING_UM = 200.0
LUMA = np.array([0.299, 0.587, 0.114])
GLASS_NOISE = 1.0  # grey levels
FEWEST = 3  # voxels for a correlation


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a section, (h, w, 3) uint8, its place in it, and the frame of that section, px as stored."""

    number: int
    pixels: UInt8
    corner_px: tuple[int, int]
    frame_px: tuple[int, int]

    def framed(self, glass: UInt8, seed: int = 0) -> UInt8:
        """Return the frame of the section, glass of one colour with some noise, with the piece on it."""
        width, height = self.frame_px
        noise = np.random.default_rng(seed).normal(0.0, GLASS_NOISE, (height, width, 1))
        frame = np.floor((glass + noise).clip(0, 255) + 0.5).astype(np.uint8)
        x, y = self.corner_px
        frame[y : y + self.pixels.shape[0], x : x + self.pixels.shape[1]] = self.pixels
        return frame


@dataclass(frozen=True, eq=False)
class Data:
    """The images, where they lie, and what Allen serves of them."""

    whole: UInt8
    pieces: list[Piece]
    alignment: SeriesAlignment
    resolution_um: float
    thickness_um: float
    spacing_um: float
    served: Float64
    reference: ReferenceSpace

    def placed(self, number: int) -> SectionAlignment:
        """Return the alignment of a section."""
        found = self.alignment.of(number)
        if found is None:
            raise DataError(f"{DATA_SET}: expected an alignment of section {number}, got none")
        return found


def read_data(folder: Path) -> Data:
    """Read the data set, its pieces and the reference from the folder of real data."""
    source = read_series(folder / DATA_SET)
    if source.alignment is None:
        raise DataError(f"{folder / DATA_SET}: expected a data set with an alignment, got none")
    images = {image.section_number: image for image in source.data_set.section_images}
    path = images[WHOLE].path
    if path is None:
        raise DataError(f"{folder / DATA_SET}: expected the image of section {WHOLE}, got none")
    return Data(
        whole=np.asarray(imagecodecs.imread(path)),
        pieces=read_pieces(folder / DATA_SET / "pieces"),
        alignment=source.alignment,
        resolution_um=images[WHOLE].resolution_um,
        thickness_um=source.data_set.section_thickness_um,
        spacing_um=source.data_set.spacing_um,
        served=read_grid(folder / DATA_SET / "energy.mhd").astype(np.float64),
        reference=read_reference(folder / "reference", template=False),
    )


def read_pieces(folder: Path) -> list[Piece]:
    """Read the pieces that `pieces.csv` of a folder names."""
    with (folder / "pieces.csv").open(encoding="utf-8") as file:
        rows = [{k: v if k == "file" else int(v) for k, v in row.items()} for row in csv.DictReader(file)]
    return [
        Piece(
            row["section_number"],
            np.ascontiguousarray(imagecodecs.imread(folder / row["file"])[..., :3]),
            (row["left_px"], row["top_px"]),
            (row["image_width_px"], row["image_height_px"]),
        )
        for row in rows
    ]


def whole_extent(context: SectionContext) -> SectionContext:
    """Return a context in which all of the section is tissue: the edge of a piece is no edge of tissue."""
    (w, h), margin = context.extent_um, 1000.0
    ring = ((-margin, -margin), (w + margin, -margin), (w + margin, h + margin), (-margin, h + margin))
    return replace(context, tissue_outlines_um=(ring,))


def contexts_of(data: Data, own: bool) -> dict[int, SectionContext]:
    """Return the statistics of section 70 and of every piece, all of which is tissue."""
    um = data.resolution_um * STORED
    whole = measure_section(data.whole, np.ones(data.whole.shape[:2], np.bool_), um)
    luma = float(whole.glass_luma(whole.extent_um[0] / 2, whole.extent_um[1] / 2))
    if own:
        glass = glass_colour(data.whole, luma)
        frames = [piece.framed(glass) for piece in data.pieces]
        measured = [measure_section(frame, np.ones(frame.shape[:2], np.bool_), um) for frame in frames]
        first, *others = pool_contexts([whole, *measured])
    else:
        first = pool_contexts([whole])[0]
        even = (float(np.log10(luma)), 0.0, 0.0, 0.0, 0.0, 0.0)
        others = [
            replace(first, background=even, artifacts=(), extent_um=(p.frame_px[0] * um, p.frame_px[1] * um))
            for p in data.pieces
        ]
    return {WHOLE: first, **{p.number: whole_extent(c) for p, c in zip(data.pieces, others, strict=True)}}


def glass_colour(pixels: UInt8, luma: float) -> UInt8:
    """Return the median colour of the pixels next to a luma, (3,) uint8."""
    near = np.abs(pixels @ LUMA - luma) < 1.5
    return np.asarray(np.median(pixels[near], axis=0), np.uint8)


def gridded(
    data: Data, number: int, pixels: UInt8, mask: Bool, corner_px: tuple[int, int]
) -> tuple[Float64, Bool]:
    """Return the energy of a section or piece on the 200 um grid, and which voxels it covers."""
    dark = darkness(pixels)
    expression = intensity.expression(dark, mask.copy(), np.ones(dark.shape, np.bool_))
    pitch = fine_pitch_px(data.resolution_um * STORED)
    sums = accumulate(dark, expression, np.ones(dark.shape, np.bool_), pitch)
    rectangle = (0, 0, dark.shape[1], dark.shape[0])
    cells = SectionCells(sums, pitch, STORED, data.resolution_um, rectangle)
    placed = moved(data.placed(number), corner_px)
    section = PlacedSection(smooth(cells, SMOOTHING_UM), number * data.thickness_um, placed)
    grid = data.reference.grid
    total, covered = assemble([section], data.alignment.alignment3d, grid, data.spacing_um, 0.0)
    return total.energy, covered & inside(data, section)


def moved(placed: SectionAlignment, corner_px: tuple[int, int]) -> SectionAlignment:
    """Return the alignment of a part of a section that begins at a stored pixel."""
    matrix = placed.alignment2d.section_to_volume.copy()
    matrix[:, 2] += matrix[:, :2] @ (np.array(corner_px) * STORED)
    return replace(placed, alignment2d=Alignment2d(placed.alignment2d.section_number, matrix))


def inside(data: Data, section: PlacedSection) -> Bool:
    """Return which voxels lie at least the margin inside an image."""
    grid = data.reference.grid
    volume = affine.apply(data.alignment.alignment3d.reference_to_volume, grid.points_um())
    points, _ = volume_to_section(section.alignment, volume, section.z_um)
    x, y = (points / STORED).T
    _, _, width, height = section.cells.rectangle_px
    margin = MARGIN_UM / (data.resolution_um * STORED)
    found = (x >= margin) & (x <= width - 1 - margin) & (y >= margin) & (y <= height - 1 - margin)
    return np.asarray(found.reshape(grid.shape))


def energies(data: Data, detector: Detector, own: bool) -> dict[int, tuple[Float64, Float64]]:
    """Return our energy and Allen's of the voxels of every piece and of section 70, by section number."""
    um = data.resolution_um * STORED
    labels = data.reference.grid_labels()
    found = {}
    contexts = contexts_of(data, own)
    parts = [*data.pieces, Piece(WHOLE, data.whole, (0, 0), data.whole.shape[1::-1])]
    for part in parts:
        context = replace(contexts[part.number], resolution_um=um).at(*part.corner_px)
        mask = detector(part.pixels, context)
        ours, covered = gridded(data, part.number, part.pixels, mask, part.corner_px)
        compared = covered & np.isfinite(ours) & (data.served >= 0) & (labels > 0)
        found[part.number] = ours[compared], data.served[compared]
    return found


def figures(ours: Float64, served: Float64) -> dict[str, float]:
    """Return how two energies agree; nan where there are no voxels to compare."""
    below = {
        f"below {limit}": ours[low].sum() / served[low].sum() if low.any() else np.nan
        for limit, low in ((limit, served < limit) for limit in (2, 1))
    }
    if ours.size < FEWEST:
        return {"voxels": float(ours.size)}
    return {
        "voxels": float(ours.size),
        "r": float(np.corrcoef(ours, served)[0, 1]),
        "rho": float(stats.spearmanr(ours, served).statistic),
        "ratio": float(ours.sum() / served.sum()),
        **{name: float(value) for name, value in below.items()},
    }


def show(found: dict[int, tuple[Float64, Float64]]) -> None:
    """Print a line a piece, one of all, and one of section 70."""
    names = ("voxels", "r", "rho", "ratio", "below 2", "below 1")
    print(f"{'section':12}" + "".join(f"{name:>9}" for name in names))
    pieces = {str(n): values for n, values in found.items() if n != WHOLE}
    together = tuple(np.concatenate(values) for values in zip(*pieces.values(), strict=True))
    for label, (ours, served) in {**pieces, "all pieces": together, "70 whole": found[WHOLE]}.items():
        values = figures(ours, served)
        numbers = "".join(f"{values.get(name, np.nan):9.3f}" for name in names[1:])
        print(f"{label:12}{values['voxels']:9.0f}{numbers}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("ISH_DATA"), help="default: $ISH_DATA")
    parser.add_argument("--detector", default="adaptive")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=NUMBER", help="of the detector")
    parser.add_argument("--own", action="store_true", help="statistics of every piece, not of section 70")
    given = parser.parse_args()
    if given.data is None:
        print("no data: give --data DIR or set ISH_DATA", file=sys.stderr)
        return 2
    chosen = {name: float(value) for name, value in (word.split("=") for word in given.set)}
    show(energies(read_data(Path(given.data)), make_detector(given.detector, chosen), given.own))
    return 0


if __name__ == "__main__":
    sys.exit(main())
