"""Small served data sets for the tests of the service, and a server over them without a socket."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from pipeline.core.model import (
    Alignment2d,
    Alignment3d,
    SectionAlignment,
    SectionDataSet,
    SectionImage,
    SeriesAlignment,
)
from pipeline.formats.manifests.allen_xml import NAME, write_data_set_xml
from pipeline.formats.volumes.metaimage import write_grid
from pipeline.service.app import create_app

IDENTITY = np.eye(3, 4)


def write_served(
    folder: Path,
    number: int,
    *,
    sections: Sequence[int] = (70,),
    tsv: Any = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    tvr: Any = IDENTITY,
    tvs: Any = None,
    trv: Any = None,
    space: int = 9,
    first_image_id: int = 100,
    thickness_um: float = 25.0,
    gene: str | None = None,
    energy: np.ndarray[Any, Any] | None = None,
) -> Path:
    """Write a data set as the original serves it: data_set.xml, and a grid where one is given."""
    folder.mkdir(parents=True)
    images = tuple(
        SectionImage(first_image_id + at, section, None, 4000, 3000, 1.0)
        for at, section in enumerate(sections)
    )
    plane = "coronal" if space == 9 else "sagittal"
    data_set = SectionDataSet(number, plane, thickness_um, images, gene=gene, reference_space_id=space)
    one = [
        Alignment2d(section, np.array(tsv, float), None if tvs is None else np.array(tvs, float))  # type: ignore[arg-type]
        for section in sections
    ]
    volume = Alignment3d(space, np.array(tvr, float), None if trv is None else np.array(trv, float))  # type: ignore[arg-type]
    write_data_set_xml(folder / NAME, data_set, SeriesAlignment(volume, tuple(map(SectionAlignment, one))))
    if energy is not None:
        write_grid(folder / "energy.mhd", energy.astype(np.float32), 200.0)
    return folder


def client_over(folders: Sequence[Path], cache: Path, **options: Any) -> TestClient:
    """Return a client of a server over folders; it is addressed as localhost."""
    return TestClient(create_app(folders, cache=cache, **options), base_url="http://localhost")
