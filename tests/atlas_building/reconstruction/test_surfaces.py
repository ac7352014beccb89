"""Sections as surfaces: back to where their pixels lie, tilted and deformed."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.atlas_building.reconstruction.comparisons import Nodes
from pipeline.atlas_building.reconstruction.placed import PlacedSection, moved
from pipeline.atlas_building.reconstruction.surfaces import Raster, drawn_on, surface
from pipeline.core.model import Alignment2d, Alignment3d, Deformation, SectionAlignment
from pipeline.geometry.sync import pixel_to_reference
from pipeline.sections.thumbnail import SectionThumbnail

TILTED = np.array([[0.04, -0.03, 0.95, 300.0], [0.05, 1.02, 0.02, -100.0], [0.99, 0.03, -0.05, 200.0]])
BOX = (4000.0, 3000.0, 4000.0)


def section(wave_um: float = 60.0) -> SectionAlignment:
    """Return a turned section with a smooth displacement, also along z."""
    y, x = np.meshgrid(np.arange(40), np.arange(50), indexing="ij")
    waves = [wave_um * np.sin(y / 7 + k) * np.cos(x / 9) for k in range(3)]
    nodes = np.stack(waves).astype(np.float32)
    matrix = np.array([[9.8, -1.2, 300.0], [1.1, 9.9, 100.0]])
    return SectionAlignment(Alignment2d(7, matrix), deformation=Deformation(nodes, 10.0))


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_pixels_of_a_surface_lie_there(plane: str) -> None:
    matrix = TILTED if plane == "coronal" else TILTED[[2, 1, 0]]
    space, raster = Alignment3d(9, matrix), Raster.over(plane, BOX, 100.0)  # type: ignore[arg-type]
    placed = surface(section(), space, 2000.0, raster)
    pixels = placed.pixel.reshape(2, -1).T.astype(np.float64)
    inside = ((pixels > 20) & (pixels < 350)).all(axis=1)
    found = pixel_to_reference(pixels, section(), space, 2000.0)
    wanted = raster.places(placed.height_um.astype(np.float64)).reshape(-1, 3)
    away = np.linalg.norm(found - wanted, axis=1)[inside]
    assert inside.sum() > 300
    assert np.median(away) < 2.0
    assert np.percentile(away, 99) < 12.0  # linear between places 200 um apart


def test_an_image_is_drawn_where_its_pixels_lie() -> None:
    space, raster = Alignment3d(9, TILTED), Raster.over("coronal", BOX, 50.0)
    placed = surface(section(0.0), space, 2000.0, raster)
    y, x = np.meshgrid(np.arange(300.0), np.arange(390.0), indexing="ij")
    drawn = drawn_on((x + 2 * y).astype(np.float32), np.eye(2, 3), placed)
    wanted = placed.pixel[0] + 2 * placed.pixel[1]
    known = np.isfinite(drawn)
    assert known.mean() > 0.5
    assert np.abs(drawn - wanted)[known].max() < 0.1


def test_a_displaced_section_shows_what_lay_beside() -> None:
    """A step brings the image at x + step to x, so its pixels move by minus the step."""
    raster = Raster.over("coronal", BOX, 50.0)
    nodes = Nodes.over(raster.shape, 50.0, 500.0)
    thumbnail = SectionThumbnail(7, 2000.0, np.zeros((300, 390), np.uint8), 10.0, np.eye(2, 3))
    one = PlacedSection(thumbnail, section(), Alignment3d(9, TILTED))
    step = np.zeros((*nodes.shape, 2))
    step[..., 0], step[..., 1] = 40.0, -25.0
    after = moved(one, step, nodes, raster.plane)
    pixels = np.array([[100.0, 100.0], [200.0, 150.0], [300.0, 250.0]])
    before_um = pixel_to_reference(pixels, one.section, one.space, 2000.0)
    after_um = pixel_to_reference(pixels, after.section, one.space, 2000.0)
    assert np.allclose(after_um - before_um, [[0.0, -40.0, 25.0]] * 3, atol=0.5)


def test_a_step_that_would_fold_is_scaled_back() -> None:
    raster = Raster.over("coronal", BOX, 50.0)
    nodes = Nodes.over(raster.shape, 50.0, 500.0)
    thumbnail = SectionThumbnail(7, 2000.0, np.zeros((300, 390), np.uint8), 10.0, np.eye(2, 3))
    one = PlacedSection(thumbnail, section(0.0), Alignment3d(9, TILTED))
    step = np.zeros((*nodes.shape, 2))
    step[::2] = 900.0
    after = moved(one, step, nodes, raster.plane)
    found = after.section.deformation
    assert found is not None
    assert np.abs(found.displacement_um).max() < 700.0
