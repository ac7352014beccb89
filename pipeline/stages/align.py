"""The align stage: take over a given alignment, or align a series to the reference by its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import AlignmentError, ConfigError
from pipeline.core.model import SectionDataSet, SectionImage, SeriesAlignment
from pipeline.formats.alignments.alignment_json import write_alignment
from pipeline.geometry.scales import (
    POSSIBLE_SCALES,
    outside,
    scales_of,
    scales_text,
    spacing_text,
    unusual_scales,
)
from pipeline.inputs.hand_corrections import find_file, read_corrections, read_given
from pipeline.inputs.references import RunReference
from pipeline.registration import (
    AlignmentOptions,
    Correction,
    SectionThumbnail,
    Series,
    align_series,
    align_specimen,
    check_background,
    reconstruct,
)
from pipeline.registration.options import OF_MANIFEST
from pipeline.stages.aligner_options import options_of
from pipeline.stages.anchors import anchored, anchors_path
from pipeline.stages.specimen_parts import Outcome, forget_parts, keep_parts, kept_part
from pipeline.stages.thumbnails import section_thumbnail
from pipeline.store.facts import AlignFacts
from pipeline.store.run import RunFolder
from pipeline.system.files import shown

REFERENCE_UM = 25.0  # voxel size of the reference that sections are aligned to
ASSUMED = "assumed: "  # prefix of notes on conventions that were assumed


@dataclass(frozen=True, eq=False)
class SeriesToAlign:
    """What the alignment of one series depends on.

    Attributes
    ----------
    run : RunFolder
        Run folder of the series.
    source : Path
        Folder of the series.
    data_set : SectionDataSet
        Its manifest.
    aligner : str
        Name of the aligner; `given` takes over an alignment.
    configuration : mapping of str to Any
        Options of the aligner.
    given : SeriesAlignment or None
        Alignment of its data_set.xml; None where it has none.
    read : frozenset of int
        Numbers of the sections that were measured.
    """

    run: RunFolder
    source: Path
    data_set: SectionDataSet
    aligner: str
    configuration: Mapping[str, Any]
    given: SeriesAlignment | None = None
    read: frozenset[int] = frozenset()

    @property
    def measured(self) -> list[SectionImage]:
        """The sections that were measured."""
        return [s for s in self.data_set.section_images if s.section_number in self.read]


def align(
    series: SeriesToAlign, specimen_series: Sequence[SeriesToAlign], reference: RunReference, digest: str
) -> AlignFacts:
    """Place every measured section in the reference space, and write `alignment.json`.

    Parameters
    ----------
    series : SeriesToAlign
        The series.
    specimen_series : sequence of SeriesToAlign
        All series of its specimen in the order of the batch, itself included; empty where it is alone.
    reference : RunReference
        Reference space.
    digest : str
        Digest of everything that decides the alignment; the same for the whole family.

    Returns
    -------
    dict of str to Any
        Facts: `statuses` by section, `measures` of the series, `notes`.

    Raises
    ------
    AlignmentError
        Where the series cannot be aligned, has no given alignment, or its scales are impossible.
    ConfigError
        Where the configuration of the aligner is wrong.
    """
    run = series.run
    if not specimen_series:
        forget_parts(run)
    if series.aligner == "given":
        alignment = _given(series)
    else:
        alignment = _from_nothing(series, specimen_series, reference, digest)
    # the aligner may have noted unusual scales already
    notes = tuple(dict.fromkeys((*alignment.notes, *check_scales(alignment), *_edited(run))))
    run.remove_deformations()
    if alignment.deformable != "none":
        deformed = {s.alignment2d.section_number: s.deformation for s in alignment.sections if s.deformation}
        run.write_deformations(deformed, digest)
    write_alignment(run.file("alignment.json"), replace(alignment, notes=notes))
    return {
        "statuses": {str(s.alignment2d.section_number): s.status.value for s in alignment.sections},
        "measures": alignment.measures,
        "notes": [
            note for note in notes if not note.startswith(ASSUMED)
        ],  # assumed conventions do not count as warnings
    }


def _edited(run: RunFolder) -> list[str]:
    """Set aside an `alignment.json` that was edited by hand before it is replaced, and return a note."""
    kept = run.put_aside_edited()
    how = f"to use it, set alignment.name=given and alignment.configuration.path={run.path / kept}"
    return [f"alignment.json was edited by hand and is kept as {kept}; {how}"] if kept else []


def check_alignment(series: SeriesToAlign, specimen_series: Sequence[SeriesToAlign] = ()) -> None:
    """Check the configuration of a series' alignment.

    Parameters
    ----------
    series : SeriesToAlign
        The series.
    specimen_series : sequence of SeriesToAlign
        Series that it is aligned with; empty where it is alone.

    Raises
    ------
    ConfigError
        Where the aligner does not take an option or a value, or the file with corrections is wrong.
    """
    if series.aligner != "given":
        alignment_options(series)
        _corrections(series, specimen_series)
        return
    check_given(series.configuration)


def check_given(configuration: Mapping[str, Any]) -> None:
    """Check the configuration of an alignment that is taken over.

    Parameters
    ----------
    configuration : mapping of str to Any
        `alignment.configuration`.

    Raises
    ------
    ConfigError
        For another key than `path`.
    """
    unknown = configuration.keys() - {"path"}
    if unknown:
        raise ConfigError(
            f"alignment.configuration: unknown key {sorted(unknown)[0]}; alignment.name=given takes only path"
        )


def corrections_path(series: SeriesToAlign) -> Path | None:
    """Return the file with sections that were placed by hand.

    Parameters
    ----------
    series : SeriesToAlign
        The series.

    Returns
    -------
    Path or None
        The configured file; None where none is configured.
    """
    configured = series.configuration.get("corrections")
    return find_file(configured, series.source) if configured else None


def _corrections(series: SeriesToAlign, specimen_series: Sequence[SeriesToAlign]) -> dict[int, Correction]:
    """Return the sections of the series, or of its family, that were placed by hand, by section number."""
    path = corrections_path(series)
    if path is None:
        return {}
    images = tuple(
        image for one in in_order(series, specimen_series) for image in one.data_set.section_images
    )
    specimen = replace(series.data_set, section_images=images)
    return read_corrections(path, specimen, _chosen(series.configuration))


def in_order(series: SeriesToAlign, specimen_series: Sequence[SeriesToAlign]) -> list[SeriesToAlign]:
    """Return the series that are aligned together, sorted by id.

    Parameters
    ----------
    series : SeriesToAlign
        One of them.
    specimen_series : sequence of SeriesToAlign
        All of them, in any order; empty where the series is alone.

    Returns
    -------
    list of SeriesToAlign
        The family, or the lone series.
    """
    return sorted(specimen_series, key=lambda one: one.data_set.id) or [series]


def _chosen(configuration: Mapping[str, Any]) -> list[int] | None:
    """Return the numbers of the corrected sections to use; None for all.

    A list may be written without brackets, which some shells expand.
    """
    given = configuration.get("corrected_sections")
    if given is None:
        return None
    values = given.replace(",", " ").split() if isinstance(given, str) else given
    try:
        numbers = [str(n) for n in (values if isinstance(values, list) else [values])]
        if not all(number.isascii() and number.isdigit() for number in numbers):
            raise ValueError
        return [int(number) for number in numbers]
    except (TypeError, ValueError):
        raise ConfigError(
            "alignment.configuration.corrected_sections: expected section numbers such as 26,34, got"
            f" {shown(given)}"
        ) from None


def given_path(series: SeriesToAlign) -> Path | None:
    """Return the file that holds the given alignment.

    Parameters
    ----------
    series : SeriesToAlign
        The series.

    Returns
    -------
    Path or None
        The configured file, else `alignment.json` of the series; None where there is neither.
    """
    configured = series.configuration.get("path")
    if configured:
        return find_file(configured, series.source)
    own = series.source / "alignment.json"
    return own if own.exists() else None


def _given(series: SeriesToAlign) -> SeriesAlignment:
    """Take over the given alignment for the sections that were measured."""
    path = given_path(series)
    alignment = series.given
    if path is not None:
        alignment = read_given(path, series.data_set)
    if alignment is None:
        raise AlignmentError(
            f"series {series.data_set.id}: alignment.name is 'given', but {series.source} holds neither"
            " data_set.xml nor alignment.json; set alignment.configuration.path, or use alignment.name=joint"
        )
    taken = tuple(s for s in alignment.sections if s.alignment2d.section_number in series.read)
    if not taken:
        raise AlignmentError(
            f"series {series.data_set.id}: the given alignment covers none of the {len(series.read)} sections"
            " that were read; check its section numbers"
        )
    check_background([section_thumbnail(series.run, series.data_set, section) for section in series.measured])
    return replace(alignment, sections=taken)


def check_scales(alignment: SeriesAlignment) -> tuple[str, ...]:
    """Check the scales of an Alignment3d, volume to reference space; 1 means no change of size.

    Parameters
    ----------
    alignment : SeriesAlignment
        Alignment of a series.

    Returns
    -------
    tuple of str
        A warning where a scale is outside `USUAL_SCALES`, else empty.

    Raises
    ------
    AlignmentError
        Where a scale is outside `POSSIBLE_SCALES`.
    """
    scales = scales_of(alignment.alignment3d.volume_to_reference)
    if outside(scales, POSSIBLE_SCALES):
        low, high = POSSIBLE_SCALES
        raise AlignmentError(
            f"Alignment3d scales {scales_text(scales)}: expected {low:.2f}-{high:.2f};"
            f" {spacing_text(scales) or 'check resolution_um and section_thickness_um of the manifest'}"
        )
    unusual = unusual_scales(scales)
    return (unusual,) if unusual else ()


def _from_nothing(
    series: SeriesToAlign, specimen_series: Sequence[SeriesToAlign], reference: RunReference, digest: str
) -> SeriesAlignment:
    """Align the series by its images alone, and store the reconstructed specimen."""
    thumbnails = _thumbnails(series)
    if len(specimen_series) > 1 and thumbnails:
        alignment = _part_of_specimen(series, specimen_series, reference, digest)
    else:
        options, corrections = alignment_options(series), _corrections(series, specimen_series)
        alignment = align_series(thumbnails, reference.at(REFERENCE_UM), options, corrections)
    space = replace(alignment.alignment3d, reference_space_id=series.data_set.reference_space_id)
    alignment = replace(alignment, alignment3d=space)
    specimen = reconstruct(thumbnails, alignment)
    attributes = {
        "axes": ["z", "y", "x"],
        "origin_um": list(specimen.origin_um),
        "spacing_um": list(specimen.spacing_um),
    }
    series.run.write_volume({"stain": specimen.stain}, attributes)
    return alignment


def _thumbnails(series: SeriesToAlign) -> list[SectionThumbnail]:
    """Return the measured sections of a series, with what is known of their positions."""
    read = [section_thumbnail(series.run, series.data_set, section) for section in series.measured]
    return anchored(read, anchors_path(series.configuration, series.source), series.data_set)


def _part_of_specimen(
    series: SeriesToAlign, specimen_series: Sequence[SeriesToAlign], reference: RunReference, digest: str
) -> SeriesAlignment:
    """Return the series' part of the alignment of its specimen; compute it for all where it is not stored."""
    outcome = kept_part(series.run, [one.run for one in specimen_series], digest)
    if outcome is None:
        outcomes = _together(series, specimen_series, reference)
        keep_parts(series.run, outcomes, digest)
        outcome = outcomes[series.run.path.name]
    if isinstance(outcome, AlignmentError):
        raise outcome
    return outcome


