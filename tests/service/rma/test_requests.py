"""What AllenSDK, abagen, atldld and scripts send, answered on the small atlas."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

QUERY = "/api/v2/data/query.json?"
ALL = "rma::options[num_rows$eq%27all%27][count$eqfalse]"
SORTED = "rma::options[num_rows$eq%27all%27][order$eqstructures.graph_order][count$eqfalse]"
PAGE = "rma::options[num_rows$eq2000][start_row$eq0][order$eq%27id%27][count$eqfalse]"

# a request, and the ids of the answer
IDS = {
    "section data sets": (
        f"q=model::SectionDataSet,rma::criteria,products%5Bid$in1%5D,rma::include,genes,{PAGE}",
        [1, 2, 3],
    ),
    "of genes and products": (
        f"q=model::SectionDataSet,rma::criteria,products[id$in1,3],genes[id$in18376,1],rma::include,genes,{PAGE}",
        [1, 2],
    ),
    "genes": (
        f"q=model::Gene,rma::criteria,[organism_id$in2],rma::include,chromosome,{PAGE}",
        [11, 12, 18376],
    ),
    "genes of chromosomes": (
        f"q=model::Gene,rma::criteria,[organism_id$in2],[chromosome_id$in34],rma::include,chromosome,{PAGE}",
        [18376],
    ),
    "deformation fields": (
        (
            "q=model::WellKnownFile[attachable_id$eq1],rma::criteria,well_known_file_type"
            "[name$in%27DeformationFieldHeader%27,%27DeformationFieldVoxels%27],rma::include,well_known_file_type"
        ),
        [5],
    ),
    "structures of a graph": (f"q=model::Structure,rma::criteria,[graph_id$in1],{SORTED}", [997, 8, 22, 315]),
    "of two graphs": (
        f"q=model::Structure,rma::criteria,[graph_id$in1,17],{SORTED}",
        [997, 15564, 8, 22, 315],
    ),
    "by the graph's name": (
        f"q=model::Structure,rma::criteria,graph[structure_graphs.name$in%27Mouse%20Brain%20Atlas%27],{SORTED}",
        [997, 8, 22, 315],
    ),
    "of sets by id": (f"q=model::Structure,rma::criteria,[structure_set_id$in2,10],{SORTED}", [22, 315]),
    "of sets by name": (
        f"q=model::Structure,rma::criteria,structure_sets[name$in%27Mouse%20Connectivity%20-%20Summary%27],{SORTED}",
        [22, 315],
    ),
    "atlases": (f"q=model::Atlas,{ALL}", [1]),
    "graphs": (f"q=model::StructureGraph,{ALL}", [1, 17]),
    "sets": (f"q=model::StructureSet,{ALL}", [2, 10]),
    "sets by id": (f"q=model::StructureSet,rma::criteria,[id$in2,3],{ALL}", [2]),
    "not failed": (
        f"q=model::SectionDataSet,rma::criteria,[failed$in%27false%27],products[id$in1],{ALL}",
        [1, 3],
    ),
    "failed or not": (
        f"q=model::SectionDataSet,rma::criteria,[failed$in%27false%27,%27true%27],products[id$in1],{ALL}",
        [1, 2, 3],
    ),
    "section images": (f"q=model::SectionImage,rma::criteria,[data_set_id$eq1],{ALL}", [101, 102]),
    "plates by a pipe": (
        (
            "q=model::Atlas,rma::criteria,[id$eq1],rma::options[only$eqimage_type],"
            "pipe::list[type_name$is%27image_type%27],model::AtlasImage,rma::criteria,[annotated$eqtrue],"
            "atlas_data_set(atlases[id$eq1]),alternate_images[image_type$eq$type_name],"
            "rma::options[num_rows$eq%27all%27][order$eqsub_images.section_number]"
        ),
        [902, 901],
    ),
    "plates by name": (
        (
            "q=model::AtlasImage,rma::criteria,[annotated$eqtrue],atlas_data_set(atlases[id$eq1]),"
            "alternate_images[image_type$eq%27Atlas%20-%20Adult%20Mouse%27],"
            "rma::options[num_rows$eq%27all%27][order$eqsub_images.section_number]"
        ),
        [902, 901],
    ),
    "annotated": (
        (
            "q=model::SectionDataSet,rma::criteria,manual_annotations[intensity_call$in%27High%27,%27Low%27]"
            "[density_call$in%27High%27][pattern_call$in%27Full%27](structure[id$in315]),rma::include,"
            "specimen(donor(age[name$in%27E13.5%27])),probes(gene),plane_of_section,rma::options[num_rows$eq50]"
            "[start_row$eq0][order$eqgenes.acronym,ages.embryonic+desc,ages.days,data_sets.id]"
        ),
        [3],
    ),
    "pattern, except": (
        (
            "q=model::Gene,rma::criteria,[acronym$il%27pd%2A%27],rma::options[except$eq%27sphinx_id%27][num_rows$eq5]"
            "[debug$eq%27preview%27]"
        ),
        [13, 18376],
    ),
    "experiments of a gene": (
        (
            "criteria=model::SectionDataSet,rma::criteria,[failed$eq'false'],products[abbreviation$eq'Mouse'],"
            "plane_of_section[name$eq'coronal'],genes[acronym$eq'Pdyn']"
        ),
        [1],
    ),
    "alignments of images": (
        (
            "criteria=model::SectionImage,rma::criteria,section_data_set[id$eq1],rma::include,alignment2d,"
            "rma::options[num_rows$eq2000]"
        ),
        [101, 102],
    ),
    "nothing after criteria": ("criteria=model::Atlas,rma::criteria,rma::include,structure_graph", [1]),
    "criteria at once": ("criteria=rma::criteria,[entrez_id$eq18610]", None),
    "spaces and breaks": (
        "criteria=+model::AtlasImage,%0A%20rma::criteria,%0A%20[annotated$eqtrue]",
        [901, 902],
    ),
    "any data set": ("criteria=model::DataSet,rma::criteria,[delegate$eq't'][failed$eq'f'][id$ge1]", [1]),
    "options after a comma": (
        "criteria=model::Gene,rma::options,[num_rows$eq1],[order$eq'genes.acronym$desc']",
        [13],
    ),
    "filter on an association's attribute": (
        "criteria=model::SectionDataSet,genes[chromosome.name$eq'2']",
        [1, 2],
    ),
}


@pytest.mark.parametrize("name", IDS)
def test_ids(client: Any, name: str) -> None:
    query, ids = IDS[name]
    path = QUERY if ids is not None else "/api/v2/data/Gene/query.json?"
    document = client.get(path + query).json()
    assert document["success"] is True, document["msg"]
    assert [row["id"] for row in document["msg"]] == (ids if ids is not None else [18376])
    assert document["num_rows"] == len(document["msg"])


def msg(client: Any, path: str) -> Any:
    document = client.get(path).json()
    assert document["success"] is True, document["msg"]
    return document["msg"]


def test_structures_with_their_sets(client: Any) -> None:
    query = f"q=model::Structure,rma::criteria,[graph_id$in1],rma::include,structure_sets,{SORTED}"
    found = {row["id"]: [one["id"] for one in row["structure_sets"]] for row in msg(client, QUERY + query)}
    assert found == {997: [], 8: [], 22: [10], 315: [2, 10]}


def test_table_of_atlases(client: Any) -> None:
    query = (
        "q=model::Atlas,rma::criteria,structure_graph%28ontology%29,graphic_group_labels,rma::include,"
        "structure_graph%28ontology%29,graphic_group_labels,rma::options[only$eq%27atlases.id,atlases.name,"
        "atlases.image_type,ontologies.id,ontologies.name,structure_graphs.id,structure_graphs.name,"
        "graphic_group_labels.id,graphic_group_labels.name%27][num_rows$eq%27all%27][count$eqfalse]"
    )
    label = {"id": 28, "name": "Atlas - Adult Mouse"}
    graph = {"id": 1, "name": "Mouse Brain Atlas", "ontology": {"id": 1, "name": "Mouse Brain Atlas"}}
    head = {"id": 1, "image_type": "Atlas - Adult Mouse", "name": "Mouse, P56, Coronal"}
    assert msg(client, QUERY + query) == [{**head, "structure_graph": graph, "graphic_group_labels": [label]}]


def test_ranges_of_images(client: Any) -> None:
    query = (
        "q=model::Equalization,rma::criteria,section_data_set%28section_images[id$in101,102]%29,rma::options"
        "[only$eq%27blue_lower,blue_upper,red_lower,red_upper,green_lower,green_upper%27][num_rows$eq%27all%27]"
    )
    ranges = dict.fromkeys(
        ("blue_lower", "blue_upper", "green_lower", "green_upper", "red_lower", "red_upper")
    )
    assert msg(client, QUERY + query) == [{**ranges, "blue_lower": 0, "red_lower": 0, "red_upper": 1500}]


def test_alignment_of_a_data_set(client: Any) -> None:
    (row,) = msg(client, QUERY + f"q=model::SectionDataSet[id$eq1],rma::include,alignment3d,{ALL}")
    assert row["alignment3d"]["aligned_type"] == "DataSet"
    assert row["alignment3d"]["tvr_00"] == 1.0
    assert list(row)[-1] == "alignment3d"
    assert list(row)[:-1] == sorted(list(row)[:-1])  # as in the original's records
    (row,) = msg(client, QUERY + f"q=model::SectionDataSet[id$eq3],rma::include,alignment3d,{ALL}")
    assert row["alignment3d"] is None


def test_unionize(client: Any) -> None:
    query = (
        "q=model::StructureUnionize,rma::criteria,section_data_set[id$eq1],structure[graph_id$eq1],rma::include,"
        "structure,rma::options[only$eq%27expression_energy,structure_unionizes.structure_id,structures.acronym%27]"
        "[num_rows$eq2000][start_row$eq0][order$eq%27structures.graph_order%27][count$eqtrue]"
    )
    assert msg(client, QUERY + query) == [
        {"expression_energy": 1.13, "structure_id": 22, "structure": {"acronym": "PTLp"}},
        {"expression_energy": 1.03, "structure_id": 315, "structure": {"acronym": "Isocortex"}},
    ]


def test_table(client: Any) -> None:
    query = (
        "q=model::SectionDataSet,rma::criteria,products[abbreviation$eq%27Mouse%27],genes[acronym$eq%27Pdyn%27],"
        "plane_of_section[name$eq%27sagittal%27],[failed$eqtrue],rma::options[tabular$eqdata_sets.id,"
        "genes.acronym+as+gene,plane_of_sections.name][num_rows$eq%27all%27]"
    )
    assert msg(client, QUERY + query) == [{"id": 2, "gene": "Pdyn", "name": "sagittal"}]


def test_projection_unionizes_have_hemispheres(client: Any) -> None:
    query = (
        "q=model::ProjectionStructureUnionize,rma::criteria,[section_data_set_id$in1][hemisphere_id$in{}]"
        f"[structure_id$in22],{ALL}"
    )
    for hemisphere in (1, 3):
        (row,) = msg(client, QUERY + query.format(hemisphere))
        assert row["hemisphere_id"] == hemisphere
        assert row["projection_energy"] == pytest.approx(1.1 + hemisphere / 100)
        assert (row["projection_intensity"], row["is_injection"]) == (150.0, False)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "Gene/query.json?criteria=products%5Bid%24eq1%5D&only=id%2Cacronym&num_rows=all",
            [{"acronym": "Ace", "id": 11}, {"acronym": "Cd99", "id": 12}, {"acronym": "Pdyn", "id": 18376}],
        ),
        (
            "Gene/query.json?criteria=%5Bacronym%24in%27Ace%27%2C%27Cd99%27%5D%2Cproducts%5Bid%24eq1%5D&only=id&",
            [{"id": 11}, {"id": 12}],
        ),
        (
            "Structure/query.json?criteria=%5Bid%24in22%2C1018%5D%2Contology%5Bid%24eq1%5D&only=acronym%2Cid&",
            [{"acronym": "PTLp", "id": 22}],
        ),
        (
            (
                "Structure/query.json?include=structure_centers&criteria=[id$eq315],ontology[id$eq1],structure_centers"
                "[reference_space_id$eq10]&only=structure_centers,structure_centers.structure_id,structure_centers.x&"
            ),
            [{"structure_centers": [{"structure_id": 315, "x": 7000}]}],
        ),
        (
            (
                "SectionDataSet/query.json?criteria=[failed$eqfalse],products[id$eq1],genes[acronym$eqPdyn],"
                "plane_of_section[name$eqcoronal]&only=data_sets.id&"
            ),
            [{"id": 1}],
        ),
        (
            (
                "SectionDataSet/query.json?include=structure_unionizes,genes&criteria=[id$in1],products[id$eq1],"
                "structure_unionizes[structure_id$in22,31]&only=id,structure_unionizes,structure_unionizes.structure_id,"
                "structure_unionizes.expression_energy&"
            ),
            [
                {
                    "id": 1,
                    "structure_unionizes": [{"expression_energy": 1.13, "id": 1113, "structure_id": 22}],
                    "genes": [{"id": 18376}],
                }
            ],
        ),
        (
            "SectionDataSet/query.json?id=3&only=id,name&include=genes",
            [{"id": 3, "name": None, "genes": [{"id": 11}]}],
        ),
        ("Age/7.json?only=days,embryonic", [{"days": 13.5, "embryonic": True}]),
    ],
)
def test_short_form(client: Any, path: str, expected: Any) -> None:
    found = msg(client, f"/api/v2/data/{path}")
    if path.startswith("SectionDataSet/query.json?id="):
        found = [{**row, "genes": [{"id": gene["id"]} for gene in row["genes"]]} for row in found]
    assert found == expected


def test_every_recorded_request(ish_data: Path, serve: Any) -> None:
    recorded = ish_data.parent / "service" / "requests.tsv"
    if not recorded.is_file():
        pytest.skip("no recorded requests")
    rows: list[dict[str, str]] = []
    services = dict.fromkeys(
        ("mouse_differential", "mouse_correlation", "mouse_agea", "text_search"), lambda _: rows
    )
    client = serve(services)
    with recorded.open(encoding="utf-8") as lines:
        paths = {row["path as sent"] for row in csv.DictReader(lines, delimiter="\t")}
    asked = [path for path in paths if "/api/v2/data" in path]
    for path in asked:
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.text)
        assert ".xml" in path or answer.json()["success"] is True
    assert len(asked) > 40
