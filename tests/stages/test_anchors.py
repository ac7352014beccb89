"""Anchors of another program become rough positions along the normal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import AlignmentError, ConfigError
from pipeline.formats.alignments.alignment_json import read_alignment
from pipeline.formats.manifests.series import read_series
from pipeline.geometry.sync import pixel_to_reference
from pipeline.inputs.pixels import probe_any
from pipeline.phantom import phantom_reference
from pipeline.registration import SectionThumbnail
from pipeline.registration.model.painted_atlas import atlas_of
from pipeline.registration.refusals import check_positions
from pipeline.stages.anchors import SPREAD_UM, anchored, anchors_path


@pytest.fixture(scope="module")
def series(rendered: Path) -> Path:
    return rendered / "series"


def thumbnails(numbers: list[int]) -> list[SectionThumbnail]:
    pixels = np.full((20, 30), 230, np.uint8)
    return [SectionThumbnail(n, 25.0 * n, pixels, 16.0, np.eye(2, 3)) for n in numbers]


def test_anchors_tell_where_the_middle_of_each_section_lies(series: Path) -> None:
    data_set = read_series(series, probe_any).data_set
    path = anchors_path({"anchors": "alignment.json"}, series)
    assert path == series / "alignment.json"
    alignment = read_alignment(path)
    shown = thumbnails([image.section_number for image in data_set.section_images])
    stated = replace(shown[0], position_um=4000.0)
    found = anchored([stated, *shown[1:]], path, data_set)
    assert (found[0].position_um, found[0].position_spread_um) == (4000.0, 50.0)  # the manifest's is kept
    for image, one in zip(data_set.section_images[1:], found[1:], strict=True):
        section = alignment.of(image.section_number)
        assert section is not None
        middle = np.array([[(image.width_px - 1) / 2, (image.height_px - 1) / 2]])
        place = pixel_to_reference(middle, section, alignment.alignment3d, one.z_um)[0]
        assert one.position_um == pytest.approx(place[2], abs=0.01)  # R of sagittal sections
        assert one.position_spread_um == SPREAD_UM


def test_no_file_and_a_wrong_file(series: Path) -> None:
    data_set = read_series(series, probe_any).data_set
    shown = thumbnails([2])
    assert anchors_path({}, series) is None
    assert anchored(shown, None, data_set) == shown
    with pytest.raises(ConfigError, match=r"alignment\.configuration\.anchors: .*no such file"):
        anchored(shown, series / "absent.json", data_set)


def test_a_position_beyond_the_brain_is_refused() -> None:
    atlas = atlas_of(phantom_reference(100.0), "sagittal", "left")
    check_positions(atlas, [replace(thumbnails([2])[0], position_um=3000.0)])
    with pytest.raises(AlignmentError, match=r"section 2: expected section_position_um .* got 1e\+06"):
        check_positions(atlas, [replace(thumbnails([2])[0], position_um=1e6)])