def _together(
    series: SeriesToAlign, specimen_series: Sequence[SeriesToAlign], reference: RunReference
) -> dict[str, Outcome]:
    """Align all series of a specimen together, and return the outcomes by name of run folder.

    Series without a measured section are left out.
    """
    members: list[Series] = []
    names = []
    corrections = _corrections(series, specimen_series)
    for one in in_order(series, specimen_series):
        thumbnails = _thumbnails(one)
        if thumbnails:
            own = {n: c for n, c in corrections.items() if n in one.read}
            members.append(Series.of(thumbnails, alignment_options(one), own, len(members)))
            names.append(one.run.path.name)
    outcomes = align_specimen(members, reference.at(REFERENCE_UM))
    return _noted(series.data_set.specimen, dict(zip(names, outcomes, strict=True)))


def _noted(specimen: str | None, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    """Add to each outcome a note that names the series with the same Alignment3d."""
    found = {n: a for n, a in outcomes.items() if not isinstance(a, AlignmentError)}
    spaces = {n: a.alignment3d.volume_to_reference.tobytes() for n, a in found.items()}
    for name, alignment in found.items():
        others = [n for n in found if n != name and spaces[n] == spaces[name]]
        if others:
            note = (
                f"{ASSUMED}series {', '.join(others)} {'is' if len(others) == 1 else 'are'} from the same"
                f" brain (specimen {specimen}): aligned together"
            )
            outcomes[name] = replace(alignment, notes=(*alignment.notes, note))
    return outcomes


def alignment_options(series: SeriesToAlign) -> AlignmentOptions:
    """Return the options of the aligner, from its configuration and the manifest of the series.

    Parameters
    ----------
    series : SeriesToAlign
        The series.

    Returns
    -------
    AlignmentOptions
        Options with the types of their defaults.

    Raises
    ------
    ConfigError
        Where an option is unknown or has a wrong value.
    """
    manifest = {name: getattr(series.data_set, name) for name in OF_MANIFEST if name != "aligner"}
    return options_of(series.configuration, series.aligner, manifest)
