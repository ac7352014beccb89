"""XML and CSV as scripts in R read them: the steps of XML::xmlToList, unlist and read.csv, in Python.

The steps are those of packages that people use with the original, such as allenBrain. They take lists apart
by name, and break where an element has attributes that the original's has not, or the other way round.
"""

from __future__ import annotations

import csv
import io
import json
import urllib.request
import zipfile
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import numpy as np
from checking import Case, near, run, same
from PIL import Image

Listed = list[tuple[str, Any]]  # a list of R: names and values
ATTRIBUTES = ".attrs"
SYNCED = "image-sync-helper-image-syncs"


def get(case: Case, path: str) -> bytes:
    """Return the body of an answer; brackets go as they are, which R does not escape."""
    with urllib.request.urlopen(f"{case.base}{path}", timeout=60) as answer:
        content: bytes = answer.read()
    return content


def as_list(element: ElementTree.Element) -> Any:
    """Return an element as XML::xmlToList does.

    Text without attributes is text; with attributes it is a list of `text` and `.attrs`; an element without
    content is its attributes, or nothing.
    """
    attributes: Listed = [(ATTRIBUTES, list(element.attrib.items()))] if element.attrib else []
    if len(element):
        return [(child.tag, as_list(child)) for child in element] + attributes
    if element.text is None:
        return list(element.attrib.items()) or None
    return [("text", element.text), *attributes] if attributes else element.text


def xml(case: Case, path: str) -> Listed:
    """Return a document as a list of R."""
    found: Listed = as_list(ElementTree.fromstring(get(case, path)))
    return found


def part(values: Any, *names: str) -> Any:
    """Return a part of a list, as values$name$name."""
    for name in names:
        assert isinstance(values, list), f"${name}: no list, but {values!r}"
        found = [value for key, value in values if key == name]
        assert found, f"${name}: the names are {[key for key, _ in values][:8]}"
        values = found[0]
    return values


