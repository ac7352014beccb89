"""Centres of all structures at once are those of one structure after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.geometry.structure_centres import structure_centres
from pipeline.geometry.sync import structure_centre
from pipeline.inputs.references import open_reference


@pytest.mark.parametrize("hemisphere", ["left", "right"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_centres_are_those_of_single_structures(hemisphere: str, order: str) -> None:
    phantom = open_reference(None, 200.0)
    annotation = np.asarray(phantom.annotation, order=order).copy(order)  # type: ignore[call-overload]
    annotation[:20, :, :10] = 0  # not symmetric
    reference = replace(phantom, annotation=annotation, template=None)
    found = structure_centres(reference, hemisphere)
    for structure in reference.ontology.structures:
        if structure.id in found:
            expected = structure_centre(reference, structure.id, hemisphere)
            np.testing.assert_array_equal(found[structure.id], expected)
        else:
            with pytest.raises(DataError, match="no voxel"):
                structure_centre(reference, structure.id, hemisphere)


def test_labels_that_the_ontology_lacks_count_nowhere() -> None:
    phantom = open_reference(None, 100.0)
    annotation = phantom.annotation.copy()
    annotation[annotation == annotation[annotation > 0][0]] = 4_000_000_000
    reference = replace(phantom, annotation=annotation, template=None)
    assert 4_000_000_000 not in structure_centres(reference)
