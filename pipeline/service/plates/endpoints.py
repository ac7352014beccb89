"""Endpoints of plates: drawings and pictures of the atlas and of sections, and the structure graph."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.service.http.answers import RequestError
from pipeline.service.http.parameters import asked_id, flag, ids, whole
from pipeline.service.kept import Kept
from pipeline.service.plates.drawing import GROUP, GROUP_NAME
from pipeline.service.plates.drawings import KEPT_BYTES, drawings_of
from pipeline.service.plates.graph import FORMS, GRAPH_ID, kept_fields, structure_graph
from pipeline.service.plates.pictures import MOST_DOWNSAMPLE
from pipeline.service.served import Serving

SVG = "image/svg+xml"


class Endpoints:
    """Answers to requests.

    Parameters
    ----------
    serving : Serving
        What is served.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._drawings = drawings_of(serving)
        self._graphs: Kept[bytes] = Kept(KEPT_BYTES, len)

    async def svg(self, request: Request) -> Response:
        """Answer with the drawing of a plate or section.

        Parameters
        ----------
        request : Request
            With `id`; groups and downsample.

        Returns
        -------
        Response
            SVG.

        Raises
        ------
        RequestError
            Where there is no such image or group, or a parameter cannot be understood.
        """
        image_id, ending, parameters = asked_id(request)
        _check_ending(ending, ("svg",))
        groups = ids(parameters, "groups", "graphic groups", needed=False)
        if groups and GROUP not in groups:
            raise RequestError(
                f"groups: no graphic group of {', '.join(map(str, groups[:5]))}; drawn is"
                f" {GROUP} ({GROUP_NAME})",
                status=404,
            )
        downsample = whole(parameters, "downsample", 0, MOST_DOWNSAMPLE) or 0
        catalogue = self._serving.catalogue
        content = self._drawings.known_svg(catalogue, image_id, downsample)
        if content is None:
            content = await self._serving.pool.run(self._drawings.svg, catalogue, image_id, downsample)
        return Response(content, media_type=SVG)

    async def svg_download(self, request: Request) -> Response:
        """Answer with a drawing to be saved.

        Parameters
        ----------
        request : Request
            As of `svg`.

        Returns
        -------
        Response
            SVG, as an attachment.

        Raises
        ------
        RequestError
            As of `svg`.
        """
        answer = await self.svg(request)
        answer.headers["Content-Disposition"] = f'attachment; filename="{asked_id(request)[0]}.svg"'
        return answer

    async def picture(self, request: Request) -> Response:
        """Answer with a plate, or the structures of a section, as a picture.

        Parameters
        ----------
        request : Request
            With `id`; annotation, downsample, left, top, width, height and quality.

        Returns
        -------
        Response
            JPEG.

        Raises
        ------
        RequestError
            Where there is no such image, or a parameter cannot be understood.
        """
        image_id, ending, parameters = asked_id(request)
        _check_ending(ending, ("jpg", "jpeg"))
        annotation = flag(parameters, "annotation")
        content = await self._serving.pool.run(
            self._drawings.picture, self._serving.catalogue, image_id, parameters, annotation
        )
        return Response(content, media_type="image/jpeg")

    async def graph(self, request: Request) -> Response:
        """Answer with the structure graph.

        Parameters
        ----------
        request : Request
            With `id`, 1, and its ending.

        Returns
        -------
        Response
            JSON, XML or CSV.

        Raises
        ------
        RequestError
            Where there is no such graph or form.
        """
        graph_id, ending, _ = asked_id(request)
        if graph_id != GRAPH_ID:
            raise RequestError(
                f"StructureGraph {graph_id}: not served here; served is {GRAPH_ID}", status=404
            )
        form = ending or "json"
        _check_ending(form, tuple(FORMS))
        content = self._graphs.find(form)
        if content is None:
            content = await self._serving.pool.run(
                self._graphs.get, form, partial(_graph, self._serving, form)
            )
        return Response(content, media_type=FORMS[form])


def routes(serving: Serving) -> list[Route]:
    """Return the endpoints of plates, drawings and the structure graph.

    Parameters
    ----------
    serving : Serving
        What is served.

    Returns
    -------
    list of Route
        `/api/v2/atlas_image_download/{id}`, `/api/v2/svg/{id}`, `/api/v2/svg_download/{id}` and
        `/api/v2/structure_graph_download/{id}`.
    """
    answers = Endpoints(serving)
    return [
        Route("/api/v2/svg/{id}", answers.svg),
        Route("/api/v2/svg_download/{id}", answers.svg_download),
        Route("/api/v2/atlas_image_download/{id}", answers.picture),
        Route("/api/v2/structure_graph_download/{id}", answers.graph),
    ]


def _graph(serving: Serving, form: str) -> bytes:
    return structure_graph(serving.reference.ontology, kept_fields(serving.reference_directory), form)


def _check_ending(ending: str, known: tuple[str, ...]) -> None:
    if ending and ending not in known:
        raise RequestError(f"expected the ending {' or '.join(f'.{e}' for e in known)}, got .{ending}")
