"""The grid stage: sums of all sections gathered on the 200 um grid of the reference space.

The 200 um expression grid follows the Allen Mouse Brain Atlas (Lein et al. 2007; Ng et al. 2009).
"""

from __future__ import annotations

from collections.abc import Collection

from pipeline.core.errors import DataError
from pipeline.core.model import SectionDataSet, Status
from pipeline.formats.volumes.metaimage import write_grid
from pipeline.inputs.alignments import read_placement
from pipeline.inputs.references import GRID_LABELS_UM, RunReference
from pipeline.quantification import gridding
from pipeline.store.facts import GridFacts
from pipeline.store.run import RATIOS, RunFolder


def grid(
    run: RunFolder,
    data_set: SectionDataSet,
    detected: Collection[int],
    reference: RunReference,
    smoothing_um: float,
    z_smoothing_um: float,
    digest: str,
) -> GridFacts:
    """Gather the sums of all detected and aligned sections on the 200 um grid, and write it.

    Density, intensity and energy are also written as MetaImage files in the form that Allen serves.

    Parameters
    ----------
    run : RunFolder
        Run folder to read from and write to.
    data_set : SectionDataSet
        Manifest of the series.
    detected : collection of int
        Numbers of the sections whose expression was detected.
    reference : RunReference
        Reference space.
    smoothing_um : float
        Gaussian sigma within a section, um.
    z_smoothing_um : float
        Gaussian sigma across sections, um.
    digest : str
        Digest of everything that decides the outcome, stored with the grid.

    Returns
    -------
    dict of str to int
        Facts: number of sections gathered, and of voxels with data.

    Raises
    ------
    DataError
        Where no section is both detected and aligned.
    """
    alignment = read_placement(run)
    placed = []
    for image in data_set.section_images:
        number = image.section_number
        aligned = alignment.of(number)
        if aligned is None or aligned.status == Status.FAIL or number not in detected:
            continue
        cells = gridding.smooth(run.read_cells(number), smoothing_um)
        placed.append(gridding.PlacedSection(cells, data_set.z_um(number), aligned))
    if not placed:
        raise DataError(f"series {data_set.id}: no section is both detected and aligned: nothing to grid")
    lattice = reference.at(GRID_LABELS_UM).grid
    sums, covered = gridding.assemble(
        placed, alignment.alignment3d, lattice, data_set.spacing_um, z_smoothing_um
    )
    arrays = run.write_grid(sums, covered, digest)
    for name in RATIOS:  # the form of Allen's grid service
        write_grid(run.file("grid") / f"{name}.mhd", arrays[name], lattice.spacing_um)
    return {"sections": len(placed), "covered_voxels": int(covered.sum())}
