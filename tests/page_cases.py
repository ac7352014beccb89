"""Runs that pages are tried on, and a page in Chromium that records all that goes wrong in it."""

from __future__ import annotations

import math
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import uvicorn
from conftest import CONFIG, GIVEN, ID, _call, vouch
from PIL import Image

from pipeline.phantom.geometry import turned
from pipeline.phantom.scenes import phantom_scene, render_options
from pipeline.phantom.write_series import SeriesForm, write_phantom_series

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]  # fmt: skip
SAGITTAL, CORONAL, DAMAGED = int(ID), 900004, 900005  # DAMAGED is scanned mirrored and a quarter turned
GRIDLESS, FAILED = 900006, 900007
BROKEN, LOST = 26, 34  # section numbers of the damaged series
SIZE = {"width": 1280, "height": 720}
PICTURES = Path(os.environ.get("ISH_SCREENSHOTS") or Path(__file__).parents[1] / "page-pictures")
WAIT_S = 120.0  # a machine may be busy; what waits ends as soon as the page is ready
# Preact draws a change in the frame after it, and effects of that in another: idle is what stays so.
IDLE_FRAMES = 4
IDLE = """async ([frames, seconds]) => {
  const end = performance.now() + 1000 * seconds;
  for (let still = 0; still < frames;) {
    if (performance.now() > end) return false;
    await new Promise(requestAnimationFrame);
    still = globalThis.ishIdle?.() ? still + 1 : 0;
  }
  return true;
}"""


@dataclass
class Served:
    """A running server and what it serves."""

    url: str
    runs: dict[int, Path]
    series: dict[int, Path]


def make_runs(folder: Path, finished: Path) -> Served:
    """Make all runs; the server's address is left empty."""
    runs, series = {SAGITTAL: finished}, {}
    for experiment, seed in ((CORONAL, 4), (DAMAGED, 5)):
        scene = phantom_scene("coronal", 6, 16.0, render_options({"seed": seed}))
        if experiment == DAMAGED:
            scene = replace(scene, geometry=turned(scene.geometry, 1, mirrored=True))
        write_phantom_series(folder / str(seed), scene, SeriesForm(give_alignment=True, truth_masks=False))
        series[experiment] = folder / str(seed) / "series"
    truncate(next(series[DAMAGED].glob(f"*{BROKEN:04}*")))
    next(series[DAMAGED].glob(f"*{LOST:04}*")).unlink()
    series[FAILED] = folder / "failed"
    shutil.copytree(series[CORONAL], series[FAILED])
    for document in series[FAILED].glob("*.yaml"):
        document.write_text(document.read_text().replace(str(CORONAL), str(FAILED)))
    for image in series[FAILED].glob("*.jpg"):
        truncate(image)
    for experiment, path in series.items():
        runs[experiment] = run_series(path, folder / "runs")
    runs[GRIDLESS] = without_grid(runs[CORONAL], folder / "runs" / str(GRIDLESS))
    return Served("", runs, series)


def truncate(image: Path) -> None:
    image.write_bytes(image.read_bytes()[:2000])


def run_series(series: Path, output: Path) -> Path:
    """Run a series, whatever comes of it, and return the run folder."""
    before = set(output.glob("*"))
    with pytest.MonkeyPatch.context() as patch:
        assert _call(patch, "run", CONFIG, "--input", series, "--output", output, *GIVEN) in (0, 1)
    (run,) = set(output.glob("*")) - before
    return run


def without_grid(run: Path, target: Path) -> Path:
    """Copy a run under another number, as it is before its grid is made."""
    shutil.copytree(run, target)
    document = target / "section_data_set.json"
    document.write_text(re.sub(r'"id": \d+', f'"id": {target.name}', document.read_text(), count=1))
    for name in ("grid", "grid.zarr", "structure_unionize.parquet", "structure_unionize.csv"):
        path = target / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for receipt in (target / "receipts").iterdir():
        if receipt.stem in ("grid", "unionize"):
            receipt.unlink()
    vouch(target)
    return target


