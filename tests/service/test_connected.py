"""Connected services: the rows of the search itself as text, page by page, and one line for a bad request."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from search.test_point import coronal, some_voxel, um
from search_cases import Case, experiments

from pipeline.core.errors import MissingResultError
from pipeline.search.index import SearchIndex, open_index
from pipeline.search.indexing import build_index
from pipeline.search.on_disk.experiments import Experiment
from pipeline.service.connected import Service, services
from pipeline.service.http.answers import RequestError
from pipeline.service.rma.answer import Answer, answer
from pipeline.service.rma.forms import json_of, xml_of
from pipeline.service.rma.parse import query_of

GENES = {f"Gene{n}": 5000 + n for n in range(40)}


@pytest.fixture(scope="module")
def case() -> Case:
    made, mixed = coronal(11, 14), experiments(11, 14)
    planes = [Experiment(e.section_data_set_id, e.gene, p.plane_of_section) for e, p in zip(
        made.experiments, mixed.experiments, strict=True
    )]  # fmt: skip
    planes[:6] = made.experiments[:6]
    planes[3] = Experiment(103, None, "coronal")
    made.grids[4][made.mask(["TH"])] = 0.0  # an infinite fold change over TH
    return Case(made.space, planes, made.grids)


@pytest.fixture(scope="module")
def index(case: Case, tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    path = tmp_path_factory.mktemp("connected") / "index"
    assert not build_index(path, case.pairs, case.space).errors
    return open_index(path)


@pytest.fixture(scope="module")
def served(index: SearchIndex) -> dict[str, Service]:
    return services(lambda: index, GENES.__getitem__)


@pytest.fixture(scope="module")
def seed_point(case: Case) -> str:
    return ",".join(f"{x:g}" for x in um(some_voxel(case, 5)))


def pages(ask: Callable[[dict[str, str]], Answer], size: int, **parameters: str) -> list[dict[str, str]]:
    """Return all rows as a client gets them that asks on until it is refused."""
    rows: list[dict[str, str]] = []
    for _ in range(100):
        asked = parameters | {"start_row": str(len(rows)), "num_rows": str(size)}
        try:
            page = ask(asked)
        except RequestError:
            break
        assert len(page.rows) <= size
        assert page.start_row == len(rows)
        rows += page.rows
    with pytest.raises(RequestError, match="past the end"):
        ask(asked)
    return rows


def test_differential_takes_contrast_first(index: SearchIndex, served: dict[str, Service]) -> None:
    found = served["mouse_differential"]({"set": "mouse", "structures1": "4", "structures2": "1"})
    expected = index.differential(["CTX"], ["TH"]).rows()
    assert len(found.rows) == found.total_rows == len(expected)
    for row, wanted in zip(found.rows, expected, strict=True):
        assert list(row) == [
            "id", "gene-id", "entrez-id", "gene-symbol", "gene-name", "plane-of-section",
            "fold-change", "target-sum", "contrast-sum",
        ]  # fmt: skip
        assert all(isinstance(value, str) for value in row.values())
        assert row["id"] == str(wanted["section_data_set_id"])
        assert float(row["fold-change"]) == pytest.approx(wanted["fold_change"], rel=1e-6)
        for side in ("target", "contrast"):
            total = wanted[f"{side}_mean"] * wanted[f"{side}_voxels"]
            assert float(row[f"{side}-sum"]) == pytest.approx(total, rel=1e-6)
        gene = wanted["gene"]
        assert (row["gene-symbol"], row["gene-id"]) == (gene or "", str(GENES[gene]) if gene else "")
    assert found.rows[-1]["fold-change"] == "inf"
    json_of(found)  # text, so that JSON can hold it
    assert b"<fold-change>inf</fold-change>" in xml_of(found)


def test_thresholds_bound_their_own_domain(index: SearchIndex, served: dict[str, Service]) -> None:
    asked = {"structures1": "TH", "structures2": "CTX", "threshold1": "0,50", "threshold2": "1,50"}
    found = served["mouse_differential"](asked)
    expected = index.differential(["CTX"], ["TH"], target_threshold="1,50", contrast_threshold="0,50")
    assert [row["id"] for row in found.rows] == [str(i) for i in expected.columns["section_data_set_id"]]
    older = served["differential_rows"](
        {"set": "P56", "domain1": "TH", "domain1_threshold": "0,50", "domain2": "CTX",
         "domain2_threshold": "1,50"}
    )  # fmt: skip
    assert older.rows == found.rows


@pytest.mark.parametrize("size", [1, 3, 7, 14, 100])
def test_pages_put_together_are_the_whole(served: dict[str, Service], seed_point: str, size: int) -> None:
    requests = {
        "mouse_differential": {"structures1": "TH", "structures2": "CTX"},
        "mouse_correlation": {"row": "100", "set": "mouse_coronal"},
        "mouse_agea": {"seed_point": seed_point, "threshold1": "0,", "threshold2": "0,"},
    }
    for name, parameters in requests.items():
        whole = served[name](parameters)
        assert whole.rows
        assert pages(served[name], size, **parameters) == whole.rows
        assert served[name](parameters | {"num_rows": "all"}).rows == whole.rows


def test_correlation_in_both_orders(index: SearchIndex, served: dict[str, Service]) -> None:
    asked = {"set": "mouse", "row": "102", "structures": "TH,1"}
    down = served["mouse_correlation"](asked)
    expected = index.correlation(102, domain=["TH", "CTX"], top=None).rows()
    assert down.rows[0]["id"] == "102"
    assert float(down.rows[0]["r"]) == 1.0
    assert [row["id"] for row in down.rows] == [str(row["section_data_set_id"]) for row in expected]
    assert [float(row["r"]) for row in down.rows] == pytest.approx([r["r"] for r in expected], abs=1e-6)
    up = served["mouse_correlation"](asked | {"sort_order": "asc"})
    assert up.rows == down.rows[::-1]
    assert served["mouse_correlation"](asked | {"sort_order": "asc", "num_rows": "2"}).rows == up.rows[:2]


def test_agea_is_the_search_at_a_point(
    index: SearchIndex, served: dict[str, Service], seed_point: str
) -> None:
    point = [float(x) for x in seed_point.split(",")]
    asked = {"set": "mouse_coronal", "seed_age": "P56", "map_age": "P56", "seed_point": seed_point}
    cuts = {"correlation_threshold1": "0.4", "correlation_threshold2": "0.7"}
    bounds = {"threshold1": "0.5,60", "threshold2": "0.1,50"}
    found = served["mouse_agea"](asked | cuts | bounds)
    expected = index.at_point(
        point, wider=0.4, local=0.7, target_threshold="0.5,60", contrast_threshold="0.1,50"
    )
    assert [row["id"] for row in found.rows] == [str(i) for i in expected.columns["section_data_set_id"]]
    assert [float(row["fold-change"]) for row in found.rows] == pytest.approx(
        expected.columns["fold_change"].tolist(), rel=1e-6
    )
    plain = index.at_point(point).columns["section_data_set_id"]
    assert [row["id"] for row in served["mouse_agea"](asked).rows] == [str(i) for i in plain]


def test_text_finds_genes_and_ids(served: dict[str, Service]) -> None:
    find = served["text_search"]
    assert [row["id"] for row in find({"query_string": "gene1"}).rows] == ["101", "110", "111", "112", "113"]
    assert [row["gene-symbol"] for row in find({"query_string": "104"}).rows] == ["Gene4"]
    assert len(find({"query_string": "ENE"}).rows) == 13  # one has no gene
    few = find({"query_string": "gene", "k": "4"})
    assert (len(few.rows), few.total_rows) == (4, 13)
    assert find({"query_string": "Pdyn"}).rows == []


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("mouse_differential", {}, "expected structures2, got none"),
        ("mouse_differential", {"structures1": "8", "structures2": ","}, "at least one structure"),
        ("mouse_differential", {"structures1": "8", "structures2": "NOPE"}, "structure 'NOPE'"),
        ("mouse_differential", {"structures1": "8", "structures2": "7"}, "none of its"),
        ("mouse_differential", {"set": "rat", "structures1": "8", "structures2": "1"}, "one of mouse, mouse"),
        ("mouse_differential", {"structure": "8"}, "no parameter 'structure'; there are set, structures1"),
        ("mouse_differential", {"structures1": "8", "structures2": "1", "threshold1": "5"}, '"min,max"'),
        ("mouse_differential", {"structures1": "8", "structures2": "1", "num_rows": "-1"}, "whole number"),
        (
            "mouse_differential",
            {"structures1": "8", "structures2": "1", "num_rows": "99999"},
            "at most 25000",
        ),
        ("mouse_differential", {"structures1": "8", "structures2": "1", "start_row": "99"}, "past the end"),
        ("mouse_correlation", {"row": "1"}, "not among the 14 experiments"),
        ("mouse_correlation", {"row": "/etc/passwd"}, "expected an id"),
        ("mouse_correlation", {"row": "100", "sort_order": "up"}, "one of asc, desc"),
        ("mouse_correlation", {"row": "100", "start_row": "14"}, "past the end, there are"),
        ("mouse_agea", {"seed_point": "1,2"}, "expected P,I,R"),
        ("mouse_agea", {"seed_point": "1e9,0,0"}, "within 0 to"),
        ("mouse_agea", {"seed_point": "0,0,0", "set": "mouse"}, "mouse_coronal"),
        ("mouse_agea", {"seed_point": "0,0,0", "map_age": "P14"}, "expected one of P56"),
        ("mouse_agea", {"seed_point": "0,0,0", "correlation_threshold1": "x"}, "expected a number"),
        ("mouse_agea", {"seed_point": "0,0,0", "correlation_threshold1": "0.99"}, "wider <= local"),
        ("text_search", {}, "expected query_string"),
    ],
)
def test_bad_requests_are_one_line(
    served: dict[str, Service], name: str, parameters: dict[str, str], words: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(words)) as refused:
        served[name](parameters)
    assert str(refused.value).startswith(f"service::{name}: ")
    assert "\n" not in str(refused.value)
    assert refused.value.status == 400


def test_an_index_without_experiments_names_no_folder(tmp_path: Path, case: Case) -> None:
    build_index(tmp_path / "index", [], case.space)
    empty = open_index(tmp_path / "index")
    with pytest.raises(MissingResultError, match=str(tmp_path)):
        empty.at_point([0, 0, 0])
    ask = services(lambda: empty, GENES.__getitem__)["mouse_agea"]
    assert ask({"seed_point": "0,0,0"}).rows == []
    with pytest.raises(RequestError, match="past the end") as refused:
        ask({"seed_point": "0,0,0", "start_row": "1"})
    assert str(tmp_path) not in str(refused.value)


def test_rma_calls_them(served: dict[str, Service], tmp_path: Path) -> None:
    database = tmp_path / "models.sqlite"
    with closing(sqlite3.connect(database)) as fresh:
        fresh.execute("CREATE TABLE t (a)")
    criteria = "service::mouse_correlation[set$eqmouse_coronal][row$eq100][structures$eq'TH','HY']"
    with pytest.raises(RequestError, match="'HY'"):
        answer(database, query_of({"criteria": criteria}), services=served)
    known = criteria.replace(",'HY'", "") + "[num_rows$eq3]"
    found = answer(database, query_of({"q": known}), services=served)
    assert len(found.rows) == 3
    assert found.total_rows > 3


def test_sums_are_finite_text(served: dict[str, Service]) -> None:
    rows = served["mouse_differential"]({"structures1": "8", "structures2": "TH"}).rows
    assert np.isfinite([float(row["contrast-sum"]) for row in rows]).all()
