"""Sections placed on an anchor of grey values, whose contrast may have nothing to do with their own.

The sections are first placed without it, by each other. Their volume is then matched with the anchor by
self-similarity, which needs no contrast in common, and every section follows. Displacements within planes may
vary fast along the series: sections that were placed freely are off each by itself. Where the outlines of
the two do not overlap, as those of a part of a brain, sections are aligned to classes of the anchor's greys
instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from pipeline.atlas_building.matching.affine import fit_affine, overlap_after
from pipeline.atlas_building.matching.cues import GreyCue
from pipeline.atlas_building.matching.match import Pair, Stage, State, match, start_of
from pipeline.atlas_building.matching.self_similarity import CONTEXT, MIND, described, regressed
from pipeline.atlas_building.matching.working import working_brain, working_um
from pipeline.atlas_building.reconstruction.anchors import Anchor
from pipeline.atlas_building.reconstruction.brain_sections import BrainSections
from pipeline.atlas_building.reconstruction.place import (
    Placement,
    check_size,
    look,
    place_freely,
    place_on_anchor,
)
from pipeline.atlas_building.reconstruction.placed import PlacedSection, carried
from pipeline.atlas_building.reconstruction.surfaces import NORMAL
from pipeline.atlas_building.reconstruction.volume import build_volume
from pipeline.core.model import Alignment3d, Float64
from pipeline.formats.volumes.volume_files import Volume
from pipeline.geometry import affine

VOLUME_UM = 100.0  # voxel at which the sections' own volume is matched
LEAST_SHARED = 0.85  # overlap of the outlines, below which they are not those of the same part
STIFFNESS = 3000.0  # weight of the bending energy while descriptors are matched as they are
# Then they are regressed and matched again. Of 1200 and 3000, 1200 left less.
LAST, LAST_STIFFNESS = (Stage(1, 0.6, 0, 4),), 1200.0
ROOM = 3  # voxels around the tissue that are looked at


def place_on_volume(brain: BrainSections, anchor: Anchor) -> Placement:
    """Place the sections on an anchor of grey values.

    Parameters
    ----------
    brain : BrainSections
        As read.
    anchor : Anchor
        With `grey`.

    Returns
    -------
    Placement
        In the anchor's frame.

    Raises
    ------
    DataError
        Where the anchor is of another size, or the series fits nowhere.
    """
    assert anchor.grey is not None
    check_size(brain, anchor, *look(brain))
    free = place_freely(brain)
    built = build_volume(brain, free.sections, free.box_um, VOLUME_UM)
    own = Volume(built.values, (VOLUME_UM,) * 3, brain.sources[0])
    found = matched(own, anchor.grey, possible_turns(brain), NORMAL[brain.first.plane_of_section])
    if found is None:
        return place_on_anchor(brain, anchor)
    state, um, shared = found
    sections = [on_anchor(one, state, um) for one in free.sections]
    told = [line for line in free.cannot_know if line.startswith("The manifest states no")]
    measures = {"overlap of the outlines": shared}
    return Placement(
        tuple(sections), anchor.box_um, None, free.notes, measures, tuple(map(_by_outline, told))
    )


def _by_outline(line: str) -> str:
    return f"{line.partition(':')[0]}: the outlines of brain and anchor decided."


def possible_turns(brain: BrainSections) -> list[Float64]:
    """Return the linear maps from the sections' own frame to the anchor's that the manifest leaves open.

    Parameters
    ----------
    brain : BrainSections
        As read.

    Returns
    -------
    list of (3, 3) float64
        None but the identity where order and side up are stated.
    """
    normal = NORMAL[brain.first.plane_of_section]
    order, up = np.ones(3), -np.ones(3)
    order[normal], up[normal] = -1.0, 1.0
    orders = [np.ones(3)] + ([order] if brain.first.section_order is None else [])
    ups = [np.ones(3)] + ([up] if brain.first.image_up is None else [])
    return [np.diag(a * b) for a, b in itertools.product(orders, ups)]


def matched(
    own: Volume, anchor: Volume, turns: Sequence[Float64], normal: int = 0
) -> tuple[State, float, float] | None:
    """Match a volume with an anchor of any contrast.

    Parameters
    ----------
    own : Volume
        Of the sections.
    anchor : Volume
        The anchor.
    turns : sequence of (3, 3) float64
        How they may lie in each other.
    normal : int
        Axis along which the sections are stacked.

    Returns
    -------
    state : State
        From the volume to the anchor.
    um : float, um
        Working voxel.
    shared : float
        Overlap of the outlines after the affine step; None in place of all three where it is too small.
    """
    um = working_um([own, anchor])
    target, source = working_brain(own, um), working_brain(anchor, um)
    linear = fit_affine(target, source, turns)
    shared = overlap_after(target.mask, source.mask, linear, um)
    if shared < LEAST_SHARED:
        return None
    weight = ndimage.binary_dilation(target.mask, iterations=ROOM).astype(np.float32)
    pair = Pair(weight, source.values.shape, um)
    seen, told = (described(brain, CONTEXT) for brain in (target, source))
    cues = list(map(GreyCue, seen, told))
    state = match(cues, pair, start_of(linear, pair), stiffness=STIFFNESS, normal=normal)
    seen, told = seen + described(target, MIND), told + described(source, MIND)
    last = regressed(seen, told, target.mask, state.displacement(um).vectors / np.float32(um))
    return match(last, pair, state, LAST, LAST_STIFFNESS, normal), um, shared


def on_anchor(one: PlacedSection, state: State, um: float) -> PlacedSection:
    """Return a section of the own frame in that of the anchor.

    Parameters
    ----------
    one : PlacedSection
        In the own frame.
    state : State
        From there to the anchor.
    um : float, um
        Voxel of its second part.

    Returns
    -------
    PlacedSection
        The affine part becomes that of its space, the rest a Deformation.
    """
    before = one.space.volume_to_reference
    space = Alignment3d(one.space.reference_space_id, affine.compose(state.affine, before))

    def further(volume: Float64) -> Float64:
        at = (affine.apply(before, volume) / um).T
        parts = [ndimage.map_coordinates(state.rest[..., k], at, order=1, mode="nearest") for k in range(3)]
        return np.asarray(np.stack(parts, axis=-1) @ space.reference_to_volume[:, :3].T, np.float64)

    return carried(replace(one, space=space), further)