def unlist(values: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and values of all leaves, as unlist does; parts of a name are joined by a dot."""
    if values is None:
        return
    if not isinstance(values, list):
        yield name, values
        return
    for key, value in values:
        yield from unlist(value, f"{name}.{key}" if name else key)


def table(records: Listed) -> list[dict[str, str]]:
    """Return records as rows: a matrix of unlist(x), byrow = TRUE, named by the first record."""
    rows = [[value for _, value in unlist(record)] for _, record in records]
    lengths = {len(row) for row in rows}
    assert len(lengths) == 1, f"records of different lengths, {sorted(lengths)}: R mixes up the columns"
    names = [key.replace("-", ".") for key, _ in unlist(records[0][1])]
    return [dict(zip(names, row, strict=True)) for row in rows]


def experiments_of_a_gene(case: Case) -> None:
    """getGeneDatasets: plane, failure and probe of each experiment of a gene."""
    for experiment in case.facts["experiments"].values():
        if not experiment["gene"]:
            continue
        path = (
            "/api/v2/data/SectionDataSet/query.xml?criteria=products[id$eq1],genes[acronym$eq%27"
            f"{experiment['gene']}%27]&include=genes,section_images,probes"
        )
        found = []
        for _, data_set in part(xml(case, path), "section-data-sets"):
            assert part(data_set, "failed") == "false", "not plain text"
            part(data_set, "probes", "probe")
            if part(data_set, "plane-of-section-id") == str(experiment["plane_of_section_id"]):
                found.append(int(part(data_set, "id")))
            same(part(data_set, "genes", "gene", "acronym"), experiment["gene"], "gene")
        listed = zip(case.facts["ids"], case.facts["genes"], case.facts["planes"], strict=True)
        same(
            sorted(found), [i for i, *of in listed if of == [experiment["gene"], experiment["plane"]]], "ids"
        )


def probes(case: Case) -> None:
    """getGeneDatasets as it is called without more: the probe's orientation is a number with attributes."""
    gene = case.facts["genes"][0]
    path = "/api/v2/data/SectionDataSet/query.xml?criteria=products[id$eq1],genes[acronym$eq%27"
    found = part(xml(case, f"{path}{gene}%27]&include=genes,section_images,probes"), "section-data-sets")
    same(len(found), case.facts["genes"].count(gene), "experiments")
    for _, data_set in found:
        same(part(data_set, "probes", "probe", "orientation-id", "text"), "2", "antisense")


def genes(case: Case) -> None:
    """listGenes: the number of genes as an attribute, then pages of 50."""
    path = "/api/v2/data/Gene/query.xml?criteria=products[id$eq1]&num_rows="
    total = int(part(xml(case, f"{path}1"), ATTRIBUTES, "total_rows"))
    same(total, len(set(filter(None, case.facts["genes"]))), "genes")
    first = table(part(xml(case, f"{path}50&start_row=0"), "ncbi-genes"))
    last = table(part(xml(case, f"{path}50&start_row={total // 50 * 50}"), "ncbi-genes"))
    same((len(first), len(last)), (min(50, total), total % 50), "rows")  # neither a multiple of 50
    assert {row["acronym"] for row in first} <= set(case.facts["genes"]), "acronyms"


def structures(case: Case) -> None:
    """getStructureIDs: ids, names, acronyms and parents of the sixth member, by the names of its leaves."""

    text = get(case, "/api/v2/structure_graph_download/1.json").decode().replace("null", "-9999")
    leaves = list(_leaves(list(json.loads(text).values())[5]))

    def ending(word: str) -> list[Any]:
        return [value for name, value in leaves if word in name]

    ids = [value for name, value in leaves if name == "id"]
    parents, acronyms = ending("parent_structure_id"), ending("acronym")
    rows = list(zip(ids, ending("name"), acronyms, parents, strict=True))
    expected = {
        (one["id"], one["name"], one["acronym"], one["path"][-2] if len(one["path"]) > 1 else -9999)
        for one in case.facts["structures"]
    }
    same(len(rows), len(expected), "structures")
    same(set(rows), expected, "rows")


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    for node in value:
        for name, inside in node.items():
            if isinstance(inside, list):
                yield from _leaves(inside)
            else:
                yield name, inside


def images(case: Case) -> None:
    """listImages: one row an image, though some fields are empty."""
    for experiment in case.facts["experiments"].values():
        path = "/api/v2/data/query.xml?criteria=model::SectionImage,rma::criteria,[data_set_id$eq"
        rows = table(part(xml(case, f"{path}{experiment['id']}]"), "section-images"))
        found = {int(row["id"]): row for row in rows}
        same(len(found), min(len(experiment["sections"]), 50), "images of the first page")
        assert set(found) <= {one["id"] for one in experiment["sections"]}, "ids"
        for one in experiment["sections"]:
            row = found.get(one["id"])
            if row is None:
                continue
            same(int(row["section.number"]), one["section_number"], "section number")
            same(float(row["resolution"]), one["resolution"], "resolution")


def masks_and_grids(case: Case) -> None:
    """downloadImage with view=expression; gridData, whose address has & where ? belongs."""
    experiment = case.experiment("sagittal")
    one = experiment["sections"][experiment["shown"]]
    content = get(case, f"/api/v2/image_download/{one['id']}?downsample=1&view=expression")
    size = Image.open(io.BytesIO(content)).size
    same(size, (one["box"][2] >> 1, one["box"][3] >> 1), "size of the mask")
    content = get(case, f"/grid_data/download/{experiment['id']}&include=energy,density")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        same(
            sorted(archive.namelist()), ["density.mhd", "density.raw", "energy.mhd", "energy.raw"], "members"
        )
        energy = np.frombuffer(archive.read("energy.raw"), "<f4").reshape(58, 41, 67).transpose(2, 1, 0)
    assert np.array_equal(energy, case.arrays["sagittal/energy"]), "other energies"


def structure_expressions(case: Case) -> None:
    """getStructureExpressions: the columns that the package names, with the numbers of the run."""
    experiment = case.experiment("sagittal")
    path = f"/api/v2/data/SectionDataSet/query.xml?id={experiment['id']}&include="
    data_set = part(
        xml(case, f"{path}structure_unionizes%28structure%29"), "section-data-sets", "section-data-set"
    )
    same(part(data_set, "failed"), "false", "failed")
    rows = table(part(data_set, "structure-unionizes"))
    for name in COLUMNS:
        assert name in rows[0], f"{name}: no such column; R stops there"
    same({row["structure.id.text"] for row in rows}, set(experiment["unionize"]), "structures")
    for row in rows:
        expected = experiment["unionize"][row["structure.id.text"]]
        for name in ("expression_density", "expression_energy", "sum_pixels"):
            value = expected[name]
            if value is not None:
                near(float(row[f"{name.replace('_', '.')}.text"]), value, 1e-9 * max(abs(value), 1.0), name)


COLUMNS = (
    "expression.density.text", "expression.energy.text", "id.text", "section.data.set.id.text",
    "structure.id.text", "sum.expressing.pixel.intensity.text", "sum.expressing.pixels.text",
    "sum.pixel.intensity.text", "sum.pixels.text", "voxel.energy.cv.text", "voxel.energy.mean.text",
    "structure.acronym", "structure.color.hex.triplet", "structure.graph.order.text",
    "structure.hemisphere.id.text", "structure.name", "structure.ontology.id.text", "structure.safe.name",
    "structure.st.level.text", "structure.structure.id.path", "structure.structure.name.facet.text",
    "structure.weight.text",
)  # fmt: skip


def image_sync(case: Case) -> None:
    """structureToImage, imageToImage, imageToImage2D and imageToAtlas, as XML."""
    for asked in case.facts["sync"]:
        verb, given, answer = asked["verb"], asked["asked"], asked["answer"]
        if verb == "structure_to_image":
            path = f"{given[0]}.xml?structure_ids={_commas(given[1])}"
        elif verb == "image_to_image":
            path = f"{given[0]}.xml?x={given[1]}&y={given[2]}&section_data_set_ids={_commas(given[3])}"
        elif verb == "image_to_image_2d":
            path = f"{given[0]}.xml?x={given[1]}&y={given[2]}&section_image_ids={_commas(given[3])}"
        elif verb == "image_to_atlas":
            path = f"{given[0]}.xml?x={given[1]}&y={given[2]}&atlas_id={given[3]}"
            found = part(xml(case, f"/api/v2/{verb}/{path}"), "image-sync")
            same([name for name, _ in found], ["section-image-id", "section-number", "x", "y"], "fields")
            continue
        else:
            continue
        rows = table(part(xml(case, f"/api/v2/{verb}/{path}"), SYNCED))
        for row, expected in zip(rows, answer, strict=True):
            for name, value in expected.items():
                near(float(row[name.replace("_", ".")]), value, 1e-6, f"{verb}: {name}")


def _commas(ids: list[int]) -> str:
    return ",".join(map(str, ids))


def csv_tables(case: Case) -> None:
    """read.csv of a tabular query: a header line, one row a structure, plain numbers."""
    for experiment in case.facts["experiments"].values():
        if not experiment["unionize"]:
            continue
        path = (
            "/api/v2/data/query.csv?criteria=model::StructureUnionize,rma::criteria,section_data_set[id$eq"
            f"{experiment['id']}],structure,rma::options[tabular$eq'structures.id+as+structure,"
            "structures.acronym,structure_unionizes.expression_energy'][num_rows$eqall]"
        )
        text = get(case, path).decode("utf-8")
        assert not text.startswith("\ufeff"), "a byte order mark, which R takes for part of the first name"
        rows = list(csv.DictReader(io.StringIO(text)))
        same({row["structure"] for row in rows}, set(experiment["unionize"]), "structures")
        for row in rows:
            value = experiment["unionize"][row["structure"]]["expression_energy"]
            near(
                float(row["expression_energy"] or "nan") if value is not None else 0,
                value or 0,
                1e-9,
                "energy",
            )


CHECKS = (experiments_of_a_gene, genes, structures, images, image_sync)

if __name__ == "__main__":
    run({"phantom": (*CHECKS, probes, masks_and_grids, structure_expressions, csv_tables), "atlas": CHECKS})
