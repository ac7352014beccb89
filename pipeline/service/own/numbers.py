"""Expression in numbers: structure tables, and the grid as spheres, projections and planes."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
from starlette.responses import Response

from pipeline.core.errors import MissingResultError
from pipeline.core.model import GRID_200, Float32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.tables.tables import read_table
from pipeline.report.pictures import magma_rgba
from pipeline.report.projections import brightest, project
from pipeline.search.sources import read_values
from pipeline.service.content.catalogue import ServedExperiment
from pipeline.service.http.answers import RequestError
from pipeline.service.own.endpoint import Endpoint, Parameter, Values
from pipeline.service.own.experiments import EXPERIMENT_ID
from pipeline.service.own.places import BINARY
from pipeline.service.own.schemas import NUMBER, array, record
from pipeline.service.own.structure_columns import ABOUT, ANSWER, KEYS
from pipeline.service.rows.of_experiments import UNIONIZE
from pipeline.service.served import Serving
from pipeline.store.run import NO_DATA, RATIOS, RunFolder

# Axis of the normal, and the axes that run down and right, as sections of the plane are looked at.
VIEWS = {"coronal": (0, 1, 2), "horizontal": (1, 0, 2), "sagittal": (2, 1, 0)}


def unionize(serving: Serving, values: Values) -> dict[str, list[Any]]:
    """Return the structure table of an experiment, by columns."""
    experiment = serving.catalogue.experiment(values["id"])
    if not experiment.is_run:
        raise RequestError(
            f"SectionDataSet {experiment.id}: is served grids, which have no structure table", status=404
        )
    try:
        table = read_table(RunFolder(experiment.folder).require(UNIONIZE))
    except MissingResultError as error:
        raise RequestError(str(error), status=404) from None
    wanted = np.ones(len(table["structure_id"]), bool)
    if values["hemisphere_id"] is not None:
        wanted &= np.array(table["hemisphere_id"]) == values["hemisphere_id"]
    if values["structure"] is not None:
        ontology = serving.reference.ontology
        ids = [serving.structure(name.strip()).id for name in values["structure"].split(",")]
        if values["descendants"]:
            ids = [one for top in ids for one in ontology.descendants(top)]
        wanted &= np.isin(table["structure_id"], ids)
    rows = np.flatnonzero(wanted).tolist()
    asked = _columns(values["columns"])
    return {name: [table[name][row] for row in rows] for name in asked if name in table}


def _columns(text: str | None) -> list[str]:
    names = {name.strip() for name in text.split(",")} if text else set(ABOUT)
    if unknown := sorted(names - set(ABOUT)):
        raise RequestError(f"columns: expected some of {', '.join(ABOUT)}, got {', '.join(unknown)}")
    return [name for name in ABOUT if name in names or name in KEYS]


def grid_of(experiment: ServedExperiment, name: str) -> Float32:
    """Return a grid of an experiment.

    Parameters
    ----------
    experiment : ServedExperiment
        The experiment.
    name : str
        "energy", "density" or "intensity".

    Returns
    -------
    (P, I, R) float32
        -1 where there is no data.

    Raises
    ------
    RequestError
        With 404 where there is no such grid.
    """
    try:
        if experiment.is_run:
            return RunFolder(experiment.folder).read_grid()[name]
        path = experiment.folder / f"{name}.mhd"
        if not path.is_file():
            raise MissingResultError(f"SectionDataSet {experiment.id}: has no {name} grid")
        values = read_values(path, None, GRID_200.spacing_um)
        return np.where(np.isnan(values), NO_DATA, values)
    except (MissingResultError, KeyError):
        raise RequestError(f"SectionDataSet {experiment.id}: has no {name} grid", status=404) from None


def spheres(serving: Serving, values: Values) -> Any:
    """Return the voxels above a threshold, the strongest first."""
    experiment = serving.catalogue.experiment(values["id"])
    energy = grid_of(experiment, "energy")
    at = np.argwhere(energy > values["threshold"])
    order = np.argsort(-energy[tuple(at.T)], kind="stable")[: values["most"]]
    at = at[order]
    found = {"energy": energy[tuple(at.T)]}
    for name in ("intensity", "density"):
        try:
            found[name] = grid_of(experiment, name)[tuple(at.T)]
        except RequestError:
            found[name] = np.full(len(at), NO_DATA)  # grids of the original are often served as energy only
    points = (at * GRID_200.spacing_um).astype(np.float32)
    if values["structures"]:
        found["graph_order"] = _graph_order(serving.reference, points)
    if values["form"] == "binary":
        columns = np.column_stack([points, *found.values()]).astype("<f4")
        return Response(columns.tobytes(), media_type=BINARY, headers=_shape(energy))
    return {"points_um": points, **found}


def _graph_order(reference: ReferenceSpace, points_um: Float32) -> Float32:
    """Return the place in the structure graph of the voxels nearest to points; -1 outside the brain."""
    index = np.rint(points_um / reference.annotation_um).astype(np.int64)
    inside = (index < reference.annotation.shape).all(axis=1)
    labels = np.zeros(len(index), np.uint32)
    labels[inside] = reference.annotation[tuple(index[inside].T)]
    known, where = np.unique(labels, return_inverse=True)
    by_id = reference.ontology.by_id
    orders = [by_id[int(label)].graph_order if int(label) in by_id else -1 for label in known]
    return np.array(orders, np.float32)[where]


def projection(serving: Serving, values: Values) -> Response:
    """Return the maximum along an axis as a picture."""
    grid = grid_of(serving.catalogue.experiment(values["id"]), values["measure"])
    normal, down, right = VIEWS[values["view"]]
    view = project(grid, normal)
    return _picture(view if down < right else view.T, values, grid)


def plane(serving: Serving, values: Values) -> Response:
    """Return one plane of the grid as a picture."""
    grid = grid_of(serving.catalogue.experiment(values["id"]), values["measure"])
    normal, down, right = VIEWS[values["view"]]
    index = round(values["at_um"] / GRID_200.spacing_um)
    if not 0 <= index < grid.shape[normal]:
        most = (grid.shape[normal] - 1) * GRID_200.spacing_um
        raise RequestError(
            f"at_um: expected 0 to {most:g} um for a {values['view']} plane, got {values['at_um']:g}"
        )
    view = grid.take(index, axis=normal)
    return _picture(view if down < right else view.T, values, grid, brightest(grid))


def _shape(grid: Float32) -> dict[str, str]:
    """Return the header that tells a page how large the grid is: references differ."""
    return {"X-Grid-Shape": ",".join(map(str, grid.shape))}


def _picture(view: Float32, values: Values, grid: Float32, highest: float | None = None) -> Response:
    """Return values as a PNG; the scale ends at `highest`, as in the header `X-Highest`."""
    top = values["highest"] or highest or brightest(view) or 1.0
    pixels = magma_rgba(view, view >= 0, top)
    zoom = values["zoom"]
    enlarged = np.ascontiguousarray(np.repeat(np.repeat(pixels, zoom, axis=0), zoom, axis=1))
    content = bytes(imagecodecs.png_encode(enlarged, level=5))
    headers = {"X-Highest": f"{top:.6g}", "Cache-Control": "private, max-age=60", **_shape(grid)}
    return Response(content, media_type="image/png", headers=headers)


_MEASURE = Parameter("measure", "string", "grid", default="energy", words=RATIOS)
_VIEW = Parameter("view", "string", "plane that is looked at", default="coronal", words=tuple(VIEWS))
_SCALE = (
    Parameter(
        "highest", "number", "value of the brightest colour; default the 99.5th percentile", least=0, most=1e6
    ),
    Parameter("zoom", "integer", "px per voxel", default=1, least=1, most=16),
)
ENDPOINTS = (
    Endpoint(
        "/experiments/{id}/unionize",
        "The structure table of a run, by columns; null where there is no data. Runs of version 0.2 and"
        " earlier have no section columns, no intervals, no shares and no notes.",
        unionize,
        (
            EXPERIMENT_ID,
            Parameter("hemisphere_id", "integer", "1 left, 2 right, 3 both", least=1, most=3),
            Parameter("structure", "string", "acronyms or ids, separated by commas"),
            Parameter("descendants", "boolean", "with all substructures", default=False),
            Parameter("columns", "string", "columns, separated by commas; default all"),
        ),
        ANSWER,
    ),
    Endpoint(
        "/experiments/{id}/spheres",
        "Voxels above a threshold, the strongest first; binary: rows of float32 P, I, R, energy, intensity,"
        " density and, where asked for, graph_order.",
        spheres,
        (
            EXPERIMENT_ID,
            Parameter("threshold", "number", "energy that a voxel exceeds", default=0.0, least=0, most=1e6),
            Parameter("most", "integer", "voxels at most", default=200_000, least=1, most=200_000),
            Parameter("form", "string", "form of the answer", default="json", words=("json", "binary")),
            Parameter("structures", "boolean", "add graph_order, -1 outside the brain", default=False),
        ),
        {
            **record(
                points_um=array(array(NUMBER)),
                energy=array(NUMBER),
                intensity=array(NUMBER),
                density=array(NUMBER),
                graph_order=array(NUMBER),
            ),
            "required": ["points_um", "energy", "intensity", "density"],
        },
        also=(BINARY,),
    ),
    Endpoint(
        "/experiments/{id}/projection",
        "The maximum of a grid along an axis, as a picture.",
        projection,
        (EXPERIMENT_ID, _MEASURE, _VIEW, *_SCALE),
        "image/png",
    ),
    Endpoint(
        "/experiments/{id}/plane",
        "One plane of a grid, as a picture.",
        plane,
        (
            EXPERIMENT_ID,
            Parameter("at_um", "number", "position along the normal, um", default=0.0, least=0, most=1e6),
            _MEASURE,
            _VIEW,
            *_SCALE,
        ),
        "image/png",
    ),
)
