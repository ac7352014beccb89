"""A short series finds its position along the cutting axis by its stain."""

import numpy as np
import pytest
from registration.test_align import CORONAL, rendered

from pipeline.geometry import affine
from pipeline.phantom import phantom_reference, true_alignment
from pipeline.registration.align import Series
from pipeline.registration.fit.joint import FitProblem
from pipeline.registration.initial.sliding import is_short, slid
from pipeline.registration.model.painted_atlas import atlas_of
from pipeline.registration.model.state import TransformState


def test_a_window_that_lies_two_millimetres_off_is_slid_back() -> None:
    reference = phantom_reference(100.0)
    scene, drawn = rendered(reference, "coronal", 14)
    atlas = atlas_of(reference, "coronal", "both")
    truth = true_alignment(scene)
    assert not is_short(atlas, np.array([t.z_um for t in drawn]))
    usable = Series.of(drawn[4:8], CORONAL).usable
    assert is_short(atlas, usable.z_um)
    right = truth.alignment3d.volume_to_reference
    poses = [truth.of(t.section_number).alignment2d.section_to_volume for t in usable.thumbnails]  # type: ignore[union-attr]
    nominal = usable.nominal(False)
    problem = FitProblem(atlas, usable.tissues, nominal, usable.known, CORONAL)
    moved = right.copy()
    moved[0, 3] += 2000.0
    found = slid(problem, TransformState(np.array(poses), usable.z_um, moved))
    inside = np.array([5700.0, 4000.0, float(usable.z_um.mean())])
    assert affine.apply(found.volume, inside)[0] == pytest.approx(affine.apply(right, inside)[0], abs=150.0)
