"""Fetching official references, from a server on this machine: checksums, terms, whole or absent."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from pipeline.core.errors import ConfigError, DataError
from pipeline.formats.volumes.metaimage import write_labels
from pipeline.formats.volumes.reference_folder import read_reference
from pipeline.inputs.fetch.http import Patience
from pipeline.inputs.fetch.references import (
    Collection,
    Reference,
    SourceFile,
    default_directory,
    fetch,
    find_reference,
    registry,
    sha256_of,
    source_of,
)
from pipeline.stages.provenance import reference_origin

Ish = Callable[..., int]
GRAPH = {
    "msg": [
        {
            "id": 997,
            "acronym": "root",
            "name": "root",
            "children": [{"id": 549, "acronym": "TH", "name": "Thalamus", "children": []}],
        }
    ]
}
COLLECTION = Collection("toy", "A toy brain", "Toy et al. 2020", "free to play with")
GRAPH_URL, LABELS_URL, ZIP_URL = "/api/1.json", "/ccf/annotation_100.nrrd", "/old/grid.zip"
QUICK = Patience(attempts=2, timeout_s=10.0, pause_s=0.01)
GRID_FILES = ("gridAnnotation.mhd", "gridAnnotation.raw")


class Server(ThreadingHTTPServer):
    """Serves `files` by path; `cut` paths break off half way; `asked` remembers requests."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.cut, self.asked = files, set[str](), list[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.path in self.server.cut else data)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def toy_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a small whole reference, by path on a server."""
    folder = tmp_path_factory.mktemp("toy")
    labels = np.zeros((132, 80, 114), np.uint32)
    labels[40:90, 30:60, 40:80] = 549
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(labels.transpose(2, 1, 0)))
    image.SetSpacing([100.0] * 3)
    SimpleITK.WriteImage(image, str(folder / "a.nrrd"), useCompression=True)
    write_labels(folder / "gridAnnotation.mhd", np.zeros((67, 41, 58), np.uint32), 200.0)
    with zipfile.ZipFile(folder / "grid.zip", "w") as archive:
        for name in GRID_FILES:
            archive.write(folder / name, f"P56/{name}")
    graph, data = json.dumps(GRAPH).encode(), (folder / "a.nrrd").read_bytes()
    return {GRAPH_URL: graph, LABELS_URL: data, ZIP_URL: (folder / "grid.zip").read_bytes()}


@pytest.fixture
def server(toy_files: dict[str, bytes]) -> Iterator[Server]:
    served = Server(dict(toy_files))
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def toy(sha256: str | None = None) -> Reference:
    files = (
        SourceFile("structure_graph_1.json", f"https://toy.example{GRAPH_URL}"),
        SourceFile("annotation_100.nrrd", f"https://toy.example{LABELS_URL}", sha256),
        SourceFile("grid.zip", f"https://toy.example{ZIP_URL}", None, GRID_FILES),
    )
    return Reference("toy_100", "for tests", COLLECTION, files)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


WHOLE = {"SOURCE.json", "structure_graph_1.json", "annotation_100.nrrd", *GRID_FILES}


def test_a_fetched_reference_is_whole_and_keeps_its_origin(server: Server, tmp_path: Path) -> None:
    digest = hashlib.sha256(server.files[LABELS_URL]).hexdigest()
    found = fetch(toy(digest), tmp_path / "ref", server.url)
    assert names(tmp_path / "ref") == WHOLE
    assert [item.checked for item in found] == [
        "first download",
        "registry",
        "first download",
        "first download",
    ]
    space = read_reference(tmp_path / "ref")
    assert (space.annotation[60, 40, 60], space.ontology.find("TH").name) == (549, "Thalamus")
    assert space.grid_annotation is not None
    source = source_of(tmp_path / "ref")
    assert source is not None
    assert (source["citation"], source["terms"]) == (COLLECTION.citation, COLLECTION.terms)
    entry = source["files"]["gridAnnotation.raw"]
    assert entry["download_sha256"] == hashlib.sha256(server.files[ZIP_URL]).hexdigest()
    assert entry["sha256"] == sha256_of(tmp_path / "ref" / "gridAnnotation.raw")
    origin = reference_origin(tmp_path / "ref")
    assert (origin["citation"], origin["terms"]) == (COLLECTION.citation, COLLECTION.terms)
    assert origin["files"]["annotation_100.nrrd"] == digest
    assert origin["files"].keys() == WHOLE - {"SOURCE.json"}


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    first = fetch(toy(), tmp_path, server.url)
    asked = len(server.asked)
    again = fetch(toy(), tmp_path, server.url)
    assert len(server.asked) == asked == 3
    assert all(item.was_there for item in again)
    assert [item.sha256 for item in again] == [item.sha256 for item in first]
    (tmp_path / "annotation_100.nrrd").unlink()
    fetch(toy(), tmp_path, server.url)
    assert server.asked[asked:] == [LABELS_URL]


