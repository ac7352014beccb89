"""A server of a few made-up sections, asked through HTTP without a network."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from pipeline.core.errors import PipelineError
from pipeline.core.model import SectionDataSet, SectionImage
from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.content.catalogue import Catalogue, ServedExperiment, ServedSection
from pipeline.service.http.answers import envelope
from pipeline.service.http.pool import Pool
from pipeline.service.images.endpoints import routes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have a successor of httpx
    from starlette.testclient import TestClient


@dataclass
class Fake:
    """The parts of a server that images need."""

    catalogue: Catalogue
    cache: Path
    pool: Pool

    reference_directory: Path | None = None
    database: Path = Path("none")

    @property
    def reference(self) -> ReferenceSpace:
        raise NotImplementedError


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """Answer an error as the application does: a damaged file of a run may be whole in a moment."""
    return JSONResponse(envelope(str(error), success=False), status_code=getattr(error, "status", 503))


Serve = Callable[..., TestClient]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve sections, numbered 101, 102 … in their order; masks lie below tmp_path."""
    with ExitStack() as stack:

        def start(*images: SectionImage, cache: Path | None = None) -> TestClient:
            sections = {
                image.section_number: ServedSection(101 + i, 1, image, run=tmp_path)
                for i, image in enumerate(images)
            }
            data_set = SectionDataSet(1, "coronal", 25.0, images)
            experiment = ServedExperiment(1, tmp_path, data_set, sections, None, True, "stamp")
            catalogue = Catalogue({1: experiment}, {s.id: (1, n) for n, s in sections.items()})
            pool = Pool()
            stack.callback(pool.close)
            app = Starlette(
                routes=routes(Fake(catalogue, cache or tmp_path / "cache", pool)),
                exception_handlers={PipelineError: refuse},
            )
            return stack.enter_context(
                TestClient(
                    app, base_url="http://localhost", follow_redirects=False, raise_server_exceptions=True
                )
            )

        yield start


def picture(height: int, width: int, seed: int = 2) -> np.ndarray:
    """Draw smooth blots in three colours, so that any way of coding comes out alike."""
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 30.0)
    return np.rint(30 + 200 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def sparse(height: int, width: int, seed: int = 3) -> np.ndarray:
    """Draw single expressing pixels and some larger spots."""
    drawn = np.random.default_rng(seed)
    mask = np.where(drawn.random((height, width)) < 0.002, drawn.integers(1, 256, (height, width)), 0)
    mask[height // 3 : height // 3 + 20, width // 4 : width // 4 + 30] = 180
    return mask.astype(np.uint8)


def section(
    path: Path | None, size: tuple[int, int] = (0, 0), number: int = 1, **more: object
) -> SectionImage:
    """Return a section with a frame of (width, height), px."""
    return SectionImage(number, number, path, *size, 1.0, **more)  # type: ignore[arg-type]


def shown(content: bytes, mode: str | None = None) -> np.ndarray:
    """Decode an answer by another library than the server's."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image if mode is None else image.convert(mode))


def close_to(got: np.ndarray, expected: np.ndarray, mean: float = 2.0, most: float = 40.0) -> bool:
    """Tell whether a picture is another one but for the losses of JPEG."""
    if got.shape != expected.shape:
        return False
    off = np.abs(got.astype(float) - expected)
    return bool(off.mean() <= mean and off.max() <= most)
