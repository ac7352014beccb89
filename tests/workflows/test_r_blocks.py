"""The R of the documentation, run by R where it and the package that a block loads are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from conftest import ID, TESTS, Ish
from page_cases import running

from pipeline.service.app import create_app
from pipeline.service.http.server import bound

DOCS = TESTS.parent / "docs"
BLOCK = re.compile(r"^```r\n(.*?)^```", re.S | re.M)
LOADED = re.compile(r"library\(([\w.]+)\)")
BLOCKS = {
    f"{page.stem}, {LOADED.findall(text)[0]}": text
    for page in sorted(DOCS.rglob("*.md"))
    for text in BLOCK.findall(page.read_text(encoding="utf-8"))
}
KNOWN = {"other_programs, data.table", "other_programs, arrow", "service, jsonlite"}


def by_r(block: str, then: str, folder: Path) -> list[str]:
    """Run a block of a page and further lines that print; return what they print."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("R is not installed")
    for name in LOADED.findall(block):
        asked = [rscript, "--vanilla", "-e", f"quit(status = !requireNamespace('{name}', quietly = TRUE))"]
        if subprocess.run(asked, capture_output=True, timeout=120, check=False).returncode:
            pytest.skip(f"R has no package {name}")
    (folder / "block.R").write_text(block + then, encoding="utf-8")
    words = [rscript, "--vanilla", "block.R"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def tables(finished: Path, tmp_path: Path, ish: Ish) -> Path:
    assert ish("export", finished, "--format", "csv", "--output", tmp_path / "tables") == 0
    return tmp_path


@pytest.fixture
def base(finished: Path, tmp_path: Path) -> Iterator[str]:
    app = create_app([finished], cache=tmp_path / "cache")
    with bound("127.0.0.1", 0) as listening, running(app, listening) as url:
        yield url


def energies(folder: Path) -> dict[str, float]:
    """Return the energy of each structure, both hemispheres, where half of it or more is covered."""
    rows = pyarrow.parquet.read_table(folder / "tables" / "structure_unionize.parquet").to_pylist()
    return {
        row["structure_acronym"]: row["expression_energy"]
        for row in rows
        if row["hemisphere_id"] == 3 and row["coverage"] >= 0.5
    }


def test_every_block_of_the_pages_is_known() -> None:
    assert set(BLOCKS) == KNOWN


def test_the_table_in_r(tables: Path) -> None:
    """The last line of the block prints the ten structures with the highest energy."""
    block = BLOCKS["other_programs, data.table"]
    lines = by_r(block, "cat(nrow(table), sum(is.na(table$section_energy)), '\n')", tables)
    wanted = sorted(energies(tables).items(), key=lambda pair: -pair[1])[:10]
    shown = [line.split() for line in lines[1:11]]
    assert [row[1] for row in shown] == [acronym for acronym, _ in wanted]
    np.testing.assert_allclose([float(row[2]) for row in shown], [energy for _, energy in wanted], rtol=1e-5)
    stored = pyarrow.parquet.read_table(tables / "tables" / "structure_unionize.parquet")
    empty = int(np.isnan(stored.column("section_energy").to_numpy()).sum())
    assert lines[11].split() == [str(stored.num_rows), str(empty)]


def test_the_table_as_parquet_in_r(tables: Path) -> None:
    lines = by_r(BLOCKS["other_programs, arrow"], "cat(names(table), sep = '\n')", tables)
    stored = pyarrow.parquet.read_table(tables / "tables" / "structure_unionize.parquet")
    assert lines == stored.column_names


def test_the_service_in_r(tables: Path, base: str) -> None:
    block = BLOCKS["service, jsonlite"].replace("http://127.0.0.1:8000", base).replace("900001", ID)
    then = "cat(rows$id, rows$plane_of_section$name, rows$genes[[1]]$acronym, '\n')\n"
    then += "cat(paste(table$acronym, format(table$expression_energy, digits = 15), sep = '='), sep = '\n')\n"
    first, *pairs = by_r(block, then, tables)
    assert first.split() == [ID, "sagittal", "Phantom"]
    found = {name: _number(text) for name, _, text in (pair.partition("=") for pair in pairs)}
    wanted = energies(tables)
    assert set(wanted) <= set(found)
    both = np.array([(found[name], energy) for name, energy in wanted.items()])
    np.testing.assert_allclose(both[:, 0], both[:, 1], rtol=1e-9)


def _number(text: str) -> float:
    return float("nan") if text.strip() == "NA" else float(text)