@contextmanager
def running(app: Any, listening: socket.socket) -> Iterator[str]:
    """Answer requests in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, http="httptools", ws="none", log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@dataclass
class Look:
    """A page with all that went wrong in it."""

    page: Any
    url: str
    wrong: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)  # addresses that were asked for
    waiting: set[Any] = field(default_factory=set)  # requests without an answer

    def __post_init__(self) -> None:
        on = self.page.context.on
        on("request", self._asked)
        on("requestfinished", self._answered)
        on("requestfailed", self._answered)
        on("response", lambda r: r.status >= 400 and self.wrong.append(f"{r.status} {r.url}"))
        on(
            "console",
            lambda m: m.type == "error" and self.wrong.append(f"console: {m.text} {m.location['url']}"),
        )
        on("weberror", lambda error: self.wrong.append(f"error: {error.error}"))

    def _asked(self, request: Any) -> None:
        self.answers.append(request.url)
        self.waiting.add(request)
        place = urlsplit(request.url)
        if place.scheme in ("http", "https", "ws", "wss") and place.hostname != "127.0.0.1":
            self.wrong.append(f"left the host: {request.url}")

    def _answered(self, request: Any) -> None:
        self.waiting.discard(request)

    def open(self, path: str) -> Look:
        self.page.goto(self.url + path)
        return self

    def js(self, expression: str, *given: Any) -> Any:
        return self.page.evaluate(expression, *given)

    def until(self, expression: str, seconds: float = WAIT_S) -> None:
        self.page.wait_for_function(expression, timeout=1000 * seconds)

    def settled(self) -> None:
        """Wait until the page has no open request, says that all is drawn, and stays so for some frames."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            asked = len(self.answers)
            assert self.js(IDLE, [IDLE_FRAMES, WAIT_S]), "the page does not come to rest"
            if not self.waiting and len(self.answers) == asked:
                return
        raise AssertionError(f"not answered: {[request.url for request in self.waiting]}")

    def press(self, *keys: str) -> None:
        """Press keys as someone does who waits for what each does."""
        for key in keys:
            self.page.keyboard.press(key)
            self.settled()

    def shown(self) -> None:
        """Wait until a section with its outlines is drawn."""
        self.until("() => globalThis.ishStage?.outlines")
        self.settled()

    def box(self, selector: str = ".stage") -> dict[str, float]:
        return self.page.locator(selector).first.bounding_box()

    def at(self, x: float, y: float, selector: str = ".stage") -> tuple[float, float]:
        """Return the place of the window at shares of an element's width and height."""
        box = self.box(selector)
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def stage(self) -> np.ndarray:
        """Return the pixels of the stage, without those that it shares with its surroundings."""
        box = self.box()
        left, top = math.ceil(box["x"]), math.ceil(box["y"])
        right, bottom = math.floor(box["x"] + box["width"]), math.floor(box["y"] + box["height"])
        clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        content = self.page.screenshot(clip=clip)
        return np.asarray(Image.open(BytesIO(content)).convert("RGB")).astype(int)

    def pixels(self, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where in the image the centres of the stage's pixels lie, x and y."""
        (cx, cy), scale, width, height = self.js(
            "() => { const v = ishStage.view(); return [v.centre, v.scale, v.width, v.height]; }"
        )
        box = self.box()
        rows, columns = np.indices(shown.shape[:2])
        x = cx + (columns + 0.5 + math.ceil(box["x"]) - box["x"] - width / 2) / scale
        y = cy + (rows + 0.5 + math.ceil(box["y"]) - box["y"] - height / 2) / scale
        return x, y

    def shot(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(PICTURES / f"{name}.png"))

    def forgive_unfinished(self) -> None:
        """Pages ask runs without tables and pictures for them, and say that there are none."""
        self.forgive(*(f"/experiments/{number}/" for number in (GRIDLESS, FAILED)))

    def forgive(self, *words: str) -> None:
        """Take what was provoked out of what went wrong."""
        self.wrong[:] = [line for line in self.wrong if not any(word in line for word in words)]


def point_of(text: str) -> np.ndarray:
    return np.array([float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", text)[:3]])
