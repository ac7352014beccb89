"""Compile the kernels of a run, and of the service over it, into numba's cache.

    python workflows/compile_kernels.py

A small phantom series goes through all stages: the run shows which kernels are needed, with which types.
Plates and outlines are then drawn from annotations in both orders of memory: files have P fastest, the
phantom R.
`make setup` does it, so that the first run need not.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.geometry.structure_centres import structure_centres
from pipeline.inputs.alignments import open_alignment
from pipeline.inputs.config import load_config
from pipeline.phantom import RenderOptions, phantom_reference
from pipeline.phantom.scenes import phantom_scene
from pipeline.phantom.write_series import write_phantom_series
from pipeline.runs import api
from pipeline.service.images.resampling import prepare
from pipeline.service.plates.atlases import atlas_images
from pipeline.service.plates.drawing import Sheet, svg
from pipeline.service.plates.drawings import drawn_plate, drawn_section

SECTIONS = 6  # the fewest that are aligned
RESOLUTION_UM = 7.5  # fine enough that small holes of a mask are filled, and that images are reduced
OPTIONS = RenderOptions(seed=1, stain_gain=0.1, texture=0.1, dust=2.0)  # as the demo's


def main() -> int:
    """Render and run; return 0 where the run came to its end."""
    config = load_config(Path(__file__).parents[1] / "configs" / "phantom.yaml")
    with TemporaryDirectory() as folder:
        write_phantom_series(Path(folder), phantom_scene("sagittal", SECTIONS, RESOLUTION_UM, OPTIONS))
        (result,) = api.run(config, [Path(folder, "series")], Path(folder, "runs"))
        if result.run is not None and not result.errors:
            draw(result.run.path)
    print(*result.errors, sep="\n", end="", file=sys.stderr)
    return 1 if result.errors else 0


def draw(run: Path) -> None:
    """Draw a plate and the outlines of a section, as the service does."""
    geometry, phantom = open_alignment(run), phantom_reference(100.0)
    for order in ("C", "F"):
        annotation = np.asarray(phantom.annotation, order=order)
        reference = replace(phantom, annotation=annotation, template=None)
        structure_centres(reference)
        drawn = drawn_plate(reference, atlas_images(reference, 1)[40])
        svg(drawn.rings, reference.ontology, Sheet(*drawn.size_px, drawn.unit_px, 0))
        drawn_section(reference, geometry, int(geometry.numbers[2]), (1000, 800))
    prepare()


if __name__ == "__main__":
    sys.exit(main())
