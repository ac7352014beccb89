"""The page: self-contained, escaped, the same bytes twice, and written whatever became of the run."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from report.test_report_runs import HOSTILE, ball_reference, make_run, rewrite

from pipeline.core.errors import DataError
from pipeline.core.model import Structure
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace
from pipeline.report import write_index, write_report
from pipeline.report.contents import read_contents
from pipeline.report.methods import LEIN, WANG, methods
from pipeline.store.run import RunFolder
from pipeline.store.tasks import Receipt

VOID = {"meta", "input", "br", "img", "link"}
LOADS = {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}


class Page(HTMLParser):
    """What a page loads and says, and whether its elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.printed: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attributes if name in LOADS]
        self.ids += [value or "" for name, value in attributes if name == "id"]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self.open = self.open if tag in VOID else self.open[:-1]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.printed.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.printed).split())


def page_of(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    for outside in ("http://", "https://", "url(h", "@import", "//cdn"):
        assert outside not in text
    page = Page(text)
    assert all(load.startswith(("data:image/", "#")) or path.name == "index.html" for load in page.loads)
    assert len(page.ids) == len(set(page.ids)), "every id once"
    assert {load[1:] for load in page.loads if load.startswith("#")} <= set(page.ids), "no dead link"
    return page


@pytest.fixture(scope="module")
def reference() -> ReferenceSpace:
    return ball_reference()


def test_a_finished_run(tmp_path: Path, reference: ReferenceSpace) -> None:
    run = make_run(tmp_path)
    path = write_report(run, reference)
    assert path == run.file("report.html")
    page = page_of(path)
    assert "Not shown" not in page.text
    assert "Done; 3 sections to review." in page.text
    assert "5 pass, 0 to check, 1 failed, 1 missing" in page.text
    assert "left 80 %, right 40 %" in page.text
    for printed in (
        "uneven light",
        "no image file",
        "the order was taken from the images",
        "Lein",
        "contrast = 9",
    ):
        assert printed in page.text
    assert "script" not in page.tags
    assert page.text.index("Section 44") < page.text.index("Section 40"), "flagged first"
    assert {"steps", "structures", "grid", "volume", "poses", "sections", "measures", "methods"} <= set(
        page.ids
    )
    assert path.stat().st_size < 1_000_000


def test_the_same_run_gives_the_same_bytes_also_after_its_own_receipt(
    tmp_path: Path, reference: ReferenceSpace
) -> None:
    run = make_run(tmp_path, numbers=(40, 44))
    first = write_report(run, reference).read_bytes()
    run.write_receipt(Receipt("report", "done", "d", wall_s=3.21))
    assert write_report(run, reference, threads=3).read_bytes() == first
    assert not list(run.path.glob(".unfinished*"))


def test_a_failed_run_says_which_step_and_why(tmp_path: Path, reference: ReferenceSpace) -> None:
    run = make_run(tmp_path, numbers=(40, 44))
    run.write_receipt(Receipt("align", "failed", "", "4 usable sections, alignment needs at least 6"))
    run.write_receipt(Receipt("grid", "left out", "", "there is no alignment"))
    run.write_receipt(Receipt("unionize", "left out", "", "there is no grid"))
    page = page_of(write_report(run, reference))
    assert "Failed: outputs are missing." in page.text
    assert "align: 4 usable sections, alignment needs at least 6" in page.text
    assert "Not shown: the step “grid” was left out: there is no alignment" in page.text
    assert "Not shown: the step “unionize” was left out: there is no grid" in page.text
    assert "Brain covered: unknown." in page.text
    assert page.loads.count("#s40") == 1, "the sections are still there"
    assert sum(load.startswith("data:image/jpeg") for load in page.loads) >= 2


@pytest.mark.parametrize("with_reference", [True, False])
def test_an_empty_run(tmp_path: Path, reference: ReferenceSpace, with_reference: bool) -> None:
    (tmp_path / "5" / "receipts").mkdir(parents=True)
    page = page_of(write_report(RunFolder(tmp_path / "5"), reference if with_reference else None))
    assert "Unfinished." in page.text
    assert "No section: the run ended before any was read" in page.text
    assert "has not run" in page.text


@pytest.mark.parametrize(
    "lost",
    [
        "section_data_set.json", "provenance.json", "alignment.json", "grid.zarr", "expression.zarr",
        "thumbnails.zarr", "cells.zarr", "structure_unionize.parquet",
    ],
)  # fmt: skip
def test_a_page_is_written_whatever_was_lost(tmp_path: Path, reference: ReferenceSpace, lost: str) -> None:
    run = make_run(tmp_path, numbers=(40, 44))
    run.file(lost).rename(tmp_path / "elsewhere")
    page = page_of(write_report(run, reference))
    assert "Steps" in page.text
    assert "40" in page.text


def test_without_a_reference_only_names_and_outlines_are_missing(tmp_path: Path) -> None:
    page = page_of(write_report(make_run(tmp_path, numbers=(40, 44)), None))
    assert "the reference of the run is not available" in page.text
    assert "maximum along P" in page.text


def test_hostile_names_are_text(tmp_path: Path, reference: ReferenceSpace) -> None:
    run = make_run(tmp_path, gene=HOSTILE, numbers=(40, 44))
    rewrite(run, "section_data_set.json", specimen=HOSTILE, warnings=[HOSTILE], age='"onload="x')
    run.write_receipt(Receipt("measure-00044", "failed", "", HOSTILE))
    wicked = tuple(
        Structure(
            s.id, HOSTILE if s.id == 549 else s.acronym, HOSTILE, s.parent_id, s.graph_order, "0}</style>"
        )
        for s in reference.ontology.structures
    )
    space = ReferenceSpace(9, HOSTILE, reference.annotation, 100.0, Ontology(wicked), citation=HOSTILE)
    path = write_report(run, space)
    page = page_of(path)
    assert "script" not in page.tags
    assert page.tags.count("style") == 1
    assert page.printed.count(f"{HOSTILE} · 17") == 2
    assert page.text.count("alert(1)") >= 5
    index = page_of(write_index(tmp_path))
    assert index.tags.count("script") == 1
    assert f"{HOSTILE} coronal" in index.text


def test_the_index_lists_every_run_with_its_state(tmp_path: Path, reference: ReferenceSpace) -> None:
    done = make_run(tmp_path, numbers=(40, 44))
    write_report(done, reference)
    (tmp_path / "a b&c" / "receipts").mkdir(parents=True)
    odd = RunFolder(tmp_path / "a b&c")
    odd.write_receipt(Receipt("align", "failed", "", "boom"))
    write_report(odd, None)
    RunFolder(tmp_path / "99").write_plan([40])  # a run that died before its first receipt
    path = write_index(tmp_path)
    assert path == tmp_path / "index.html"
    page = page_of(path)
    links = [load for load in page.loads if not load.startswith("data:")]
    assert links == ["17/report.html", "a%20b%26c/report.html"], "a link only where there is a page"
    assert "3 series: 0 done, 1 done with sections to review, 1 failed, 1 unfinished." in page.text
    assert "align: boom" in page.text
    assert sum(load.startswith("data:image/png") for load in page.loads) == 1
    assert write_index(tmp_path).read_bytes() == path.read_bytes()


def test_an_index_over_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found no receipts"):
        write_index(tmp_path)


def test_citations_fit_the_reference(tmp_path: Path, reference: ReferenceSpace) -> None:
    run = make_run(tmp_path, numbers=(40,))
    phantom = methods(read_contents(run), reference)
    assert phantom.citations[0] == LEIN
    assert WANG not in phantom.citations
    assert "Balls et al." in phantom.citations
    rewrite(run, "provenance.json", reference_directory="/somewhere")
    found = methods(read_contents(run), reference)
    assert WANG in found.citations
    assert ("numpy", "2.1.0") in found.versions
    assert any("The aligner “mine” was used" in text for text in found.paragraphs)
    assert any("contrast = 9" in text for text in found.paragraphs)
