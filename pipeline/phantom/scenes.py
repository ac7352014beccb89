"""The series that `ish phantom` draws: the phantom brain, or a real reference cut as a real series was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.did_you_mean import hint
from pipeline.core.errors import ConfigError, DataError
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.manifests.series import read_series
from pipeline.formats.volumes.metaimage import read_grid
from pipeline.phantom import (
    PHANTOM_GENE,
    PHANTOM_UM,
    Cut,
    GridExpression,
    RenderOptions,
    Scene,
    StructureExpression,
    build_scene,
    coronal_geometry,
    geometry_from,
    phantom_reference,
    sagittal_geometry,
)


def render_options(given: Mapping[str, Any]) -> RenderOptions:
    """Return the options of the renderer from a mapping.

    Parameters
    ----------
    given : mapping of str to value
        Fields of RenderOptions.

    Returns
    -------
    RenderOptions
        The options, defaults where none is given.

    Raises
    ------
    ConfigError
        Where an option is unknown (the message names the nearest one), of the wrong type or out of range.
    """
    known = [field.name for field in fields(RenderOptions)]
    for key in given:
        if key not in known:
            raise ConfigError(f"phantom: unknown option {key}; {hint(key, known)}")
    try:
        return RenderOptions(**given)
    except TypeError as error:
        raise ConfigError(f"phantom: {error}") from None


def phantom_scene(plane: str, sections: int, resolution_um: float, options: RenderOptions) -> Scene:
    """Return the phantom cut into sections: its left hemisphere sagittally, or the whole brain coronally.

    Parameters
    ----------
    plane : str
        "sagittal" or "coronal".
    sections : int
        Number of sections.
    resolution_um : float, um
        Pixel size of the images.
    options : RenderOptions
        Options of the renderer; its seed also decides the cut.

    Returns
    -------
    Scene
        The series, ready to draw.

    Raises
    ------
    ConfigError
        Where the plane is another one or the sections do not fit.
    """
    if plane not in ("sagittal", "coronal"):
        raise ConfigError(f"--plane {plane}: expected sagittal or coronal")
    reference = phantom_reference(PHANTOM_UM)
    cut = sagittal_geometry if plane == "sagittal" else coronal_geometry
    return build_scene(reference, cut(reference, sections, resolution_um, seed=options.seed), options=options)


def specimen_scenes(
    plane: str, series: int, sections: int, resolution_um: float, options: RenderOptions
) -> list[Scene]:
    """Return one phantom brain cut into several interleaved series, each with its own stain and gene.

    Parameters
    ----------
    plane : str
        "sagittal" or "coronal".
    series : int
        Number of series.
    sections : int
        Number of sections of each series; those of series k lie k steps behind those of the first.
    resolution_um : float, um
        Pixel size of the images.
    options : RenderOptions
        Options of the renderer; series k has the seed `seed` + k.

    Returns
    -------
    list of Scene
        The series, ready to draw.

    Raises
    ------
    ConfigError
        Where the plane is another one, or the series do not fit between one another.
    """
    if plane not in ("sagittal", "coronal"):
        raise ConfigError(f"--plane {plane}: expected sagittal or coronal")
    reference = phantom_reference(PHANTOM_UM)
    lay = sagittal_geometry if plane == "sagittal" else coronal_geometry
    brain = options.shape_seed
    first = lay(reference, sections, resolution_um, options.seed, Cut(brain_seed=brain))
    numbers = [image.section_number for image in first.data_set.section_images]
    step = (numbers[1] - numbers[0] if sections > 1 else series) // series
    if step < 1:
        raise ConfigError(f"phantom: {series} series of {sections} sections do not fit between one another")
    scenes = []
    for k in range(series):
        own = replace(options, seed=options.seed + k, specimen_seed=brain)
        cut = Cut(brain_seed=brain, first_number=numbers[0] + k * step)
        geometry = lay(reference, sections, resolution_um, own.seed, cut)
        scenes.append(build_scene(reference, geometry, _gene(own.seed) if k else None, own))
    return scenes


def _gene(seed: int) -> StructureExpression:
    """Return another gene: the energies of the phantom's gene, permuted among its structures."""
    names, energies = list(PHANTOM_GENE), list(PHANTOM_GENE.values())
    dealt = np.random.default_rng([seed, 40]).permutation(energies)
    return StructureExpression(dict(zip(names, map(float, dealt), strict=True)))


def data_set_scene(
    series: Path, reference: ReferenceSpace, energy: Path | None, resolution_um: float, options: RenderOptions
) -> Scene:
    """Return a real reference seen through the sections of a real data set.

    Parameters
    ----------
    series : Path
        Folder with a data_set.xml that has an alignment.
    reference : ReferenceSpace
        The brain that is cut.
    energy : Path or None
        Energy grid as served, .mhd; None takes `energy.mhd` beside the manifest.
    resolution_um : float, um
        Wanted pixel size of the images.
    options : RenderOptions
        Options of the renderer.

    Returns
    -------
    Scene
        The series, ready to draw.

    Raises
    ------
    DataError
        Where the data set has no alignment.
    """
    source = read_series(series)
    if source.alignment is None:
        raise DataError(f"{series}: expected a data set with an alignment, got none; data_set.xml brings one")
    expression = GridExpression(read_grid(energy or series / "energy.mhd"))
    geometry = geometry_from(source.data_set, source.alignment, resolution_um)
    return build_scene(reference, geometry, expression, options)
