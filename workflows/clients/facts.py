"""What the answers of a server have to be, read from the runs by the project's own code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline import ReferenceSpace, SectionImage, open_alignment, open_run, read_series
from pipeline.core.model import BOTH
from pipeline.exports.forms import read_data_set
from pipeline.formats.tables.tables import read_table
from pipeline.formats.volumes.metaimage import read_metaimage
from pipeline.geometry import affine, deformation, sync
from pipeline.geometry.structure_centres import structure_centres
from pipeline.geometry.sync import SyncGeometry
from pipeline.inputs.pixels import frame_factor, load_info, load_reduced
from pipeline.service.content.numbering import Numbers
from pipeline.service.rows.of_experiments import SUMS
from pipeline.store.masks import level_axes_um, read_level

GRIDS = ("energy", "density", "intensity")
PLANES = {"coronal": 1, "sagittal": 2}
SHARES = ((0.31, 0.42), (0.68, 0.57), (0.5, 0.73))  # points of a section, in parts of its frame
DOWNSAMPLE = 2  # of the pictures that are compared
Facts = dict[str, Any]
Arrays = dict[str, np.ndarray[Any, Any]]


def facts_of_structures(reference: ReferenceSpace) -> Facts:
    """Return the ontology and the centres of its structures.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference.

    Returns
    -------
    dict of str to Any
        `structures` in graph order, `annotated` ids, and `centres` in um.
    """
    ontology = reference.ontology
    return {
        "structures": [
            {
                "id": one.id,
                "acronym": one.acronym,
                "name": one.name,
                "color": one.color,
                "path": list(ontology.path(one.id)),
                "descendants": sorted(ontology.descendants(one.id)),
            }
            for one in sorted(ontology.structures, key=lambda one: one.graph_order)
        ],
        "annotated": sorted(set(np.unique(reference.annotation).tolist()) - {0}),
        "annotation_um": reference.annotation_um,
        "centres": {str(one): point.tolist() for one, point in structure_centres(reference).items()},
    }


class Experiment:
    """A served experiment: a finished run, or a data set as the original serves it.

    Parameters
    ----------
    series : Path
        Folder that the series was read from.
    run : Path or None
        Run that was made of it.
    numbers : Numbers or None
        Numbers of a cache that no server has seen; None where the series numbers its section images itself.
    """

    def __init__(self, series: Path, run: Path | None, numbers: Numbers | None) -> None:
        self.series, self.results = series, None if run is None else open_run(run)
        self.data_set = read_series(series).data_set if self.results is None else read_data_set(self.results)
        self.geometry: SyncGeometry = open_alignment(series if run is None else run)
        every = self.data_set.section_images
        self.images = [image for image in every if image.section_number in self.geometry.numbers]
        self.ids = {image.section_number: image.id for image in self.images}
        if numbers is not None:
            keys = {number: f"{self.data_set.id}/{number}" for number in self.ids}
            given = numbers.of("section_image", keys.values())
            self.ids = {number: given[key] for number, key in keys.items()}
        there = [at for at, image in enumerate(self.images) if self._file(image) is not None]
        self.shown = there[len(there) // 2] if there else None  # the section that is compared

    def facts(self) -> Facts:
        """Return the numbers of the experiment."""
        data_set, space = self.data_set, self.geometry.alignment3d
        found = {
            "id": data_set.id,
            "gene": data_set.gene,
            "plane_of_section_id": PLANES[data_set.plane_of_section],
            "plane": data_set.plane_of_section,
            "reference_space_id": data_set.reference_space_id,
            "section_thickness": data_set.section_thickness_um,
            "sections": [self._section(image) for image in self.images],
            "tvr": affine.to_itk(space.volume_to_reference),
            "trv": affine.to_itk(space.reference_to_volume),
            "deformed": bool(self.geometry.deformations),
            "unionize": self._unionize(),
            "shown": self.shown,
            "downsample": DOWNSAMPLE,
        }
        if self.results is not None:
            found["mask_um"] = level_axes_um(self._mask())[0]
            found["mask_steps"] = round(np.log2(found["mask_um"] / self.images[0].resolution_um))
        return found

    def arrays(self) -> Arrays:
        """Return grids as they are stored, and photo, mask and deformation of the compared section."""
        if self.results is None:
            return {"energy": read_metaimage(self.series / "energy.mhd")[0]}
        group = zarr.open_group(self.results.path / "grid.zarr", mode="r")
        found: Arrays = {name: np.asarray(group[name]) for name in GRIDS}
        assert self.shown is not None
        image = self.images[self.shown]
        stored = replace(image, path=self._file(image))
        photo = load_reduced(stored, 2**DOWNSAMPLE // frame_factor(stored, load_info(stored)))
        x, y, width, height = (value >> DOWNSAMPLE for value in _box(image))
        found["photo"], found["mask"] = photo[y : y + height, x : x + width], read_level(self._mask(), 0)
        deformation = self.geometry.deformations.get(image.section_number)
        if deformation is not None:
            found["displacement_um"] = deformation.displacement_um
        return found

    def _file(self, image: SectionImage) -> Path | None:
        return next(self.series.glob(f"*_s{image.section_number:04d}.*"), None)

    def _mask(self) -> Path:
        assert self.results is not None
        assert self.shown is not None
        number = self.images[self.shown].section_number
        return self.results.path / "expression.zarr" / str(number)

    def _section(self, image: SectionImage) -> Facts:
        placed = self.geometry.of(image.section_number)
        return {
            "id": self.ids[image.section_number],
            "section_number": image.section_number,
            "image_width": image.width_px,
            "image_height": image.height_px,
            "box": _box(image),
            "resolution": image.resolution_um,
            "tsv": affine.to_itk(placed.section_to_volume),
            "tvs": affine.to_itk(placed.volume_to_section),
        }

    def _unionize(self) -> dict[str, Facts]:
        """Return the rows of both hemispheres together, by structure."""
        if self.results is None:
            return {}
        columns = read_table(self.results.require("structure_unionize.parquet"))
        names = ("structure_id", "hemisphere_id", *SUMS)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*(columns[n] for n in names), strict=True)]
        return {
            str(row["structure_id"]): {
                name: None if row[name] is None or not np.isfinite(row[name]) else row[name] for name in SUMS
            }
            for row in rows
            if row["hemisphere_id"] == BOTH
        }


def _box(image: SectionImage) -> list[int]:
    """Return the box around the tissue, x, y, width and height px; the frame where none is stated."""
    return [round(value) for value in image.tissue_box_px or (0, 0, image.width_px, image.height_px)]


def deformed_points(run: Experiment) -> Arrays:
    """Return reference points inside a deformed series, on the 200 um grid and between its points.

    Parameters
    ----------
    run : Experiment
        A deformed series.

    Returns
    -------
    dict of str to array
        `points_um` and `between_um` (n, 3), and for each `…_section` (n,) and `…_px` (n, 2) as sync has it.
    """
    grid = run.arrays()["energy"]
    index = np.argwhere(grid > 0)
    chosen = index[:: max(len(index) // 400, 1)]
    random = np.random.default_rng(1)
    found: Arrays = {}
    for name, points in (
        ("points", chosen * 200.0),
        ("between", (chosen + random.uniform(0.2, 0.8, chosen.shape)) * 200.0),
    ):
        numbers, pixels = sync.reference_to_image(run.geometry, points)
        found |= {f"{name}_um": points, f"{name}_section": numbers, f"{name}_px": pixels}
    return found


def facts_of_sync(runs: Mapping[str, Experiment], centres: Mapping[int, np.ndarray[Any, Any]]) -> list[Facts]:
    """Return what image sync has to answer, by verb.

    Parameters
    ----------
    runs : mapping of str to Experiment
        Runs by role.
    centres : mapping of int to (3,) array, um
        Centres of structures.

    Returns
    -------
    list of dict
        `verb`, its arguments `asked` in the order of the client's method, and the `answer`.
    """
    found = []
    for source in runs.values():
        images = source.images
        image = images[len(images) // 2 if source.shown is None else source.shown]
        structures = sorted(centres)[:6]
        found.append(_structure_to_image(source, structures, centres))
        for share_x, share_y in SHARES:
            x, y = round(share_x * image.width_px, 1), round(share_y * image.height_px, 1)
            found += _of_point(runs, source, image.section_number, (x, y))
    return found


def _of_point(
    runs: Mapping[str, Experiment], source: Experiment, number: int, point: tuple[float, float]
) -> list[Facts]:
    here = sync.image_to_reference(source.geometry, number, [point])
    (p, i, r), section = here[0].tolist(), source.ids[number]
    space = source.geometry.alignment3d.reference_space_id
    ids = [run.data_set.id for run in runs.values()]
    nearest = [_nearest(run, space, here) for run in runs.values()]
    onto = [image.section_number for image in source.images[:2]]
    volume = affine.apply(source.geometry.alignment3d.reference_to_volume, here)
    return [
        {"verb": "image_to_reference", "asked": [section, *point], "answer": {"x": p, "y": i, "z": r}},
        {"verb": "reference_to_image", "asked": [space, p, i, r, ids], "answer": nearest},
        {"verb": "image_to_image", "asked": [section, *point, ids], "answer": nearest},
        {
            "verb": "image_to_image_2d",
            "asked": [section, *point, [source.ids[n] for n in onto]],
            "answer": [_onto(source, n, volume) for n in onto],
        },
        {"verb": "image_to_atlas", "asked": [section, *point, 1], "answer": [p, i, r]},
    ]


def _structure_to_image(
    run: Experiment, structures: list[int], centres: Mapping[int, np.ndarray[Any, Any]]
) -> Facts:
    numbers, points = sync.reference_to_image(run.geometry, [centres[one] for one in structures])
    answer = [_synced(run, n, xy) for n, xy in zip(numbers.tolist(), points.tolist(), strict=True)]
    return {"verb": "structure_to_image", "asked": [run.data_set.id, structures], "answer": answer}


def _nearest(run: Experiment, space: int, point: np.ndarray[Any, Any]) -> Facts:
    own = run.geometry.alignment3d.reference_space_id
    moved = point if own == space else affine.apply(affine.between_spaces(space, own), point)
    numbers, points = sync.reference_to_image(run.geometry, moved)
    return _synced(run, int(numbers[0]), points[0].tolist())


def _onto(run: Experiment, number: int, volume: np.ndarray[Any, Any]) -> Facts:
    section = run.geometry.placed(run.geometry.of(number))
    z_um = number * run.geometry.section_thickness_um
    return _synced(run, number, deformation.volume_to_section(section, volume, z_um)[0][0].tolist())


def _synced(run: Experiment, number: int, point: list[float]) -> Facts:
    return {
        "section_data_set_id": run.data_set.id,
        "section_image_id": run.ids[number],
        "section_number": number,
        "x": point[0],
        "y": point[1],
    }