def refused(reference: Reference, folder: Path, url: str) -> str:
    """Return the one line that a fetch refuses with; no file but whole ones is left."""
    with pytest.raises(DataError) as caught:
        fetch(reference, folder, url, patience=QUICK)
    assert names(folder) <= WHOLE
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_other_bytes_than_the_registry_knows_are_refused(server: Server, tmp_path: Path) -> None:
    printed = refused(toy("0" * 64), tmp_path, server.url)
    assert f"{server.url}{LABELS_URL}: expected a file with sha256 000" in printed
    assert names(tmp_path) == {"structure_graph_1.json", "SOURCE.json"}


def test_other_bytes_than_the_first_time_are_refused(server: Server, tmp_path: Path) -> None:
    fetch(toy(), tmp_path, server.url)
    for name, path in (("structure_graph_1.json", GRAPH_URL), ("gridAnnotation.raw", ZIP_URL)):
        (tmp_path / name).unlink()
        kept, server.files[path] = server.files[path], server.files[path] + b" "
        assert "expected a file with sha256" in refused(toy(), tmp_path, server.url)
        server.files[path] = kept
        fetch(toy(), tmp_path, server.url)
    assert names(tmp_path) == WHOLE


@pytest.mark.parametrize(
    ("path", "data", "message"),
    [
        (LABELS_URL, None, "the server answers 404"),
        (LABELS_URL, b"<!DOCTYPE html>down for maintenance", "expected a NRRD volume, got b'<!DOCTYPE"),
        (GRAPH_URL, b"<html>", "expected the ontology in JSON"),
        (GRAPH_URL, b'{"success": false, "msg": "busy"}', "expected a list of nodes under 'msg'"),
        (ZIP_URL, b"<html>", "expected a zip with gridAnnotation.mhd"),
    ],
)
def test_what_is_no_reference_is_not_kept(
    path: str, data: bytes | None, message: str, server: Server, tmp_path: Path
) -> None:
    server.files.pop(path)
    if data is not None:
        server.files[path] = data
    assert message in refused(toy(), tmp_path, server.url)


def test_a_connection_that_breaks_off_leaves_nothing_half(server: Server, tmp_path: Path) -> None:
    server.cut.add(LABELS_URL)
    assert "the connection broke off" in refused(toy(), tmp_path, server.url)
    assert names(tmp_path) == {"structure_graph_1.json", "SOURCE.json"}
    assert server.asked.count(LABELS_URL) == 2
    server.cut.clear()
    fetch(toy(), tmp_path, server.url)
    assert names(tmp_path) == WHOLE


def test_the_folder_of_references_is_where_it_always_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_directory(toy()) == Path("/somewhere/ish-pipeline/toy")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_directory(toy()) == Path("/home/someone/.cache/ish-pipeline/toy")


def test_no_server_is_one_line(tmp_path: Path) -> None:
    assert "connection refused; asked 2 times, try again later" in refused(
        toy(), tmp_path, "http://127.0.0.1:9"
    )


