"""A run held against the truth of the rendered series that it processed.

mask        Dice between the mask found and the pixels that express
structures  energy per structure by the labels of the run (unionize.grid_annotation), against two truths:
            *exact*, summed over the section pixels that lie in the structure; and *gridded*, the true masks
            at their true places through the same 200 um grid and smoothing, which is what a perfect
            detector and a perfect alignment would reach
grid        energy of voxels, against the gridded truth
"""

from __future__ import annotations

import csv
from pathlib import Path

import imagecodecs
import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.intensity import darkness
from pipeline.core.model import Bool, ExpressionSums, SectionDataSet, SectionImage, UInt8, UInt32
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace, hemispheres
from pipeline.formats.alignments.alignment_json import read_alignment
from pipeline.formats.manifests.series import read_series
from pipeline.inputs.alignments import run_config, run_reference
from pipeline.inputs.config import GriddingConfig
from pipeline.inputs.pixels import load_pixels
from pipeline.quantification import gridding
from pipeline.quantification.cells import SectionCells, accumulate, fine_pitch_px
from pipeline.quantification.unionize import LabelIndex, unionize
from pipeline.search.sources import open_labels
from pipeline.store.run import RunFolder, read_json

COARSE_VOXELS = 1000  # structures of 8 mm3 and more: 200 um of smoothing hardly reaches into them
BOTH = 3


def dice(run: RunFolder, truth: Path, sections: list[SectionImage]) -> float:
    """Return the Dice of the masks of all sections together.

    Parameters
    ----------
    run : RunFolder
        Run.
    truth : Path
        Folder of the truth.
    sections : list of SectionImage
        Sections that were processed.

    Returns
    -------
    float
        Dice coefficient, 0-1.
    """
    both = either = 0
    for section in sections:
        found = run.read_expression(section.section_number) > 0
        true = true_mask(truth, section)
        both += int((found & true).sum())
        either += int(found.sum()) + int(true.sum())
    return 2 * both / max(either, 1)


def true_mask(truth: Path, section: SectionImage) -> Bool:
    """Return the pixels of a section that express.

    Parameters
    ----------
    truth : Path
        Folder of the truth.
    section : SectionImage
        Section.

    Returns
    -------
    (H, W) bool
        As stored.
    """
    path = truth / f"section_{section.section_number:04d}_expressing.png"
    return np.asarray(imagecodecs.imread(path)) > 0


def gridded_truth(
    truth: Path,
    data_set: SectionDataSet,
    sections: list[SectionImage],
    reference: ReferenceSpace,
    parameters: GriddingConfig,
) -> tuple[ExpressionSums, Bool]:
    """Return the 200 um grid of the true masks at their true places.

    Parameters
    ----------
    truth : Path
        Folder of the truth.
    data_set : SectionDataSet
        Series.
    sections : list of SectionImage
        Sections that were processed.
    reference : ReferenceSpace
        Gives the grid.
    parameters : GriddingConfig
        Smoothing of the run.

    Returns
    -------
    sums : ExpressionSums
        Over the voxels of the grid.
    covered : (P, I, R) bool
        Voxels with data.

    Raises
    ------
    DataError
        Where a section has no true alignment.
    """
    alignment = read_alignment(truth / "alignment.json")
    placed = []
    for section in sections:
        aligned = alignment.of(section.section_number)
        if aligned is None:
            raise DataError(f"{truth}: no true alignment of section {section.section_number}")
        dark = darkness(load_pixels(section))
        factor = round(section.width_px / dark.shape[1])
        expression: UInt8 = np.where(true_mask(truth, section), np.maximum(dark, 1), 0).astype(np.uint8)
        pitch = fine_pitch_px(section.resolution_um * factor)
        sums = accumulate(dark, expression, np.ones(dark.shape, bool), pitch)
        rectangle = (0, 0, dark.shape[1], dark.shape[0])
        cells = SectionCells(sums, pitch, factor, section.resolution_um, rectangle)
        smooth = gridding.smooth(cells, parameters.smoothing_um)
        z_um = data_set.z_um(section.section_number)
        placed.append(gridding.PlacedSection(smooth, z_um, aligned))
    return gridding.assemble(
        placed, alignment.alignment3d, reference.grid, data_set.spacing_um, parameters.z_smoothing_um
    )


