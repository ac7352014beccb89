"""Routes of the pages: four addresses that all answer with one document, and the files that it names."""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Mapping, Sequence
from functools import cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.service.http.answers import RequestError
from pipeline.service.http.security import TOKEN_COOKIE
from pipeline.service.pages.files import PageFile, digest_of, read_files
from pipeline.service.served import Serving

DOCUMENT, MAIN, VIEWER = "page.html", "js/main.js", "vendor/openseadragon.min.js"
PAGES = {  # title and module of each
    "/": ("Experiments", "home"),
    "/experiment/{id:int}": ("Experiment", "experiment"),
    "/sync": ("Synchronised view", "sync"),
    "/atlas": ("Atlas", "atlas"),
}
IMPORTED = re.compile(r"""\bfrom\s*["'](\.{1,2}/[^"']+)["']""")  # in modules of the pages and of libraries
ASKED_FOR_A_PAGE = re.compile(r"/[^/]*|/(?:experiments?|sync|atlas)/.*")  # paths that people type
FOREVER = "private, max-age=31536000, immutable"  # a changed file has another address


def routes(serving: Serving) -> list[Route]:
    """Return the pages.

    Parameters
    ----------
    serving : Serving
        The server; the pages ask it through its own API.

    Returns
    -------
    list of Route
        `/`, `/experiment/{id}`, `/sync`, `/atlas` and their files.
    """
    files = read_files()
    digest = digest_of(files)

    async def file(request: Request) -> Response:
        found = files.get(request.path_params["name"])
        if found is None:
            raise RequestError(
                f"{request.url.path}: the pages have no such file; reload the page", status=404
            )
        current = request.path_params["digest"] == digest
        return _answer(request, found, FOREVER if current else "no-cache")

    return [
        *(_page(path, *page, files, digest) for path, page in PAGES.items()),
        Route("/pages/{digest}/{name:path}", file),
    ]


def lost(request: Request) -> Response | None:
    """Return the page of an address that does not exist.

    Parameters
    ----------
    request : Request
        What was asked.

    Returns
    -------
    Response or None
        The page with status 404; None where a program asked, or the path is not like that of a page.
    """
    by_browser = "text/html" in request.headers.get("accept", "")
    if not by_browser or not ASKED_FOR_A_PAGE.fullmatch(request.url.path):
        return None
    return Response(_lost_document(), 404, media_type="text/html")


@cache
def _lost_document() -> bytes:
    files = read_files()
    return document(files, digest_of(files), "No such page", "frame")


def document(files: Mapping[str, PageFile], digest: str, title: str, module: str) -> bytes:
    """Return the document of a page.

    Parameters
    ----------
    files : mapping of str to PageFile
        Files of the pages.
    digest : str
        Part of their addresses.
    title : str
        Title until the page knows a better one.
    module : str
        Its module.

    Returns
    -------
    bytes
        HTML, UTF-8. It names every module that the page imports, so that a browser need not discover them one
        by one.
    """
    modules = imported(files, [MAIN, f"js/{module}.js"])
    links = [f'<link rel="modulepreload" href="/pages/{digest}/{name}">' for name in modules]
    if "js/stage.js" in modules:
        links.append(f'<link rel="preload" as="script" href="/pages/{digest}/{VIEWER}">')
    text = files[DOCUMENT].content.decode()
    for word, value in {"digest": digest, "title": html.escape(title), "preload": "\n".join(links)}.items():
        text = text.replace(f"{{{{{word}}}}}", value)
    return text.encode()


def imported(files: Mapping[str, PageFile], modules: Sequence[str]) -> list[str]:
    """Return modules with all that they import, directly or not.

    Parameters
    ----------
    files : mapping of str to PageFile
        Files of the pages.
    modules : sequence of str
        Names of modules.

    Returns
    -------
    list of str
        Names, each once.
    """
    found = list(modules)
    for name in found:  # grows while it is walked through
        folder = posixpath.dirname(name)
        for path in IMPORTED.findall(files[name].content.decode()):
            other = posixpath.normpath(posixpath.join(folder, path))
            if other not in found:
                found.append(other)
    return found


def _page(path: str, title: str, module: str, files: Mapping[str, PageFile], digest: str) -> Route:
    content = document(files, digest, title, module)
    tag = f'"{digest}-{len(content)}"'

    async def page(request: Request) -> Response:
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        unchanged = request.headers.get("if-none-match") == tag
        found = Response(b"" if unchanged else content, 304 if unchanged else 200, headers, "text/html")
        token = request.query_params.get("token")
        if token:  # the guard has checked it; what the page asks for carries it from now on
            found.set_cookie(TOKEN_COOKIE, token, httponly=True, samesite="strict")
        return found

    return Route(path, page)


def _answer(request: Request, file: PageFile, caching: str) -> Response:
    headers = {"ETag": file.tag, "Cache-Control": caching, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    packed = "gzip" in request.headers.get("accept-encoding", "")
    if packed:
        headers["Content-Encoding"] = "gzip"
    content = file.packed if packed else file.content
    return Response(content, headers=headers | {"Content-Type": file.media})
