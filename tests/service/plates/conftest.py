"""Shared by the tests of plates: small references, an experiment, and the parts of a server."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from service.plates.filling import fill
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.core.errors import PipelineError
from pipeline.core.model import (
    Alignment2d,
    Alignment3d,
    Deformation,
    SectionAlignment,
    SectionDataSet,
    SectionImage,
    SeriesAlignment,
    Structure,
)
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry.sync import geometry_of
from pipeline.inputs.references import read_reference
from pipeline.phantom import phantom_reference
from pipeline.service.content.catalogue import Catalogue, ServedExperiment, ServedSection
from pipeline.service.http.answers import envelope
from pipeline.service.http.pool import Pool

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette asks for another HTTP library than the tests have
    from starlette.testclient import TestClient

Fill = Callable[..., npt.NDArray[np.uint32]]
FIRST_SECTION = 700  # id of the first section


@pytest.fixture
def filled() -> Fill:
    """Return the brute-force fill."""
    return fill


@pytest.fixture(scope="session")
def phantom() -> ReferenceSpace:
    """Return the phantom at 100 um."""
    return phantom_reference(100.0)


@pytest.fixture(scope="session")
def real(ish_data: Path) -> ReferenceSpace:
    """Return the real annotation at 25 um."""
    return read_reference(ish_data / "reference", 25.0, template=False)


@pytest.fixture
def blocks() -> ReferenceSpace:
    """Return 12 x 10 x 14 voxels of 100 um: random blocks, and one label that the ontology lacks."""
    rng = np.random.default_rng(4)
    labels = rng.choice(np.array([0, 2, 3, 7], np.uint32), (6, 5, 7)).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    labels[0, 0, 0] = 99
    template = rng.integers(0, 400, labels.shape).astype(np.float32)
    structures = (
        Structure(1, "root", "root", None, 0, "FFFFFF"),
        Structure(2, "A", "A & B", 1, 3, "FF8000"),
        Structure(3, "B", "B", 2, 2, "00ff00"),
        Structure(5, "E", "empty", 1, 4, "0000FF"),
        Structure(7, "C", "C", 1, 1, "123456"),
    )
    return ReferenceSpace(9, "blocks", labels, 100.0, Ontology(structures), template, 100.0)


@dataclass(eq=False)
class Parts:
    """The parts of a server, as endpoints see them."""

    reference: ReferenceSpace
    cache: Path
    catalogue: Catalogue = field(default_factory=lambda: Catalogue({}))
    reference_directory: Path | None = None
    database: Path = Path("nowhere")
    pool: Pool = field(default_factory=Pool)


def an_experiment(*, mirrored: bool = False, bent: bool = False, space: int = 9) -> ServedExperiment:
    """Return an experiment over the box of `blocks`: four sections of 320 x 240 px, the last not placed."""
    numbers = (4, 8, 12, 16)
    turn = 0.2
    linear = 4.0 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    shift = np.array([1250.0 if mirrored else 150.0, 20.0])
    nodes = np.random.default_rng(1).normal(0, 60, (3, 5, 6)).astype(np.float32)
    sections = tuple(
        SectionAlignment(
            Alignment2d(n, np.column_stack([linear, shift])),
            deformation=Deformation(nodes, 60.0, (10.0, -5.0)) if bent else None,
        )
        for n in numbers[:3]
    )
    to_reference = np.array([[0.02, 0.01, -1.0, 1200.0], [0.05, 0.98, 0.0, 30.0], [1.02, 0.0, 0.03, -20.0]])
    alignment = SeriesAlignment(Alignment3d(space, to_reference), sections)
    images = tuple(SectionImage(FIRST_SECTION + n, n, None, 320, 240, 4.0) for n in numbers)
    data_set = SectionDataSet(55, "coronal", 50.0, images, reference_space_id=space)
    served = {image.section_number: ServedSection(image.id, 55, image) for image in images}
    return ServedExperiment(
        55, Path("run"), data_set, served, geometry_of(55, 50.0, alignment), True, "first"
    )


def catalogue_of(experiment: ServedExperiment) -> Catalogue:
    """Return a catalogue of one experiment."""
    of = {section.id: (experiment.id, number) for number, section in experiment.sections.items()}
    return Catalogue({experiment.id: experiment}, of)


@pytest.fixture
def make_experiment() -> Callable[..., ServedExperiment]:
    """Return what makes an experiment."""
    return an_experiment


@pytest.fixture
def make_parts(tmp_path: Path) -> Callable[..., Parts]:
    """Return what makes the parts of a server."""

    def make(reference: ReferenceSpace, experiment: ServedExperiment | None = None, **other: object) -> Parts:
        catalogue = Catalogue({}) if experiment is None else catalogue_of(experiment)
        return Parts(reference, tmp_path / "cache", catalogue, **other)  # type: ignore[arg-type]

    return make


async def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse(envelope(str(error), success=False), getattr(error, "status", 400))


@pytest.fixture
def client() -> Callable[[list[Route]], object]:
    """Return a context in which routes answer, errors turned into the envelope as the application does."""

    @contextmanager
    def serve(routes: list[Route]) -> Iterator[TestClient]:
        app = Starlette(routes=routes, exception_handlers={PipelineError: _refused})
        with TestClient(app, base_url="http://localhost") as found:
            yield found

    return serve
