"""The phantom brain: a reference space built from rules, without any file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.core.errors import ConfigError
from pipeline.core.model import CORONAL_SPACE, EXTENT_UM, MIDLINE_UM, Float32, UInt32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.phantom.forebrain import paint_forebrain
from pipeline.phantom.hindbrain import paint_hindbrain
from pipeline.phantom.kernels import compact
from pipeline.phantom.shapes import Slab
from pipeline.phantom.structures import phantom_ontology

PHANTOM_UM = 50.0  # um; default voxel size: a finer phantom takes seconds and adds little to an alignment
SLAB_UM = 400.0  # extent along P that is painted at a time; bounds the memory of the depth arrays
SOFT_UM = 30.0  # standard deviation of the template's blur, um
TEMPLATE_SEED = 9
# Mean grey level of the template by ancestor: VS, fiber tracts, CB, Isocortex, HPF, TH.
FAMILIES = {73: 25.0, 1009: 70.0, 512: 135.0, 315: 120.0, 1089: 128.0, 549: 105.0}


def check_spacing(spacing_um: float) -> None:
    """Refuse a voxel size that the phantom is not made in.

    Parameters
    ----------
    spacing_um : float, um
        Voxel size.

    Raises
    ------
    ConfigError
        Where it is outside 10-200 um.
    """
    if not 10.0 <= spacing_um <= 200.0:
        raise ConfigError(f"phantom: expected a voxel size from 10 to 200 um, got {spacing_um}")


def phantom_reference(
    spacing_um: float = PHANTOM_UM, reference_space_id: int = CORONAL_SPACE
) -> ReferenceSpace:
    """Make the phantom brain.

    The two hemispheres mirror each other exactly about R = 5700 um. Voxel k lies at k x `spacing_um`, so
    ``annotation[..., 1:]`` equals its own flip along R wherever 5700 is a multiple of the spacing.

    Parameters
    ----------
    spacing_um : float, um
        Voxel size of annotation and template, 10-200.
    reference_space_id : int
        Id that the reference space carries; 9 is Allen's coronal space.

    Returns
    -------
    ReferenceSpace
        A box of 13200 x 8000 x 11400 um with annotation, template and ontology.

    Raises
    ------
    ConfigError
        Where the voxel size is outside 10-200 um.
    """
    check_spacing(spacing_um)
    half, back = _half(spacing_um)
    return ReferenceSpace(
        id=reference_space_id,
        name="phantom",
        annotation=half[:, :, back],
        annotation_um=spacing_um,
        ontology=phantom_ontology(),
        template=_template(half, spacing_um)[:, :, back],
        template_um=spacing_um,
        citation="procedural phantom; structure names and ids after the Allen Mouse Brain Atlas",
    )


def _half(spacing_um: float) -> tuple[UInt32, npt.NDArray[np.intp]]:
    """Paint one hemisphere by distance from the midline.

    Returns the labels (p, i, u), and for each plane along R the index of its plane along u.
    """
    p, i, r = (spacing_um * np.arange(round(extent / spacing_um)) for extent in EXTENT_UM)
    u, back = np.unique(np.abs(r - MIDLINE_UM), return_inverse=True)
    labels = np.zeros((p.size, i.size, u.size), np.uint32)
    step = max(int(SLAB_UM / spacing_um), 1)
    for start in range(0, p.size, step):
        planes = slice(start, start + step)
        p32, i32, u32 = (np.asarray(a, np.float32) for a in (p[planes], i, u))
        slab = Slab(p32, i32, u32, labels[planes])
        paint_forebrain(slab)
        paint_hindbrain(slab)
    return labels, back


def _template(half: UInt32, spacing_um: float) -> Float32:
    """Return a grey picture of one hemisphere: grey level by family and structure, with blurred borders."""
    ontology = phantom_ontology()
    rng = np.random.default_rng(TEMPLATE_SEED)
    bright = {0: 4.0}
    for structure in sorted(ontology.structures, key=lambda s: s.graph_order):
        family = next((b for i, b in FAMILIES.items() if i in ontology.path(structure.id)), 110.0)
        bright[structure.id] = family + float(rng.normal(0, 12))
    ids = np.array(sorted(bright), np.uint32)
    table = np.array([bright[int(i)] for i in ids], np.float32)
    index, _ = compact(half, ids)
    # "mirror" makes the first plane (the midline) the axis of symmetry, as in the whole brain.
    soft: Float32 = ndimage.gaussian_filter(table[index], SOFT_UM / spacing_um, mode="mirror", truncate=2.0)
    return soft
