"""What the estimated errors were calibrated on, and whether a series lies outside of it.

The error model rests on rendered coronal and sagittal series of a mouse brain: whole, turned, upside down, of
one half, of another shape, with exchanged, mirrored, doubled and torn sections, and windows of 6 to 15
sections; windows of a real Nissl brain are held against it. See `workflows/benchmarks/benchmark_verdicts.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.sections.thumbnail import SectionThumbnail

# (least, largest) of the series that it rests on
SECTIONS = 6, 66
SPACING_UM = 100.0, 450.0  # between neighbouring sections; 200 and 300 were fitted
PIXEL_UM = 15.0, 60.0  # of the reduced images
SIZE = 0.8, 1.25  # of the reference's brain, over a mouse's


def outside_calibration(thumbnails: Sequence[SectionThumbnail], size: float) -> tuple[str, ...]:
    """Say in what a series differs from all that the error model was calibrated on.

    Parameters
    ----------
    thumbnails : sequence of SectionThumbnail
        The fitted sections.
    size : float
        Size of the reference's brain over a mouse's, see `Atlas.size`.

    Returns
    -------
    tuple of str
        One note for the reader, or none where nothing differs.
    """
    z_um = np.sort([t.z_um for t in thumbnails])
    spacing_um = float(np.median(np.diff(z_um))) if len(z_um) > 1 else float("nan")
    seen = (
        ("{:.0f} sections", float(len(thumbnails)), SECTIONS),
        ("sections {:.0f} um apart", spacing_um, SPACING_UM),
        ("pixels of {:.0f} um", float(np.median([t.pixel_um for t in thumbnails])), PIXEL_UM),
        ("a brain of {:.1f} x a mouse's size", size, SIZE),
    )
    odd = [
        f"{what.format(value)} ({least:g} to {most:g})"
        for what, value, (least, most) in seen
        if value < least or value > most
    ]
    if not odd:
        return ()
    return (f"estimated errors are outside what they were calibrated on: {', '.join(odd)}",)
