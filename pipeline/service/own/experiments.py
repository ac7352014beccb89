"""What is served: status, experiments, sections and structures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.responses import Response

from pipeline.core.errors import MissingResultError
from pipeline.service.content.catalogue import Entry, ServedExperiment, ServedSection
from pipeline.service.http.answers import RequestError
from pipeline.service.images.encoding import as_jpeg
from pipeline.service.own.endpoint import LARGEST_ID, Endpoint, Parameter, Values
from pipeline.service.own.schemas import FLAG, INTEGER, NUMBER, TEXT, array, maybe, record
from pipeline.service.rows.of_experiments import UNIONIZE
from pipeline.service.served import LIMITS, Serving
from pipeline.store.run import RunFolder

EXPERIMENT_ID = Parameter("id", "integer", "id of an experiment", "path", least=0, most=LARGEST_ID)
SECTION_ID = Parameter("id", "integer", "id of a section image", "path", least=0)
THUMBNAIL_SIZE = Parameter("size", "integer", "longer side at most, px", default=512, least=16, most=4096)
THUMBNAILS = "thumbnails.zarr"
COUNTS = {"type": "object", "additionalProperties": INTEGER}
SUMMARY = {
    "id": INTEGER,
    "gene": maybe(TEXT),
    "plane_of_section": TEXT,
    "specimen": maybe(TEXT),
    "treatment": maybe(TEXT),
    "reference_space_id": INTEGER,
    "sections": COUNTS,
    "estimated_error_um": maybe(NUMBER),
    "is_run": FLAG,
    "has_table": FLAG,
    "section_image_id": maybe(INTEGER),
}
SECTION = {
    "id": INTEGER,
    "section_number": INTEGER,
    "status": TEXT,
    "flags": array(TEXT),
    "estimated_error_um": maybe(NUMBER),
    "width_px": INTEGER,
    "height_px": INTEGER,
    "resolution_um": NUMBER,
    "aligned": FLAG,
    "has_image": FLAG,
    "has_mask": FLAG,
    "has_thumbnail": FLAG,
}


def status(serving: Serving, values: Values) -> dict[str, Any]:
    """Return what the server serves, in numbers."""
    known = serving.reference_known
    return {
        "experiments": len(serving.catalogue.experiments),
        "section_images": len(serving.catalogue.section_of),
        "reference": serving.reference.name if known else None,
        "region_px": LIMITS.region_px,
        "rows": LIMITS.rows,
    }


def experiments(serving: Serving, values: Values) -> list[dict[str, Any]]:
    """Return the experiments that fit a text and a plane."""
    text, plane = (values["text"] or "").casefold(), values["plane_of_section"]
    found = []
    for entry in serving.catalogue.entries:
        about = entry.summary
        words = f"{entry.id} {about['gene'] or ''} {about['specimen'] or ''}".casefold()
        if text in words and plane in (None, about["plane_of_section"]):
            sections = list(entry.sections.values())
            middle = sections[len(sections) // 2] if sections else None
            about = {**about, "is_run": entry.is_run, "has_table": _has_table(entry)}
            found.append({"id": entry.id, **about, "section_image_id": middle})
    return found[values["start_row"] :][: values["num_rows"]]


def experiment(serving: Serving, values: Values) -> dict[str, Any]:
    """Return one experiment with its sections."""
    found = serving.catalogue.experiment(values["id"])
    aligned = {a.section_number for a in found.geometry.alignments2d} if found.geometry else set()
    data_set = found.data_set
    return {
        "id": found.id,
        "gene": data_set.gene,
        "plane_of_section": data_set.plane_of_section,
        "specimen": data_set.specimen,
        "hemisphere": data_set.hemisphere,
        "reference_space_id": data_set.reference_space_id,
        "section_thickness_um": data_set.section_thickness_um,
        "is_run": found.is_run,
        "has_table": _has_table(found),
        "notes": list(found.notes),
        "section_images": [_section(one, number in aligned) for number, one in found.sections.items()],
    }


def _has_table(one: Entry | ServedExperiment) -> bool:
    return one.is_run and (Path(one.folder) / UNIONIZE).is_file()


def _section(one: ServedSection, aligned: bool) -> dict[str, Any]:
    image = one.image
    return {
        "id": one.id,
        "section_number": image.section_number,
        "status": one.status,
        "flags": list(one.flags),
        "estimated_error_um": one.estimated_error_um,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "resolution_um": image.resolution_um,
        "aligned": aligned,
        "has_image": image.path is not None and image.path.exists(),
        "has_mask": one.mask is not None,
        "has_thumbnail": _has_thumbnail(one),
    }


def _has_thumbnail(one: ServedSection) -> bool:
    return one.run is not None and (one.run / THUMBNAILS / str(one.image.section_number)).is_dir()


def experiment_thumbnail(serving: Serving, values: Values) -> Response:
    """Return the reduced image of the section nearest to the middle that has one."""
    experiment = serving.catalogue.experiment(values["id"])
    sections = list(experiment.sections.values())
    usable = [at for at, one in enumerate(sections) if _has_thumbnail(one)]
    if not usable:
        raise RequestError(f"SectionDataSet {experiment.id}: no run keeps reduced images of it", status=404)
    middle = min(usable, key=lambda at: abs(2 * at + 1 - len(sections)))
    return thumbnail(serving, {"id": sections[middle].id, "size": values["size"]})


def thumbnail(serving: Serving, values: Values) -> Response:
    """Return the reduced image that a run keeps of a section, also where the image itself has moved."""
    section = serving.catalogue.section(values["id"])
    if section.run is None:
        raise RequestError(f"SectionImage {section.id}: no run keeps a reduced image of it", status=404)
    try:
        pixels, _, _ = RunFolder(section.run).read_thumbnail(section.image.section_number)
    except MissingResultError:
        raise RequestError(
            f"SectionImage {section.id}: the run has no reduced image of it", status=404
        ) from None
    step = max(1, -(-max(pixels.shape[:2]) // values["size"]))
    content = as_jpeg(pixels[::step, ::step], 85)
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})


def structures(serving: Serving, values: Values) -> list[dict[str, Any]]:
    """Return all structures of the reference, in the order of its graph."""
    ordered = sorted(serving.reference.ontology.structures, key=lambda one: one.graph_order)
    return [
        {
            "id": one.id,
            "acronym": one.acronym,
            "name": one.name,
            "parent_structure_id": one.parent_id,
            "graph_order": one.graph_order,
            "color_hex_triplet": one.color,
        }
        for one in ordered
    ]


ENDPOINTS = (
    Endpoint(
        "/status",
        "What the server serves, in numbers.",
        status,
        answer=record(
            experiments=INTEGER,
            section_images=INTEGER,
            reference=maybe(TEXT),
            region_px=INTEGER,
            rows=INTEGER,
        ),
    ),
    Endpoint(
        "/experiments",
        "Experiments, ascending by id.",
        experiments,
        (
            Parameter("text", "string", "text in id, gene or specimen"),
            Parameter("plane_of_section", "string", "plane", words=("coronal", "sagittal")),
            Parameter("start_row", "integer", "rows to pass over", default=0, least=0),
            Parameter("num_rows", "integer", "rows at most", default=2000, least=1, most=LIMITS.rows),
        ),
        array(record(**SUMMARY)),
    ),
    Endpoint(
        "/experiments/{id}",
        "One experiment with its sections.",
        experiment,
        (EXPERIMENT_ID,),
        record(
            id=INTEGER,
            gene=maybe(TEXT),
            plane_of_section=TEXT,
            specimen=maybe(TEXT),
            hemisphere=TEXT,
            reference_space_id=INTEGER,
            section_thickness_um=NUMBER,
            is_run=FLAG,
            has_table=FLAG,
            notes=array(TEXT),
            section_images=array(record(**SECTION)),
        ),
    ),
    Endpoint(
        "/experiments/{id}/thumbnail",
        "The reduced image that a run keeps of its middle section.",
        experiment_thumbnail,
        (EXPERIMENT_ID, THUMBNAIL_SIZE),
        "image/jpeg",
    ),
    Endpoint(
        "/sections/{id}/thumbnail",
        "The reduced image that a run keeps of a section.",
        thumbnail,
        (SECTION_ID, THUMBNAIL_SIZE),
        "image/jpeg",
    ),
    Endpoint(
        "/structures",
        "Structures of the reference, in the order of its graph.",
        structures,
        answer=array(
            record(
                id=INTEGER,
                acronym=TEXT,
                name=TEXT,
                parent_structure_id=maybe(INTEGER),
                graph_order=INTEGER,
                color_hex_triplet=TEXT,
            )
        ),
    ),
)