def energies(path: Path) -> dict[int, float]:
    """Return expression energy per structure, both hemispheres together.

    Parameters
    ----------
    path : Path
        Table, CSV.

    Returns
    -------
    dict of int to float
        Energy by structure id; NaN where there is none.
    """
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["hemisphere_id"]) == BOTH]
    return {int(row["structure_id"]): float(row["expression_energy"] or "nan") for row in rows}


def agreement(found: dict[int, float], true: dict[int, float], wanted: set[int]) -> dict[str, float]:
    """Return how two sets of energies agree, over the structures that both have.

    Parameters
    ----------
    found, true : dict of int to float
        Energy by structure id.
    wanted : set of int
        Structures to compare.

    Returns
    -------
    dict of str to float
        `structures` compared, Pearson's r, ratio of the means.
    """
    common = sorted(k for k in wanted & found.keys() & true.keys() if np.isfinite(found[k] + true[k]))
    a, b = (np.array([values[k] for k in common]) for values in (found, true))
    return {
        "structures": len(common),
        "pearson": float(np.corrcoef(a, b)[0, 1]),
        "mean_ratio": float(a.mean() / b.mean()),
    }


def score(run_path: Path, rendered: Path) -> dict[str, dict[str, float]]:
    """Hold a run against the truth of the series that it processed.

    Parameters
    ----------
    run_path : Path
        Run.
    rendered : Path
        Folder with series/ and truth/, as `ish phantom` writes.

    Returns
    -------
    dict of str to dict
        Figures by question.

    Raises
    ------
    PipelineError
        Where the run or the truth lacks something.
    """
    run, truth = RunFolder(run_path), rendered / "truth"
    data_set = read_series(rendered / "series").data_set
    kept = {s["section_number"] for s in read_json(run.require("section_data_set.json"))["section_images"]}
    sections = [s for s in data_set.section_images if s.path is not None and s.section_number in kept]
    config = run_config(run)
    reference = open_labels(run_reference(run_path))
    labels = reference.grid_labels(served=config.unionize.grid_annotation == "served")
    index = LabelIndex.of(labels, reference.ontology)
    sums, covered = gridded_truth(truth, data_set, sections, reference, config.gridding)
    rows = unionize(data_set.id, sums, covered, index, hemispheres(reference.grid))
    gridded = {r.structure_id: r.expression_energy for r in rows if r.hemisphere_id == BOTH}
    found, exact = energies(run.require("structure_unionize.csv")), energies(truth / "structure_energy.csv")
    voxels = voxel_counts(labels, reference.ontology)
    coarse = {k for k in exact if voxels.get(k, 0) >= COARSE_VOXELS}
    ours = run.read_grid()["energy"].astype(np.float64)
    inside = covered & (ours >= 0) & (labels > 0)
    return {
        "mask": {"dice": dice(run, truth, sections)},
        "structures, gridded truth": agreement(found, gridded, set(exact)),
        f"structures of {COARSE_VOXELS} voxels and more, exact truth": agreement(found, exact, coarse),
        "structures, exact truth": agreement(found, exact, set(exact)),
        "voxels, gridded truth": {
            "voxels": float(inside.sum()),
            "pearson": float(np.corrcoef(ours[inside], sums.energy[inside])[0, 1]),
            "mean_ratio": float(ours[inside].mean() / sums.energy[inside].mean()),
        },
    }


def voxel_counts(labels: UInt32, ontology: Ontology) -> dict[int, int]:
    """Return how many voxels each structure has, descendants included.

    Parameters
    ----------
    labels : (P, I, R) uint32
        Labels of the 200 um grid.
    ontology : Ontology
        Structures.

    Returns
    -------
    dict of int to int
        Voxels by structure id.
    """
    counts = dict.fromkeys(ontology.by_id, 0)
    for label, number in zip(*np.unique(labels[labels > 0], return_counts=True), strict=True):
        for ancestor in ontology.path(int(label)):
            counts[ancestor] += int(number)
    return counts
