"""Rows of the models for one served experiment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError, MissingResultError
from pipeline.core.model import SectionImage
from pipeline.formats.tables.tables import read_arrays
from pipeline.geometry.affine import to_itk
from pipeline.service.content.described import Described, Record, read_described
from pipeline.service.content.loading import Loaded
from pipeline.service.content.numbering import Numbers
from pipeline.service.content.scan import Found
from pipeline.service.plates.atlases import tier_count
from pipeline.service.reference_files import field_file_rows
from pipeline.service.rma.schema import MODELS
from pipeline.store.run import RunFolder

Row = dict[str, Any]
Columns = dict[str, list[Any]]
Rows = dict[str, list[Row] | Columns]  # by table; many rows as columns
PLANES = {"coronal": 1, "sagittal": 2}  # PlaneOfSection ids
ORIENTATIONS = {"sense": 1, "antisense": 2}
MOUSE, ISH_PRODUCT, ADULT = 2, 1, 15  # ids of Organism, Product ("Mouse") and Age (P56) in the original
UNIONIZE = "structure_unionize.parquet"
SUMS = (
    "sum_pixels",
    "sum_expressing_pixels",
    "sum_pixel_intensity",
    "sum_expressing_pixel_intensity",
    "expression_density",
    "expression_energy",
    "voxel_energy_mean",
    "voxel_energy_cv",
)
OWN = {  # tables whose rows belong to one experiment, with the column that says to which
    "data_sets": "id",
    "data_sets_products": "data_set_id",
    "data_sets_probes": "data_set_id",
    "data_sets_genes": "data_set_id",
    "data_sets_treatments": "data_set_id",
    "equalizations": "section_data_set_id",
    "structure_unionizes": "section_data_set_id",
}


def rows_of_experiment(found: Found, loaded: Loaded, ids: Mapping[int, int], numbers: Numbers) -> Rows:
    """Return the rows of one experiment.

    Parameters
    ----------
    found : Found
        Where it lies.
    loaded : Loaded
        What it is.
    ids : mapping of int to int
        SectionImage ids by section number.
    numbers : Numbers
        Ids of what the source does not number.

    Returns
    -------
    dict of str to list of dict
        Rows by table; those of one table have the same columns.

    Raises
    ------
    DataError
        Where the table of structures is damaged.
    """
    described = read_described(loaded.manifest)
    one = loaded.data_set.id
    subject = _subject(loaded, described, numbers)
    rows: Rows = {**subject}
    specimen = subject["specimens"][0]["id"]
    rows["data_sets"] = [_data_set(loaded, described, specimen)]
    rows["sub_images"] = [
        _section_image(one, image, ids[image.section_number], loaded, described)
        for image in loaded.data_set.section_images
        if _can_be_used(loaded, image.section_number)
    ]
    rows |= _alignments(loaded, ids)
    rows["structure_unionizes"] = unionized(found, one)
    if loaded.geometry is not None and loaded.geometry.deformations:
        rows["well_known_files"] = field_file_rows(one)
    return rows | _joins(one, subject)


def _can_be_used(loaded: Loaded, section_number: int) -> bool:
    """Return whether a section has an image or a place: clients take for granted that each has both."""
    if loaded.geometry is None or section_number in loaded.geometry.numbers:
        return True
    return loaded.outcomes[section_number].status not in ("fail", "missing")


def _joins(one: int, subject: Mapping[str, list[Row]]) -> Rows:
    """Return what joins a data set, and its genes, to what it was made of."""
    rows: Rows = {
        f"data_sets_{table}": [
            {"data_set_id": one, f"{table[:-1]}_id": key}
            for key in dict.fromkeys(r["id"] for r in subject[table])
        ]
        for table in ("products", "treatments", "probes", "genes")
    }
    rows["genes_products"] = [
        {"gene_id": gene["id"], "product_id": product["id"]}
        for gene in subject["genes"]
        for product in subject["products"]
    ]
    return rows


def summary(loaded: Loaded) -> dict[str, Any]:
    """Return what lists show of an experiment, so that none has to be read for it.

    Parameters
    ----------
    loaded : Loaded
        The experiment.

    Returns
    -------
    dict of str to Any
        Gene, plane, specimen, number of sections by status, and the median estimated error.
    """
    data_set, outcomes = loaded.data_set, loaded.outcomes.values()
    errors_um = [o.estimated_error_um for o in outcomes if o.estimated_error_um is not None]
    return {
        "gene": data_set.gene,
        "plane_of_section": data_set.plane_of_section,
        "specimen": data_set.specimen,
        "treatment": data_set.treatment,
        "reference_space_id": data_set.reference_space_id,
        "sections": dict(Counter(o.status for o in outcomes)),
        "estimated_error_um": median(errors_um) if errors_um else None,
    }


def without_experiment() -> list[str]:
    """Return the statements that remove one experiment's rows; their parameter is `id`."""
    sections = "SELECT id FROM sub_images WHERE data_set_id = :id AND type = 'SectionImage'"
    genes = "SELECT gene_id FROM data_sets_genes"
    specimens = "SELECT specimen_id FROM data_sets WHERE specimen_id IS NOT NULL"
    return [
        f"DELETE FROM alignment2ds WHERE section_image_id IN ({sections})",
        "DELETE FROM well_known_files WHERE attachable_id = :id AND attachable_type = 'DataSet'",
        "DELETE FROM alignment3ds WHERE aligned_id = :id AND aligned_type = 'DataSet'",
        "DELETE FROM sub_images WHERE data_set_id = :id AND type = 'SectionImage'",
        *(f"DELETE FROM {table} WHERE {column} = :id" for table, column in OWN.items()),
        f"DELETE FROM genes WHERE id NOT IN ({genes})",
        f"DELETE FROM genes_products WHERE gene_id NOT IN ({genes})",
        "DELETE FROM probes WHERE id NOT IN (SELECT probe_id FROM data_sets_probes)",
        f"DELETE FROM specimens WHERE id NOT IN ({specimens})",
        "DELETE FROM donors WHERE id NOT IN (SELECT donor_id FROM specimens WHERE donor_id IS NOT NULL)",
    ]


