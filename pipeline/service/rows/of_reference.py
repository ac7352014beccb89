"""Rows of the models that do not depend on experiments: structures, spaces, and the words of the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from zlib import crc32

from pipeline.core.model import CORONAL_SPACE, EXTENT_UM, SAGITTAL_SPACE, Float64
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.volumes.reference_folder import present_labels
from pipeline.geometry.affine import between_spaces, to_itk
from pipeline.service.plates.atlas_rows import atlas_rows
from pipeline.service.plates.graph import kept_fields
from pipeline.service.reference_files import well_known_file_rows
from pipeline.service.rma.schema import MODELS
from pipeline.service.rows.of_experiments import ADULT, MOUSE, ORIENTATIONS, PLANES, Row, mouse_product

GRAPH, SPACES = 1, {CORONAL_SPACE: "P56 Brain", SAGITTAL_SPACE: "P56 Brain, L/R Flipped"}
HEMISPHERES = ((1, "left", "L"), (2, "right", "R"), (3, "both", "B"))
# Sets that follow from the annotation; ids above those of the original's own sets.
SETS = {
    1_900_000_001: ("Annotated structures", "Structures that have voxels of their own in the annotation"),
    1_900_000_002: ("Summary of leaves", "Annotated structures without annotated substructures"),
}

ReferencePart = tuple[ReferenceSpace, Path | None]


def rows_of_reference(part: ReferencePart | None, centres: Mapping[int, Float64]) -> dict[str, list[Row]]:
    """Return the rows that do not depend on what is served.

    Parameters
    ----------
    part : (ReferenceSpace, Path or None), or None
        The reference and its folder; None where it is not known.
    centres : mapping of int to (3,) float64, um
        Centres of its structures.

    Returns
    -------
    dict of str to list of dict
        Rows by table.
    """
    rows = _constants()
    if part is None:
        return rows
    reference, directory = part
    rows["structures"] = list(structure_rows(reference.ontology, directory))
    rows["structure_centers"] = [
        {
            "id": one * 100 + space,
            "structure_id": one,
            "reference_space_id": space,
            **dict(zip("xyz", (round(value) for value in point.tolist()), strict=True)),
        }
        for space in SPACES
        for one, point in centres.items()
    ]
    members = _members(reference)
    rows["structure_sets"] = [
        {"id": one, "name": name, "description": about} for one, (name, about) in SETS.items()
    ]
    rows["structure_sets_structures"] = [
        {"id": at, "structure_id": structure, "structure_set_id": one}
        for at, (one, structure) in enumerate(members, start=1)
    ]
    return rows | plate_rows(reference)


def plate_rows(reference: ReferenceSpace) -> dict[str, list[Row]]:
    """Return the rows of atlases, plates and their drawings.

    Parameters
    ----------
    reference : ReferenceSpace
        What plates are cut from.

    Returns
    -------
    dict of str to list of dict
        Rows by table.
    """
    rows: dict[str, list[Row]] = {}
    for name, records in (atlas_rows(reference) | well_known_file_rows()).items():
        model = MODELS[name]
        scope = dict([model.scope]) if model.scope else {}
        kept = [{k: v for k, v in record.items() if k in model.fields} | scope for record in records]
        rows.setdefault(model.table, []).extend(kept)
        if name == "AtlasDataSet":
            rows["atlases_data_sets"] = [{"atlas_id": r["atlas_id"], "data_set_id": r["id"]} for r in records]
    rows["atlases_graphic_group_labels"] = [
        {"atlas_id": atlas["id"], "graphic_group_label_id": label["id"]}
        for atlas in rows["atlases"]
        for label in rows["graphic_group_labels"]
    ]
    return rows


def without_reference() -> list[str]:
    """Return the statements that remove the rows of a reference."""
    whole = (
        "structures", "structure_centers", "structure_sets", "structure_sets_structures", "atlases",
        "atlases_data_sets", "atlases_graphic_group_labels", "graphic_group_labels", "graphic_objects",
        "alternate_images",
    )  # fmt: skip
    return [
        *(f"DELETE FROM {table}" for table in whole),
        "DELETE FROM data_sets WHERE type = 'AtlasDataSet'",
        "DELETE FROM sub_images WHERE type = 'AtlasImage'",
        "DELETE FROM well_known_files WHERE attachable_type = 'ReferenceSpace'",
    ]


def _constants() -> dict[str, list[Row]]:
    return {
        "organisms": [{"id": MOUSE, "name": "Mus musculus", "ncbitaxonomyid": 10090}],
        "ages": [{"id": ADULT, "name": "P56", "days": 56.0, "embryonic": False, "organism_id": MOUSE}],
        "plane_of_sections": [{"id": one, "name": name} for name, one in PLANES.items()],
        "orientations": [{"id": one, "name": name} for name, one in ORIENTATIONS.items()],
        "hemispheres": [{"id": one, "name": name, "symbol": symbol} for one, name, symbol in HEMISPHERES],
        "products": [mouse_product()],
        "ontologies": [{"id": 1, "name": "Mouse Brain Atlas", "organism_id": MOUSE, "has_atlas": True}],
        "structure_graphs": [
            {"id": GRAPH, "name": "Mouse Brain Atlas", "root_structure_id": 997, "ontology_id": 1}
        ],
        "reference_spaces": [
            {"id": one, "name": name, "organism_id": MOUSE, "age_id": ADULT, "anatomy": "Brain"}
            for one, name in SPACES.items()
        ],
        "reference_to_reference_transforms": [
            {
                "id": one,
                "from_reference_space_id": one,
                "to_reference_space_id": other,
                **_transform(one, other),
            }
            for one, other in ((CORONAL_SPACE, SAGITTAL_SPACE), (SAGITTAL_SPACE, CORONAL_SPACE))
        ],
    }


def _transform(one: int, other: int) -> Row:
    assert EXTENT_UM  # the flip is that of Allen's box
    return {f"t_{at:02d}": value for at, value in enumerate(to_itk(between_spaces(one, other)))}


def structure_rows(ontology: Ontology, directory: Path | None) -> Iterator[Row]:
    """Yield the rows of all structures, in the order of the graph.

    Packages in R take the columns of a table from its first row, and need there what the original states of
    structures: a level, for which the depth stands in where the reference has none, and facets, which are
    checksums of the words.

    Parameters
    ----------
    ontology : Ontology
        The structures.
    directory : Path or None
        Folder of the reference, whose structure graph states more of each structure than the ontology keeps.

    Yields
    ------
    dict of str to Any
        Row of `structures`.
    """
    stated = kept_fields(directory)
    for structure in sorted(ontology.structures, key=lambda s: s.graph_order):
        path = ontology.path(structure.id)
        node, depth = stated.get(structure.id, {}), len(path) - 1
        yield {
            "id": structure.id,
            "atlas_id": node.get("atlas_id"),
            "ontology_id": 1,
            "acronym": structure.acronym,
            "name": structure.name,
            "safe_name": structure.name.replace(",", ""),
            "color_hex_triplet": structure.color,
            "graph_order": structure.graph_order,
            "st_level": depth if node.get("st_level") is None else node["st_level"],
            "depth": depth,
            "hemisphere_id": 3,
            "parent_structure_id": structure.parent_id,
            "structure_id_path": "/" + "/".join(map(str, path)) + "/",
            "graph_id": GRAPH,
            "weight": 8690,
            "failed": False,
            "structure_name_facet": crc32(structure.name.encode()),
            "failed_facet": crc32(b"false"),
        }


def _members(reference: ReferenceSpace) -> Iterator[tuple[int, int]]:
    """Yield (set, structure) of the sets that follow from the annotation."""
    ontology = reference.ontology
    present = {int(one) for one in present_labels(reference.annotation)} & ontology.by_id.keys()
    everywhere, leaves = SETS
    for one in sorted(present):
        yield everywhere, one
        if ontology.descendants(one) & present == {one}:
            yield leaves, one
