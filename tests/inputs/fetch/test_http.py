"""The downloader against servers that break off, change the file, and send parts that were not asked for."""

from __future__ import annotations

import gzip
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.inputs.fetch.http import BLOCK, Patience, download

QUICK = Patience(attempts=4, timeout_s=10.0, pause_s=0.01)
FILE = np.random.default_rng(0).bytes(3 * BLOCK + 11)
HALF = BLOCK  # of a block that breaks off nothing is kept


@dataclass
class Reply:
    """What the server answers once."""

    body: bytes
    status: int = 200
    sent: int | None = None  # bytes before it breaks off
    headers: dict[str, str] = field(default_factory=dict)


def whole(sent: int | None = None, body: bytes = FILE, **headers: str) -> Reply:
    told = {"Accept-Ranges": "bytes", "ETag": '"one"'} | {k.replace("_", "-"): v for k, v in headers.items()}
    return Reply(body, 200, sent, told)


def part(start: int, claimed: int | None = None, tag: str = '"one"', sent: int | None = None) -> Reply:
    claimed = start if claimed is None else claimed
    told = {"Content-Range": f"bytes {claimed}-{len(FILE) - 1}/{len(FILE)}", "ETag": tag}
    return Reply(FILE[start:], 206, sent, told)


class Server(ThreadingHTTPServer):
    """Gives its replies in order; `asked` has what each request wanted: its range and its condition."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.replies: list[Reply] = []
        self.asked: list[tuple[str | None, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"


class Answer(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.headers.get("Range"), self.headers.get("If-Range")))
        assert self.headers["Accept-Encoding"] == "identity"
        reply = self.server.replies.pop(0)
        self.send_response(reply.status)
        for name, value in ({"Content-Length": str(len(reply.body))} | reply.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[: reply.sent])

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def got(server: Server, *replies: Reply) -> bytes:
    server.replies = list(replies)
    file = io.BytesIO()
    download(server.url, file, QUICK)
    assert not server.replies
    return file.getvalue()


def ranges(server: Server) -> list[str | None]:
    return [asked for asked, _ in server.asked]


def test_a_file_is_written_as_it_comes(server: Server, tmp_path: Path) -> None:
    server.replies = [whole()]
    with (tmp_path / "file").open("w+b") as file:
        download(server.url, file, QUICK)
    assert (tmp_path / "file").read_bytes() == FILE


def test_what_is_missing_is_asked_for_and_appended(server: Server) -> None:
    assert got(server, whole(HALF), part(HALF, sent=BLOCK), part(HALF + BLOCK)) == FILE
    assert server.asked == [
        (None, None), (f"bytes={HALF}-", '"one"'), (f"bytes={HALF + BLOCK}-", '"one"')
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        part(HALF - 5),  # starts earlier, and says so
        part(0),
        part(HALF + 5),
        part(HALF, tag='"two"'),  # of another version
        Reply(FILE[HALF:], 206),  # does not say where it starts
        Reply(FILE[HALF:], 206, None, {"Content-Range": "words"}),
        Reply(FILE[HALF:-9], 206, None, {"Content-Range": f"bytes {HALF}-{len(FILE) - 10}/{len(FILE)}"}),
    ],
)
def test_a_part_that_does_not_continue_is_not_appended(server: Server, wrong: Reply) -> None:
    assert got(server, whole(HALF), wrong, whole()) == FILE
    assert ranges(server) == [None, f"bytes={HALF}-", None]


def test_a_part_that_nobody_asked_for_is_not_taken_for_the_file(server: Server) -> None:
    assert got(server, part(HALF), whole()) == FILE
    assert ranges(server) == [None, None]


def test_a_range_beyond_the_end_starts_over(server: Server) -> None:
    shorter = FILE[: HALF - 7]
    assert got(server, whole(HALF), Reply(b"", 416), whole(body=shorter)) == shorter
    assert ranges(server) == [None, f"bytes={HALF}-", None]


def test_a_new_version_takes_the_place_of_the_old(server: Server) -> None:
    other = bytes(reversed(FILE))
    assert got(server, whole(HALF), whole(HALF, other, ETag='"two"'), whole(body=other)) == other
    assert server.asked[2] == (f"bytes={HALF}-", '"two"')


@pytest.mark.parametrize("headers", [{"ETag": ""}, {"ETag": 'W/"weak"'}, {"Accept-Ranges": "none"}])
def test_what_cannot_be_continued_is_asked_for_anew(server: Server, headers: dict[str, str]) -> None:
    cut = whole(HALF)
    assert got(server, Reply(FILE, 200, HALF, cut.headers | headers), whole()) == FILE
    assert ranges(server) == [None, None]


def test_a_compressed_answer_is_unpacked_and_never_continued(server: Server) -> None:
    packed = gzip.compress(FILE)
    cut = whole(len(packed) // 2, packed, Content_Encoding="gzip")
    assert got(server, cut, whole(body=packed, Content_Encoding="gzip")) == FILE
    assert ranges(server) == [None, None]


@pytest.mark.parametrize(
    ("reply", "times", "message"),
    [
        (Reply(b"", 416), 1, "the server answers 416"),
        (Reply(b"", 404), 1, "the server answers 404"),
        (Reply(b"", 503), 4, "the server answers 503 .*; asked 4 times, try again later"),
        (part(HALF), 4, "another part of the file than asked for; asked 4 times"),
        (whole(0), 4, "the connection broke off; asked 4 times"),
    ],
)
def test_what_does_not_get_better_is_one_line(server: Server, reply: Reply, times: int, message: str) -> None:
    server.replies = [reply] * 4
    with pytest.raises(DataError, match=message) as caught:
        download(server.url, io.BytesIO(), QUICK)
    assert "\n" not in str(caught.value)
    assert len(server.asked) == times


class Seen:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.begun: list[tuple[int | None, int]] = []
        self.counts: list[int] = []
        self.ended = 0

    def begin(self, total: int | None, done: int) -> None:
        self.begun.append((total, done))
        self.counts.append(0)

    def advance(self, count: int) -> None:
        self.counts[-1] += count

    def end(self) -> None:
        self.ended += 1


def test_a_resumed_download_reports_its_progress(server: Server) -> None:
    seen = Seen()
    server.replies = [whole(HALF), part(HALF)]
    download(server.url, io.BytesIO(), QUICK, seen)
    assert seen.begun == [(len(FILE), 0), (len(FILE), HALF)]
    assert seen.counts == [HALF, len(FILE) - HALF]
    server.replies = [Reply(b"", 404)]
    with pytest.raises(DataError):
        download(server.url, io.BytesIO(), QUICK, seen)
    assert seen.ended == 2
