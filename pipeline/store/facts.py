"""What each stage leaves in its receipt for later stages and the page.

Facts are plain values, since a receipt is JSON: section numbers are keys, written as text.
"""

from __future__ import annotations

from typing import Any, TypedDict


class MeasureFacts(TypedDict):
    """Facts of one measured section.

    Attributes
    ----------
    factor : float
        Manifest pixels per stored pixel.
    rectangle_px : list of int, px
        Rectangle of the scan, (x0, y0, x1, y1) in stored pixels.
    stored_px : list of int, px
        Width and height of the stored image.
    context : dict of str to Any
        Fields of `SectionContext` without the outlines.
    """

    factor: float
    rectangle_px: list[int]
    stored_px: list[int]
    context: dict[str, Any]


class PoolFacts(TypedDict):
    """Statistics of a series.

    Attributes
    ----------
    contexts : dict of str to dict
        Pooled context of each section, by section number.
    """

    contexts: dict[str, dict[str, Any]]


class DetectFacts(TypedDict):
    """Facts of one section whose expression was detected.

    Attributes
    ----------
    totals : dict of str to int
        The four sums over the whole section, in stored pixels and darkness 0-255.
    sensitivity : dict of str to list of float
        Expression of some tiles by density, as marked and with changed thresholds; may be empty.
    """

    totals: dict[str, int]
    sensitivity: dict[str, list[float]]


class AlignFacts(TypedDict):
    """Facts of an alignment.

    Attributes
    ----------
    statuses : dict of str to str
        Verdict on each section, by section number.
    measures : dict of str to float
        Measures of the series.
    notes : list of str
        Notes for the reader, assumed conventions left out.
    """

    statuses: dict[str, str]
    measures: dict[str, float]
    notes: list[str]


class GridFacts(TypedDict):
    """Facts of a grid.

    Attributes
    ----------
    sections : int
        Sections in the grid.
    covered_voxels : int
        Voxels that have data.
    missing : dict of str to float
        Share of the tissue that a section lacks, by section number; sections that lack none are left out.
    """

    sections: int
    covered_voxels: int
    missing: dict[str, float]


class UnionizeFacts(TypedDict):
    """Facts of a table of structures.

    Attributes
    ----------
    rows : int
        Rows of the table.
    unknown_labels : list of int
        Labels of the annotation that the ontology lacks.
    notes : list of str
        Notes on the intervals of the series.
    """

    rows: int
    unknown_labels: list[int]
    notes: list[str]


class SummariseFacts(TypedDict):
    """Facts of a summary.

    Attributes
    ----------
    statuses : dict of str to str
        Final status of each section, by section number.
    """

    statuses: dict[str, str]