def unionized(found: Found, experiment_id: int) -> Columns:
    """Return the structure table of a run, all hemispheres.

    Parameters
    ----------
    found : Found
        Where the experiment lies.
    experiment_id : int
        Its id.

    Returns
    -------
    dict of str to list
        Columns of structure_unionizes, without `id`; empty for served grids and runs without a table.

    Raises
    ------
    DataError
        Where the table is damaged.
    """
    if not found.is_run:
        return {}
    try:
        table = read_arrays(RunFolder(found.folder).require(UNIONIZE))
    except MissingResultError:
        return {}
    names = ("structure_id", "hemisphere_id", *SUMS)
    if lost := [name for name in names if name not in table]:
        raise DataError(f"{found.folder / UNIONIZE}: expected the column {lost[0]}, got none")
    try:
        columns = {name: _finite(table[name]) for name in names}
    except (TypeError, ValueError):
        raise DataError(f"{found.folder / UNIONIZE}: expected columns of numbers, got others") from None
    return {"section_data_set_id": [experiment_id] * len(table["structure_id"]), **columns}


def _finite(values: npt.NDArray[Any]) -> list[Any]:
    """Return numbers with None for those that are not finite, which the tables do not take."""
    finite = np.isfinite(np.asarray(values, np.float64))
    return list(
        values.tolist()
        if finite.all()
        else [v if ok else None for v, ok in zip(values.tolist(), finite.tolist(), strict=True)]
    )


def _data_set(loaded: Loaded, described: Described, specimen: int | None) -> Row:
    data_set = loaded.data_set
    stated = known("data_sets", described.own)
    return stated | {
        "storage_directory": stated["storage_directory"] or f"/{data_set.id}/",
        "id": data_set.id,
        "type": "SectionDataSet",
        "specimen_id": specimen,
        "plane_of_section_id": PLANES[data_set.plane_of_section],
        "failed": False,
        "section_thickness": data_set.section_thickness_um,
        "reference_space_id": data_set.reference_space_id,
        "expression": True,
    }


def _section_image(
    experiment_id: int, image: SectionImage, one: int, loaded: Loaded, described: Described
) -> Row:
    longer = max(image.width_px, image.height_px)
    box = image.tissue_box_px or (0, 0, image.width_px, image.height_px)
    x, y, width, height = (round(value) for value in box)
    stated = known("sub_images", described.images.get(image.section_number, {}))
    return stated | {
        "id": one,
        "type": "SectionImage",
        "data_set_id": experiment_id,
        "section_number": image.section_number,
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "image_width": image.width_px,
        "image_height": image.height_px,
        "resolution": image.resolution_um or None,
        "tier_count": tier_count(image.width_px, image.height_px) if longer else 0,
        "failed": loaded.outcomes[image.section_number].status in ("fail", "missing"),
        "annotated": False,
        "image_type": "Primary",
        "bits_per_component": 8,
        "number_of_components": 3,
        "expression": True,
        # No place on this machine: clients hand it back to the image service, which looks it up.
        "path": f"/{experiment_id}/{image.path.name}" if image.path else stated.get("path"),
        "specimen_id": None,
        "structure_id": None,
    }


