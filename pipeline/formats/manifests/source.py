"""Result of reading a series folder."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.model import SectionDataSet, SeriesAlignment


@dataclass(frozen=True)
class SeriesSource:
    """A series as its folder declares it.

    A section without an image file has `path` None. Where neither the manifest nor a readable image states a
    section's size or resolution, these are 0.

    Attributes
    ----------
    data_set : SectionDataSet
        The series.
    alignment : SeriesAlignment or None
        Alignment that the manifest contains.
    warnings : tuple of str
        Problems of single sections and doubtful entries, one line each.
    """

    data_set: SectionDataSet
    alignment: SeriesAlignment | None = None
    warnings: tuple[str, ...] = ()
