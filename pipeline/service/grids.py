"""Expression grids as the original's grid service sends them: zips of MetaImages."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.core.errors import DataError, MissingResultError
from pipeline.core.model import SeriesAlignment
from pipeline.formats.manifests.allen_xml import NAME as DATA_SET_XML
from pipeline.formats.manifests.allen_xml import data_set_xml
from pipeline.service.content.catalogue import ServedExperiment
from pipeline.service.http.answers import RequestError
from pipeline.service.http.parameters import asked_id, word
from pipeline.service.kept import Kept
from pipeline.service.served import Serving
from pipeline.store.run import RATIOS, RunFolder

KEPT_BYTES = 64 << 20  # of zips that were asked for lately
WRITTEN = (2000, 1, 1, 0, 0, 0)  # of every member: the same grids make the same zip


def grid_zip(experiment: ServedExperiment, names: Sequence[str], *, described: bool) -> bytes:
    """Return grids of an experiment as a zip, uncompressed, members at top level.

    Parameters
    ----------
    experiment : ServedExperiment
        The experiment.
    names : sequence of str
        "energy", "density", "intensity".
    described : bool
        Whether to add data_set.xml.

    Returns
    -------
    bytes
        The zip; grids are byte for byte as the run wrote them, or as the original served them.

    Raises
    ------
    RequestError
        With 404 where the experiment has no such grid.
    DataError
        Where a grid is torn.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        if described:
            archive.writestr(zipfile.ZipInfo(DATA_SET_XML, WRITTEN), described_by(experiment))
        for name in names:
            for end in ("raw", "mhd"):
                archive.writestr(
                    zipfile.ZipInfo(f"{name}.{end}", WRITTEN), _part(experiment, f"{name}.{end}")
                )
    return content.getvalue()


def described_by(experiment: ServedExperiment) -> bytes:
    """Return the data_set.xml of an experiment.

    Parameters
    ----------
    experiment : ServedExperiment
        The experiment.

    Returns
    -------
    bytes
        The original's own document of a served data set, else one made from the run, with the ids of the
        section images that this server answers to.
    """
    path = experiment.folder / DATA_SET_XML
    if not experiment.is_run:
        return path.read_bytes()
    images = tuple(replace(section.image, id=section.id) for section in experiment.sections.values())
    alignment = None
    if experiment.geometry is not None:
        alignment = SeriesAlignment(experiment.geometry.alignment3d, experiment.geometry.sections)
    return data_set_xml(replace(experiment.data_set, section_images=images), alignment)


def _part(experiment: ServedExperiment, name: str) -> bytes:
    try:
        if experiment.is_run:
            return RunFolder(experiment.folder).require(f"grid/{name}").read_bytes()
        return (experiment.folder / name).read_bytes()
    except (MissingResultError, FileNotFoundError):
        there = [one for one in RATIOS if _has(experiment, one)]
        raise RequestError(
            f"SectionDataSet {experiment.id}: has no {name.partition('.')[0]} grid; it has"
            f" {', '.join(there) or 'none'}",
            status=404,
        ) from None
    except OSError as error:
        raise DataError(f"{experiment.folder / name}: cannot be read: {error.strerror}") from None


def _has(experiment: ServedExperiment, name: str) -> bool:
    folder = experiment.folder / "grid" if experiment.is_run else experiment.folder
    return (folder / f"{name}.mhd").is_file()


def included(text: str | None) -> list[str]:
    """Return the grids that `include` names.

    Parameters
    ----------
    text : str or None
        Names separated by commas; None or nothing: energy.

    Returns
    -------
    list of str
        Each once.

    Raises
    ------
    RequestError
        Where a name is unknown.
    """
    names = [part.strip() for part in (text or "").split(",") if part.strip()] or ["energy"]
    return [word(name, "include", RATIOS) for name in dict.fromkeys(names)]


def routes(serving: Serving) -> list[Route]:
    """Return the endpoints of the grid service.

    Parameters
    ----------
    serving : Serving
        The server.

    Returns
    -------
    list of Route
        `/grid_data/download/<id>` and, empty, `/grid_data/download_file/<id>`.
    """
    kept: Kept[bytes] = Kept(KEPT_BYTES, len)

    async def download(request: Request) -> Response:
        number, _, parameters = asked_id(request)
        experiment = serving.catalogue.experiment(number)
        include = parameters.get("include")
        names = tuple(included(include))
        key = experiment.id, experiment.stamp, names, include is None
        content = kept.find(key)
        if content is None:
            make = partial(grid_zip, experiment, names, described=include is None)
            content = await serving.pool.run(kept.get, key, make)
        headers = {"Content-Disposition": f'attachment; filename="{experiment.id}.zip"'}
        return Response(content, media_type="application/zip", headers=headers)

    async def download_file(request: Request) -> Response:
        experiment = serving.catalogue.experiment(asked_id(request)[0])
        raise RequestError(
            f"SectionDataSet {experiment.id}: has no projection grids, which only connectivity experiments"
            f" have; /grid_data/download/{experiment.id} has energy, density and intensity",
            status=404,
        )

    return [
        Route("/grid_data/download/{id}", download),
        Route("/grid_data/download_file/{id}", download_file),
    ]