def _alignments(loaded: Loaded, ids: Mapping[int, int]) -> Rows:
    if loaded.geometry is None:
        return {}
    space = loaded.geometry.alignment3d
    row3d: Row = {"id": loaded.data_set.id, "aligned_type": "DataSet", "aligned_id": loaded.data_set.id}
    row3d |= _matrix("tvr", to_itk(space.volume_to_reference)) | _matrix(
        "trv", to_itk(space.reference_to_volume)
    )
    rows2d = []
    for placed in loaded.geometry.alignments2d:
        one = ids.get(placed.section_number)
        if one is not None:
            row: Row = {"id": one, "section_image_id": one}
            row |= _matrix("tsv", to_itk(placed.section_to_volume))
            rows2d.append(row | _matrix("tvs", to_itk(placed.volume_to_section)))
    return {"alignment3ds": [row3d], "alignment2ds": rows2d}


def _matrix(name: str, values: Sequence[float]) -> Row:
    return {f"{name}_{place:02d}": value for place, value in enumerate(values)}


def _subject(loaded: Loaded, described: Described, numbers: Numbers) -> dict[str, list[Row]]:
    """Return the rows of what was cut and stained: specimen, donor, gene, probe, treatment, products."""
    data_set, records = loaded.data_set, described.records
    tables = ("products", "treatments", "genes", "probes", "specimens", "donors")
    # Documents that this package writes name things without numbering them.
    rows: dict[str, list[Row]] = {
        table: [known(table, r) for r in records.get(table, ()) if r.get("id")] for table in tables
    }
    rows["products"] = [p for p in rows["products"] if p["id"] != ISH_PRODUCT]
    rows["products"].insert(0, mouse_product())
    if data_set.gene and not rows["genes"]:
        rows["genes"] = [_gene(data_set.gene, numbers)]
    if rows["genes"] and not rows["probes"]:
        rows["probes"] = [_probe(rows["genes"][0], data_set.probe_orientation, numbers)]
    for probe in rows["probes"]:
        probe.setdefault("gene_id", rows["genes"][0]["id"] if rows["genes"] else None)
    if not rows["specimens"]:
        rows |= _specimen(loaded, numbers)
    if data_set.treatment and not rows["treatments"]:
        rows["treatments"] = [
            {"id": _numbered(numbers, "treatment", data_set.treatment), "name": data_set.treatment}
        ]
    return rows


def mouse_product() -> Row:
    """Return the product that every experiment belongs to, as clients ask for it by id or abbreviation."""
    return {
        "id": ISH_PRODUCT,
        "name": "Mouse Brain",
        "abbreviation": "Mouse",
        "resource": "In situ hybridisation",
    }


def _gene(symbol: str, numbers: Numbers) -> Row:
    return {
        "id": gene_number(numbers, symbol),
        "acronym": symbol,
        "name": symbol,
        "organism_id": MOUSE,
        "type": "NcbiGene",
    }


def gene_number(numbers: Numbers, symbol: str) -> int:
    """Return the id of a gene whose source does not number it.

    Parameters
    ----------
    numbers : Numbers
        Keeps it.
    symbol : str
        Symbol of the gene.

    Returns
    -------
    int
        The same for each series of the gene.
    """
    return _numbered(numbers, "gene", symbol)


def _numbered(numbers: Numbers, kind: str, key: str) -> int:
    return numbers.of(kind, [key])[key]


def _probe(gene: Row, orientation: str | None, numbers: Numbers) -> Row:
    key = f"{gene['id']}/{orientation or ''}"
    return {
        "id": _numbered(numbers, "probe", key),
        "name": f"{gene['acronym']} probe",
        "gene_id": gene["id"],
        "orientation_id": ORIENTATIONS.get((orientation or "").lower()),
    }


def _specimen(loaded: Loaded, numbers: Numbers) -> dict[str, list[Row]]:
    data_set = loaded.data_set
    name = data_set.specimen or f"series {data_set.id}"
    one = _numbered(numbers, "specimen", name)
    specimen = {
        "id": one,
        "name": name,
        "donor_id": one,
        "hemisphere": data_set.hemisphere,
        "specimen_id_path": f"/{one}/",
    }
    donor = {
        "id": one,
        "name": name,
        "organism_id": MOUSE,
        "age_id": ADULT if data_set.age == "P56" else None,
    }
    return {"specimens": [specimen], "donors": [donor]}


def known(table: str, record: Record) -> Row:
    """Return the fields of a record that its model has, in the types of the model.

    Parameters
    ----------
    table : str
        Table of the model.
    record : dict of str to str or None
        Fields as text.

    Returns
    -------
    dict of str to Any
        One key for each field of the model; None where the record does not state it or it is no such value.
    """
    return {name: _typed(record.get(name), kind) for name, kind in _fields(table).items()}


def _fields(table: str) -> Mapping[str, str]:
    model = next(model for model in MODELS.values() if model.table == table)
    return {field.name: field.type for field in model.fields.values()}


def _typed(text: str | None, kind: str) -> Any:
    if text is None:
        return None
    try:
        if kind == "integer":
            return int(float(text)) if "." in text else int(text)
        if kind == "float":
            return float(text)
    except (ValueError, OverflowError):
        return None
    return text == "true" if kind == "boolean" else text
