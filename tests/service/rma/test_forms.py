"""JSON, XML and CSV as clients of the original read them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from pipeline.service.rma.answer import Answer
from pipeline.service.rma.forms import csv_of, described, json_of, singular, xml_of, xml_of_error
from pipeline.service.rma.schema import MODELS

Ask = Callable[..., Answer]


def tree(found: Answer) -> ElementTree.Element:
    return ElementTree.fromstring(xml_of(found))


def test_json_has_the_envelope_in_order(ask: Ask) -> None:
    document = json.loads(json_of(ask("model::Age[id$eq7],rma::options[only$eqid,days]")))
    assert list(document) == ["success", "id", "start_row", "num_rows", "total_rows", "msg"]
    assert document["msg"] == [{"days": 13.5, "id": 7}]


def test_records_in_xml(ask: Ask) -> None:
    """The forms that R packages rely on: plain fields of the model, types on those of what it includes."""
    root = tree(
        ask("model::SectionDataSet[id$eq1],rma::include,structure_unionizes(structure),genes,equalization")
    )
    assert root.tag == "Response"
    assert dict(root.attrib) == {
        "success": "true",
        "id": "0",
        "start_row": "0",
        "num_rows": "1",
        "total_rows": "1",
    }
    (several,) = root
    (one,) = several
    assert (several.tag, several.attrib, one.tag, one.attrib) == (
        "section-data-sets",
        {},
        "section-data-set",
        {},
    )
    assert (one.findtext("id"), one.findtext("failed"), one.findtext("plane-of-section-id")) == (
        "1",
        "false",
        "1",
    )
    assert one.find("id").attrib == {}  # type: ignore[union-attr]
    assert one.find("name").attrib == {"nil": "true"}  # type: ignore[union-attr]
    assert one.find("genes").attrib == {}  # type: ignore[union-attr]
    assert one.findtext("genes/gene/acronym") == "Pdyn"
    assert one.find("genes/gene/acronym").attrib == {}  # type: ignore[union-attr]
    assert one.find("genes/gene/entrez-id").attrib == {"type": "integer"}  # type: ignore[union-attr]
    unionize = one.find("structure-unionizes/structure-unionize")
    assert unionize is not None
    assert (unionize.findtext("sum-pixels"), unionize.findtext("structure/safe-name")) == (
        "104907.0",
        "Isocortex",
    )
    assert unionize.find("sum-pixels").attrib == {"type": "float"}  # type: ignore[union-attr]
    assert unionize.find("voxel-energy-cv").attrib == {"type": "float", "nil": "true"}  # type: ignore[union-attr]
    assert unionize.find("structure/failed").attrib == {"type": "boolean"}  # type: ignore[union-attr]
    assert [field.tag for field in one][:-3] == sorted(field.tag for field in one[:-3])


@pytest.mark.parametrize(
    ("criteria", "path"),
    [
        ("model::Gene", "ncbi-genes/ncbi-gene"),
        ("model::DataSet[delegate$eq't']", "section-data-sets/section-data-set"),
        ("model::AtlasImage", "atlas-images/atlas-image"),
        ("model::SubImage", "sub-images/sub-image"),
        ("model::Structure", "structures/structure"),
        ("model::Atlas", "atlases/atlas"),
        ("model::Ontology", "ontologies/ontology"),
        ("model::PlaneOfSection", "plane-of-sections/plane-of-section"),
        ("model::StructureUnionize", "structure-unionizes/structure-unionize"),
    ],
)
def test_names_of_elements(ask: Ask, criteria: str, path: str) -> None:
    found = ask(criteria)
    assert [one.text for one in tree(found).findall(f"{path}/id")] == [str(row["id"]) for row in found.rows]
    assert found.rows


def test_the_age_is_where_a_script_counts_to_it(ask: Ask) -> None:
    """ABIgeneRMINC takes the sixth element of what lies five levels down."""
    found = ask("model::SectionDataSet[id$eq3]&".rstrip("&"), include="specimen(donor(age))")
    (one,) = tree(found)[0]
    deepest = [field for part in one for further in part for field in further]
    age = [leaf for field in deepest for leaf in field]
    assert age[5].text == "E13.5"


def test_texts_are_escaped(ask: Ask) -> None:
    found = ask("model::Gene[id$in12,13],rma::options[only$eqname]")
    assert [one.text for one in tree(found).iter("name")] == ["CD99 antigen, 100% of it & more", "it's <b>"]
    strange = Answer([{"a b&c": "x\x00\x0by<", "1": None, "d": True, "e": {"f": 1}}], 0, 1)
    text = xml_of(strange).decode()
    assert '<a-b-c>x\ufffd\ufffdy&lt;</a-b-c><_1 nil="true"/><d>true</d><e><f>1</f></e>' in text
    root = ElementTree.fromstring(xml_of_error("no <such> thing"))
    assert (root.get("success"), root.findtext("msg")) == ("false", "no <such> thing")


def test_services_and_tables_in_xml(ask: Ask) -> None:
    service = {"mouse_agea": lambda _: [{"gene-id": "1", "fold-change": "2.5"}]}
    root = tree(ask("service::mouse_agea", services=service))
    assert [one.text for one in root.iter("gene-id")] == ["1"]
    assert root.findtext("objects/object/fold-change") == "2.5"
    root = tree(ask("model::SectionDataSet,genes", tabular="genes.acronym as gene_name,failed"))
    assert [one.text for one in root.iter("gene-name")] == ["Ace", "Pdyn", "Pdyn"]


def read_csv(found: Answer) -> list[dict[str, Any]]:
    text = csv_of(found).decode()
    assert not text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_of_a_table(ask: Ask) -> None:
    found = ask("model::SectionDataSet,genes", tabular="genes.name as gene,failed,data_sets.name")
    assert read_csv(found) == [
        {"gene": "angiotensin I converting enzyme (peptidyl-dipeptidase A) 1", "failed": "f", "name": ""},
        {"gene": "prodynorphin", "failed": "f", "name": ""},
        {"gene": "prodynorphin", "failed": "t", "name": ""},
    ]
    plates = ask(
        "model::AtlasImage,atlas_data_set(atlases[id$eq1])", tabular="sub_images.id", order="sub_images.id"
    )
    assert [row["id"] for row in read_csv(plates)] == ["901", "902", "903"]
    assert csv_of(ask("model::Gene[id$eq0]", tabular="id,name")) == b"id,name\n"


def test_csv_of_records_has_the_columns_of_the_table(ask: Ask) -> None:
    found = read_csv(ask("model::Structure[id$eq22],rma::include,structure_sets"))
    assert list(found[0])[:5] == ["id", "atlas_id", "name", "acronym", "st_level"]
    assert list(found[0])[-1] == "safe_name"
    assert (found[0]["failed"], found[0]["atlas_id"]) == ("f", "")
    assert csv_of(Answer([])) == b"\n"
    assert csv_of(Answer([{"a": 'x"y', "b": 1.0}], 0, 1)) == b'a,b\n"x""y",1.0\n'


def test_singulars_of_all_associations() -> None:
    """A list's elements are called as the model, or end as it does; none keeps its plural."""
    for model in MODELS.values():
        for way in model.associations.values():
            if way.many and way.name not in {"children", "associates", "clones"}:
                name = singular(way.name)
                assert MODELS[way.model].words.endswith(name.split("_")[-1]), (model.name, way.name, name)


def test_described() -> None:
    entry = described(MODELS["PlaneOfSection"])["DataDescription"]["PlaneOfSection"]
    assert entry["table"] == "plane_of_sections"
    assert [one["name"] for one in entry["fields"]] == ["id", "name"]
    assert described(MODELS["Age"])["DataDescription"]["Age"]["associations"] == [
        {"name": "neurosurgeries", "type": "has_many", "class": "Neurosurgery"},
        {"name": "organism", "type": "belongs_to", "class": "Organism"},
    ]
