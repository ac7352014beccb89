"""Small series of the phantom, run through the pipeline, and many data sets as the original serves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import (
    Alignment2d,
    Alignment3d,
    SectionAlignment,
    SectionDataSet,
    SectionImage,
    SeriesAlignment,
    load_config,
    run,
)
from pipeline.formats.manifests.allen_xml import NAME, write_data_set_xml
from pipeline.phantom.scenes import phantom_scene, render_options
from pipeline.phantom.write_series import SeriesForm, write_phantom_series

HERE = Path(__file__).parents[2]
PHANTOM = HERE / "configs" / "phantom.yaml"
SECTIONS, PIXEL_UM = 6, 16.0  # of a series
GIVEN = ("alignment.name=given", "reference.resolution_um=100")
DEFORMABLE = (
    "alignment.name=joint",
    "alignment.configuration.stain_sigma_um=[150.0]",
    "alignment.configuration.deformable=in_plane",
    "reference.resolution_um=100",
)
SETS, FIRST_SET, FIRST_IMAGE = 2_100, 200_000, 5_000_000  # more than one page of AllenSDK, 2,000 rows
PROBE = "antisense"
SCRAMBLE = 1_009  # coprime to SETS: folders in another order than ids


@dataclass(frozen=True)
class Series:
    """A series of the phantom.

    Attributes
    ----------
    plane : str
        "coronal" or "sagittal".
    seed : int
        Seed of the phantom; the id of the data set is 900,000 more.
    form : SeriesForm
        How it is stored.
    settings : tuple of str
        Settings of its run.
    """

    plane: str
    seed: int
    form: SeriesForm
    settings: tuple[str, ...]


SERIES: Mapping[str, Series] = {
    "sagittal": Series("sagittal", 3, SeriesForm(truth_masks=False), GIVEN),
    "coronal": Series("coronal", 4, SeriesForm(manifest="xml", truth_masks=False), GIVEN),
    "deformed": Series("sagittal", 5, SeriesForm(give_alignment=False, truth_masks=False), DEFORMABLE),
}


def run_series(work: Path) -> dict[str, Path]:
    """Render all series and run them.

    Parameters
    ----------
    work : Path
        Folder for series and runs.

    Returns
    -------
    dict of str to Path
        Run folder by role.

    Raises
    ------
    RuntimeError
        Where a run has errors.
    """
    found = {}
    for role, series in SERIES.items():
        folder = work / role / "series"
        if not folder.exists():
            scene = phantom_scene(series.plane, SECTIONS, PIXEL_UM, render_options({"seed": series.seed}))
            write_phantom_series(work / role, scene, series.form)
        (result,) = run(load_config(PHANTOM, series.settings), [folder], work / "runs")
        if result.errors or result.run is None:
            raise RuntimeError(f"{role}: {'; '.join(result.errors)}")
        found[role] = result.run.path
    return found


def write_sets(folder: Path) -> dict[int, tuple[str, str]]:
    """Write data sets as the original serves them, each of two sections; pairs of them share a gene.

    Parameters
    ----------
    folder : Path
        Folder for all of them.

    Returns
    -------
    dict of int to (str, str)
        Gene and plane by id of the data set.
    """
    written = {}
    for at in range(SETS):
        number = FIRST_SET + 7 * (at * SCRAMBLE % SETS)
        plane, space = ("coronal", 9) if at % 2 else ("sagittal", 10)
        images = tuple(
            SectionImage(FIRST_IMAGE + 2 * at + n, 70 + 8 * n, None, 4000, 3000, 1.0) for n in range(2)
        )
        gene = f"Gene{at // 2}"
        written[number] = gene, plane
        data_set = SectionDataSet(
            number, plane, 25.0, images, gene=gene, reference_space_id=space, probe_orientation=PROBE
        )
        placed = [SectionAlignment(Alignment2d(image.section_number, np.eye(2, 3))) for image in images]
        alignment = SeriesAlignment(Alignment3d(space, np.eye(3, 4)), tuple(placed))
        (folder / f"{at:04d}").mkdir(parents=True, exist_ok=True)
        write_data_set_xml(folder / f"{at:04d}" / NAME, data_set, alignment)
    return written
