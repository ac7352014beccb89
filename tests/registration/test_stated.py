"""What the manifest states is kept where it may be right, and always where it is trusted."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from registration.test_align import SAGITTAL, rendered

from pipeline.core.errors import AlignmentError, ConfigError
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry.scales import spacing_text
from pipeline.phantom import Scene, phantom_reference
from pipeline.registration import AlignmentOptions, SectionThumbnail
from pipeline.registration.align import Series
from pipeline.registration.initial.orientation import fit_orientations
from pipeline.registration.initial.plane_and_half import choose_orientation
from pipeline.registration.model.painted_atlas import atlas_of
from pipeline.registration.refusals import check_fit
from pipeline.stages.align import alignment_options


@pytest.fixture(scope="module")
def reference() -> ReferenceSpace:
    return phantom_reference(100.0)


@pytest.fixture(scope="module")
def sagittal(reference: ReferenceSpace) -> tuple[Scene, list[SectionThumbnail]]:
    return rendered(reference, "sagittal", 9)


def configured(**configuration: Any) -> AlignmentOptions:
    data_set = SimpleNamespace(
        plane_of_section="coronal", hemisphere="both", section_order=None, image_up="superior"
    )
    series = SimpleNamespace(data_set=data_set, configuration=configuration, aligner="joint")
    return alignment_options(series)  # type: ignore[arg-type]


def test_trust_is_read_as_words() -> None:
    assert configured().trust == ()
    assert configured(trust="plane,order").trust == ("plane", "order")
    assert configured(trust=["up"]).trust == ("up",)
    with pytest.raises(
        ConfigError, match=r"configuration\.trust: expected some of plane, order, up, got side"
    ):
        configured(trust="side")
    with pytest.raises(ConfigError, match=r"configuration\.trust: expected some of plane, order, up, got 3"):
        configured(trust=3)


def test_trust_in_a_hint_that_is_not_given_is_noted() -> None:
    options = configured(trust="plane,order,up")
    assert options.trusted_up
    assert not options.trusted_order
    assert options.trusted_in_vain == ("trust names order, but the manifest gives no section_order",)


def test_a_trusted_hint_is_kept_though_the_images_contradict_it(
    reference: ReferenceSpace, sagittal: tuple[Scene, list[SectionThumbnail]]
) -> None:
    wrong = replace(SAGITTAL, section_order="medial_to_lateral", image_up="inferior")
    usable = Series.of(sagittal[1], wrong).usable
    overruled, notes, _ = choose_orientation(
        reference, atlas_of(reference, "sagittal", "left"), usable, wrong
    )
    assert not overruled.orientation.agrees_with_hints(wrong)
    assert "contradict" in notes[0]
    for trusted in ("order", "up"):
        options = replace(wrong, trust=(trusted,))
        tried = fit_orientations(atlas_of(reference, "sagittal", "left"), usable, options)
        assert {
            one.orientation.sign == overruled.orientation.sign
            if trusted == "order"
            else one.orientation.turn_deg is None or abs(one.orientation.turn_deg) < 135.0
            for one in tried
        } == {False}


def test_spacing_is_named_where_the_plane_is_possible() -> None:
    assert spacing_text(np.array([1.0, 1.0, 8.5])).endswith("off by x 8.5")
    assert spacing_text(np.array([1.0, 1.0, 0.21])).endswith("off by x 0.21")
    assert spacing_text(np.array([1.0, 1.0, 1.2])) == ""
    assert spacing_text(np.array([3.0, 3.0, 8.5])) == ""


def test_a_wrong_spacing_is_all_that_is_named(reference: ReferenceSpace) -> None:
    atlas = atlas_of(reference, "coronal", "both")
    volume = np.hstack([np.diag([1.0, 1.0, 8.5]), np.zeros((3, 1))])
    with pytest.raises(
        AlignmentError, match=r"section_thickness_um or the section numbers seem off by x 8\.5$"
    ):
        check_fit(atlas, [0.95, 0.96], volume, "phantom")
    with pytest.raises(AlignmentError, match=r"check plane_of_section, hemisphere, .*off by x 8\.5\)$"):
        check_fit(atlas, [0.6, 0.65], volume, "phantom")
