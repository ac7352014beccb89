"""Anchors of grey values: what may be turned, how a section follows its volume, a cue without contrast."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from brains import MIDDLE_UM, UM, brain, places
from scipy import ndimage

from pipeline.atlas_building.matching.match import State
from pipeline.atlas_building.matching.sampling import moved
from pipeline.atlas_building.matching.self_similarity import (
    CONTEXT,
    MIND,
    Descriptor,
    described,
    regressed,
)
from pipeline.atlas_building.matching.working import WorkingBrain
from pipeline.atlas_building.reconstruction.grey_anchor import matched, on_anchor, possible_turns
from pipeline.atlas_building.reconstruction.placed import PlacedSection
from pipeline.core.model import Alignment2d, Alignment3d, SectionAlignment
from pipeline.formats.volumes.volume_files import Volume
from pipeline.geometry import affine
from pipeline.geometry.deformation import section_to_volume
from pipeline.sections.thumbnail import SectionThumbnail


def manifest(**fields: object) -> SimpleNamespace:
    stated = {"plane_of_section": "coronal", "section_order": None, "image_up": None}
    return SimpleNamespace(first=SimpleNamespace(**(stated | fields)))


def test_only_what_the_manifest_leaves_open_is_turned() -> None:
    def turns(**fields: object) -> list[list[float]]:
        return [np.diag(t).tolist() for t in possible_turns(manifest(**fields))]  # type: ignore[arg-type]

    assert turns(section_order="rostral_to_caudal", image_up="superior") == [[1, 1, 1]]
    assert turns(image_up="superior") == [[1, 1, 1], [-1, 1, 1]]
    assert turns(section_order="rostral_to_caudal") == [[1, 1, 1], [1, -1, -1]]
    assert [-1, -1, 1] in turns(plane_of_section="sagittal", section_order="lateral_to_medial")
    assert len(turns()) == 4


def test_a_section_follows_its_volume() -> None:
    """Pixel to own frame, then the match: the section says the same at once."""
    draw = np.random.default_rng(2)
    thumbnail = SectionThumbnail(
        section_number=5,
        z_um=500.0,
        pixels=np.zeros((40, 50), np.uint8),
        resolution_um=100.0,
        thumbnail_to_section=np.eye(2, 3),
    )
    section = SectionAlignment(Alignment2d(5, np.array([[90.0, 10.0, 300.0], [-10.0, 90.0, 800.0]])))
    space = Alignment3d(9, np.array([[0, 0, -1.0, 2000.0], [0, 1, 0, 100.0], [1, 0, 0, 50.0]]))
    rest = ndimage.gaussian_filter(draw.normal(size=(30, 60, 60, 3)), (6, 6, 6, 0)).astype(np.float32)
    rest *= np.float32(60.0 / rest.std())
    state = State(np.column_stack([np.diag([1.1, 0.9, 1.0]), [100.0, -50.0, 20.0]]), rest)
    found = on_anchor(PlacedSection(thumbnail, section, space), state, 100.0)
    pixels = np.array([[10.0, 10.0], [20.0, 30.0], [45.0, 5.0]])
    own = affine.apply(space.volume_to_reference, section_to_volume(section, pixels, 500.0))
    more = [ndimage.map_coordinates(rest[..., k], own.T / 100.0, order=1) for k in range(3)]
    wanted = affine.apply(state.affine, own) + np.stack(more, axis=-1)
    at = affine.apply(found.space.volume_to_reference, section_to_volume(found.section, pixels, 500.0))
    assert at == pytest.approx(wanted, abs=6.0)  # linear between nodes 100 um apart on either side
    assert np.abs(wanted - affine.apply(state.affine, own)).max() > 30.0


@pytest.mark.parametrize("descriptor", [MIND, CONTEXT])
def test_self_similarity_knows_no_contrast(descriptor: Descriptor) -> None:
    grey, labels = brain()
    one = described(WorkingBrain(grey, labels > 0, UM), descriptor)
    for values in (300.0 - grey, 7.0 + 0.01 * grey):
        other = described(WorkingBrain(values.astype(np.float32), labels > 0, UM), descriptor)
        assert np.abs(np.array(one) - np.array(other))[:, labels > 0].mean() < 0.02
    turned = WorkingBrain(np.ascontiguousarray(grey[:, :, ::-1]), labels[:, :, ::-1] > 0, UM)
    before, after = (4, 5) if descriptor is MIND else _before_and_after()
    assert described(turned, descriptor)[after][:, :, ::-1] == pytest.approx(one[before], abs=1e-5)


def _before_and_after() -> tuple[int, int]:
    """Return two pairs of the context that mirror each other along R."""
    pairs = [set(pair) for pair in CONTEXT.pairs]
    assert len(pairs) == 12
    return pairs.index({(1, 0, 0), (0, 0, -1)}), pairs.index({(1, 0, 0), (0, 0, 1)})


def test_what_is_left_of_regressed_channels_is_white() -> None:
    """Channels that are mixed, displaced and noisy: the mixture is found, the noise has variance 1."""
    draw = np.random.default_rng(5)
    shape, field = (20, 18, 22), np.full((20, 18, 22, 3), (1.0, -2.0, 0.0), np.float32)
    source = [ndimage.gaussian_filter(draw.normal(size=shape), 1.5).astype(np.float32) * 9 for _ in range(3)]
    mixture, noise = draw.normal(size=(3, 3)), draw.normal(size=(3, 3))
    told = np.stack([moved(channel, field) for channel in source], axis=-1)
    more = np.stack([ndimage.gaussian_filter(draw.normal(size=shape), 0.7) for _ in range(3)], axis=-1)
    mixed = told @ mixture + more @ noise + 4.0
    mask = np.zeros(shape, bool)
    mask[3:-3, 3:-3, 3:-3] = True
    cues = regressed([np.asarray(mixed[..., k], np.float32) for k in range(3)], source, mask, field)
    seen = [ndimage.gaussian_filter(cue.target, 0.5)[mask] for cue in cues]
    paint = [moved(ndimage.gaussian_filter(cue.source, 0.5), field)[mask] for cue in cues]
    left = np.stack(seen) - np.stack(paint)
    assert np.cov(left) == pytest.approx(np.eye(3), abs=0.1)
    assert np.abs(left.mean(axis=1)).max() < 0.01
    assert all(np.corrcoef(a, b)[0, 1] > 0.5 for a, b in zip(seen, paint, strict=True))


def test_a_volume_is_matched_with_its_negative() -> None:
    own = places() - np.array([4300.0, 3500.0, MIDDLE_UM])
    away = np.stack([150.0 * np.sin(own[..., 2] / 2000.0 + k) for k in range(3)], axis=-1)
    grey, labels = brain()
    bent = brain(places() + away)[0]
    anchor = Volume((300.0 - grey).astype(np.float32), (UM,) * 3, None)  # type: ignore[arg-type]
    found = matched(replace(anchor, values=bent), anchor, [np.eye(3)])
    assert found is not None
    state, um, shared = found
    field = state.displacement(um).vectors[labels > 0]
    assert np.median(np.linalg.norm(field - away[labels > 0], axis=1)) < 60.0  # 178 before, voxels of 200
    assert shared > 0.9
    part = np.where(np.arange(grey.shape[0])[:, None, None] < 20, bent, 0)
    assert matched(replace(anchor, values=part), anchor, [np.eye(3)]) is None
