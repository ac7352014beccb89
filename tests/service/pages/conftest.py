"""Chromium without a window over runs of the phantom; whatever fails leaves its picture."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from page_cases import FLAGS, PICTURES, SIZE, WAIT_S, Look, Served, make_runs, running

from pipeline.service.app import create_app
from pipeline.service.http.server import bound

REPORT = pytest.StashKey[pytest.TestReport]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[REPORT] = report
    return report


@pytest.fixture(scope="session")
def served(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = make_runs(tmp_path_factory.mktemp("pages"), finished)
    app = create_app(list(made.runs.values()), cache=tmp_path_factory.mktemp("pages-cache"))
    with bound("127.0.0.1", 0) as listening, running(app, listening) as url:
        yield replace(made, url=url)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    for picture in PICTURES.glob("failed-*.png"):  # of the last time
        picture.unlink()
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        found.close()


@contextmanager
def looking(browser: Any, url: str, request: pytest.FixtureRequest, **options: Any) -> Iterator[Look]:
    """Give a page of its own to a test; what went wrong in it fails the test and leaves a picture."""
    context = browser.new_context(service_workers="block", **options)
    context.set_default_timeout(1000 * WAIT_S)
    found = Look(context.new_page(), url)
    yield found
    report = request.node.stash.get(REPORT, None)
    if found.wrong or report is None or report.failed:
        found.shot(f"failed-{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())}")
    context.close()
    assert found.wrong == []


@pytest.fixture
def look(browser: Any, served: Served, request: pytest.FixtureRequest) -> Iterator[Look]:
    with looking(browser, served.url, request, viewport=SIZE) as found:
        yield found


@pytest.fixture
def tablet(browser: Any, served: Served, request: pytest.FixtureRequest) -> Iterator[Look]:
    size = {"width": 1024, "height": 768}
    with looking(browser, served.url, request, viewport=size, has_touch=True, is_mobile=True) as found:
        yield found
