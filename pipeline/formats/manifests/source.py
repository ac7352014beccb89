"""What reading a series folder yields."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.model import SectionDataSet, SeriesAlignment


@dataclass(frozen=True)
class SeriesSource:
    """A series as its folder declares it; what is wrong with single sections stands in `warnings`.

    A section whose image is not there has `path` None. Where neither the manifest nor a readable image
    tells its size or resolution, these are 0: not known.
    """

    data_set: SectionDataSet
    alignment: SeriesAlignment | None = None
    warnings: tuple[str, ...] = ()
