"""What the checks of real clients stand on: the redirection that users may take, and lists as of R."""

from __future__ import annotations

import importlib
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from xml.etree import ElementTree

import pytest
import requests
from conftest import TESTS

CLIENTS = TESTS.parent / "workflows" / "clients"


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.headers['Host']} {self.path}".encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def base() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CLIENTS))
    monkeypatch.setattr(requests.Session, "request", requests.Session.request)  # put back afterwards
    monkeypatch.setattr(urllib.request, "_opener", None)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["api.brain-map.org", "download.alleninstitute.org"])
def test_what_is_asked_of_the_original_goes_elsewhere(base: str, scheme: str, host: str) -> None:
    importlib.import_module("redirect").redirect(f"http://{base}/")
    address, path = f"{scheme}://{host}", "/api/v2/data/query.json?q=model::Gene,[id$eq1]&url=http://x/"
    assert requests.get(f"{address}{path}", timeout=10).text.startswith(f"{base} /api/v2/data/query.json?q=")
    with urllib.request.urlopen(f"{address}{path}", timeout=10) as answer:
        assert answer.read().decode() == f"{base} {path}"
    assert requests.get(f"http://{base}/other", timeout=10).text == f"{base} /other"


@pytest.mark.usefixtures("modules")
def test_lists_are_those_of_r() -> None:
    forms = importlib.import_module("r_forms")
    document = ElementTree.fromstring(
        '<a n="1"><b>x</b><c type="float">2.0</c><d nil="true"/><e/><f><b>y</b><b>z</b></f></a>'
    )
    # As XML::xmlToList and unlist of R 4.2 with XML 3.99 answer.
    assert list(forms.unlist(forms.as_list(document))) == [
        ("b", "x"),
        ("c.text", "2.0"),
        ("c..attrs.type", "float"),
        ("d.nil", "true"),
        ("f.b", "y"),
        ("f.b", "z"),
        (".attrs.n", "1"),
    ]
