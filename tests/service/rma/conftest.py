"""A small atlas in SQLite, and a server of its queries.

Two data sets of Pdyn (1 coronal, 2 sagittal and failed), one of Ace (3, coronal, another product), an atlas
with two plates, a tree of five structures in two sets, and values in both hemispheres.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from pipeline.core.errors import PipelineError
from pipeline.service.http.answers import RequestError, as_json, envelope
from pipeline.service.http.pool import Pool
from pipeline.service.rma.answer import Answer, answer
from pipeline.service.rma.database import close_connections
from pipeline.service.rma.endpoints import routes
from pipeline.service.rma.parse import query_of
from pipeline.service.rma.schema import create_tables

Rows = Mapping[str, list[dict[str, Any]]]
Ask = Callable[..., Answer]


def rows(columns: str, *values: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(columns.split(), row, strict=True)) for row in values]


def unionizes() -> list[dict[str, Any]]:
    """Three data sets by two structures by three hemispheres; the energy tells which."""
    return [
        {
            "id": 1000 + 100 * data_set + 10 * place + hemisphere,
            "section_data_set_id": data_set,
            "structure_id": structure,
            "hemisphere_id": hemisphere,
            "sum_pixels": 34969.0 * hemisphere,
            "sum_expressing_pixels": 100.0 * place,
            "sum_pixel_intensity": 5000.0,
            "sum_expressing_pixel_intensity": 15000.0 * place,
            "expression_density": 0.25,
            "expression_energy": round(data_set + place / 10 + hemisphere / 100, 2),
            "voxel_energy_mean": 25.0,
            "voxel_energy_cv": None,
        }
        for data_set in (1, 2, 3)
        for place, structure in enumerate((315, 22))
        for hemisphere in (1, 2, 3)
    ]


ATLAS: Rows = {
    "ages": rows(
        "id name days embryonic organism_id age_group_id",
        (15, "P56", 56.0, 0, 2, 3),
        (7, "E13.5", 13.5, 1, 2, 3),
    ),
    "organisms": rows("id name", (2, "Mus musculus")),
    "donors": rows("id name age_id sex", (10, "m1", 15, "M"), (11, "m2", 7, "F")),
    "specimens": rows(
        "id name donor_id parent_id", (100, "s1", 10, None), (101, "s2", 11, 100), (102, "s3", 11, 101)
    ),
    "plane_of_sections": rows("id name", (1, "coronal"), (2, "sagittal")),
    "reference_spaces": rows("id name age_id", (9, "P56 Brain", 15), (10, "P56 Brain, L/R Flipped", 15)),
    "data_sets": rows(
        "id type specimen_id plane_of_section_id failed section_thickness delegate reference_space_id",
        (1, "SectionDataSet", 100, 1, 0, 25.0, 1, 9),
        (2, "SectionDataSet", 100, 2, 1, 25.0, 0, 10),
        (3, "SectionDataSet", 101, 1, 0, 20.0, None, 9),
        (90, "AtlasDataSet", 100, 1, 0, 25.0, None, 9),
    ),
    "genes": rows(
        "id acronym name entrez_id organism_id chromosome_id type",
        (18376, "Pdyn", "prodynorphin", 18610, 2, 34, "NcbiGene"),
        (11, "Ace", "angiotensin I converting enzyme (peptidyl-dipeptidase A) 1", 11421, 2, 35, "NcbiGene"),
        (12, "Cd99", "CD99 antigen, 100% of it & more", None, 2, None, "NcbiGene"),
        (13, "pdyn_b", "it's <b>", 99, 3, 34, "NcbiGene"),
    ),
    "chromosomes": rows("id name organism_id", (34, "2", 2), (35, "11", 2)),
    "products": rows(
        "id name abbreviation", (1, "Mouse Brain", "Mouse"), (3, "Developing Mouse Brain", "DevMouse")
    ),
    "data_sets_genes": rows("data_set_id gene_id", (1, 18376), (2, 18376), (3, 11)),
    "data_sets_products": rows("data_set_id product_id", (1, 1), (2, 1), (3, 1), (3, 3)),
    "genes_products": rows("gene_id product_id", (18376, 1), (11, 1), (12, 1), (12, 3)),
    "probes": rows("id gene_id orientation_id name", (501, 18376, 2, "RP_1"), (502, 11, 2, "RP_2")),
    "data_sets_probes": rows("data_set_id probe_id", (1, 501), (3, 502)),
    "treatments": rows("id name", (1, "ISH")),
    "data_sets_treatments": rows("data_set_id treatment_id", (1, 1)),
    "sub_images": rows(
        "id type data_set_id section_number resolution annotated bits_per_component image_type",
        (101, "SectionImage", 1, 20, 1.07, 0, 8, "Primary"),
        (102, "SectionImage", 1, 12, 1.07, 0, 8, "Primary"),
        (103, "SectionImage", 2, 5, 1.0, 0, 8, "Primary"),
        (901, "AtlasImage", 90, 2, 1.0, 1, 8, "Primary"),
        (902, "AtlasImage", 90, 1, 1.0, 1, 8, "Primary"),
        (903, "AtlasImage", 90, 3, 1.0, 0, 8, "Primary"),
    ),
    "alternate_images": rows(
        "id image_type sub_image_id",
        (1, "Atlas - Adult Mouse", 901),
        (2, "Atlas - Adult Mouse", 902),
        (3, "Atlas - Adult Mouse", 903),
    ),
    "alignment2ds": rows("id section_image_id tsv_00 tvs_00", (1, 101, 1.07, 0.93), (2, 102, 1.07, 0.93)),
    "alignment3ds": rows(
        "id aligned_type aligned_id tvr_00 trv_00",
        (1, "DataSet", 1, 1.0, 1.0),
        (2, "Specimen", 100, 2.0, 0.5),
    ),
    "equalizations": rows("id section_data_set_id red_lower red_upper blue_lower", (1, 1, 0, 1500, 0)),
    "structures": rows(
        "id acronym name graph_id graph_order ontology_id parent_structure_id structure_id_path failed "
        "safe_name color_hex_triplet",
        (997, "root", "root", 1, 0, 1, None, "/997/", 0, "root", "B0FFB8"),
        (8, "grey", "Basic cell groups", 1, 1, 1, 997, "/997/8/", 0, "Basic cell groups", "B0FFB8"),
        (315, "Isocortex", "Isocortex", 1, 5, 1, 8, "/997/8/315/", 0, "Isocortex", "B0FFB8"),
        (22, "PTLp", "Posterior parietal", 1, 3, 1, 315, "/997/8/315/22/", 0, "Posterior parietal", "B0FFB8"),
        (15564, "NP", "neural plate", 17, 0, 12, None, "/15564/", 0, "neural plate", "B0FFB8"),
    ),
    "structure_graphs": rows(
        "id name ontology_id root_structure_id", (1, "Mouse Brain Atlas", 1, 997), (17, "Dev", 12, 15564)
    ),
    "ontologies": rows("id name organism_id", (1, "Mouse Brain Atlas", 2), (12, "Dev", 2)),
    "structure_sets": rows("id name", (2, "Mouse - Coarse"), (10, "Mouse Connectivity - Summary")),
    "structure_sets_structures": rows(
        "id structure_id structure_set_id", (1, 315, 2), (2, 315, 10), (3, 22, 10)
    ),
    "structure_centers": rows(
        "id structure_id reference_space_id x y z", (1, 315, 10, 7000, 1000, 3000), (2, 315, 9, 1, 2, 3)
    ),
    "structure_unionizes": unionizes(),
    "hemispheres": rows("id name symbol", (1, "left", "L"), (2, "right", "R"), (3, "both", "LR")),
    "atlases": rows(
        "id name image_type structure_graph_id graphic_group_label_id reference_space_id",
        (1, "Mouse, P56, Coronal", "Atlas - Adult Mouse", 1, 28, 9),
    ),
    "graphic_group_labels": rows("id name", (28, "Atlas - Adult Mouse")),
    "atlases_graphic_group_labels": rows("atlas_id graphic_group_label_id", (1, 28)),
    "atlases_data_sets": rows("atlas_id data_set_id", (1, 90)),
    "graphic_objects": rows("id sub_image_id graphic_group_label_id order", (1, 901, 28, 0)),
    "manual_annotations": rows(
        "id section_data_set_id structure_id intensity_call density_call pattern_call",
        (1, 3, 315, "High", "High", "Full"),
        (2, 1, 315, "Low", "High", "Full"),
    ),
    "well_known_file_types": rows("id name", (5, "DeformationFieldHeader"), (6, "Other")),
    "well_known_files": rows(
        "id attachable_id attachable_type well_known_file_type_id download_link",
        (5, 1, "DataSet", 5, "/api/v2/well_known_file_download/5"),
        (6, 1, "DataSet", 6, "/api/v2/well_known_file_download/6"),
        (7, 9, "ReferenceSpace", 6, "/api/v2/well_known_file_download/7"),
    ),
}


@cache
def empty_database() -> bytes:
    """Return the file of a database with all tables and no rows."""
    with closing(sqlite3.connect(":memory:")) as connection:
        create_tables(connection)
        return connection.serialize()


def write_database(path: Path, tables: Rows) -> Path:
    """Make a database and fill it with plain INSERTs."""
    path.write_bytes(empty_database())
    connection = sqlite3.connect(path)
    for table, records in tables.items():
        for record in records:
            columns = ", ".join(f'"{name}"' for name in record)
            marks = ", ".join("?" * len(record))
            connection.execute(f'INSERT INTO "{table}" ({columns}) VALUES ({marks})', tuple(record.values()))
    connection.commit()
    connection.close()
    return path


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small atlas."""
    return write_database(tmp_path_factory.mktemp("rma") / "it's 100% an atlas?.sqlite", ATLAS)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_connections()


@pytest.fixture
def ask(database: Path) -> Ask:
    """Ask with the parameters of a URL: criteria first, a model by name."""

    def asked(criteria: str = "", model: str = "", services: Any = None, **parameters: str) -> Answer:
        given = {"criteria": criteria, **parameters} if criteria else parameters
        return answer(database, query_of(given, model), services=services)

    return asked


async def _as_envelope(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RequestError) else 400
    return Response(as_json(envelope(str(error), success=False)), status, media_type="application/json")


@pytest.fixture
def serve(database: Path) -> Iterator[Callable[..., TestClient]]:
    """Start a server of the small atlas, with services."""
    pool = Pool()
    fake: Any = SimpleNamespace(database=database, pool=pool)

    def started(services: Any = None) -> TestClient:
        app = Starlette(routes=routes(fake, services), exception_handlers={PipelineError: _as_envelope})
        return TestClient(app, base_url="http://localhost")

    yield started
    pool.close()


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    """A client of the small atlas without services."""
    return serve()
