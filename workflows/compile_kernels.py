"""Compile the kernels of a run into numba's cache.

    python workflows/compile_kernels.py

A small phantom series goes through all stages: the run shows which kernels are needed, with which types.
`make setup` does it, so that the first run need not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.inputs.config import load_config
from pipeline.phantom import RenderOptions
from pipeline.phantom.scenes import phantom_scene
from pipeline.phantom.write_series import write_phantom_series
from pipeline.runs import api

SECTIONS = 6  # the fewest that are aligned
RESOLUTION_UM = 7.5  # fine enough that small holes of a mask are filled, and that images are reduced
OPTIONS = RenderOptions(seed=1, stain_gain=0.1, texture=0.1, dust=2.0)  # as the demo's


def main() -> int:
    """Render and run; return 0 where the run came to its end."""
    config = load_config(Path(__file__).parents[1] / "configs" / "phantom.yaml")
    with TemporaryDirectory() as folder:
        write_phantom_series(Path(folder), phantom_scene("sagittal", SECTIONS, RESOLUTION_UM, OPTIONS))
        (result,) = api.run(config, [Path(folder, "series")], Path(folder, "runs"))
    print(*result.errors, sep="\n", end="", file=sys.stderr)
    return 1 if result.errors else 0


if __name__ == "__main__":
    sys.exit(main())
