"""From scanned in situ hybridisation sections of a brain to expression in brain structures.

import pipeline
results = pipeline.run(pipeline.load_config(path), [series], output, reference)
run = pipeline.open_run(output / "71717084")
index = pipeline.open_index(folder)
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":  # the locks of files, among others, are those of POSIX
    sys.exit("ish: Windows is not supported; it runs in WSL, the Windows Subsystem for Linux")

from pipeline.system import compiled_cache  # before numba

if TYPE_CHECKING:
    from pipeline.core.errors import PipelineError
    from pipeline.core.model import ExpressionSums, SectionDataSet, SectionImage, SeriesAlignment
    from pipeline.core.ontology import Ontology
    from pipeline.core.reference_space import ReferenceSpace
    from pipeline.detection import make_detector
    from pipeline.formats.manifests.series import read_series
    from pipeline.geometry.sync import (
        image_to_image,
        image_to_reference,
        reference_to_image,
        structure_to_image,
    )
    from pipeline.inputs.alignments import open_alignment
    from pipeline.inputs.config import load_config
    from pipeline.inputs.references import read_reference
    from pipeline.quantification.cells import SectionCells, accumulate
    from pipeline.quantification.gridding import PlacedSection, assemble, smooth
    from pipeline.quantification.unionize import LabelIndex, unionize
    from pipeline.registration import AlignmentOptions, align_series
    from pipeline.runs.api import RunOptions, open_run, run
    from pipeline.search.index import open_index

# What scripts use, and where it lies: imported when it is first asked for.
_PLACES = {
    "core.errors": ("PipelineError",),
    "core.model": (
        "ExpressionSums",
        "SectionDataSet",
        "SectionImage",
        "SeriesAlignment",
    ),
    "core.ontology": ("Ontology",),
    "core.reference_space": ("ReferenceSpace",),
    "detection": ("make_detector",),
    "formats.manifests.series": ("read_series",),
    "geometry.sync": (
        "image_to_image",
        "image_to_reference",
        "reference_to_image",
        "structure_to_image",
    ),
    "inputs.alignments": ("open_alignment",),
    "inputs.config": ("load_config",),
    "inputs.references": ("read_reference",),
    "quantification.cells": (
        "SectionCells",
        "accumulate",
    ),
    "quantification.gridding": (
        "PlacedSection",
        "assemble",
        "smooth",
    ),
    "quantification.unionize": (
        "LabelIndex",
        "unionize",
    ),
    "registration": (
        "AlignmentOptions",
        "align_series",
    ),
    "runs.api": (
        "RunOptions",
        "open_run",
        "run",
    ),
    "search.index": ("open_index",),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "AlignmentOptions",
    "ExpressionSums",
    "LabelIndex",
    "Ontology",
    "PipelineError",
    "PlacedSection",
    "ReferenceSpace",
    "RunOptions",
    "SectionCells",
    "SectionDataSet",
    "SectionImage",
    "SeriesAlignment",
    "accumulate",
    "align_series",
    "assemble",
    "compiled_cache",
    "image_to_image",
    "image_to_reference",
    "load_config",
    "make_detector",
    "open_alignment",
    "open_index",
    "open_run",
    "read_reference",
    "read_series",
    "reference_to_image",
    "run",
    "smooth",
    "structure_to_image",
    "unionize",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module(f"pipeline.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
