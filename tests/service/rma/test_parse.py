"""The text of queries: its liberties, its limits, and what is said about mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.service.http.answers import RequestError
from pipeline.service.rma.grammar import items
from pipeline.service.rma.parse import query_of
from pipeline.service.rma.syntax import (
    Column,
    Filter,
    ModelStage,
    Options,
    Path,
    PipeStage,
    ServiceStage,
    Variable,
)
from pipeline.service.served import LIMITS


def stage(text: str = "", model: str = "", **parameters: str) -> ModelStage:
    given = {"criteria": text, **parameters} if text else parameters
    (found,) = query_of(given, model).stages
    assert isinstance(found, ModelStage)
    return found


PDYN = Filter("acronym", "eq", ("Pdyn",))


@pytest.mark.parametrize(
    "text",
    [
        "model::Gene[acronym$eq'Pdyn']",
        "model::Gene,[acronym$eqPdyn]",
        "model::Gene,rma::criteria,[acronym$eq'Pdyn']",
        "model::Gene,rma::criteria[acronym$eq Pdyn ]",
        " +model :: Gene +,\n rma::criteria , [ acronym $eq 'Pdyn' ] ,",
        ",,model::Gene,,rma::criteria,,[acronym$eqPdyn],,",
        "model::Gene,rma::include,rma::options,rma::criteria,[acronym$eq'Pdyn']",
    ],
)
def test_one_filter_in_many_ways(text: str) -> None:
    assert stage(text) == ModelStage("Gene", (PDYN,))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("'a,b'", ("a,b",)),
        ("'it''s'", ("it's",)),
        (r"'it\'s'", ("it's",)),
        (r"'a\\b'", (r"a\b",)),
        ("'[x](y)::$z'", ("[x](y)::$z",)),
        ("''", ("",)),
        ("'a+b'", ("a+b",)),
        ("a+-+b", ("a - b",)),
        ("a  b", ("a b",)),
        ("(a)", ("(a)",)),
        ("1,'2', 3", ("1", "2", "3")),
        ("null", (None,)),
        ("'null'", ("null",)),
        ("nulls", ("nulls",)),
        ("$x", (Variable("x"),)),
        ("'$x'", ("$x",)),
        ("a$desc", ("a$desc",)),
        ("-1.5e3", ("-1.5e3",)),
    ],
)
def test_values(text: str, values: tuple[Any, ...]) -> None:
    ((found,),) = items(f"[a.b$in{text}]")  # type: ignore[misc]
    assert found == Filter("a.b", "in", values)


def test_paths_nest_by_parentheses_and_slashes() -> None:
    nested = Path("specimen", (), (Path("donor", (Filter("id"),), (Path("age"),)),))
    assert items("specimen(donor[id](age))") == (nested,)
    assert items("specimen/donor[id]//age,genes") == (nested, Path("genes"))
    assert items("specimen( donor[id](,age,) )") == (nested,)


def test_the_query_of_allensdks_own_page() -> None:
    """A filter and an association without a comma between them, the same text for criteria and include."""
    text = "[id$eq1]structure_graph(ontology),graphic_group_labels"
    paths = (Path("structure_graph", (), (Path("ontology"),)), Path("graphic_group_labels"))
    one = Filter("id", "eq", ("1",))
    assert items(text) == ((one,), *paths)
    assert items("[id$eq1][failed]genes") == ((one, Filter("failed")), Path("genes"))
    found = stage(f"model::Atlas,rma::criteria,{text},rma::include,{text}")
    assert (found.filters, found.criteria, found.include) == ((one, one), paths, paths)


def test_options_in_brackets_and_as_parameters() -> None:
    tabular = "[tabular$eq'distinct genes.id as gene','acronym']"
    text = (
        f"model::Gene,rma::options,[only$eq'id','genes.name'],{tabular},[order$eq'genes.acronym$desc,id asc']"
    )
    columns = Options(
        only=(Column("id"), Column("name", "genes")),
        tabular=(Column("id", "genes", "gene"), Column("acronym")),
        order=(Column("acronym", "genes", descending=True), Column("id")),
        num_rows=None,
        start_row=7,
        count=False,
    )
    found = stage(text, num_rows="'all'", start_row="7", count="False", debug="true")
    assert found.options == columns
    both = stage(
        "model::Gene", only="id,genes.name", tabular="genes.id+as+gene,acronym", order="genes.acronym desc,id"
    )
    assert both.options == Options(columns.only, (), columns.tabular, columns.order)
    assert stage("model::Gene,rma::options[except$eq'sphinx_id']").options.without == (Column("sphinx_id"),)


def test_short_form_with_everything() -> None:
    found = stage(
        "rma::criteria,products[id$eq3],rma::options[start_row$eq5]", "Gene", include="chromosome", id="4"
    )
    id3 = Filter("id", "eq", ("3",))
    assert found.criteria == (Path("products", (id3,)),)
    assert found.include == (Path("chromosome"),)
    assert (found.filters, found.options.start_row) == ((Filter("id", "eq", ("4",)),), 5)
    assert stage("model::Gene[id$eq3]", "Gene").filters == (id3,)
    assert stage(include="model::Gene[id$eq3]").filters == (id3,)


def test_pipes_and_services() -> None:
    text = "model::Gene,pipe::list[x$is'genes/id'],service::search[genes$eq$x][set$eq'a,b'][n$eq1,2]"
    first, pipe, service = query_of({"q": text}).stages
    assert first == ModelStage("Gene")
    assert pipe == PipeStage("x", "genes/id")
    assert service == ServiceStage(
        "search", (("genes", (Variable("x"),)), ("set", ("a,b",)), ("n", ("1", "2")))
    )
    assert query_of({"q": "model::Gene,pipe::list[x$eq'id'],model::Gene[id$in$x]"}).stages[1] == PipeStage(
        "x", "id"
    )


MISTAKES = {
    "": "starts with a model",
    "rma::criteria,[id$eq1]": "starts with a model",
    "model::Gene,rma::criterai,[id$eq1]": "did you mean criteria",
    "modl::Gene": "did you mean model",
    "attribute::id": "known: model, service, pipe, rma",
    "model::Gene,rma::options,genes": "expected [name$eqvalue]",
    "model::Gene,rma::options[ordr$eqid]": "did you mean order",
    "model::Gene,rma::options[order$neid]": "expected $eq",
    "model::Gene,rma::options[order$eqid upwards]": "expected attributes",
    "model::Gene,rma::options[num_rows$eq-1]": "expected a whole number",
    "model::Gene,rma::options[num_rows$eq25001]": "at most 25000",
    "model::Gene,rma::options[num_rows$eqmany]": "expected a whole number",
    "model::Gene,rma::options[start_row$eq99999999999999999999]": "expected a whole number",
    "model::Gene,rma::options[count$eqperhaps]": "expected true or false",
    "model::Gene,model::Structure": "without a pipe",
    "pipe::list[x$is'id'],model::Gene": "between two stages",
    "model::Gene,pipe::list[x$is'id']": "between two stages",
    "model::Gene,pipe::graph[x$is'id'],model::Gene": "known: list",
    "model::Gene,pipe::list[x],model::Gene": "expected [name$is'path']",
    "model::Gene[id$in$x]": "no pipe sets one",
    "model::Gene,pipe::list[genes$is'id'],model::Gene[id$in$gene]": "did you mean genes",
    "service::a,genes": "has no associations",
    "model::Gene[acronym$eq'Pdyn]": "expected a value",
    "model::Gene[acronym$eq]": "character 23: expected a value; got ']'",
    "model::Gene(chromosome": "expected",
    "model::Gene,chromosome(": "got the end",
    "model::Gene,chromosome)": "got ')'",
    "model::Gene,[[id]]": "expected an attribute",
    "model::Gene,a b": "expected",
    "; DROP TABLE genes": "expected",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        query_of({"criteria": text})
    assert MISTAKES[text] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.status == 400


def test_other_mistakes() -> None:
    with pytest.raises(RequestError, match="did you mean num_rows"):
        query_of({"criteria": "model::Gene", "numrows": "3"})
    with pytest.raises(RequestError, match="the path asks for Gene"):
        query_of({"criteria": "model::Structure"}, "Gene")
    with pytest.raises(RequestError, match="not valid Unicode"):
        query_of({"criteria": "model::Gene[name$eq'\ud800']"})
    with pytest.raises(RequestError, match="at most 16 attributes"):
        query_of({"criteria": "model::Gene", "order": ",".join(["id"] * 17)})
    assert query_of({"criteria": "model::Gene", "_": "1", "token": "x"}) == query_of({"q": "model::Gene"})


def test_too_long() -> None:
    with pytest.raises(RequestError) as caught:
        query_of({"criteria": "model::Gene", "include": "a" * LIMITS.query_bytes})
    assert caught.value.status == 414


@pytest.mark.parametrize("opening", ["(", "a(", "a/", "a[b](", "a(b,c("])
def test_too_deep(opening: str) -> None:
    text = opening * (LIMITS.query_bytes // len(opening))
    with pytest.raises(RequestError, match="at most 8 deep"):
        items(text)
    with pytest.raises(RequestError, match=r"expected|at most"):
        items(opening * 8)


def test_deep_enough() -> None:
    depth = LIMITS.query_depth
    assert items("a(" * depth + "b" + ")" * depth)
    assert items("a/" * depth + "b," + "a/" * depth + "b")
    assert items(",".join(["a(b)"] * 100)) == (Path("a", (), (Path("b"),)),) * 100
    assert items("[a$eq'((((((((((']") == ((Filter("a", "eq", ("((((((((((",)),),)
