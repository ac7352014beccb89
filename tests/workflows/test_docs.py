"""The documentation: what its consoles type is run, what its commands name exists, its site is whole."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from conftest import TESTS
from transcripts import transcript, type_in

from pipeline.cli.console import OUT
from pipeline.cli.main import VERBS

ROOT = TESTS.parent
DOCS = ROOT / "docs"
GENERATED = {"command_line", "configuration", "python_api"}
PAGES = [
    ROOT / "README.md",
    *(p for p in sorted(DOCS.rglob("*.md")) if p.stem not in GENERATED and "gallery" not in p.parts),
]
TYPED = [page for page in PAGES if page.stem != "tutorial" and transcript(page)]
LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(r"^```[\w-]*\n(.*?)^```", re.S | re.M)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", TYPED, ids=page_name)
def test_what_is_typed_gives_what_is_shown(
    page: Path, rendered: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with the run of six rendered sections, their series, and a search index."""
    (tmp_path / "runs").symlink_to(finished.parent)
    (tmp_path / "practice").symlink_to(rendered)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISH_REFERENCE", raising=False)
    monkeypatch.setattr(OUT, "width", 200)
    for step in transcript(page):
        status, came = type_in(step.command, monkeypatch)
        assert status == 0, f"$ {step.command}\n{came}"
        assert doctest.OutputChecker().check_output(step.shown, came, LOOSELY), f"$ {step.command}\n{came}"


def commands_in(page: Path) -> list[list[str]]:
    """Return the words of every line of code that calls `ish`, up to a pipe or a comment."""
    found = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            line = line.removeprefix("$ ")
            if line.startswith("ish "):
                words = re.split(r" [|>#] |\s{3,}", line)[0]
                found.append(shlex.split(words.replace("'", '"') if words.count("'") % 2 else words))
    return found


def options_of(words: list[str]) -> tuple[set[str], list[str]]:
    """Return the options that a command knows, and those that are given."""
    command: Any = VERBS[words[1]].load(words[1])
    inner = getattr(command, "commands", None)
    commands = [command]
    if inner:
        commands = [inner[name] for name in words[2].split("|") if name != "…"]
    known = {o for one in commands for p in one.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    return known, [word.partition("=")[0] for word in words if word.startswith("--")]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_verbs_and_options_that_pages_name_exist(page: Path) -> None:
    for words in commands_in(page):
        assert words[1] in VERBS, words
        known, given = options_of(words)
        assert set(given) <= known, words


def test_the_reference_has_every_option_that_help_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    generated = importlib.import_module("generated")
    parts = re.split(r"^## ish (.*)$", generated.command_line(), flags=re.M)
    described = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert {name.partition(" ")[0] for name in described} == set(VERBS)
    for name, text in described.items():
        printed = type_in(f"ish {name} --help", monkeypatch)[1]
        options = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", printed)) - {"--help"}
        assert {option for option in options if option not in text} == set(), name


def test_a_made_up_option_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```\nish run coronal --inputt X   # no such\n```\n", encoding="utf-8")
    ((*words,),) = commands_in(page)
    known, given = options_of(words)
    assert set(given) - known == {"--inputt"}


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = (DOCS / "index.md").read_text(encoding="utf-8")
    names = {str(p.relative_to(DOCS).with_suffix("")) for p in PAGES if p.is_relative_to(DOCS)}
    assert {
        n for n in names if n != "index" and f"\n{n}\n" not in listed and f"<{n}>\n" not in listed
    } == set()
    assert not names & {"search", "genindex", "modindex"}  # Sphinx writes pages of these names over ours


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('<a href="b.html#here">b</a>', ""),
        ('<a href="b.html#there">b</a>', "index.html: b.html#there names no anchor of its page"),
        ('<a href="c.html">c</a>', "index.html: c.html leads nowhere"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js from elsewhere"),
        ('<a href="https://example.org">elsewhere</a>', ""),
        ('<link rel="stylesheet" href="//fonts.example/x">', "loads //fonts.example/x from elsewhere"),
    ],
)
def test_the_check_of_the_site(
    page: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "workflows"))
    check = importlib.import_module("check_site")
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1>', encoding="utf-8")
    found = check.faults(tmp_path)
    assert len(found) == bool(fault)
    assert fault in "".join(found)
