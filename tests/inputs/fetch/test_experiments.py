"""Fetching experiments from a server on this machine that has the forms of the API."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest
from conftest import CONFIG, ID, Ish

from pipeline.cli import main
from pipeline.core.errors import ConfigError, DataError
from pipeline.formats.manifests.allen_xml import read_data_set_xml
from pipeline.formats.manifests.series import read_series
from pipeline.formats.volumes.metaimage import read_grid, write_grid
from pipeline.inputs.fetch.experiments import Wanted, fetch_experiment
from pipeline.inputs.fetch.http import Patience

QUICK = Patience(attempts=4, timeout_s=10.0, pause_s=0.01)


class Api(ThreadingHTTPServer):
    """Serves one experiment; `trouble` holds, by path, what goes wrong at each ask before it goes well."""

    daemon_threads = True

    def __init__(self, data_set: bytes, images: dict[int, bytes], grid: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.data_set, self.images, self.grid = data_set, images, grid
        self.asked: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.trouble: dict[str, list[str]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def content(self, path: str) -> bytes | None:
        """Return what the API serves at a path."""
        parts, query = urlsplit(path), parse_qs(urlsplit(path).query)
        if parts.path == f"/grid_data/download/{ID}":
            include = query.get("include", [""])[0]
            names = include.split(",") if include else ["energy"]
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                if not include:
                    archive.writestr("data_set.xml", self.data_set)
                for name in names:
                    archive.writestr(f"{name}.mhd", (self.grid / f"{name}.mhd").read_bytes())
                    archive.writestr(f"{name}.raw", (self.grid / f"{name}.raw").read_bytes())
            return packed.getvalue()
        image = self.images.get(int(parts.path.rpartition("/")[2]), None)
        if parts.path.startswith("/api/v2/image_download/") and image is not None:
            pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
            for _ in range(int(query["downsample"][0])):
                pixels = cv2.resize(pixels, (-(-pixels.shape[1] // 2), -(-pixels.shape[0] // 2)))
            return bytes(cv2.imencode(".jpg", pixels)[1])
        return None


class Answer(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Api

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        data = self.server.content(self.path)
        trouble = self.server.trouble.get(self.path) or self.server.trouble.get("*") or [""]
        what = trouble.pop(0)
        if what.isdigit() or data is None:
            self.send_error(int(what or 404))
            return
        if what == "page":
            data = b"<html>we are sorry</html>"
        start = self._resumed(data)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        part = data[start:]
        self.wfile.write(part[: len(part) // 2] if what == "cut" else part)

    def _resumed(self, data: bytes) -> int:
        asked = self.headers.get("Range")
        if asked:
            self.server.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            return start
        self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"one"')
        return 0

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def experiment(
    rendered: Path, finished: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[int, bytes]]:
    """The phantom series as data_set.xml, and its images by the ids that it gives them."""
    folder = tmp_path_factory.mktemp("experiment")
    with pytest.MonkeyPatch.context() as patch:
        words = ["ish", "export", str(finished), "--format", "data-set-xml", "--output", str(folder)]
        patch.setattr("sys.argv", words)
        with suppress(SystemExit):
            main()
    assert (folder / "data_set.xml").exists()
    source = read_series(rendered / "series")
    by_number = {s.section_number: s.path for s in source.data_set.section_images}
    sections = read_data_set_xml(folder / "data_set.xml").data_set.section_images
    images = {s.id: by_number[s.section_number].read_bytes() for s in sections}  # type: ignore[union-attr]
    assert len(images) == 6
    grids = {
        name: read_grid(finished / "grid" / f"{name}.mhd") for name in ("energy", "density", "intensity")
    }
    for name, grid in grids.items():
        write_grid(folder / f"{name}.mhd", grid, 200.0)
    return folder, images


@pytest.fixture
def api(experiment: tuple[Path, dict[int, bytes]]) -> Iterator[Api]:
    folder, images = experiment
    served = Api((folder / "data_set.xml").read_bytes(), images, folder)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def test_what_is_fetched_runs(api: Api, tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("fetch", ID, "--directory", tmp_path / "d", "--downsample", 1, "--base-url", api.url)
    assert ish(*words, "--grids", "energy,density") == 0
    printed = capfd.readouterr().err
    assert "Allen Institute" in printed
    assert "10.1038/nature05453" in printed
    folder = tmp_path / "d" / ID
    assert {p.suffix for p in folder.iterdir()} == {".xml", ".mhd", ".raw", ".jpg", ".json"}
    run = ("run", CONFIG, "--input", folder, "--output", tmp_path / "out", "--set", "alignment.name=given")
    assert ish(*run, "--set", "reference.resolution_um=100") == 0
    document = json.loads((tmp_path / "out" / ID / "section_data_set.json").read_text())
    assert [s["status"] for s in document["section_images"]] == ["pass"] * 6
    assert [s["quality"]["factor"] for s in document["section_images"]] == [2] * 6


def test_what_is_there_is_not_asked_for_again(api: Api, tmp_path: Path) -> None:
    wanted = Wanted(base_url=api.url, patience=QUICK)
    first = fetch_experiment(int(ID), tmp_path, wanted)
    asked = api.asked.copy()
    assert set(asked.values()) == {1}
    again = fetch_experiment(int(ID), tmp_path, wanted)
    assert api.asked == asked
    assert all(file.was_there for file in again)
    assert [f.sha256 for f in again] == [f.sha256 for f in first]
    first[-1].path.write_bytes(b"damaged")
    assert sum(not f.was_there for f in fetch_experiment(int(ID), tmp_path, wanted)) == 1
    assert first[-1].path.with_name(f"{first[-1].path.name}.changed").read_bytes() == b"damaged"
    # another level is another file
    fetch_experiment(int(ID), tmp_path, Wanted(base_url=api.url, downsample=2, patience=QUICK))
    assert sum("downsample=2" in path for path in api.asked) == 6


def test_a_file_of_ones_own_is_not_overwritten(api: Api, tmp_path: Path) -> None:
    fetched = fetch_experiment(int(ID), tmp_path / "other", Wanted(base_url=api.url, patience=QUICK))[-1]
    image = tmp_path / fetched.path.name
    image.write_bytes(b"mine")
    with pytest.raises(ConfigError, match=image.name):
        fetch_experiment(int(ID), tmp_path, Wanted(base_url=api.url, patience=QUICK))
    assert image.read_bytes() == b"mine"


def test_a_fetch_that_broke_off_goes_on(
    api: Api, tmp_path: Path, experiment: tuple[Path, dict[int, bytes]]
) -> None:
    last = f"/api/v2/image_download/{list(experiment[1])[-1]}?downsample=0"
    api.trouble[last] = ["404"]
    wanted = Wanted(base_url=api.url, patience=QUICK, connections=1)
    with pytest.raises(DataError, match="404"):
        fetch_experiment(int(ID), tmp_path, wanted)
    assert len(list(tmp_path.glob("*.jpg"))) == 5
    assert not list(tmp_path.glob(".unfinished*"))
    files = fetch_experiment(int(ID), tmp_path, wanted)
    assert [f.path.name for f in files if not f.was_there] == [f"{ID}_s{_number(files[-1].path):04d}.jpg"]


def _number(path: Path) -> int:
    return int(path.stem.rpartition("_s")[2])


def test_a_busy_server_is_asked_again_and_a_broken_answer_continued(api: Api, tmp_path: Path) -> None:
    api.trouble["*"] = ["503", "429", "cut", "", "cut", "cut"]
    files = fetch_experiment(int(ID), tmp_path, Wanted(base_url=api.url, patience=QUICK, connections=1))
    assert len(files) == 9
    assert api.ranges  # what had come was not sent again
    assert all(f.path.exists() for f in files)


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (["500"] * 9, "500 .*asked 4 times"),
        (["404"], "the server answers 404"),
        (["page"], "expected a zip with data_set.xml.*sorry.*a mouse ISH experiment"),
        (["", "page"], "expected a JPEG"),
    ],
)
def test_trouble_is_one_line(api: Api, tmp_path: Path, trouble: list[str], message: str) -> None:
    api.trouble["*"] = trouble
    with pytest.raises(DataError, match=message) as caught:
        fetch_experiment(int(ID), tmp_path, Wanted(base_url=api.url, patience=QUICK, connections=1))
    assert "\n" not in str(caught.value)


def test_no_server_and_wrong_wishes_are_reported(api: Api, tmp_path: Path, ish: Ish) -> None:
    dead = Wanted(base_url="http://127.0.0.1:9", patience=Patience(2, 1.0, 0.01))
    with pytest.raises(DataError, match="connection refused"):
        fetch_experiment(int(ID), tmp_path, dead)
    for wanted in (
        Wanted(base_url="ftp://x"), Wanted(grids=("ernergy",)), Wanted(downsample=9),
        Wanted(base_url=api.url, sections=frozenset({7777}), patience=QUICK),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            fetch_experiment(int(ID), tmp_path, wanted)
    with pytest.raises(DataError, match="404"):
        fetch_experiment(5, tmp_path / "5", Wanted(base_url=api.url, patience=QUICK))
    assert ish("fetch", 5, "--directory", tmp_path, "--base-url", api.url) == 1


def test_some_sections_alone(api: Api, tmp_path: Path, experiment: tuple[Path, dict[int, bytes]]) -> None:
    number = read_data_set_xml(experiment[0] / "data_set.xml").data_set.section_images[2].section_number
    wanted = Wanted(base_url=api.url, grids=(), sections=frozenset({number}), patience=QUICK)
    files = fetch_experiment(int(ID), tmp_path, wanted)
    assert [f.path.name for f in files] == ["data_set.xml", f"{ID}_s{number:04d}.jpg"]
