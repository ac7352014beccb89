"""What `ish phantom` draws: the phantom brain, or a real reference through a real data set's geometry."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, DataError
from pipeline.formats.metaimage import read_grid
from pipeline.formats.reference import read_reference
from pipeline.formats.series import read_series
from pipeline.phantom import (
    GridExpression,
    RenderOptions,
    Scene,
    build_scene,
    coronal_geometry,
    geometry_from,
    phantom_reference,
    sagittal_geometry,
)

PHANTOM_UM = 50.0


def render_options(given: Mapping[str, Any]) -> RenderOptions:
    """Return the renderer's options; ConfigError that names the nearest for an unknown one."""
    known = [field.name for field in fields(RenderOptions)]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.3)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"phantom: unknown option {key}; {hint}")
    try:
        return RenderOptions(**given)
    except TypeError as error:
        raise ConfigError(f"phantom: {error}") from None


def phantom_scene(plane: str, sections: int, resolution_um: float, options: RenderOptions) -> Scene:
    """Return the phantom cut into sections: its left hemisphere sagittally, or the whole brain coronally."""
    if plane not in ("sagittal", "coronal"):
        raise ConfigError(f"--plane {plane}: expected sagittal or coronal")
    reference = phantom_reference(PHANTOM_UM)
    cut = sagittal_geometry if plane == "sagittal" else coronal_geometry
    return build_scene(reference, cut(reference, sections, resolution_um, seed=options.seed), options=options)


def data_set_scene(
    series: Path, reference: Path, energy: Path | None, resolution_um: float, options: RenderOptions
) -> Scene:
    """Return a real reference seen through the sections of a real data set.

    Parameters
    ----------
    series : folder       with a data_set.xml that has an alignment
    reference : folder    whose finest annotation is cut
    energy : .mhd         what is expressed, as served; default `energy.mhd` beside the manifest
    """
    source = read_series(series)
    if source.alignment is None:
        raise DataError(f"{series}: expected a data set with an alignment, got none; data_set.xml brings one")
    expression = GridExpression(read_grid(energy or series / "energy.mhd"))
    geometry = geometry_from(source.data_set, source.alignment, resolution_um)
    return build_scene(read_reference(reference, template=False), geometry, expression, options)
