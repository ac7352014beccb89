"""`ish reference build`: the sections of one brain into a volume, on an anchor or in a frame of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.atlas_building.making import Plan, make
from pipeline.atlas_building.memory import check_fits
from pipeline.atlas_building.publish import PLAIN, Publication, sweep_killed
from pipeline.atlas_building.reconstruction.anchors import Anchor, anchor_labels, open_anchor
from pipeline.atlas_building.reconstruction.brain_sections import BrainSections, read_sections
from pipeline.atlas_building.reconstruction.grey_anchor import place_on_volume
from pipeline.atlas_building.reconstruction.keeping import (
    digest_of,
    forget_placement,
    keep_placement,
    kept_placement,
    place_of,
)
from pipeline.atlas_building.reconstruction.place import Placement, place_freely, place_on_anchor
from pipeline.atlas_building.reconstruction.run_folders import write_series
from pipeline.atlas_building.reconstruction.volume import BuiltVolume, build_volume
from pipeline.atlas_building.result import BuiltReference, Frame
from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import numbered

SPACING_UM = 25.0
MODULE = "pipeline.atlas_building.reconstruction.grey_anchor"  # whose code decides the placement


def build(
    series: Sequence[Path],
    output: Path,
    *,
    anchor: Path | None = None,
    spacing_um: float = SPACING_UM,
    publication: Publication = PLAIN,
) -> Path:
    """Build a volume from the sections of one brain.

    Parameters
    ----------
    series : sequence of Path
        Folders as `ish run --input` takes them, of one brain, numbered together.
    output : Path
        Folder of the result; appears whole or not at all.
    anchor : Path, optional
        Volume or reference whose frame is taken, of any contrast; default the brain's own frame.
    spacing_um : float, um
        Voxel size.
    publication : Publication
        How the folder is written.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        Where there is no series, or the output folder cannot be used.
    DataError
        Where an input cannot be used, or fewer than six sections can be placed.
    """
    if not series:
        raise ConfigError("build: expected at least one series, got none")
    make(output, [*series, anchor], publication, lambda: _plan(series, output, anchor, spacing_um))
    forget_placement(place_of(output))
    return output


def _plan(series: Sequence[Path], output: Path, anchor: Path | None, spacing_um: float) -> Plan:
    """Return what is built; a brain in its own frame has a size only once its sections are placed."""
    sweep_killed(place_of(output))
    given = None if anchor is None else open_anchor(anchor)
    if given is not None:
        check_fits("build", given.path, given.box_um, spacing_um)

    def compute() -> BuiltReference:
        brain = read_sections(series, spacing_um)
        _check_length(brain, spacing_um)
        placement, digest = _placed(brain, given, output)
        check_fits("build", series[0], placement.box_um, spacing_um)
        volume = build_volume(brain, placement.sections, placement.box_um, spacing_um)
        return _result(brain, given, placement, volume, spacing_um, digest)

    return Plan(compute, annotation=None if given is None else given.annotation)


def _placed(brain: BrainSections, anchor: Anchor | None, output: Path) -> tuple[Placement, str]:
    """Return the placement, that of a killed build where there is one, and the digest of what decides it."""
    files = [*brain.files, *(() if anchor is None else anchor.files)]
    digest = digest_of(files, [f"{one.thumbnail_to_section.tolist()}" for one in brain.thumbnails], MODULE)
    kept = kept_placement(place_of(output), digest, brain)
    if kept is not None:
        return kept, digest
    if anchor is None:
        placement = place_freely(brain)
    else:
        placement = (place_on_anchor if anchor.grey is None else place_on_volume)(brain, anchor)
    keep_placement(place_of(output), digest, brain, placement)
    return placement, digest


def _check_length(brain: BrainSections, spacing_um: float) -> None:
    """Refuse sections that lie within one voxel, as where their thickness is stated in mm."""
    z_um = [one.z_um for one in brain.thumbnails]
    length = max(z_um) - min(z_um) + brain.spacing_um
    if length < spacing_um:
        raise DataError(
            f"{brain.sources[0]}: expected sections over more than a voxel of {spacing_um:g} um, got all"
            f" {len(z_um)} over {length:.3g} um; is section_thickness_um in um?"
        )


def _result(
    brain: BrainSections,
    anchor: Anchor | None,
    placement: Placement,
    volume: BuiltVolume,
    spacing_um: float,
    digest: str,
) -> BuiltReference:
    """Return what is published."""
    annotation = None if anchor is None else anchor_labels(anchor, spacing_um, _shape(volume))

    def write_more(folder: Path) -> None:
        write_series(folder, brain, volume.sections, placement.notes, digest)

    of = "the brain's own, z along P" if anchor is None else str(anchor.path)
    return BuiltReference(
        verb="build",
        frame=Frame("own" if anchor is None else "anchor", of),
        spacing_um=spacing_um,
        inputs=(*brain.files, *(() if anchor is None else anchor.files)),
        template=volume.values,
        annotation=annotation,
        ontology=anchor.ontology if anchor is not None and annotation is not None else None,
        midline_um=placement.midline_um,
        quality={**volume.quality, "placement": placement.measures, "not used": _not_used(brain, volume)},
        cannot_know=(*placement.cannot_know, *_always(brain)),
        volumes={"coverage": volume.coverage},
        write_more=write_more,
    )


def _shape(volume: BuiltVolume) -> tuple[int, int, int]:
    p, i, r = volume.values.shape
    return p, i, r


def _not_used(brain: BrainSections, volume: BuiltVolume) -> dict[str, str]:
    """Return the sections that are not in the volume, by reason."""
    there = {"no image": sorted(brain.missing), "cannot be read": sorted(brain.unread)}
    reasons = {reason: numbers for reason, numbers in there.items() if numbers}
    for one in volume.sections:
        if not one.is_used:
            reasons.setdefault(one.section.reason.partition(":")[0] or "does not fit", []).append(one.number)
    return {reason: numbered(numbers) for reason, numbers in reasons.items()}


def _always(brain: BrainSections) -> tuple[str, ...]:
    """Return what no build can know."""
    between = (
        "What lies between two sections is inferred from them; where coverage is 2, from sections that are up"
        " to 500 um apart."
    )
    thickness = f"{brain.first.section_thickness_um:g} um"
    along = f"Shrinkage along the cutting axis is that of section_thickness_um as stated, {thickness}."
    return (between, along)
