"""What answers hold: types, patterns, absent values, scopes, includes, tables, pages, pipes and services."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.service.http.answers import RequestError
from pipeline.service.rma import answer as answers
from pipeline.service.rma import database as connections
from pipeline.service.rma.answer import Answer, answer
from pipeline.service.rma.parse import query_of
from pipeline.service.rma.schema import MODELS, create_tables, table_columns
from pipeline.service.rma.tree_search import tree_search

Ask = Callable[..., Answer]


def ids(found: Answer) -> list[int]:
    return [row["id"] for row in found.rows]


@pytest.mark.parametrize("word", ["false", "False", "FALSE", "'false'", "f", "0", "no", "'f'"])
def test_spellings_of_false(ask: Ask, word: str) -> None:
    assert ids(ask(f"model::SectionDataSet[failed$eq{word}]")) == [1, 3]
    assert ids(ask(f"model::SectionDataSet[failed$ne{word}]")) == [2]


def test_numbers_and_texts_take_the_type_of_the_field(ask: Ask) -> None:
    assert ids(ask("model::SectionDataSet[id$eq'1'][section_thickness$eq25]")) == [1]
    assert ids(ask("model::Chromosome[name$eq2]")) == [34]
    assert ids(ask("model::Age[days$lt'20']")) == [7]
    with pytest.raises(RequestError, match="id takes an integer, got 'one'"):
        ask("model::Gene[id$eqone]")
    with pytest.raises(RequestError, match="days takes a finite number, got 'nan'"):
        ask("model::Age[days$eqnan]")
    with pytest.raises(RequestError, match="expected true or false"):
        ask("model::SectionDataSet[failed$eqmaybe]")
    assert ask("model::Gene[id$eq99999999999999999999999]").rows == []
    assert len(ask("model::Gene[id$gt-99999999999999999999999]").rows) == 4


def test_floats_stay_floats(ask: Ask) -> None:
    (row,) = ask("model::SectionDataSet[id$eq1]").rows
    assert (row["section_thickness"], type(row["section_thickness"])) == (25.0, float)
    assert (row["failed"], row["delegate"], row["weight"]) == (False, True, None)


@pytest.mark.parametrize(
    ("test", "found"),
    [
        ("il'pd*'", ["Pdyn", "pdyn_b"]),
        ("li'pd*'", ["pdyn_b"]),
        ("li'*dyn'", ["Pdyn"]),
        ("il'*D*'", ["Cd99", "Pdyn", "pdyn_b"]),
        ("ilace", ["Ace"]),
        ("liace", []),
        ("il'_ce'", []),
        ("il'%ce'", []),
        ("li'?ce'", []),
        ("li'[A]ce'", []),
        ("il'pdyn_*'", ["pdyn_b"]),
        ("il'**'", ["Ace", "Cd99", "Pdyn", "pdyn_b"]),
    ],
)
def test_patterns(ask: Ask, test: str, found: list[str]) -> None:
    rows = ask(f"model::Gene[acronym${test}],rma::options[order$eqacronym][only$eqacronym]").rows
    assert [row["acronym"] for row in rows] == found


def test_percent_and_backslash_are_themselves(ask: Ask) -> None:
    assert ids(ask("model::Gene[name$il'*100% of it*']")) == [12]
    assert ids(ask(r"model::Gene[name$il'*100\\% of it*']")) == []
    with pytest.raises(RequestError, match="id is no text but integer"):
        ask("model::Gene[id$li'1*']")


def test_absent_values(ask: Ask) -> None:
    """An attribute without a value fulfils no comparison, `ne` included; `null` asks for it."""
    assert ids(ask("model::Gene[entrez_id]")) == [11, 13, 18376]
    assert ids(ask("model::Gene[entrez_id$eqnull]")) == [12]
    assert ids(ask("model::Gene[entrez_id$isnull]")) == [12]
    assert ids(ask("model::Gene[entrez_id$nenull]")) == [11, 13, 18376]
    assert ids(ask("model::Gene[entrez_id$ne99]")) == [11, 18376]
    assert ids(ask("model::Gene[entrez_id$in99,null]")) == [12, 13]
    assert ids(ask("model::Gene[entrez_id$lt100]")) == [13]
    with pytest.raises(RequestError, match="not null"):
        ask("model::Gene[entrez_id$ltnull]")


def test_long_lists(ask: Ask) -> None:
    numbers = ",".join(map(str, range(5000)))
    assert ids(ask(f"model::Gene[id$in{numbers}]")) == [11, 12, 13]
    with pytest.raises(RequestError, match="at most 5000 values, got 5001"):
        ask(f"model::Gene[id$in{numbers},5000]")
    many = ",".join(f"'{name}'" for name in ("Pdyn", "é", "a'b".replace("'", "''"), *"abcdefgh"))
    assert ids(ask(f"model::Gene[acronym$in{many}]")) == [18376]


def energies(found: Answer) -> list[float]:
    return [row["expression_energy"] for row in found.rows]


def test_hemispheres_by_default_both_together(ask: Ask) -> None:
    one = "model::StructureUnionize[section_data_set_id$eq1][structure_id$eq315]"
    assert energies(ask(one)) == [1.03]
    assert energies(ask(f"{one}[hemisphere_id$in1,2]")) == [1.01, 1.02]
    assert energies(ask(f"{one}[hemisphere_id]")) == [1.01, 1.02, 1.03]
    assert energies(ask(f"{one},hemisphere[name$eq'left']")) == [1.01]
    assert energies(ask(f"{one},rma::include,hemisphere")) == [1.01, 1.02, 1.03]
    assert len(ask(one, only="hemisphere_id,id").rows) == 3
    assert len(ask(one, order="hemisphere_id").rows) == 3
    assert ask(one, tabular="hemisphere_id,expression_energy").rows[0] == {
        "hemisphere_id": 1,
        "expression_energy": 1.01,
    }
    (row,) = ask("model::SectionDataSet[id$eq1],rma::include,structure_unionizes").rows
    assert [each["hemisphere_id"] for each in row["structure_unionizes"]] == [3, 3]
    text = "model::SectionDataSet[id$eq1],structure_unionizes[hemisphere_id$eq2]"
    (row,) = ask(text, include="structure_unionizes").rows
    assert [each["hemisphere_id"] for each in row["structure_unionizes"]] == [2, 2]
    none = "model::SectionDataSet,structure_unionizes[expression_energy$eq1.01]"
    assert ids(ask(none)) == []
    assert ids(ask(none.replace("[exp", "[hemisphere_id$eq1][exp"))) == [1]


def test_includes_select_parents_only_with_a_filter(ask: Ask) -> None:
    assert ids(ask("model::Gene,rma::include,probes")) == [11, 12, 13, 18376]
    assert ids(ask("model::Gene,rma::include,probes[id$eq501]")) == [18376]
    assert ids(ask("model::Gene,probes")) == [11, 18376]
    found = ask("model::SectionDataSet,rma::include,specimen(donor(age[name$eq'P56']))").rows
    assert [row["specimen"]["donor"]["age"]["name"] for row in found] == ["P56", "P56"]


def test_includes_named_twice_merge(ask: Ask) -> None:
    (row,) = ask(
        "model::SectionDataSet[id$eq1],rma::include,specimen(donor),specimen(donor(age)),specimen"
    ).rows
    assert row["specimen"]["donor"]["age"]["id"] == 15
    assert list(row).count("specimen") == 1


def test_criteria_filter_what_includes_show(ask: Ask) -> None:
    text = "model::Structure[id$eq315],structure_sets[id$eq2],rma::include,structure_sets"
    assert [one["id"] for one in ask(text).rows[0]["structure_sets"]] == [2]
    text = "model::Structure[id$eq315][structure_set_id$eq2],rma::include,structure_sets"
    assert [one["id"] for one in ask(text).rows[0]["structure_sets"]] == [2, 10]


def test_parents_come_once_and_pages_are_full(ask: Ask) -> None:
    text = (
        "model::SectionDataSet,structure_unionizes,section_images,rma::options[num_rows$eq1][start_row$eq{}]"
    )
    pages = [ask(text.format(start)) for start in range(3)]
    assert [ids(page) for page in pages] == [[1], [2], []]
    assert [(page.start_row, page.total_rows) for page in pages] == [(0, 2), (1, 2), (2, 2)]


def test_counting_may_be_left_out(ask: Ask) -> None:
    assert ask("model::Gene", num_rows="2").total_rows == 4
    assert ask("model::Gene", num_rows="2", start_row="1", count="false").total_rows == 3
    assert (ask("model::Gene", num_rows="0").rows, ask("model::Gene", num_rows="0").total_rows) == ([], 4)
    assert ask("model::Gene", start_row="9").total_rows == 4


def test_all_rows_are_never_cut_off(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LIMITS", replace(answers.LIMITS, rows=3))
    with pytest.raises(RequestError, match="more than 3 rows"):
        ask("model::Gene", num_rows="all")
    assert len(ask("model::Structure", num_rows="3").rows) == 3


def test_included_records_are_bounded(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_RECORDS", 5)
    with pytest.raises(RequestError, match="include structure_unionizes: more than 5 records"):
        ask("model::SectionDataSet,rma::include,structure_unionizes")
    assert len(ask("model::SectionDataSet,rma::include,genes").rows) == 3


def test_included_records_are_counted_as_often_as_they_are_written(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "model::Structure,rma::include,structure_sets(structures(structure_sets(structures(structure_sets))))"
    )
    rows = ask(text).rows
    written = json.dumps(rows).count('"id":') - len(rows)
    assert written > 5 * sum(len(row["structure_sets"]) for row in rows)  # what is read
    monkeypatch.setattr(answers, "MOST_RECORDS", written)
    assert ask(text).rows == rows
    monkeypatch.setattr(answers, "MOST_RECORDS", written - 1)
    with pytest.raises(RequestError, match=f"more than {written - 1} records"):
        ask(text)


def test_order_by_what_only_an_include_joins(ask: Ask) -> None:
    text = "model::SectionDataSet,rma::include,genes,specimen(donor(age)),rma::options[order$eq{}]"
    assert ids(ask(text.format("'genes.acronym','data_sets.id$desc'"))) == [3, 2, 1]
    assert ids(ask(text.format("'ages.embryonic desc'"))) == [3, 1, 2]
    assert ids(ask("model::Gene,rma::options[order$eq'entrez_id']")) == [13, 11, 18376, 12]
    assert ids(ask("model::Gene,rma::options[order$eq'entrez_id$desc']")) == [12, 18376, 11, 13]
    with pytest.raises(RequestError, match="'probes' is not part of the query"):
        ask("model::Gene", order="probes.id")
    with pytest.raises(RequestError, match="did you mean acronym"):
        ask("model::Gene", order="acronim")


def test_tables(ask: Ask) -> None:
    text = "model::SectionDataSet,genes,rma::include,probes"
    rows = ask(text, tabular="genes.acronym,probes.name as probe", order="genes.acronym desc").rows
    assert rows == [
        {"acronym": "Pdyn", "probe": "RP_1"},
        {"acronym": "Pdyn", "probe": None},
        {"acronym": "Ace", "probe": "RP_2"},
    ]
    assert ask(text, tabular="distinct genes.acronym").rows == [{"acronym": "Ace"}, {"acronym": "Pdyn"}]
    assert ask(text, tabular="genes.id,data_sets.id", num_rows="1").rows == [
        {"genes.id": 11, "data_sets.id": 3}
    ]
    assert ask(text, tabular="genes.id,data_sets.id", num_rows="1").total_rows == 3
    assert ask(text, tabular="failed", num_rows="1").rows == [{"failed": False}]
    inner = "model::SectionDataSet,rma::include,probes[id$eq501]"
    assert ask(inner, tabular="id,probes.id as probe").rows == [{"id": 1, "probe": 501}]
    with pytest.raises(RequestError, match="called alike"):
        ask(text, tabular="genes.id as a,data_sets.id as a")
    with pytest.raises(RequestError, match="'structures' is not part of the query"):
        ask(text, tabular="structures.id")


def test_only_and_except(ask: Ask) -> None:
    text = "model::SectionDataSet[id$eq1],rma::include,genes,specimen(donor)"
    (row,) = ask(text, only="id").rows
    assert row == {"id": 1, "genes": [{"id": 18376}], "specimen": {"id": 100, "donor": {"id": 10}}}
    (row,) = ask(text, only="genes.acronym,donors.name").rows
    assert row == {"genes": [{"acronym": "Pdyn"}], "specimen": {"donor": {"name": "m1"}}}
    (row,) = ask(text, only="id,genes").rows
    assert "acronym" in row["genes"][0]
    assert "name" not in row["specimen"]
    (row,) = ask(text, **{"except": "id,genes.acronym"}).rows
    assert "id" not in row
    assert "name" in row
    assert {"id", "acronym"}.isdisjoint(row["genes"][0])
    assert ask("model::Gene[id$eq11]", only="type,id").rows == [{"id": 11, "type": "NcbiGene"}]
    with pytest.raises(RequestError, match="'acronim' is not part of the query; did you mean acronym"):
        ask(text, only="acronim")
    with pytest.raises(RequestError, match="'probes' is not part of the query"):
        ask(text, only="probes.id")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model::Gen", "model 'Gen' does not exist; did you mean Gene?"),
        ("model::Gene,chromosomes", "Gene has no association 'chromosomes'; did you mean chromosome?"),
        ("model::Gene[acronim$eq1]", "Gene has no attribute 'acronim'; did you mean acronym?"),
        ("model::Gene[probe.id$eq1]", "'probe' is not joined here; did you mean probes?"),
        ("model::Gene[a.b.c$eq1]", "expected attribute or table.attribute"),
        ("model::Gene[id$xx1]", "operator $xx does not exist; known: eq, ne"),
        ("model::Gene[id$eq1,2]", "expected one value, got 2; use $in or quotes"),
        ("model::Gene[name$il]", "expected a value"),
        ("service::mouse", "service::mouse does not exist; there are none here"),
        ("model::Gene" + ",probes(gene)" * 25, "at most 48 associations"),
        ("model::Gene" + "[id$eq1]" * 257, "256 filters"),
    ],
)
def test_what_is_wrong_names_what_exists(ask: Ask, text: str, says: str) -> None:
    with pytest.raises(RequestError) as caught:
        ask(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "evil",
    [
        "' OR 1=1 --",
        "'; DROP TABLE genes; --",
        '" OR ""="',
        "x) OR (1=1",
        "\x00",
        "?1",
        ":a",
        "@a",
        "%27",
        "\\",
        "`",
    ],
)
def test_injection(ask: Ask, database: Path, evil: str) -> None:
    quoted = evil.replace("\\", "\\\\").replace("'", "''")
    for operator in ("eq", "in", "il", "li"):
        assert ask(f"model::Gene[acronym${operator}'{quoted}']").rows == []
    assert len(ask(f"model::Gene[acronym$ne'{quoted}']").rows) == 4
    for option in ("order", "only", "except", "tabular", "num_rows", "start_row", "count"):
        with pytest.raises(RequestError):
            ask("model::Gene", **{option: evil})
    for text in (
        f"model::{evil}",
        f"model::Gene,{evil}",
        f"model::Gene[{evil}$eq1]",
        f"model::Gene[id$eq'{quoted}']",
    ):
        with pytest.raises(RequestError):
            ask(text)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM genes").fetchone() == (4,)


def test_the_connection_only_reads(database: Path) -> None:
    with (
        connections.reading(database) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("DELETE FROM genes")


def test_pipes(ask: Ask) -> None:
    sets = "model::Gene,products[id$eq1],pipe::list[x$is'{}'],model::SectionDataSet,genes[id$in$x]"
    for path in ("id", "genes/gene/id", "genes//id", "msg/id", "/id"):
        assert ids(ask(sets.format(path))) == [1, 2, 3], path
    nested = (
        "model::Gene[id$eq18376],rma::include,data_sets,pipe::list[x$eq'{}'],model::SectionDataSet[id$in$x]"
    )
    for path in ("data_sets/*/id", "data_sets/data_set/id", "genes/gene/data-sets/data-set/id"):
        assert ids(ask(nested.format(path))) == [1, 2], path
    empty = "model::Gene[id$eq0],pipe::list[x$is'id'],model::Gene[id$in$x]"
    assert ids(ask(empty)) == []
    assert ids(ask(empty.replace("$in$x", "$ne$x"))) == [11, 12, 13, 18376]
    with pytest.raises(RequestError, match="'acronim' is not in the answer; did you mean acronym"):
        ask(sets.format("acronim"))
    with pytest.raises(RequestError, match="used before the pipe"):
        ask("model::Gene[id$in$x],pipe::list[x$is'id'],model::Gene[id$in$x]")
    with pytest.raises(RequestError, match="id takes an integer"):
        ask(sets.format("acronym"))


def test_services(ask: Ask) -> None:
    seen: list[dict[str, str]] = []

    def search(parameters: dict[str, str]) -> list[dict[str, Any]]:
        seen.append(parameters)
        if parameters.get("start_row") == "9":
            raise RequestError("past the end")
        return [{"id": "18376", "gene-symbol": "Pdyn"}, {"id": "11", "gene-symbol": "Ace"}]

    services = {"mouse_correlation": search}
    found = ask("service::mouse_correlation[set$eqmouse][start_row$eq3][t$eq0,50]", services=services)
    assert seen == [{"set": "mouse", "start_row": "3", "t": "0,50"}]
    assert (found.start_row, found.total_rows, len(found.rows)) == (3, 5, 2)
    pipe = "pipe::list[x$is'objects/object/gene-symbol'],model::Gene[acronym$in$x]"
    piped = f"service::mouse_correlation[set$eqmouse],{pipe}"
    assert ids(ask(piped, services=services)) == [11, 18376]
    into = "model::Gene,products[id$eq3],pipe::list[x$is'id'],service::mouse_correlation[rows$eq$x,7]"
    ask(into, services=services)
    assert seen[-1] == {"rows": "12,7"}
    with pytest.raises(RequestError, match="past the end"):
        ask("service::mouse_correlation[start_row$eq9]", services=services)
    with pytest.raises(RequestError, match="did you mean mouse_correlation"):
        ask("service::mouse_corelation", services=services)


def test_trees(database: Path) -> None:
    def tree(model: str, record: int, *, up: bool, down: bool) -> list[int]:
        return ids(tree_search(database, model, record, ancestors=up, descendants=down))

    assert tree("Structure", 8, up=True, down=True) == [997, 8, 315, 22]
    assert tree("Structure", 8, up=False, down=True) == [8, 315, 22]
    assert tree("Structure", 22, up=True, down=False) == [997, 8, 315, 22]
    assert tree("Structure", 22, up=False, down=False) == [22]
    assert tree("Specimen", 101, up=True, down=True) == [100, 101, 102]
    with pytest.raises(RequestError, match="did you mean Structure"):
        tree("Structures", 8, up=True, down=True)
    with pytest.raises(RequestError) as caught:
        tree("Structure", 5, up=True, down=True)
    assert caught.value.status == 404


def test_a_circle_of_parents_ends(tmp_path: Path) -> None:
    path = tmp_path / "circle.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        create_tables(connection)
        connection.executemany(
            "INSERT INTO structures (id, parent_structure_id) VALUES (?, ?)", [(1, 2), (2, 1)]
        )
        connection.commit()
    assert sorted(ids(tree_search(path, "Structure", 1, ancestors=True, descendants=True))) == [1, 2]


def test_a_slow_query_is_given_up(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LIMITS", replace(connections.LIMITS, query_s=0.0))
    with pytest.raises(RequestError, match="took longer than 0 s"):
        ask("model::Gene")


def test_a_query_may_be_too_complex_for_sqlite(ask: Ask) -> None:
    deep = (
        "specimen(parent(parent(parent(parent(donor(age),structure(ontology(organism),graph(ontology)))))))"
    )
    both = f"{deep},reference_space(age(organism),organism),plane_of_section,equalization"
    names = [
        "specimens",
        "donors",
        "ages",
        "structures",
        "ontologies",
        "organisms",
        "structure_graphs",
        "reference_spaces",
    ]
    with pytest.raises(RequestError, match="too complex: at most 64 tables") as caught:
        ask(f"model::SectionDataSet,{both}", tabular=",".join(f"{name}.id" for name in (*names, "parent")))
    assert caught.value.status == 400
    every = "".join(f"[{name}.id$gt0]" for name in MODELS["SectionDataSet"].associations)
    wide = f"section_data_set{every}"
    with pytest.raises(RequestError, match="at most 48 associations"):
        ask(
            f"model::StructureUnionize,{wide},structure(structure_unionizes({wide},structure(fine_structure_searches({wide}))))"
        )


def test_a_service_takes_no_time_from_the_queries_after_it(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def slow(_: dict[str, str]) -> list[dict[str, Any]]:
        now[0] += 100
        return [{"id": 11}]

    text = "service::slow,pipe::list[x$is'id'],model::Gene[id$in$x]"
    assert ids(ask(text, services={"slow": slow})) == [11]


def test_the_clock_runs_inside_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        create_tables(connection)
        connection.executemany(
            "INSERT INTO genes (id, name) VALUES (?, ?)", ((n, f"g{n}") for n in range(30_000))
        )
        connection.commit()
    monkeypatch.setattr(connections, "LIMITS", replace(connections.LIMITS, query_s=0.002))
    with pytest.raises(RequestError, match=r"took longer than 0\.002 s"):
        answer(path, query_of({"criteria": "model::Gene[name$il'*a*b*c*']", "order": "name"}))


def test_a_replaced_database_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    query = query_of({"criteria": "model::Treatment"})
    for number in (1, 2):
        fresh = tmp_path / "new.sqlite"
        with closing(sqlite3.connect(fresh)) as connection:
            create_tables(connection)
            connection.execute("INSERT INTO treatments VALUES (?, 'ISH', NULL)", (number,))
            connection.commit()
        fresh.replace(path)
        assert ids(answer(path, query)) == [number]


def test_no_database(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        answer(tmp_path / "none.sqlite", query_of({"criteria": "model::Gene"}))
    assert caught.value.status == 503
    (tmp_path / "bad.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(RequestError) as caught:
        answer(tmp_path / "bad.sqlite", query_of({"criteria": "model::Gene"}))
    assert caught.value.status == 503


def test_no_number_that_json_lacks_is_stored() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        create_tables(connection)
        connection.execute("INSERT INTO ages (id, days) VALUES (1, ?)", (math.nan,))
        assert connection.execute("SELECT days FROM ages").fetchone() == (None,)
        for value in (math.inf, -math.inf):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute("INSERT INTO ages (id, days) VALUES (2, ?)", (value,))


def test_the_schema_is_whole() -> None:
    """Every association leads to a model and joins columns that exist; every column is in its table."""
    with closing(sqlite3.connect(":memory:")) as connection:
        create_tables(connection)
        for model in MODELS.values():
            columns = {row[1] for row in connection.execute(f'PRAGMA table_info("{model.table}")')}
            assert columns >= set(table_columns(model.name)), model.name
            for way in model.associations.values():
                other = MODELS[way.model]
                assert way.own in model.fields, (model.name, way)
                assert way.other in other.fields, (model.name, way)
                for value, fields in ((way.own_value, model.fields), (way.other_value, other.fields)):
                    assert value is None or value[0] in fields
                if way.join:
                    found = {row[1] for row in connection.execute(f'PRAGMA table_info("{way.join[0]}")')}
                    assert found >= {way.join[1], way.join[2]}
