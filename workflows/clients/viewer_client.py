"""OpenSeadragon, in a browser without a window, against `ish serve`: IIIF and Deep Zoom."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from checking import Case, Skip, near, run, same

PAGE = Path(__file__).with_name("viewer.html")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WORDS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage")
WAIT_S = 60.0
GREY = 4.0  # mean colour of what is drawn: the browser scales it, and the edges are left out


class Server(ThreadingHTTPServer):
    """A server that waits for what its page posts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Pages, directory=str(folder)))
        self.told: list[dict[str, Any]] = []
        self.done = threading.Event()


class Pages(SimpleHTTPRequestHandler):
    """The page and its scripts, on an address of its own."""

    server: Server

    def do_POST(self) -> None:
        """Keep what the page posts."""
        self.server.told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.done.set()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def pages(folder: Path) -> Iterator[Server]:
    """Serve a folder for as long as the context lasts."""
    with Server(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def drawn(case: Case, sources: list[str]) -> list[dict[str, Any]]:
    """Return what OpenSeadragon says of images that it has shown, in their order."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise Skip(f"no browser here: {', '.join(BROWSERS)}")
    folder = case.new("page").parent
    shutil.copy(PAGE, folder / "index.html")
    shutil.copy(sys.argv[2], folder / "openseadragon.js")
    (folder / "sources.js").write_text(f"const sources = {json.dumps(sources)};", encoding="utf-8")
    with pages(folder) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/index.html"
        words = [browser, *WORDS, f"--user-data-dir={folder / 'profile'}", address]
        shown = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert server.done.wait(WAIT_S), f"the page is not done within {WAIT_S:.0f} s"
        finally:
            shown.terminate()
            shown.wait(20)
        return server.told


def images(case: Case) -> None:
    """OpenSeadragon shows photos by info.json and as Deep Zoom: their size, and their colours."""
    roles = [role for role, one in case.facts["experiments"].items() if one["shown"] is not None]
    shown = {role: case.experiment(role)["sections"][case.experiment(role)["shown"]] for role in roles}
    forms = ("iiif/3/{}/info.json", "dzi/{}.dzi")
    sources = [f"{case.base}/{form.format(shown[role]['id'])}" for role in roles for form in forms]
    told = iter(drawn(case, sources))
    for role in roles:
        for _ in forms:
            found = next(told)
            assert "failed" not in found, found
            same(
                (found["width"], found["height"]),
                tuple(shown[role][n] for n in ("image_width", "image_height")),
                role,
            )
            whole = shown[role]["box"] == [0, 0, found["width"], found["height"]]
            if whole:
                colour = case.arrays[f"{role}/photo"].reshape(-1, 3).mean(axis=0)
                near(found["colour"], [*colour, 255], GREY, f"{found['source']}: colour")


def masks(case: Case) -> None:
    """OpenSeadragon shows a mask by info.json; an image that is not there fails to open."""
    experiment = case.experiment("sagittal")
    one = experiment["sections"][experiment["shown"]]["id"]
    mask, lost = drawn(case, [f"{case.base}/iiif/3/{one}:mask/info.json", f"{case.base}/iiif/3/1/info.json"])
    same((mask["height"], mask["width"]), case.arrays["sagittal/mask"].shape, "size")
    assert np.isfinite(mask["colour"]).all(), mask
    assert "failed" in lost, lost


if __name__ == "__main__":
    run({"phantom": (images, masks)})
