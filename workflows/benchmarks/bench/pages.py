"""Pages in Chromium: how long until a section is seen, how many frames a moving view has, and sizes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

from bench.figures import Figure
from bench.serving import CORES, SERVING, TICKS, Server, serving
from pipeline.service.pages.files import PageFile, read_files
from pipeline.service.pages.routes import MAIN, PAGES, VIEWER, imported

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
)  # fmt: skip
SIZE = {"width": 1280, "height": 720}
WAIT_MS = 120_000
PAN_S, SETTLE_S = 4.0, 1.0
# Since the navigation, ms: the reduced image, all tiles of photo and mask, outlines over them.
WATCH = """
globalThis.seen = {};
const look = () => {
  const stage = globalThis.ishStage;
  if (stage?.image) {
    const now = performance.now();
    const { photo, under } = stage.items;
    if (photo?.getFullyLoaded() || under?.getFullyLoaded()) seen.overview ??= now;
    if (stage.isIdle()) seen.whole ??= now;
    if (stage.isIdle() && stage.outlines) seen.outlines ??= now;
  }
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
# Moves the leading pane in circles, a step a frame, as a hand does, and returns the frames in a second.
PAN = """async ([seconds, px]) => {
  const stage = [...ishPanes.values()][0].stage;
  const step = px / stage.element.clientWidth / stage.viewer.viewport.getZoom();
  const begun = performance.now();
  let frames = 0;
  for (let now = begun; now < begun + 1000 * seconds; now = performance.now()) {
    const turn = (now - begun) / 600;
    stage.viewer.viewport.panBy(new OpenSeadragon.Point(step * Math.cos(turn), step * Math.sin(turn)), true);
    await new Promise(requestAnimationFrame);
    frames += 1;
  }
  return 1000 * frames / (performance.now() - begun);
}"""
LAYERS = {"p": "photo", "pm": "photo and mask", "po": "photo and outlines", "pmo": "all layers"}


def browser_path() -> str | None:
    """Return Chromium, where it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def chromium(path: str) -> Iterator[Any]:
    """Start Chromium without a window, drawing in software, on all cores."""
    from playwright.sync_api import sync_playwright

    os.sched_setaffinity(0, set(CORES))
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield found
        found.close()


def views(browser: Any, run: Path, cache: Path, rounds: int) -> list[Figure]:
    """Measure first views of large sections, each in a browser and on a server that know nothing yet."""
    found = {}
    for kind, at in (("70 MP, tiles in levels", 0), ("70 MP, tiles of one level", 1), ("70 MP, JPEG", -1)):
        for place, query in (("whole", ""), ("deep", "&upp=1.32")):
            found[kind, place] = [_view(browser, run, cache / str(n), at, query) for n in range(rounds)]
    rows = []
    for kind, place, part, goal in (
        ("70 MP, tiles in levels", "whole", "whole", 1500),
        ("70 MP, tiles in levels", "whole", "outlines", 0),
        ("70 MP, tiles in levels", "deep", "whole", 0),
        ("70 MP, tiles of one level", "whole", "whole", 0),
        ("70 MP, tiles of one level", "deep", "whole", 0),
        ("70 MP, JPEG", "whole", "overview", 1000),
        ("70 MP, JPEG", "whole", "whole", 0),
        ("70 MP, JPEG", "deep", "whole", 4000),
    ):
        times = [one[part] for one in found[kind, place]]
        what = {"whole": "all tiles", "outlines": "and outlines", "overview": "overview"}[part]
        note = f"{min(times):.0f}-{max(times):.0f} ms; server CPU is that of the whole view"
        cpu = median(one["cpu"] for one in found[kind, place])
        rows.append(Figure(f"{kind}, {place} section: {what}", median(times), goal, "ms", cpu, note))
    return rows


def _view(browser: Any, run: Path, cache: Path, at: int, query: str) -> Mapping[str, float]:
    """Open one section and return when what of it was seen, ms."""
    shutil.rmtree(cache, ignore_errors=True)
    with serving([run], cache) as server:
        (experiment,) = _ask(server, "experiments")
        sections = _ask(server, f"experiments/{experiment['id']}")["section_images"]
        number = sections[at]["section_number"]
        context = browser.new_context(viewport=SIZE)
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(f"http://127.0.0.1:{server.port}/experiment/{experiment['id']}?s={number}{query}")
        page.wait_for_function("() => seen.outlines", timeout=WAIT_MS)
        seen: dict[str, float] = page.evaluate("() => seen")
        context.close()
        seen["cpu"] = 1e3 * (server.cpu_s() - server.start_cpu_s)
    return seen


def _ask(server: Server, path: str) -> Any:
    """Return an answer of the server; Playwright holds the event loop that `Server.message` needs."""
    with urlopen(f"http://127.0.0.1:{server.port}/ish/v1/{path}") as answer:
        return json.load(answer)["msg"]


def frames(browser: Any, runs: list[Path], cache: Path, rounds: int) -> list[Figure]:
    """Measure the frames a second while two synchronised panes move."""
    rows = []
    with serving(runs, cache) as server:
        ids = ",".join(str(one["id"]) for one in _ask(server, "experiments"))
        for letters, layers in LAYERS.items():
            context = browser.new_context(viewport=SIZE)
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{server.port}/sync?ids={ids}&l={letters}&upp=8")
            ready = (
                "() => globalThis.ishPanes?.size === 2 && [...ishPanes.values()].every(p => p.stage?.image)"
            )
            page.wait_for_function(f"{ready} && ishIdle()", timeout=WAIT_MS)
            page.wait_for_timeout(1000 * SETTLE_S)
            before = _cpu_s("chromium")
            rates = [page.evaluate(PAN, [PAN_S, 6]) for _ in range(rounds)]
            cpu_ms = 1e3 * (_cpu_s("chromium") - before) / (PAN_S * sum(rates))
            note = f"{min(rates):.1f}-{max(rates):.1f}/s; {cpu_ms:.0f} ms CPU of Chromium a frame"
            rows.append(Figure(f"two panes move, {layers}", median(rates), 30, "frames/s", note=note))
            context.close()
    return rows


def sizes() -> list[Figure]:
    """Return what pages load as code, packed, in KB of 1000 bytes."""
    files = read_files()
    code = {name for name in files if name.endswith((".js", ".css"))}
    rows = [
        Figure(
            "own code of all pages", _kb(files, {n for n in code if not n.startswith("vendor/")}), 150, "KB"
        ),
        Figure("all code of all pages", _kb(files, code), 150, "KB"),
    ]
    for path, (_, module) in PAGES.items():
        names = {*imported(files, [MAIN, f"js/{module}.js"]), "style.css"}
        names |= {VIEWER} if "js/stage.js" in names else set()
        rows.append(Figure(f"all code of {path}", _kb(files, names), 150, "KB"))
    return rows


def _cpu_s(name: str) -> float:
    """Return the CPU time of this process's descendants of a name, s."""
    parents, spent = {}, {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            text = (folder / "stat").read_text(encoding="utf-8")
        except OSError:  # it has ended meanwhile
            continue
        head, _, tail = text.rpartition(")")
        fields, pid = tail.split(), int(folder.name)
        parents[pid] = int(fields[1])
        spent[pid] = (int(fields[11]) + int(fields[12])) / TICKS if name in head else 0.0
    ours = {os.getpid()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        if not more:
            return sum(spent.get(pid, 0.0) for pid in ours)
        ours |= more


def _kb(files: Mapping[str, PageFile], names: set[str]) -> float:
    return sum(len(files[name].packed) for name in names) / 1000


def core_note() -> str:
    """Return on which cores the server and the browser run, in words."""
    return f"server on core {SERVING}, Chromium on cores {', '.join(map(str, CORES))}"
