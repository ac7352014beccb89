"""Series of one specimen share an Alignment3d, none worse than alone; one that does not fit is separate."""

from dataclasses import replace

import numpy as np
import pytest
from registration.test_align import PIXEL_UM, SAGITTAL, errors_um

from pipeline.core.errors import AlignmentError
from pipeline.core.model import SeriesAlignment
from pipeline.core.reference_space import ReferenceSpace
from pipeline.phantom import (
    Cut,
    RenderOptions,
    Scene,
    StructureExpression,
    build_scene,
    phantom_reference,
    render_section,
    sagittal_geometry,
)
from pipeline.registration import AlignmentOptions, SectionThumbnail, Series, align_series, align_specimen
from pipeline.registration.specimen import Outcome

Drawn = tuple[Scene, list[SectionThumbnail]]


@pytest.fixture(scope="module")
def reference() -> ReferenceSpace:
    return phantom_reference(100.0)


@pytest.fixture(scope="module")
def brain(reference: ReferenceSpace) -> list[Drawn]:
    """Two series of six sections from one brain, stained and framed unlike."""
    drawn = []
    for k in range(2):
        cut = Cut(first_number=10 + 4 * k, brain_seed=2, margin_um=400.0 + 300.0 * k)
        geometry = sagittal_geometry(reference, 6, PIXEL_UM, seed=20 + k, cut=cut)
        options = RenderOptions(
            seed=20 + k, specimen_seed=2, texture=0.2, stain_gain=0.3, extra_shift_um=100.0
        )
        scene = build_scene(reference, geometry, StructureExpression({}), options)
        drawn.append((scene, [thumbnail(scene, n) for n in range(6)]))
    return drawn


def thumbnail(scene: Scene, index: int) -> SectionThumbnail:
    number = scene.images[index].section_number
    z_um, pixels = scene.geometry.data_set.z_um(number), render_section(scene, index).pixels
    return SectionThumbnail(number, z_um, pixels, PIXEL_UM, np.eye(2, 3))


def specimen(
    series: list[list[SectionThumbnail]], reference: ReferenceSpace, options: AlignmentOptions = SAGITTAL
) -> list[Outcome]:
    return align_specimen([Series.of(t, options, number=k) for k, t in enumerate(series)], reference)


@pytest.fixture(scope="module")
def alone(brain: list[Drawn], reference: ReferenceSpace) -> list[SeriesAlignment]:
    return [align_series(thumbnails, reference, SAGITTAL) for _, thumbnails in brain]


def test_series_of_one_brain_have_one_alignment3d_and_gain_by_it(
    brain: list[Drawn], alone: list[SeriesAlignment], reference: ReferenceSpace
) -> None:
    together = specimen([thumbnails for _, thumbnails in brain], reference)
    spaces = [one.alignment3d.volume_to_reference for one in together]  # type: ignore[union-attr]
    assert np.array_equal(*spaces)
    for (scene, thumbnails), found, before in zip(brain, together, alone, strict=True):
        assert isinstance(found, SeriesAlignment)
        assert [s.alignment2d.section_number for s in found.sections] == [
            t.section_number for t in thumbnails
        ]
        assert found.measures["sections"] == 6.0
        assert not any("separately" in note for note in found.notes)
        error, least = (np.median(errors_um(scene, a)) for a in (found, before))
        assert error < least + 5.0
        assert error < 60.0


def test_a_few_sections_that_could_not_be_aligned_alone_are_anchored_by_the_others(
    brain: list[Drawn], reference: ReferenceSpace
) -> None:
    few = brain[1][1][1:4]
    with pytest.raises(AlignmentError, match="3 usable sections"):
        align_series(few, reference, SAGITTAL)
    found = specimen([brain[0][1], few], reference)[1]
    assert isinstance(found, SeriesAlignment)
    assert len(found.sections) == 3
    numbers = {t.section_number for t in few}
    scene = brain[1][0]
    images = tuple(i for i in scene.images if i.section_number in numbers)
    kept = replace(scene.geometry, data_set=replace(scene.geometry.data_set, section_images=images))
    assert np.median(errors_um(replace(scene, geometry=kept), found)) < 80.0


@pytest.mark.slow
def test_a_series_numbered_backwards_is_aligned_separately(
    brain: list[Drawn], alone: list[SeriesAlignment], reference: ReferenceSpace
) -> None:
    ends = brain[1][1][0].section_number + brain[1][1][-1].section_number
    backwards = [
        replace(t, section_number=ends - t.section_number, z_um=25.0 * (ends - t.section_number))
        for t in brain[1][1]
    ]
    first, second = specimen([brain[0][1], backwards], reference)
    assert isinstance(first, SeriesAlignment)
    assert isinstance(second, SeriesAlignment)
    assert "aligned separately from the other series of its specimen" in second.notes[0]
    ours, theirs = (a.alignment3d.volume_to_reference for a in (first, alone[0]))
    assert np.array_equal(ours, theirs)


def test_a_blank_series_is_refused_and_leaves_the_other_as_if_alone(
    brain: list[Drawn], alone: list[SeriesAlignment], reference: ReferenceSpace
) -> None:
    blank = [replace(t, pixels=np.full_like(t.pixels, 240)) for t in brain[1][1]]
    found, refused = specimen([brain[0][1], blank], reference)
    assert isinstance(refused, AlignmentError)
    assert isinstance(found, SeriesAlignment)
    ours, theirs = (a.alignment3d.volume_to_reference for a in (found, alone[0]))
    assert np.array_equal(ours, theirs)