def test_files_that_are_not_the_fetched_ones_are_not_touched(server: Server, tmp_path: Path) -> None:
    (tmp_path / "structure_graph_1.json").write_text("mine")
    assert "is there, but not fetched" in refused(toy(), tmp_path, server.url)
    (tmp_path / "structure_graph_1.json").unlink()
    fetch(toy(), tmp_path, server.url)
    (tmp_path / "annotation_100.nrrd").write_bytes(b"NRRD changed")
    assert "annotation_100.nrrd: expected sha256" in refused(toy(), tmp_path, server.url)
    assert (tmp_path / "annotation_100.nrrd").read_bytes() == b"NRRD changed"
    (tmp_path / "SOURCE.json").write_text('{"collection": "other", "files": {}}')
    assert "holds other, expected toy or nothing" in refused(toy(), tmp_path, server.url)
    for damaged, message in (
        ("torn", "expected the origin of files in JSON"),
        ("[" * 100_000, "nested too deep"),
        ("[]", "expected the origin of files, got something else"),
        ('{"collection": "toy", "files": {"annotation_100.nrrd": "x"}}', "got something else"),
    ):
        (tmp_path / "SOURCE.json").write_text(damaged)
        said = refused(toy(), tmp_path, server.url)
        assert message in said
        assert said.endswith("; remove it")


def test_an_official_file_from_elsewhere_is_taken_over(server: Server, tmp_path: Path) -> None:
    data = server.files[LABELS_URL]
    (tmp_path / "annotation_100.nrrd").write_bytes(data)
    found = fetch(toy(hashlib.sha256(data).hexdigest()), tmp_path, server.url)
    assert [(item.path.name, item.was_there) for item in found][:2] == [
        ("structure_graph_1.json", False),
        ("annotation_100.nrrd", True),
    ]
    assert LABELS_URL not in server.asked


def test_places_and_names_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="expected a folder to write in"):
        fetch(toy(), tmp_path / "file", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="expected http://host"):
        fetch(toy(), tmp_path, "ftp://mirror")
    with pytest.raises(ConfigError, match="did you mean ccfv3_25"):
        find_reference("ccf_25")


def test_the_registry_is_whole() -> None:
    known = registry()
    assert {"ccfv3_10", "ccfv3_25", "ccfv3_50", "ccfv3_100", "grid_annotation"} <= known.keys()
    for reference in known.values():
        assert all((reference.about, reference.collection.citation, reference.collection.terms))
        for file in reference.files:
            assert file.url.startswith(("https://download.alleninstitute.org/", "https://api.brain-map.org/"))
            assert file.sha256 is None or len(file.sha256) == 64
    assert [file.name for file in known["ccfv3_25"].files] == [
        "structure_graph_1.json", "annotation_25.nrrd", "average_template_25.nrrd",
    ]  # fmt: skip


def test_the_official_file_at_hand_is_the_one_the_registry_knows(ish_data: Path) -> None:
    known = {file.name: file.sha256 for file in registry()["ccfv3_100"].files}
    for name in ("annotation_100.nrrd", "average_template_100.nrrd"):
        assert sha256_of(ish_data / "reference" / name) == known[name]


def test_the_command_fetches_and_reports(
    server: Server,
    tmp_path: Path,
    ish: Ish,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.inputs.fetch.references.registry", lambda: {"toy_100": toy()})
    monkeypatch.setenv("ISH_REFERENCE_BASE_URL", server.url + "/")
    assert ish("reference", "fetch", "toy_100", "--directory", tmp_path / "ref", "--json") == 0
    shown = capfd.readouterr()
    rows = json.loads(shown.out)
    assert [row["was"] for row in rows] == ["fetched"] * 4
    assert rows[1]["sha256"] == hashlib.sha256(server.files[LABELS_URL]).hexdigest()
    for text in (
        COLLECTION.terms,
        COLLECTION.citation,
        "there is no official checksum",
        f"{server.url}{ZIP_URL}",
    ):
        assert text in shown.err
    assert ish("reference", "info", "--reference", tmp_path / "ref") == 0


def test_the_command_lists_what_there_is(tmp_path: Path, ish: Ish, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "annotation_25.nrrd").touch()
    assert ish("reference", "list", "--directory", tmp_path, "--json") == 0
    rows = {row["name"]: row for row in json.loads(capfd.readouterr().out)}
    assert (rows["ccfv3_25"]["there"], rows["ccfv3_50"]["there"]) == ("1/3", "0/3")
